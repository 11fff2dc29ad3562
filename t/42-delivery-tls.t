#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# TLS with the next hop: off, opportunistic, required; broken and stripped.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my %sinks = (
    tls => $t->sink('tls', tls => 1),
    plain => $t->sink('plain'),

    # takes STARTTLS and closes in the handshake
    broken => $t->sink('broken', tls => 1,
        replies => { TLS => { close => 1 } }),

    # CVE-2026-1642: something in clear behind the 220
    inject => $t->sink('inject', tls => 1,
        replies => { STARTTLS => [
            { raw => "220 go\r\n250 injected\r\n" }, '220 go' ] }),

    # offers it, but refuses
    refuses => $t->sink('refuses', tls => 1,
        replies => { STARTTLS => '454 4.7.0 not now' }),
);

my @queues = map { my $sink = $_; map { [ $sink, $_ ] }
    qw/ off opportunistic require / } sort keys %sinks;

my $queues = join '', map { <<"EOC" } @queues;
    smtp_queue $_->[0]-$_->[1] {
        spool     %%DIR%%/spool;
        hostname  relay.test;
        next_hop  127.0.0.1:%%PORT_$_->[0]%%;
        tls       $_->[1];
        retry     10m;
    }

    server {
        listen        127.0.0.1:%%PORT_in-$_->[0]-$_->[1]%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  $_->[0]-$_->[1];
    }

EOC

$queues =~ s/%%PORT_([\w-]+)%%/$t->port($1)/ge;

$t->write_conf(<<"EOC")->run(listen => []);
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

$queues
}
EOC

my %id;

for (@queues) {
    my ($sink, $tls) = @$_;

    my $c = $t->client("in-$sink-$tls");
    $c->cmd('EHLO client.test');
    my @reply = $c->send_message('a@from.test', "$tls\@to.test",
        "Subject: $tls\r\n\r\n.x\r\n" . 'y' x 50000 . "\r\n");
    $id{"$sink $tls"} = $reply[1] =~ /queued as (\S+)/ ? $1 : 'none';
    $c->quit();
}

# the one line of each attempt

sub line {
    my ($sink, $tls) = @_;
    my ($line) = $t->json_log('smtp.log', sub {
        $_->{event} eq 'delivery' && $_->{queue_id} eq $id{"$sink $tls"}
    }, 15);
    return $line;
}

sub is_delivered {
    my ($sink, $tls, $secure) = @_;

    my $line = line($sink, $tls);

    is($line->{status}, 'delivered', "$sink, $tls: delivered");

    if ($secure) {
        like($line->{tls}, qr/^TLSv1\.[23]$/, "$sink, $tls: in TLS");
        isnt($line->{cipher}, '', "$sink, $tls: cipher");

    } else {
        is($line->{tls}, '', "$sink, $tls: in clear");
    }

    my ($m) = grep { $_->{rcpts}[0] eq "$tls\@to.test" }
        $sinks{$sink}->messages();
    is($m->{tls}, $secure, "$sink, $tls: so says the peer");
    like($m->{body}, qr/\r\n\.x\r\ny{50000}\r\n\z/, "$sink, $tls: content");
}

sub is_deferred {
    my ($sink, $tls, $reply) = @_;

    my $line = line($sink, $tls);

    is($line->{status}, 'deferred', "$sink, $tls: deferred");
    like($line->{reply}, $reply, "$sink, $tls: reason");
    is(scalar(grep { $_->{rcpts}[0] eq "$tls\@to.test" }
        $sinks{$sink}->transactions()), 0, "$sink, $tls: nothing was sent");
}

is_delivered('tls', 'off', 0);
is_delivered('tls', 'opportunistic', 1);
is_delivered('tls', 'require', 1);

is_delivered('plain', 'off', 0);
is_delivered('plain', 'opportunistic', 0);
is_deferred('plain', 'require', qr/TLS is required/);

is_delivered('broken', 'off', 0);
is_delivered('broken', 'opportunistic', 0);
is_deferred('broken', 'require', qr/TLS/);

is_delivered('refuses', 'off', 0);
is_delivered('refuses', 'opportunistic', 0);
is_deferred('refuses', 'require', qr/TLS is required/);

# injected plaintext is never an answer to anything; which of the two queues
# met the first STARTTLS is open

is_delivered('inject', 'off', 0);

my @lines = map { line('inject', $_) } qw/ opportunistic require /;
my ($met) = grep { $_->{status} eq 'deferred' || $_->{tls} eq '' } @lines;
ok($met, 'injection: noticed');
is(scalar(grep { $_->{status} eq 'delivered' && $_->{tls} } @lines), 1,
    'injection: the other one is in TLS');
unlike(join("\n", grep { !/STARTTLS|EHLO/ } $sinks{inject}->commands()),
    qr/^1 (?!MAIL|RCPT|DATA|QUIT|RSET)/m, 'injection: no stray command');

# within TLS the session starts anew

is(scalar(grep { /EHLO/ } $sinks{tls}->commands()), 5,
    'EHLO again within TLS');

$t->done();
