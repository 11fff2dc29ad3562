#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# TLS: implicit and by STARTTLS, state after it, client certificates.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->gen_cert('server', 'mx.example.org');
$t->gen_cert('client', 'client.example.org');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { worker_connections 256; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_none%%;
    }

    smtp_hostname        mx.example.org;
    ssl_certificate      %%DIR%%/server.crt;
    ssl_certificate_key  %%DIR%%/server.key;
    ssl_protocols        TLSv1.2 TLSv1.3;

    smtp_trust    127.0.0.0/8;
    smtp_log      %%DIR%%/smtp.log json;

    server {
        listen 127.0.0.1:%%PORT_on%%;
        smtp_starttls on;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_required%%;
        smtp_starttls required;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_smtps%% ssl;
        smtp_starttls required;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_verify%%;
        smtp_starttls required;
        ssl_verify_client on;
        ssl_client_certificate %%DIR%%/client.crt;
        smtp_enqueue out;
    }
}
EOC

my ($c, $code, $text, $lines);

sub offers {
    my ($c, $keyword) = @_;

    my @reply = $c->cmd('EHLO client.example');
    return scalar grep { /^250[ -]\Q$keyword\E\b/ } @{$reply[2]};
}

# on: offered, not needed; wiped state

$c = $t->client('on');
ok(offers($c, 'STARTTLS'), 'offered');
$c->check('MAIL FROM:<a@example.org>', 250, 'mail without tls');
$c->check('STARTTLS', qr/^503 5\.5\.1/, 'starttls inside a transaction');
$c->check('RSET', 250, 'rset');
$c->check('STARTTLS now', qr/^501 5\.5\.4/, 'starttls with argument');
ok($c->starttls(), 'starttls');
$c->check('MAIL FROM:<a@example.org>', qr/^503 5\.5\.1/, 'helo is forgotten');
ok(!offers($c, 'STARTTLS'), 'not offered under tls');
$c->check('STARTTLS', qr/^503 5\.5\.1/, 'starttls twice');
is(($c->send_message('a@example.org', 'b@example.org', "S: x\r\n\r\nx\r\n"))
    [0], 250, 'message under tls');
$c->quit();

my ($line) = grep { $_->{event} eq 'transaction' && @{$_->{to}} }
    $t->json_log('smtp.log');
like($line->{tls}, qr/^TLSv1\.[23]$/, 'log has the protocol');
ok($line->{cipher}, 'log has the cipher');

# buffered plaintext is dropped: CVE-2011-0411

$c = $t->client('on');
$c->ehlo();
$c->send_raw("STARTTLS\r\nMAIL FROM:<evil\@example.org>\r\n");
is(($c->read_reply())[0], 220, 'starttls with plaintext behind it');
ok($c->start_tls(), 'handshake');
ok(offers($c, 'PIPELINING'), 'first reply under tls is that to ehlo');
$c->check('RCPT TO:<b@example.org>', qr/^503/, 'injected mail was dropped');
$c->quit();

# required

$c = $t->client('required');
$c->ehlo();
$c->check('MAIL FROM:<a@example.org>', qr/^530 5\.7\.0/, 'tls required');
$c->check('NOOP', 250, 'noop without tls');
$c->check('HELP', qr/^530 5\.7\.0/, 'help: RFC 3207 section 4');
ok($c->starttls(), 'starttls');
$c->ehlo();
$c->check('MAIL FROM:<a@example.org>', 250, 'mail under tls');
$c->quit();

# implicit

$c = $t->client('smtps', tls => 1);
ok(!offers($c, 'STARTTLS'), 'not offered with implicit tls');
$c->check('MAIL FROM:<a@example.org>', 250, 'mail with implicit tls');
$c->quit();

# no handshake at all: garbage after 220

$c = $t->client('on');
$c->ehlo();
$c->check('STARTTLS', 220, 'starttls');
$c->send_raw("EHLO again\r\n");
ok($c->closed(), 'plaintext instead of a handshake');

# ssl_verify_client holds after STARTTLS

$c = $t->client('verify');
$c->ehlo();
$c->starttls();
ok($c->closed(), 'no certificate, no session');

$c = $t->client('verify');
$c->ehlo();
ok($c->starttls(SSL_cert_file => $t->dir() . '/client.crt',
    SSL_key_file => $t->dir() . '/client.key'), 'with certificate');
ok(offers($c, 'PIPELINING'), 'session with certificate');
$c->quit();

# a session on hold of QUIT of nginx: 421

$c = $t->client('on');
$c->ehlo();
$c->starttls();
$c->ehlo();
$t->signal('QUIT');
($code, $text) = $c->read_reply();
is("$code $text" =~ /^421 4\.3\.2/ ? 1 : "$code $text", 1,
    'idle session gets 421 at shutdown');

$t->done();
