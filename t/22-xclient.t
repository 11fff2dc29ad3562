#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_xclient: a trusted filter says who the client is, nobody else does, and
# nothing of one client is left for the next.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();
my $mta = $t->sink('mta');
my $next = $t->sink('next', ehlo => [ 'XCLIENT NAME ADDR PORT PROTO HELO '
    . 'LOGIN DESTADDR DESTPORT' ], replies => { XCLIENT => '220 again' });

my $forward = $t->sink('forward_mta', ehlo => [ 'XFORWARD NAME ADDR PORT PROTO HELO '
    . 'IDENT SOURCE' ], replies => { XFORWARD => '250 ok' });

$t->gen_cert('server');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_hostname  in.test;
    smtp_log       %%DIR%%/smtp.log;
    smtp_xclient   127.0.0.1;
    smtp_domains   ours.test;

    ssl_certificate      %%DIR%%/server.crt;
    ssl_certificate_key  %%DIR%%/server.key;

    map "$remote_addr $remote_port $server_addr $server_port $smtp_user $kept" $to {
        "192.0.2.5 4242 203.0.113.9 2525 joe 127.0.0.1"
            127.0.0.1:%%PORT_mta%%;
        default  127.0.0.1:%%PORT_gone%%;
    }

    server {
        listen  127.0.0.1:%%PORT_smtp%%;
        set  $kept $remote_addr;
        smtp_starttls  on;
        smtp_trust  192.0.2.0/28 2001:db8::/32 127.0.0.0/8;
        smtp_pass  127.0.0.1:%%PORT_mta%%;
    }

    server {
        listen  127.0.0.1:%%PORT_through%%;
        smtp_pass  127.0.0.1:%%PORT_next%%;
        smtp_pass_xclient  on;
    }

    server {
        listen  127.0.0.1:%%PORT_forward%%;
        smtp_pass  127.0.0.1:%%PORT_forward_mta%%;
        smtp_pass_xforward  on;
    }

    server {
        listen  127.0.0.1:%%PORT_errors%%;
        smtp_max_errors  100;
        smtp_pass  127.0.0.1:%%PORT_mta%%;
    }

    server {
        listen  127.0.0.1:%%PORT_vars%%;
        set  $kept $remote_addr;
        smtp_pass  $to;
    }

    server {
        listen  127.0.0.1:%%PORT_tls%%;
        smtp_starttls  required;
        smtp_pass  127.0.0.1:%%PORT_mta%%;
    }

    server {
        listen  127.0.0.1:%%PORT_off%%;
        smtp_xclient  off;
        smtp_pass  127.0.0.1:%%PORT_mta%%;
    }
}
EOC

# may the client relay?

sub relays {
    my ($c, $rcpt) = @_;

    $rcpt //= 'x@else.test';

    my @r = $c->cmd('MAIL FROM:<a@from.test>');
    @r = $c->cmd("RCPT TO:<$rcpt>") if $r[0] == 250;
    $c->cmd('RSET');

    return "$r[0] $r[1]";
}

sub offer {
    my ($c) = @_;
    my (undef, undef, $lines) = $c->cmd('EHLO filter.test');
    return join ' ', grep { /^250[ -]XCLIENT/ } @$lines;
}

# who is asked, and who is not

my $c = $t->client('smtp', from => '127.0.0.2');
is(offer($c), '', 'not offered to anybody');
$c->check('XCLIENT ADDR=192.0.2.5', qr/^502 /, 'nor accepted');
like(relays($c), qr/^250 /, 'the client is itself');
$c->close();

$c = $t->client('off');
is(offer($c), '', 'off');
$c->check('XCLIENT ADDR=192.0.2.5', qr/^502 /, 'and refused');
$c->close();

$c = $t->client('smtp');
is(offer($c), '250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT',
    'offered to a filter');

# the session begins anew

$c->check('XCLIENT ADDR=198.51.100.1', qr/^220 in\.test ESMTP/, 'a greeting');
$c->check('MAIL FROM:<a@from.test>', qr/^503 5\.5\.1 Send EHLO/, 'EHLO again');
isnt(offer($c), '', 'still offered: the connection is the same');
like(relays($c), qr/^550 5\.7\.1 /, 'not trusted as this client');
$c->cmd('MAIL FROM:<a@from.test>');
$c->check('RCPT TO:<x@ours.test>', 250, 'but served');
$c->check('XCLIENT ADDR=192.0.2.5', qr/^503 /, 'not in a transaction');
$c->cmd('RSET');

# the next one; in various ways

for (['ADDR=192.0.2.5', 250], ['ADDR=198.51.100.1', 550],
    ['ADDR=IPV6:2001:db8::1', 250], ['ADDR=ipv6:2001:DB9::1', 550],
    ['ADDR=[UNAVAILABLE]', 550], ['ADDR=[tempunavail] PORT=1', 550],
    ['addr=192.0.2.5   port=4242 Proto=smtp', 250],
    ['NAME=client.test', 250], ['LOGIN=joe', 250],
    ['LOGIN=joe ADDR=198.51.100.1', 250], ['ADDR=198.51.100.1', 550],
    ['ADDR=+31+39+32.0.2.5', 250], ['ADDR=[UNAVAILABLE] LOGIN=[UNAVAILABLE]',
        550], ['DESTADDR=192.0.2.5 ADDR=198.51.100.1', 550])
{
    my ($arg, $code) = @$_;

    $c->check("XCLIENT $arg", 220, $arg);
    $c->cmd('EHLO client.test');
    like(relays($c), qr/^$code /, "$arg: $code");
}

