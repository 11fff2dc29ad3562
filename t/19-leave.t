#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The end of sessions that is not theirs: a worker that leaves, with sessions
# in each state, and the time for it over; without master; a handshake that
# brings a client to another server{}; streams with nothing to do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64 qw/ encode_base64 /;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

$SIG{PIPE} = 'IGNORE';

# slow enough for a client to be waiting when something happens

my $slow = crypt('secret', '$2b$12$' . 'abcdefghijklmnopqrstuv');

sub conf {
    my ($main) = @_;

    return <<"EOC";
%%GLOBALS%%
$main
events { worker_connections 128; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_none%%;
    }

    ssl_certificate      %%DIR%%/server.crt;
    ssl_certificate_key  %%DIR%%/server.key;

    smtp_hostname  mx.example.org;
    smtp_log       %%DIR%%/smtp.log;
    ssl_handshake_timeout  3s;
    smtp_starttls  on;
    smtp_trust     127.0.0.0/8;

    server {
        listen 127.0.0.1:%%PORT_smtp%% sndbuf=4k;
        listen 127.0.0.1:%%PORT_smtps%% ssl sndbuf=4k;
        smtp_auth      plain;
        smtp_auth_plaintext  on;
        smtp_accounts  file=%%DIR%%/accounts;
        smtp_max_recipients  1;
        smtp_max_errors  100000;
        smtp_enqueue   out;
    }
}
EOC
}

my $t = Test::SMTPRelay->new();

$t->gen_cert('server', 'mx.example.org');
$t->write_file('accounts', "slow $slow\n", 0600);

# sessions in each state; names and clients

sub sessions {
    my @all;

    for my $port ('smtp', 'smtps') {
        my $new = sub {
            my ($name, %opts) = @_;
            my $c = $t->client($port, tls => $port eq 'smtps', %opts);
            push @all, [ "$name, $port", $c ];
            return $c;
        };

        my $mail = sub {
            my $c = $new->(@_);
            $c->ehlo();
            $c->cmd('MAIL FROM:<a@example.org>');
            $c->cmd('RCPT TO:<b@example.net>');
            return $c;
        };

        $new->('greeted');
        $new->('idle')->ehlo();
        my $c = $new->('half a command');
        $c->ehlo();
        $c->send_raw('MAIL FR');
        $mail->('envelope');
        $c = $mail->('message');
        $c->cmd('DATA');
        $c->send_raw("Subject: x\r\n");
        $c = $mail->('large message');
        $c->cmd('DATA');
        $c->send_raw("z" x 1000000) for 1 .. 3;
        $c = $mail->('chunk');
        $c->send_raw("BDAT 100\r\nx");
        $c = $new->('login');
        $c->ehlo();
        $c->cmd('AUTH PLAIN');
        $c = $new->('login is checked');
        $c->ehlo();
        $c->send_raw('AUTH PLAIN ' . encode_base64("\0slow\0secret", '')
            . "\r\nNOOP\r\n");
        $c = $mail->('refused message');
        $c->send_raw("BDAT 1000000000\r\nx");
        $c = $mail->('unread', rcvbuf => 4096);
        $c->send_raw("RCPT TO:<c\@example.net>\r\n" x 200) for 1 .. 20;
    }

    my $c = $t->client('smtp');
    push @all, [ 'handshake', $c ];
    $c->ehlo();
    $c->cmd('STARTTLS');
    $c->send_raw("\x16\x03\x01");

    sleep 0.2;

    return @all;
}

for my $main ('worker_shutdown_timeout 1s;',
    "worker_shutdown_timeout 1s;\nmaster_process off;")
{
    $t->write_conf(conf($main))->run();

    my @sessions = sessions();
    my $start = time();

    $t->quit(30);
    cmp_ok(time() - $start, '<', 20 * $Test::SMTPRelay::PATIENCE,
        "left in time: $main");

    my @open = grep { !$_->[1]->closed(1) } @sessions;
    is(join(', ', map { $_->[0] } @open), '', 'all were closed');
}

# all clients gone at once; then TERM with others in the same states

$t->write_conf(conf(''))->run();

$_->[1]->close(reset => 1) for sessions();

my $c = $t->client('smtp');
is(($c->banner())[0], 220, 'clients gone at any moment');
$c->close();

my @sessions = sessions();
$t->term();
pass('TERM at any moment');

# a reload in the same states: those in a transaction can end it

$t->write_conf(conf(''))->run();

@sessions = sessions();
$t->reload();

for (grep { $_->[0] =~ /^(envelope|message),/ } @sessions) {
    my ($name, $c) = @$_;

    if ($name =~ /^envelope/) {
        is(($c->send_data("Subject: x\r\n\r\nx\r\n"))[0], 250,
            "$name is finished");

    } else {
        $c->send_raw("\r\nx\r\n.\r\n");
        is(($c->read_reply())[0], 250, "$name is finished");
    }

    is(($c->read_reply())[0], 421, "$name: and then 421");
}

for (grep { $_->[0] =~ /^half/ } @sessions) {
    my ($name, $c) = @$_;

    $c->send_raw("OM:<a\@example.org>\r\n");
    is(($c->read_reply())[0], 250, "$name is served");
    $c->check('RSET', 250, "$name: rset");
    is(($c->read_reply())[0], 421, "$name: and then 421");
}

for (grep { $_->[0] =~ /^login is/ } @sessions) {
    my ($name, $c) = @$_;

    is(join(' ', map { ($c->read_reply())[0] } 1 .. 3), '235 250 421',
        "$name: answered, and what was sent behind it");
}

for (grep { $_->[0] =~ /^(greeted|idle)/ } @sessions) {
    is(($_->[1]->read_reply())[0], 421, "$_->[0]: 421");
}

$_->[1]->close(reset => 1) for @sessions;
$t->quit();

# SNI: what holds is what the chosen server{} says

SKIP: {
    skip 'no server_name in streams before nginx 1.25.5', 6
        unless $t->nginx_version() ge v1.25.5;

    $t->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { worker_connections 128; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_none%%;
    }

    ssl_certificate      %%DIR%%/server.crt;
    ssl_certificate_key  %%DIR%%/server.key;
    ssl_handshake_timeout  3s;
    smtp_starttls  on;

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_hostname  plain.example;
        smtp_trust     127.0.0.0/8;
        smtp_enqueue   out;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        server_name    login.example;
        smtp_hostname  login.example;
        smtp_auth      plain;
        smtp_accounts  file=%%DIR%%/accounts;
        smtp_enqueue   out;
    }
}
EOC

    $c = $t->client('smtp');
    ok(!exists $c->ehlo()->{AUTH}, 'no AUTH with the first server');
    is($c->starttls(SSL_hostname => 'login.example'), 220, 'starttls');
    is(($c->ehlo() || {})->{AUTH}, 'PLAIN', 'AUTH with the second');
    $c->cmd('MAIL FROM:<a@example.org>');
    $c->check('RCPT TO:<b@example.net>', 530, 'which does not trust');
    $c->cmd('RSET');
    is(($c->auth_plain('slow', 'secret'))[0], 235, 'login');
    $c->cmd('MAIL FROM:<a@example.org>');
    $c->check('RCPT TO:<b@example.net>', 250, 'relays');
    $c->quit();
}

$t->done();
