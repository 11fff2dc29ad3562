#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A session without TLS and login: commands, their order, limits, replies.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { worker_connections 256; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_none%%;
        spool_min_free 1m;
        retry     1h;
    }

    smtp_hostname  mx.example.org;

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_trust 127.0.0.0/8;
        smtp_max_recipients 3;
        smtp_max_message_size 10k;
        smtp_max_errors 100;
        smtp_max_hops 2;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_limits%%;
        smtp_trust 127.0.0.0/8;
        smtp_max_errors 3;
        smtp_max_idle_commands 8;
        smtp_client_timeout 1s;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_many%%;
        smtp_trust 127.0.0.0/8;
        smtp_max_recipients 2;
        smtp_max_errors 5;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_domains%%;
        smtp_domains example.com .example.org;
        smtp_enqueue out;
    }
}
EOC

my ($c, $code, $text, $lines);

# greeting, EHLO

$c = $t->client('smtp');
is_deeply([ ($c->banner())[0, 1] ], [ 220, 'mx.example.org ESMTP' ],
    'greeting');

($code, $text, $lines) = $c->cmd('EHLO client.example');
is($code, 250, 'ehlo');

my %offered = map { my ($k) = /^250[ -](\S+)/; $k => 1 } @$lines;

is($lines->[0], '250-mx.example.org', 'ehlo hostname');
ok($offered{$_}, "offers $_")
    for qw/ PIPELINING SIZE 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES CHUNKING
        LIMITS DSN /;
ok(!$offered{$_}, "does not offer $_") for qw/ STARTTLS AUTH XCLIENT /;
like("@$lines", qr/250[ -]SIZE 10240\b/, 'size limit');
like("@$lines", qr/250[ -]LIMITS RCPTMAX=3\b/, 'recipient limit');

$c->check('HELO client.example', qr/^250 mx\.example\.org/, 'helo');

# simple commands, unknown ones, syntax

$c->check('NOOP', qr/^250 2\.0\.0/, 'noop');
$c->check('NOOP something', qr/^250 2\.0\.0/, 'noop with argument');
$c->check('noop', qr/^250/, 'lower case');
$c->check('VRFY user', qr/^252 2\.5\.0/, 'vrfy');
$c->check('HELP', qr/^214/, 'help');
$c->check('EXPN list', qr/^502 5\.5\.1/, 'expn');
$c->check('FROP', qr/^500 5\.5\.2/, 'unknown command');
$c->check('', qr/^500 5\.5\.2/, 'empty command');
$c->check('DATA now', qr/^50[13] 5\.5\.[14]/, 'data with argument');
$c->check('EHLO', qr/^501 5\.5\.4/, 'ehlo without argument');
$c->check("EHLO a\x01b", qr/^501 5\.5\.4/, 'ehlo with control');
$c->check('STARTTLS', qr/^50[23] 5\.5\.1/, 'starttls not offered');
$c->check('AUTH PLAIN', qr/^50[23] 5\.5\.1/, 'auth not offered');

# a browser: nothing of its body is a command (ALPACA)

$c = $t->client('smtp');
$c->send_raw("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nNOOP\r\n");
is(($c->read_reply())[0], 500, 'http');
ok($c->closed(), 'closed after http');

# order

$c = $t->client('smtp');
$c->check('MAIL FROM:<a@example.org>', qr/^503 5\.5\.1/, 'mail before helo');
$c->ehlo();
$c->check('RCPT TO:<a@example.org>', qr/^503 5\.5\.1/, 'rcpt before mail');
$c->check('DATA', qr/^503 5\.5\.1/, 'data before mail');
$c->check('MAIL FROM:<a@example.org>', qr/^250 2\.1\.0/, 'mail');
$c->check('MAIL FROM:<a@example.org>', qr/^503 5\.5\.1/, 'nested mail');
$c->check('DATA', qr/^554 5\.5\.1/, 'data without recipient');
$c->check('RCPT TO:<b@example.org>', qr/^250 2\.1\.5/, 'rcpt');
$c->check('RSET', qr/^250 2\.0\.0/, 'rset');
$c->check('RCPT TO:<b@example.org>', qr/^503 5\.5\.1/, 'rcpt after rset');