# several commands are one; an EHLO between ends it

$c->check('XCLIENT ADDR=198.51.100.1', 220, 'the address');
$c->check('XCLIENT NAME=client.test', 220, 'the name');
$c->check('XCLIENT HELO=client.test PROTO=ESMTP', 220, 'HELO');
like(relays($c), qr/^550 /, 'all of it, and no EHLO needed');
$c->check('XCLIENT NAME=client.test', 220, 'another client');
$c->check('MAIL FROM:<a@from.test>', qr/^503 /, 'has not said EHLO');
$c->cmd('EHLO filter.test');
like(relays($c), qr/^250 /, 'ADDR is not left from before');

# what is refused changes nothing

$c->check('XCLIENT ADDR=198.51.100.1', 220, 'a client');
$c->cmd('EHLO client.test');

$c->close();
$c = $t->client('errors');
$c->cmd('EHLO filter.test');
$c->check('XCLIENT ADDR=198.51.100.1', 220, 'a client');
$c->cmd('EHLO client.test');

$c->check("XCLIENT $_", qr/^501 5\.5\.4 /, "refused: $_")
    for 'ADDR', 'ADDR=', '=192.0.2.5', 'ADDR=192.0.2', 'ADDR=192.0.2.256',
        'ADDR=2001:db8::1', 'ADDR=IPV6:192.0.2.5', 'ADDR=IPV6:',
        'ADDR=IPV6:2001:db8::1::2', 'ADDR=192.0.2.5 ADDR=192.0.2.5',
        'ADDR=192.0.2.5 X=y', 'ADDR=192.0.2.5 PORT=0', 'PORT=65536',
        'PORT=-1', 'PORT=1x', 'ADDR=192.0.2.5+', 'ADDR=192.0.2.5+0',
        'ADDR=192.0.2.5+0A', 'NAME=a+0D+0Ab', 'HELO=a+00b', 'LOGIN=a+0Ab',
        'LOGIN=' . 'a' x 256, 'PROTO=LMTP', 'DESTADDR=x', 'DESTPORT=x',
        'ADDR=unix:', 'ADDR=unknown', "ADDR=192.0.2.5\tPORT=25",
        'IDENT=x', 'SOURCE=LOCAL';
$c->check('XCLIENT', qr/^501 /, 'refused: nothing');
like(relays($c), qr/^550 /, 'still the same client');
$c->close();

# what is told of the client

$c = $t->client('smtp');
$c->cmd('EHLO filter.test');
$c->cmd('XCLIENT NAME=client.test ADDR=192.0.2.5 PORT=4242 LOGIN=Joe+40x.test '
    . 'HELO=client.helo PROTO=ESMTP');
$c->check('NOOP', 250, 'still there');
my @r = $c->send_message('told@from.test', 'x@else.test', "x\r\n");
is($r[0], 250, 'a message');

my ($m) = $mta->messages();
like($m->{body}, qr/^Received: from client\.helo \(client\.test \[192\.0\.2\.5\]\)/,
    'Received');
like($m->{body}, qr/with ESMTPA\s/, 'with a login');

