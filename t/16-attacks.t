#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What a hostile client does that no other test does: commands in every order
# against a model of RFC 5321, BDAT at its edges, parameters and addresses,
# injection into our own fields, all ways to a relay, exhaustion.  ATTACKS 4,
# 5, 7, 9, 12 to 17, 29, 30, 32.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

$SIG{PIPE} = 'IGNORE';

my $t = Test::SMTPRelay->new();

my $sink = $t->sink('mx');

$t->gen_cert('server', 'mx.example.org');
$t->write_file('accounts', 'alice@example.org ' . crypt('secret', '$5$salt')
    . "\n", 0600);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { worker_connections 256; }
thread_pool narrow threads=1 max_queue=16;

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1s;
    }

    smtp_thread_pool commit=narrow;

    ssl_certificate      %%DIR%%/server.crt;
    ssl_certificate_key  %%DIR%%/server.key;
    ssl_alpn             smtp;
    ssl_handshake_timeout  2s;

    smtp_hostname  mx.example.org;
    smtp_max_errors  10000;
    smtp_max_idle_commands  100000;

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_max_message_size  3m;
        smtp_enqueue  out;
    }

    server {
        listen 127.0.0.1:%%PORT_exact%%;
        smtp_trust    127.0.0.0/8;
        smtp_max_message_size  1000;
        smtp_enqueue  out;
    }

    server {
        listen 127.0.0.1:%%PORT_tls%%;
        listen 127.0.0.1:%%PORT_smtps%% ssl;
        smtp_starttls        on;
        smtp_auth            plain login;
        smtp_auth_plaintext  on;
        smtp_accounts        file=%%DIR%%/accounts;
        smtp_client_timeout  2s;
        smtp_enqueue         out;
    }

    # who may relay

    server {
        listen [::]:%%PORT_mapped%% ipv6only=off;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }

    server {
        listen [::]:%%PORT_mapped_no%% ipv6only=off;
        smtp_trust    10.0.0.0/8 ::1;
        smtp_enqueue  out;
    }

    server {
        listen unix:%%DIR%%/trusted;
        smtp_trust    unix:;
        smtp_enqueue  out;
    }

    server {
        listen unix:%%DIR%%/other;
        smtp_trust    127.0.0.0/8 ::/1 open;
        smtp_enqueue  out;
    }

    server {
        listen 127.0.0.1:%%PORT_nobody%%;
        smtp_enqueue  out;
    }

    server {
        listen 127.0.0.1:%%PORT_all%%;
        smtp_domains  * open;
        smtp_enqueue  out;
    }

    server {
        listen 127.0.0.1:%%PORT_spoofed%% proxy_protocol;
        set_real_ip_from 192.0.2.1;
        smtp_trust    10.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

my ($c, $code, $text);

# -- a model of RFC 5321: which code must a command get? --------------------

my %model;

sub model {
    my ($cmd) = @_;

    my $m = \%model;
    my ($verb) = $cmd =~ /^(\S+)/;

    if ($verb eq 'EHLO') {
        %$m = (helo => 1, esmtp => 1);
        return 250;
    }

    if ($verb eq 'HELO') {
        %$m = (helo => 1);
        return 250;
    }

    return 250 if $verb eq 'NOOP';
    return 252 if $verb eq 'VRFY';
    return 500 if $verb eq 'FROP';

    if ($verb eq 'RSET') {
        delete @$m{qw/ mail rcpts bdat failed /};
        return 250;
    }

    if ($verb eq 'MAIL') {
        return 503 if !$m->{helo} || $m->{mail} || $m->{failed};
        return 501 if $cmd =~ /bad/;
        $m->{mail} = 1;
        $m->{rcpts} = 0;
        return 250;
    }

    return 503 if !$m->{helo} || $m->{failed} && $verb ne 'BDAT';

    if ($verb eq 'RCPT') {
        return 503 if !$m->{mail} || $m->{bdat};
        return 501 if $cmd =~ /bad/;
        $m->{rcpts}++;
        return 250;
    }

    if ($verb eq 'DATA') {
        return 503 if !$m->{mail} || $m->{bdat};
        return 554 if !$m->{rcpts};
        delete @$m{qw/ mail rcpts /};
        return 354;
    }

    # BDAT

    return 503 if !$m->{esmtp} || $m->{failed} || !$m->{mail};
    return 554 if !$m->{rcpts};

    if ($cmd =~ /LAST/) {
        delete @$m{qw/ mail rcpts bdat /};

    } else {
        $m->{bdat} = 1;
    }

    return 250;
}

my @verbs = ('EHLO a.example', 'HELO a.example', 'NOOP', 'VRFY x', 'FROP',
    'RSET', ('MAIL FROM:<a@example.org>') x 3, 'MAIL FROM:<bad',
    ('RCPT TO:<b@example.net>') x 4, 'RCPT TO:<bad', ('DATA') x 2,
    ('BDAT 4') x 2, 'BDAT 4 LAST', 'BDAT 0', 'BDAT 0 LAST');

my $seed = $ENV{TEST_SEED} || time() % 100000;
srand $seed;

my ($commands, @wrong) = 0;

for my $round (1 .. 40) {
    %model = ();
    $c = $t->client('smtp');

    my @all = map { $verbs[rand @verbs] } 1 .. 60;
    unshift @all, 'EHLO a.example' if rand() < 0.9;

    my $piped = rand() < 0.5;
    my ($wire, @want) = '';

    for my $cmd (@all) {
        my $want = model($cmd);
        my $bytes = "$cmd\r\n";

        $bytes .= "x\r\n." if $cmd =~ /^BDAT 4/;

        # behind 354 comes a message; where there was none, nothing does

        if ($want == 354) {
            $bytes .= "S: x\r\n\r\nRSET\r\n.\r\n";
            push @want, [ $cmd, 354 ], [ 'end of data', 250 ];

        } else {
            push @want, [ $cmd, $want ];
        }

        $wire .= $bytes;
    }

    if ($piped) {
        $c->send_raw($wire);

    } else {
        while (length $wire) {
            my $n = 1 + int rand 40;
            $c->send_raw(substr $wire, 0, $n, '');
        }
    }

    for (@want) {
        ($code, $text) = $c->read_reply();
        $commands++;

        if ($code != $_->[1]) {
            push @wrong, "round $round, $_->[0]: $code $text, not $_->[1]";
            last;
        }
    }

    $c->send_raw("QUIT\r\n");
    ($code) = $c->read_reply();
    push @wrong, "round $round: quit got $code" if !@wrong && $code != 221;
    $c->close();
}

is("@wrong", '', "$commands commands in any order") or diag("seed $seed");

# -- BDAT -------------------------------------------------------------------

sub transaction {
    my ($port, $from) = @_;

    my $c = $t->client($port || 'smtp');
    $c->ehlo();
    $c->cmd('MAIL FROM:<' . ($from || 'a@example.org') . '>');
    $c->cmd('RCPT TO:<b@example.net>');
    return $c;
}

$c = transaction();
$c->check('BDAT 0 LAST', 250, 'empty message');
$c->check('BDAT 0 LAST', 503, 'LAST twice');
$c->check('NOOP', 250, 'the session goes on');

for my $size ('-1', '', '1x', '0x10', '1 LAST LAST', '1 FIRST', '1LAST',
    '18446744073709551616', '9223372036854775808', '1e3', '+1')
{
    $c = transaction();
    $c->check("BDAT $size", qr/^5\d\d/, "bdat of size '$size'");
    $c->send_raw("NOOP\r\n");
    ($code) = $c->read_reply();

    # where the next command begins is not known
    ok($code == 0 || $size eq '' && $code == 250, 'ends the session');
    $c->close();
}

for my $size (2147483647, 2147483648, 4294967296, 9223372036854775807) {
    $c = transaction();
    $c->send_raw("BDAT $size\r\nNOOP\r\nRSET\r\n");
    ok(!$c->readable(0.1), "what follows BDAT $size is its octets");
    $c->close();
}

$c = transaction();
$c->send_raw("BDAT 1\r\nx" x 20000);
my %codes;
$codes{($c->read_reply())[0]}++ for 1 .. 20000;
is_deeply(\%codes, { 250 => 20000 }, 'chunks of one byte');
$c->check('RSET', 250, 'rset between chunks');
$c->send_raw("BDAT 1 LAST\r\nx");
is(($c->read_reply())[0], 503, 'nothing is left of them');
$c->close();

$c = transaction();
$c->send_raw("BDAT 10\r\nabc");
$c->close();

# all recipients refused, and what was pipelined behind: one reply for each

$c = $t->client('nobody');
$c->ehlo();
$c->send_raw("MAIL FROM:<a\@example.org>\r\nRCPT TO:<b\@example.net>\r\n"
    . "BDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nRSET\r\nDATA\r\nRSET\r\nNOOP\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 7),
    '250 550 554 554 554 250 250', 'no recipient, BDAT and DATA behind');
$c->close();

# -- parameters ---------------------------------------------------------------

$c = $t->client('smtp');
$c->ehlo();

for ([ 'SIZE=0', 250 ], [ 'SIZE=', 501 ], [ 'SIZE', 501 ], [ 'SIZE=-1', 501 ],
    [ 'SIZE=3145728', 250 ], [ 'SIZE=3145729', 552 ],
    [ 'SIZE=9223372036854775807', 552 ], [ 'SIZE=9223372036854775808', qr/^5/ ],
    [ 'SIZE=99999999999999999999', qr/^5/ ], [ 'SIZE="1"', 501 ],
    [ 'size=1', 250 ], [ 'BODY=7BIT BODY=7BIT', 501 ], [ 'BODY=X', 501 ],
    [ 'BODY', 501 ], [ 'SMTPUTF8=1', 501 ], [ '=1', qr/^5/ ], [ '=', qr/^5/ ],
    [ 'X' x 100, 555 ], [ 'X=' . 'y' x 3000, 555 ],
    [ 'X=' . 'y' x 10000, 500 ], [ 'ENVID=+', 501 ], [ 'ENVID=+4', 501 ],
    [ 'ENVID=+4g', 501 ], [ 'ENVID=a=b', 501 ], [ 'ENVID=' . 'a' x 101, 501 ],
    [ 'ENVID=+0D+0ARCPT', qr/^(250|501)/ ], [ 'RET=X', 501 ],
    [ 'AUTH=<x', qr/^(250|501)/ ], [ "SIZE=1\x01", qr/^5/ ],
    [ 'NOTIFY=NEVER', qr/^5/ ], [ 'XCLIENT', 555 ])
{
    my ($param, $want) = @$_;
    my ($got) = $c->check("MAIL FROM:<a\@example.org> $param", $want,
        'mail ' . substr $param =~ s/[^ -~]/?/gr, 0, 30);
    $c->cmd('RSET') if $got == 250;
}

$c->cmd('MAIL FROM:<a@example.org>');

for ([ 'NOTIFY=NEVER', 250 ], [ 'NOTIFY=', 501 ], [ 'NOTIFY=NEVER,NEVER', 501 ],
    [ 'NOTIFY=SUCCESS,', 501 ], [ 'ORCPT=rfc822', 501 ], [ 'ORCPT=;x', 501 ],
    [ 'ORCPT=rfc822;+0', 501 ], [ 'ORCPT=rfc822;' . 'a' x 600, 501 ],
    [ 'SIZE=1', qr/^5/ ], [ 'X', 555 ])
{
    my ($param, $want) = @$_;
    $c->check("RCPT TO:<b\@example.net> $param", $want,
        'rcpt ' . substr $param, 0, 30);
}

# -- addresses --------------------------------------------------------------

$c->cmd('RSET');
$c->cmd('MAIL FROM:<a@example.org>');

my $l64 = 'l' x 64;
my $d63 = 'd' x 63;

for ([ '"a\'b;c|d"@example.net', 250 ], [ 'a\'b|c@example.net', 250 ],
    [ 'a;b@example.net', 501 ], [ 'a b@example.net', 501 ],
    [ "$l64\@example.net", 250 ], [ "l$l64\@example.net", 501 ],
    [ "a\@$d63.example", 250 ], [ "a\@d$d63.example", 501 ],
    [ "a\@" . join('.', ($d63) x 4), 501 ],
    [ 'a@[127.0.0.1]', 250 ], [ 'a@[256.0.0.1]', 501 ], [ 'a@[::1]', 501 ],
    [ 'a@[IPv6:::1]', 250 ], [ 'a@[IPv6:::1', 501 ], [ 'a@[]', 501 ],
    [ '"a\\"@example.net', 501 ], [ '"a\\\\"@example.net', 250 ],
    [ '"a@example.net', 501 ], [ 'a"@example.net', 501 ],
    [ '.a@example.net', 501 ], [ 'a.@example.net', 501 ],
    [ 'a..b@example.net', 501 ], [ 'a@.example', 501 ],
    [ 'a@example..net', 501 ], [ 'a@-example.net', 501 ], [ 'a@', 501 ],
    [ '@example.net', 501 ], [ '@', 501 ], [ 'a', 501 ],
    [ '@a.example:b@example.net', 250 ], [ '@a.example,b@example.net', 501 ],
    [ 'a@example.net>x', 501 ], [ 'a@example.net> <b@example.net', qr/^5/ ],
    [ "a\x01\@example.net", 501 ], [ "a\x80\@example.net", qr/^55?/ ])
{
    my ($path, $want) = @$_;
    $c->check("RCPT TO:<$path>", $want, 'rcpt ' . substr
        $path =~ s/[^ -~]/?/gr, 0, 30);
}

$c->close();

# -- our own fields ---------------------------------------------------------

$c = $t->client('smtp');
$c->check("EHLO a\rb", 500, 'cr in EHLO');
$c->check("EHLO $_", 501, "EHLO $_")
    for 'a b', 'a;b', '(a)', '<a>', 'a"b', '[a\\]', '[a]b]', "a\x0b", 'a,b';
$c->check('EHLO [a;b(c"d>,]', qr/^(250|501)/, 'EHLO of an odd literal');
$c->check('MAIL FROM:<fields@example.org>', qr/^(250|503)/, 'mail');
$c->cmd('EHLO a.example'), $c->cmd('MAIL FROM:<fields@example.org>')
    unless ($c->cmd('RCPT TO:<b@example.net>'))[0] == 250;
$c->cmd('RCPT TO:<"x>;\r\nX: y"@example.net>');
is(($c->send_data("Subject: fields\r\n\r\nx\r\n"))[0], 250, 'sent');
$c->close();

sub arrived {
    my ($from) = @_;

    my @found;
    wait_for(sub {
        @found = grep { $_->{from} eq $from } $sink->messages();
        @found > 0
    }, 30, "the message of $from at the sink");

    return $found[0];
}

my $mail = arrived('fields@example.org');

my ($head) = $mail->{body} =~ /^(.*?\r\n)\r\n/s;
(my $unfolded = $head) =~ s/\r\n[ \t]+/ /g;
like($unfolded, qr/^Received: from [^\r\n]*\r\nSubject: fields\r\n$/,
    'one Received field, and nothing else was added');

# -- lines ------------------------------------------------------------------

$c = transaction('smtp', 'long@example.org');
my $long = "X-Long: " . 'h' x 1000000 . "\r\n"
    . "X-Folded: a\r\n" . " b\r\n" x 10000 . "No colon here\r\n\r\n"
    . 'b' x 1000000 . "\r\n";
is(($c->send_data($long))[0], 250, 'lines of a megabyte');
$c->close();
$mail = arrived('long@example.org');
ok(index($mail->{body}, $long) > 0, 'arrive as they are');

$c = $t->client('smtp');
$c->ehlo();
my $rss = rss();
$c->send_raw('x' x 65536) for 1 .. 400;
cmp_ok(rss() - $rss, '<', 2048 * $Test::SMTPRelay::PATIENCE,
    'a command without end takes no memory');
$c->check('', 500, 'and is refused in the end');
$c->close();

sub rss {
    my ($pid) = $t->workers();
    open my $f, '<', "/proc/$pid/status" or return 0;
    return (grep { defined } map { /^VmRSS:\s+(\d+)/ ? $1 : undef } <$f>)[0];
}

# -- STARTTLS ---------------------------------------------------------------

# behind the 220, in a packet of its own: the handshake fails

$c = $t->client('tls');
$c->ehlo();
$c->check('STARTTLS', 220, 'starttls');
$c->send_raw("MAIL FROM:<a\@example.org>\r\nRCPT TO:<b\@example.net>\r\n");
ok($c->closed(), 'plaintext in place of a handshake');

# a login made before it does not hold behind it

$c = $t->client('tls');
$c->ehlo();
is(($c->auth_plain('alice@example.org', 'secret'))[0], 235, 'login in clear');
is($c->starttls(SSL_alpn_protocols => [ 'smtp' ]), 220, 'starttls after AUTH');
$c->check('MAIL FROM:<a@example.org>', 503, 'EHLO first');
$c->ehlo();
$c->cmd('MAIL FROM:<a@example.org>');
$c->check('RCPT TO:<b@example.net>', 530, 'not logged in');
$c->cmd('RSET');
is(($c->auth_plain('alice@example.org', 'secret'))[0], 235, 'login again');
$c->cmd('MAIL FROM:<a@example.org>');
$c->check('RCPT TO:<b@example.net>', 250, 'logged in');
$c->close();

# ALPACA: another protocol than ours is asked for

my $tls = eval {
    $t->client('smtps', greeting => 0, tls => { SSL_alpn_protocols =>
        [ 'http/1.1' ] });
};
ok(!$tls || !$tls->socket()->isa('IO::Socket::SSL')
    || ($tls->read_reply())[0] == 0, 'ALPN of HTTP is refused');

# -- slow at each stage -----------------------------------------------------

sub drips {
    my ($name, $c, $what) = @_;

    my $end = time() + 6 * $Test::SMTPRelay::PATIENCE;

    while (time() < $end && !$c->readable(0.5)) {
        $c->send_raw($what) or last;
    }

    ok(time() < $end, $name);
    return ($c->read_reply())[0];
}

is(drips('drips a command', $t->client('tls'), 'x'), 421, 'gets 421');

$c = $t->client('tls');
$c->ehlo();
$c->cmd('AUTH PLAIN');
is(drips('drips a login', $c, 'A'), 421, 'gets 421');

$c = $t->client('tls');
$c->ehlo();
$c->cmd('STARTTLS');
$c->send_raw("\x16\x03\x01\x02\x00");
drips('drips a handshake', $c, "\x01");

# -- sizes ------------------------------------------------------------------

for my $size (999, 1000, 1001) {
    my $body = 'x' x ($size - 2) . "\r\n";

    is((transaction('exact')->send_data($body))[0], $size > 1000 ? 552 : 250,
        "message of $size bytes");
    is((transaction('exact')->send_bdat($body, 300))[0],
        $size > 1000 ? 552 : 250, "the same by BDAT");
    is((transaction('exact')->send_data('.' x ($size - 2) . "\r\n"))[0],
        $size > 1000 ? 552 : 250, "and with a dot that is stuffed");
}

# -- nothing is left of what was not finished -------------------------------

sub fds {
    my ($pid) = $t->workers();
    return scalar(() = glob "/proc/$pid/fd/*");
}

sub used {
    my $n = 0;
    my @dirs = ($t->dir() . '/spool');

    while (my $dir = shift @dirs) {
        for (glob "$dir/*") {
            push @dirs, $_ if -d;
            $n++ if /body/;
        }
    }

    return $n;
}

my $part = "Subject: large\r\n\r\n" . ('z' x 98 . "\r\n") x 20000;

my ($fds, $used);

for my $round (0 .. 60) {
    $c = transaction();
    $c->cmd('DATA');
    $c->send_raw($part);
    $round % 3 == 0 ? $c->close(reset => 1)
        : $round % 3 == 1 ? $c->close() : do { $c->send_raw('z' x 1500000);
            $c->close() };

    # the first ones warm up

    if ($round == 10) {
        wait_for(sub { established() == 0 }, 10, 'clients to be gone');
        ($fds, $used, $rss) = (fds(), used(), rss());
    }
}

sub established {
    open my $f, '<', '/proc/net/tcp' or return 0;
    my $port = sprintf ':%04X', $t->port('smtp');
    return scalar grep { (split)[1] =~ /$port$/ && (split)[3] eq '01' } <$f>;
}

wait_for(sub { established() == 0 && fds() <= $fds }, 20,
    'descriptors to be closed');
cmp_ok(used(), '<=', $used, 'no file is left');

SKIP: {
    skip 'sanitizers keep what was freed, and look for leaks themselves', 1
        if $ENV{TEST_SANITIZE};
    cmp_ok(rss() - $rss, '<', 8192, 'no memory is left');
}

# -- a thread pool that is too small ------------------------------------------

# Each gets an answer, 250 or 4xx, and what got 250 arrives.

my @busy = map { transaction('smtp', "busy$_\@example.org") } 1 .. 20;

for (@busy) {
    $_->cmd('DATA');
    $_->send_raw(substr $part, 0, 1500000);
}

$_->send_raw("\r\n.\r\n") for @busy;

my @accepted;
%codes = ();

for my $i (1 .. 20) {
    ($code) = $busy[$i - 1]->read_reply();
    $codes{$code}++;
    push @accepted, "busy$i\@example.org" if $code == 250;
    $busy[$i - 1]->close();
}

is(join(' ', grep { !/^(250|451|452)$/ } keys %codes), '',
    'answers of a busy server: ' . join ' ', map { "$_ x $codes{$_}" }
    sort keys %codes);

for my $from (@accepted) {
    ok(eval { arrived($from) }, "$from arrives");
}

# -- who may relay ----------------------------------------------------------

sub may {
    my ($c) = @_;

    $c->ehlo();
    $c->cmd('MAIL FROM:<a@example.org>');
    my ($code) = $c->cmd('RCPT TO:<b@example.net>');
    $c->quit();
    return $code;
}

is(may($t->client('mapped')), 250, 'IPv4 in IPv6, trusted');
is(may($t->client('mapped_no')), 550, 'IPv4 in IPv6, not trusted');
is(may($t->client('nobody')), 550, 'nobody is trusted');
is(may($t->client('all')), 250, 'all domains, open');

$c = $t->client('spoofed', greeting => 0);
$c->send_raw("PROXY TCP4 10.0.0.1 127.0.0.1 1000 25\r\n");
is(($c->read_reply())[0], 220, 'PROXY of one who is not trusted to');
is(may($c), 550, 'does not make it 10.0.0.1');

$c = $t->client('spoofed', greeting => 0);
$c->send_raw("PROXY TCP4 10.0.0.1 127.0.0.1 1000 25\r\n" x 2);
is(join(' ', map { ($c->read_reply())[0] } 1 .. 2), '220 500', 'PROXY twice');
is(may($c), 550, 'is no trust');

for (['trusted', 250], ['other', 550]) {
    my $s = IO::Socket::UNIX->new(Peer => $t->dir() . "/$_->[0]")
        or die "unix: $!";
    $s->autoflush(1);
    <$s>;
    my $last = '';

    for my $cmd ('HELO x', 'MAIL FROM:<a@example.org>',
        'RCPT TO:<b@example.net>')
    {
        print $s "$cmd\r\n";
        $last = <$s>;
    }

    like($last, qr/^$_->[1]/, "unix socket: $_->[0]");

    next if $_->[1] != 250;

    for my $cmd ('RSET', 'MAIL FROM:<unix@example.org>',
        'RCPT TO:<b@example.net>', 'DATA', "Subject: unix\r\n\r\nx\r\n.")
    {
        print $s "$cmd\r\n";
        <$s>;
    }
}

like(arrived('unix@example.org')->{body}, qr/^Received: from x \(local\)\s/,
    'Received of a client without an address');

$t->done();