# addresses and parameters

$c->check('MAIL FROM:<>', qr/^250/, 'null sender');
$c->check('RSET', 250, 'rset');
$c->check('MAIL FROM: <a@example.org>', qr/^250/, 'space before path');
$c->check('RSET', 250, 'rset');
$c->check('MAIL FROM:a@example.org', qr/^501 5\.(5\.4|1\.7)/, 'no brackets');
$c->check('MAIL FROM:<a b@example.org>', qr/^501 5\.1\.7/, 'bad sender');
$c->check('MAIL FROM:<a@example.org> SIZE=20000', qr/^552 5\.3\.4/,
    'declared size over limit');
$c->check('MAIL FROM:<a@example.org> FROP=1', qr/^555 5\.5\.4/,
    'unknown parameter');
$c->check('MAIL FROM:<a@example.org> SIZE=1 SIZE=1', qr/^501 5\.5\.4/,
    'parameter twice');
$c->check("MAIL FROM:<\xc3\xa4\@example.org>", qr/^550 5\.6\.7/,
    'utf-8 without smtputf8');
$c->check("MAIL FROM:<\xc3\xa4\@example.org> SMTPUTF8", qr/^250/,
    'utf-8 with smtputf8');
$c->check("RCPT TO:<\xc3\xa4\@example.org>", qr/^250/, 'utf-8 recipient');
$c->check('RSET', 250, 'rset');
$c->check('MAIL FROM:<a@example.org> BODY=8BITMIME SIZE=100 RET=HDRS '
    . 'ENVID=x+2By AUTH=<>', qr/^250/, 'known parameters');
$c->check('RCPT TO:<b@example.org> NOTIFY=FAILURE,DELAY '
    . 'ORCPT=rfc822;c@example.org', qr/^250/, 'dsn parameters');
$c->check('RCPT TO:<b@example.org> NOTIFY=NEVER,DELAY', qr/^501 5\.5\.4/,
    'bad notify');
$c->check('RCPT TO:<"a b"@example.org>', qr/^250/, 'quoted local part');
$c->check('RCPT TO:<@a,@b:c@example.org>', qr/^250/, 'source route');
$c->check('RCPT TO:<d@example.org>', qr/^452 4\.5\.3/, 'recipient limit');
$c->check('RCPT TO:<postmaster>', qr/^452 4\.5\.3/, 'limit comes first');

# recipients beyond the limit are no errors, unless there is no end of them

sub recipients {
    my ($n) = @_;

    $c->send_raw("RCPT TO:<b\@example.org>\r\n" x $n);

    my @codes;

    for (1 .. $n) {
        push @codes, ($c->read_reply())[0];
        last if $codes[-1] == 421 || $codes[-1] == 0;
    }

    my %n;
    $n{$_}++ for @codes;

    return join ' ', map { "$_:$n{$_}" } sort keys %n;
}

$c = $t->client('many');
$c->ehlo();

for (1 .. 2) {
    $c->check('MAIL FROM:<a@example.org>', 250, 'mail');
    is(recipients(1002), '250:2 452:1000', 'a thousand too many');
    is(($c->send_data("Subject: x\r\n\r\nx\r\n"))[0], 250, 'the message');
}

$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
is(recipients(3000), '250:2 421:1 452:1006', 'and no end');
ok($c->closed(), 'is the end');

# a message; replies one for each command when pipelined

$c = $t->client('smtp');
$c->ehlo();
$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->check('RCPT TO:<postmaster>', qr/^501 5\.1\.3/,
    'postmaster without domain where there are no domains');