my ($log) = grep { ($_->{from} // '') eq 'told@from.test' }
    $t->json_log('smtp.log');
is($log->{client}, '192.0.2.5', 'log: address');
is($log->{port}, 4242, 'log: port');
is($log->{login}, 'joe@x.test', 'log: login');
$c->close();

# variables; none is left of what was cached

$c = $t->client('vars');
$c->cmd('EHLO filter.test');
like(relays($c, 'x@ours.test'), qr/^451 /, 'the filter');

my $all = 'ADDR=192.0.2.5 PORT=4242 LOGIN=joe DESTADDR=203.0.113.9 '
    . 'DESTPORT=2525';

$c->cmd("XCLIENT $all");
$c->cmd('EHLO client.test');
like(relays($c, 'x@ours.test'), qr/^250 /,
    'all variables; what was set is kept');

for my $re ('2\.5', '4242', 'joe', '113\.9', '2525') {
    my $other = $all =~ s/$re/1/r;
    $other = $all =~ s/$re/1.1/r if $re =~ /\\/;

    $c->check("XCLIENT $other", 220, $other);
    $c->cmd('EHLO client.test');
    like(relays($c, 'x@ours.test'), qr/^451 /, 'is somebody else');
}

$c->check('XCLIENT ADDR=192.0.2.5 PORT=4242 DESTPORT=2525 '
    . 'DESTADDR=203.0.113.9', 220, 'no login');
$c->cmd('EHLO client.test');
like(relays($c, 'x@ours.test'), qr/^451 /, 'is another client, too');
$c->close();

# many clients on one connection, each with errors of its own

$c = $t->client('vars');
my $bad = 0;

for my $i (1 .. 20) {
    $c->send_raw(join '', map { "XCLIENT ADDR=198.51.100.$_ LOGIN=u$_\r\n"
        . "EHLO c\r\nMAIL FROM:<a\@from.test>\r\nRSET\r\n" } 1 .. 10);
    $bad += ($c->read_reply())[0] !~ /^2/ for 1 .. 40;
    $c->cmd('NONSENSE');
}

is($bad, 0, 'many clients, pipelined');
$c->close();

# and on to a backend

$c = $t->client('through');
$c->cmd('EHLO filter.test');

for ("NAME=client.test $all HELO=h.test PROTO=SMTP",
    'ADDR=192.0.2.6 DESTADDR=203.0.113.9 DESTPORT=2525', 'ADDR=[UNAVAILABLE] '
    . 'DESTADDR=203.0.113.9 DESTPORT=2525')
{
    $c->cmd("XCLIENT $_");
    $c->cmd('HELO h.test') unless /HELO/;
    like(relays($c, 'x@ours.test'), qr/^250 /, "passed: $_");
}

$c->close();

is(join("\n", map { s/^\d+ //r } grep { / XCLIENT / } $next->commands()),
    <<'EOF' =~ s/\n\z//r, 'the backend is told the same');
XCLIENT NAME=client.test ADDR=192.0.2.5 PORT=4242 PROTO=SMTP HELO=h.test LOGIN=joe DESTADDR=203.0.113.9 DESTPORT=2525
XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.6 PORT=[UNAVAILABLE] PROTO=SMTP HELO=h.test LOGIN=[UNAVAILABLE] DESTADDR=203.0.113.9 DESTPORT=2525
XCLIENT NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] PROTO=SMTP HELO=h.test LOGIN=[UNAVAILABLE] DESTADDR=203.0.113.9 DESTPORT=2525
EOF

# an address that nobody knows is no address for XFORWARD either

$c = $t->client('forward');
$c->cmd('EHLO filter.test');

for ('ADDR=192.0.2.6 PORT=4242', 'ADDR=[UNAVAILABLE]') {
    $c->cmd("XCLIENT $_");
    $c->cmd('HELO h.test');
    like(relays($c, 'x@ours.test'), qr/^250 /, "forwarded: $_");
}

$c->close();

is(join("\n", map { s/^\d+ //r } grep { / XFORWARD NAME/ } $forward->commands()),
    <<'EOF' =~ s/\n\z//r, 'XFORWARD of a known client, and of an unknown one');
XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.6 PORT=4242
XFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]
EOF

# STARTTLS

$c = $t->client('smtp');
$c->cmd('EHLO filter.test');
$c->cmd('XCLIENT ADDR=198.51.100.1 LOGIN=joe');
$c->cmd('EHLO client.test');
$c->check('STARTTLS', 220, 'STARTTLS');
$c->start_tls();
$c->cmd('EHLO client.test');
like(relays($c), qr/^550 /, 'the login is forgotten, the address is not');
$c->close();

$c = $t->client('tls');
is(offer($c), '', 'not offered before a required STARTTLS');
$c->check('XCLIENT ADDR=192.0.2.5', qr/^530 /, 'nor accepted');
$c->check('STARTTLS', 220, 'STARTTLS');
$c->start_tls();
isnt(offer($c), '', 'but then');
$c->check('XCLIENT ADDR=192.0.2.5', 220, 'XCLIENT in TLS');
$c->close();

$t->stop();

# nginx -t

sub conf {
    return "%%GLOBALS%%\nevents { }\nstream {\n"
        . "server {\nlisten 127.0.0.1:%%PORT_smtp%%" . ($_[1] // '')
        . ";\nsmtp_pass 127.0.0.1:25; $_[0]\n}\n}\n";
}

$t->accepted(conf("smtp_xclient $_;"), $_) for '127.0.0.1', 'unix:',
    '10.0.0.0/8 2001:db8::1', '0.0.0.0/0 open', 'off';
$t->refused(conf("smtp_xclient $_;"), qr/covers all addresses.* in .*:\d+$/m,
    $_) for '0.0.0.0/0', '::/0', '128.0.0.0/1', '127.0.0.1 0.0.0.0/0';
$t->refused(conf('smtp_xclient x;'), qr/invalid address "x".*:\d+$/m, 'x');
$t->refused(conf('smtp_xclient $remote_addr;'), qr/invalid address/,
    'a variable');
$t->refused(conf('smtp_xclient open;'), qr/needs networks/, 'open alone');
$t->refused(conf('smtp_xclient 127.0.0.1;', ' proxy_protocol'),
    qr/would see the address of the proxy.*:\d+$/m, 'proxy_protocol');
$t->accepted(conf('smtp_xclient 127.0.0.1; set_real_ip_from 10.0.0.0/8;',
    ' proxy_protocol'), 'with set_real_ip_from');

$t->done();