$c->check('RCPT TO:<b@example.net>', 250, 'rcpt');
like(join(' ', ($c->send_data("Subject: x\r\n\r\ntext\r\n"))[0, 1]),
    qr/^250 2\.0\.0 \S+.* queued as [-\w.]+$/, 'queued');

my @replies = $c->pipeline('MAIL FROM:<a@example.org>', 'FROP',
    'RCPT TO:<b@example.net>', 'RCPT TO:<>', 'NOOP', 'RSET', 'NOOP');
is(join(' ', map { $_->[0] } @replies), '250 500 250 501 250 250 250',
    'pipelined replies in order');

# all recipients refused, data pipelined: ATTACKS 15

@replies = $c->pipeline('MAIL FROM:<a@example.org>', 'RCPT TO:<bad>', 'DATA',
    'RSET');
is(join(' ', map { $_->[0] } @replies), '250 501 554 250',
    'pipelined data without recipients');

# size while reading; the session goes on

$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->check('RCPT TO:<b@example.net>', 250, 'rcpt');
like(join(' ', ($c->send_data(join('', (('y' x 76 . "\r\n") x 200))))[0, 1]), qr/^552 5\.3\.4/, 'too large');
$c->check('NOOP', 250, 'session goes on');

# hops

$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->check('RCPT TO:<b@example.net>', 250, 'rcpt');
like(join(' ', ($c->send_data("Received: a\r\n b\r\nreceived: b\r\nX: y\r\n"
    . "Received: c\r\n\r\nReceived: no\r\n"))[0, 1]), qr/^554 5\.4\.6/,
    'too many hops');

$c->check('QUIT', qr/^221 2\.0\.0/, 'quit');
ok($c->closed(), 'closed after quit');

# limits of a session

$c = $t->client('limits');
$c->ehlo();
$c->cmd("FROP $_") for 1 .. 4;
$c->check('NOOP', qr/^421 4\.7\.0/, 'too many errors');
ok($c->closed(), 'closed after too many errors');

$c = $t->client('limits');
$c->ehlo();
$c->cmd('NOOP') for 1 .. 7;
$c->check('NOOP', qr/^421 4\.7\.0/, 'too many commands without mail');
ok($c->closed(), 'closed after too many commands');

$c = $t->client('limits');
$c->ehlo();
($code, $text) = $c->read_reply();
is("$code $text" =~ /^421 4\.4\.2/ ? 1 : "$code $text", 1, 'timeout');
ok($c->closed(), 'closed after timeout');

# a command that drips in does not prolong its time

$c = $t->client('limits');
$c->send_raw('N');
my $start = time;
for (1 .. 8) {
    select undef, undef, undef, 0.3;
    last if $c->readable(0);
    $c->send_raw('O');
}
($code, $text) = $c->read_reply();
is($code, 421, 'timeout of a dripping command');

# long lines

$c = $t->client('smtp');
$c->ehlo();
$c->check('NOOP ' . 'x' x 4089, qr/^250/, 'line at the limit');
$c->check('NOOP ' . 'x' x 4090, qr/^500 5\.5\.2/, 'line over the limit');
$c->check('NOOP ' . 'x' x 1000000, qr/^500 5\.5\.2/, 'a megabyte');
$c->check('NOOP', 250, 'session goes on');
$c->send_raw("NOOP\nNOOP\r\n");
($code, $text) = $c->read_reply();
is($code, 500, 'bare newline in a command');
$c->send_raw("NO\0OP\r\n");
($code, $text) = $c->read_reply();
is($code, 500, 'nul in a command');

# byte by byte

$c = $t->client('smtp');
$c->send_bytes("EHLO a.example\r\n");
is(($c->read_reply())[0], 250, 'ehlo byte by byte');
$c->send_bytes("MAIL FROM:<a\@example.org>\r\nRCPT TO:<b\@example.net>\r\n"
    . "DATA\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 3), '250 250 354',
    'envelope byte by byte');
$c->send_bytes("Subject: x\r\n\r\n..dot\r\n.\r\nNOOP\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 2), '250 250',
    'data byte by byte');

# domains

$c = $t->client('domains');
$c->ehlo();
$c->check('MAIL FROM:<a@remote.example>', 250, 'mail');
$c->check('RCPT TO:<b@example.com>', 250, 'our domain');
$c->check('RCPT TO:<b@EXAMPLE.com>', 250, 'without case');
$c->check('RCPT TO:<b@sub.example.org>', 250, 'our subdomain');
$c->check('RCPT TO:<b@example.org>', 250, 'the domain itself');
$c->check('RCPT TO:<b@sub.example.com>', qr/^550 5\.7\.1/, 'not ours');
$c->check('RCPT TO:<b@xexample.org>', qr/^550 5\.7\.1/, 'no suffix match');
$c->check('RCPT TO:<b@other.example>', qr/^550 5\.7\.1/, 'relay denied');
$c->check('RCPT TO:<"b@example.com"@other.example>', qr/^550 5\.7\.1/,
    'quoted at sign');
$c->check('RCPT TO:<b%example.com@other.example>', qr/^550 5\.7\.1/,
    'percent hack');
$c->check('RCPT TO:<@example.com:b@other.example>', qr/^550 5\.7\.1/,
    'source route');
$c->check('RCPT TO:<b@[127.0.0.1]>', qr/^550 5\.7\.1/, 'literal');
$c->check('RCPT TO:<Postmaster>', 250, 'postmaster without domain');

# BDAT

$c = $t->client('smtp');
$c->ehlo();
$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->send_raw("BDAT 5\r\nab\r\nc");
like(join(' ', ($c->read_reply())[0, 1]), qr/^503 5\.5\.1|^554 5\.5\.1/,
    'bdat without recipient: octets are dropped');
$c->check('RSET', 250, 'rset');
$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->check('RCPT TO:<b@example.net>', 250, 'rcpt');
$c->send_raw("BDAT 12\r\nSubject: x\r\nBDAT 2\r\n\r\nBDAT 0 LAST\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 3), '250 250 250',
    'bdat in three chunks, pipelined');

# more than one turn of the event loop has time for, from two at once

{
    my @crowd = map { $t->client('smtp') } 1, 2;
    my $n = 1500;

    for my $one (@crowd) {
        $one->ehlo();
        $one->check('MAIL FROM:<a@example.org>', 250, 'crowd: mail');
        $one->check('RCPT TO:<b@example.net>', 250, 'crowd: rcpt');
    }

    $_->send_raw("BDAT 1\r\nx" x $n . "BDAT 0 LAST\r\n") for @crowd;

    for my $one (@crowd) {
        my %codes;

        $codes{($one->read_reply())[0] // 'none'}++ for 0 .. $n;
        is_deeply(\%codes, { 250 => $n + 1 }, 'crowd: each chunk has a reply');
        $one->check('NOOP', 250, 'crowd: and no more');
    }
}

$c->check('BDAT 99999999999999999999', qr/^5/, 'bdat size beyond 64 bits');
ok($c->closed(), 'closed: nobody knows where the chunk ends');

$c = $t->client('smtp');
$c->ehlo();
$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->check('RCPT TO:<b@example.net>', 250, 'rcpt');
$c->send_raw("BDAT 5\r\nab\r\ncDATA\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 2), '250 503',
    'data after bdat');
$c->send_raw("BDAT 20000\r\n" . 'x' x 20000);
is(($c->read_reply())[0], 552, 'chunk too large');
$c->send_raw("BDAT 5\r\nab\r\nc");
is(($c->read_reply())[0], 503, 'bdat after a failed one');
$c->check('RSET', 250, 'rset');
$c->check('MAIL FROM:<a@example.org>', 250, 'mail again');
$c->quit();

$t->done();
