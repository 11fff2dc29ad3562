#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_pass: mail handed to a backend while the client waits.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $mta = $t->sink('mta', replies => {
    RCPT => sub { my ($s, $arg) = @_;
        return $arg =~ /<nobody/ ? '550 5.1.1 no such user'
            : $arg =~ /<full/ ? "452 4.2.2 mailbox full\n452 4.2.2 of mail"
            : $arg =~ /<plain/ ? '553 not you' : undef },
    MAIL => sub { my ($s, $arg) = @_;
        return $arg =~ /<banned/ ? '550 5.7.1 banned' : undef },
    DATA => sub { my ($s, $arg) = @_;
        return $s->{from} =~ /^nodata/ ? '554 5.6.0 no data today' : undef },
    DOT => sub { my ($s, $txn) = @_;
        return $txn->{from} =~ /^refuse/ ? '554 5.7.1 spam it is'
            : $txn->{from} =~ /^later/ ? '451 4.7.1 greylisted'
            : $txn->{from} =~ /^bye/ ? '421 4.3.2 bye'
            : "250 2.0.0 taken as $txn->{from}" },
});

my $other = $t->sink('other', ehlo => [ ]);
my $old = $t->sink('old', ehlo => [ ],
    replies => { EHLO => '502 5.5.1 what is that' });
my $tls = $t->sink('tls', tls => 1);
my $tls_on = $t->sink('tlson', tls => 'implicit');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log;

    log_format  pass '$smtp_pass_addr $smtp_pass_tries $smtp_pass_time';
    access_log  %%DIR%%/access.log pass;

    smtp_trust       127.0.0.0/8;
    smtp_hostname    proxy.test;

    smtp_pass_ssl_server_name  on;

    map $smtp_rcpt_domain $backend {
        other.test  127.0.0.1:%%PORT_other%%;
        old.test    127.0.0.1:%%PORT_old%%;
        none.test   no_such_upstream;
        default     mta;
    }

    upstream mta {
        server  127.0.0.1:%%PORT_mta%%;
    }

    server {
        listen     127.0.0.1:%%PORT_smtp%%;
        smtp_pass  mta;
        smtp_pass_extensions  off;
    }

    server {
        listen     127.0.0.1:%%PORT_map%%;
        smtp_pass  $backend;
        smtp_pass_extensions  smtputf8;
    }

    server {
        listen     127.0.0.1:%%PORT_small%%;
        smtp_pass  mta;
        smtp_pass_buffer_size  16k;
        smtp_max_message_size  20m;
    }

    server {
        listen     127.0.0.1:%%PORT_tls_in%%;
        smtp_pass  127.0.0.1:%%PORT_tls%%;
        smtp_pass_ssl       starttls;
        smtp_pass_ssl_name  localhost;
        smtp_pass_ssl_verify  on;
        smtp_pass_ssl_trusted_certificate  %%DIR%%/sink-tls.crt;
    }

    server {
        listen     127.0.0.1:%%PORT_tlson_in%%;
        smtp_pass  127.0.0.1:%%PORT_tlson%%;
        smtp_pass_ssl       on;
    }

    server {
        listen     127.0.0.1:%%PORT_wrongname%%;
        smtp_pass  127.0.0.1:%%PORT_tls%%;
        smtp_pass_ssl       starttls;
        smtp_pass_ssl_name  elsewhere.test;
        smtp_pass_ssl_verify  on;
        smtp_pass_ssl_trusted_certificate  %%DIR%%/sink-tls.crt;
    }

    server {
        listen     127.0.0.1:%%PORT_clear%%;
        smtp_pass  127.0.0.1:%%PORT_mta%%;
        smtp_pass_ssl  starttls;
    }
}
EOC

# the dialogue; what the client gets is the backend's

my $c = $t->client('smtp');

my (undef, undef, $lines) = $c->cmd('EHLO client.test');
my $ehlo = join "\n", @$lines;

like($ehlo, qr/PIPELINING/, 'PIPELINING is ours');
like($ehlo, qr/CHUNKING/, 'and so is CHUNKING');
like($ehlo, qr/8BITMIME/, 'and 8BITMIME');
unlike($ehlo, qr/SMTPUTF8/, 'SMTPUTF8 is not');

$c->check('MAIL FROM:<a@from.test> BODY=8BITMIME', qr/^250 /, 'MAIL');
is($mta->connections(), 0, 'nothing was sent so far');

$c->check('RCPT TO:<nobody@to.test>', qr/^550 5\.1\.1 no such user$/,
    'the verdict is the backend\'s');
$c->check('RCPT TO:<b@to.test>', qr/^250 2\.1\.5 recipient ok$/, 'RCPT');
$c->check('RCPT TO:<full@to.test>', qr/^452 4\.2\.2 mailbox full of mail$/,
    'a reply of several lines');
$c->check('RCPT TO:<plain@to.test>', qr/^553 5\.0\.0 not you$/,
    'a reply without enhanced code');
$c->check('RCPT TO:<c@to.test>', 250, 'another RCPT');
$c->check('DATA', 354, 'DATA');
ok(!(grep { / DATA/ } $mta->commands()), 'the backend has no DATA yet');

$c->send_raw("Subject: one\r\n\r\n..dot\r\nline\r\n");
is_deeply([ grep { / DATA/ } $mta->commands() ], [], 'nor now');
$c->check('.', qr/^250 2\.0\.0 taken as a\@from\.test$/, 'the final reply');

my ($m) = $mta->messages();

is($m->{from}, 'a@from.test', 'sender');
is("@{$m->{rcpts}}", 'b@to.test c@to.test', 'recipients');
like($m->{from_params}, qr/BODY=8BITMIME/, 'parameters');
is($m->{helo}, 'proxy.test', 'our name');
like($m->{body}, qr{^Received:\ from\ client\.test\ .*?\r\nSubject:\ one
    \r\n\r\n\.dot\r\nline\r\n\z}sx, 'fields and text');
unlike($m->{body}, qr/Received.*Received/s, 'Received once');

# a MAIL that is refused, DATA that is refused, the message that is

$c->cmd('MAIL FROM:<banned@from.test>');
$c->check('RCPT TO:<b@to.test>', qr/^550 5\.7\.1 banned$/,
    'a refused MAIL is the reply to RCPT');
$c->check('RCPT TO:<c@to.test>', qr/^550 5\.7\.1 banned$/, 'to each');
$c->check('DATA', qr/^554 /, 'no recipients');
$c->cmd('RSET');

for (['nodata', 554, '5.6.0 no data today'],
     ['refuse', 554, '5.7.1 spam it is'],
     ['later', 451, '4.7.1 greylisted'],
     ['bye', 451, '4.3.2 bye'])
{
    my ($who, $code, $text) = @$_;

    my @r = $c->send_message("$who\@from.test", 'b@to.test', "x\r\n");
    is("$r[0] $r[1]", "$code $text", "message of $who");
}

# the reply to EHLO is not a recipient's, RSET ends it at the backend too

$c->cmd('MAIL FROM:<a@from.test>');
$c->check('RCPT TO:<b@to.test>', 250, 'again');
$c->check('RSET', 250, 'RSET');
wait_for(sub { grep { / RSET/ } $mta->commands() }, 5, 'RSET at the backend');

is(($c->send_message('z@from.test', 'b@to.test', "z\r\n"))[0], 250,
    'and then a message');
$c->check('QUIT', 221, 'QUIT');

# BDAT becomes DATA, dots are stuffed

$c = $t->client('smtp');
$c->cmd('EHLO client.test');
$c->cmd('MAIL FROM:<bdat@from.test>');
$c->cmd('RCPT TO:<b@to.test>');
$c->send_raw("BDAT 8\r\n.a\r\n..b\r");
is(($c->read_reply())[0], 250, 'a chunk');
$c->send_raw("BDAT 5 LAST\r\n\n.\r\nx");
is(($c->read_reply())[0], 250, 'the last chunk');

($m) = grep { $_->{from} eq 'bdat@from.test' } $mta->messages();
like($m->{body}, qr/\r\n\.a\r\n\.\.b\r\n\.\r\nx\r\n\z/, 'its octets');
is($m->{chunks}, 0, 'by DATA');

# all in one packet

$c->send_raw("MAIL FROM:<p1\@from.test>\r\nRCPT TO:<nobody\@to.test>\r\n"
    . "RCPT TO:<b\@to.test>\r\nRCPT TO:<full\@to.test>\r\nDATA\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 5), '250 550 250 452 354',
    'a pipeline: each reply to its command');
$c->send_raw("p\r\n.\r\nMAIL FROM:<p2\@from.test>\r\nRCPT TO:<c\@to.test>\r\n"
    . "NOOP\r\nDATA\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 5), '250 250 250 250 354',
    'and the next message');
$c->send_raw("q\r\n.\r\n");
is(($c->read_reply())[1], '2.0.0 taken as p2@from.test', 'its reply');

# routes by recipient: one transaction has one backend

$c = $t->client('map');
(undef, undef, $lines) = $c->cmd('EHLO client.test');
like("@$lines", qr/SMTPUTF8/, 'SMTPUTF8 by smtp_pass_extensions');

$c->cmd('MAIL FROM:<r@from.test>');
$c->check('RCPT TO:<x@other.test>', 250, 'the other backend');
$c->check('RCPT TO:<x@to.test>', qr/^452 4\.5\.3/, 'not both');
$c->check('RCPT TO:<y@other.test>', 250, 'more for the same');
$c->cmd('DATA');
$c->check("x\r\n.", 250, 'the message');
is("@{($other->messages())[0]{rcpts}}", 'x@other.test y@other.test',
    'arrived there');

$c->cmd('MAIL FROM:<r@from.test>');
$c->check('RCPT TO:<x@none.test>', qr/^451 4\.4\.1/, 'no such upstream');
$c->check('RCPT TO:<x@old.test>', 250, 'another one: nobody was promised');
$c->cmd('DATA');
$c->check("x\r\n.", 250, 'by HELO');
is(scalar($old->messages()), 1, 'arrived');

# what the backend lacks

$c->cmd('MAIL FROM:<r@from.test> SMTPUTF8');
$c->check('RCPT TO:<x@other.test>', qr/^550 5\.6\.7/, 'needs SMTPUTF8');
$c->cmd('RSET');
$c->cmd('MAIL FROM:<r@from.test> SMTPUTF8');
$c->check("RCPT TO:<\xc3\xa4\@to.test>", 250, 'this one has it');
$c->cmd('RSET');

$c = $t->client('smtp');
$c->cmd('EHLO client.test');
$c->check('MAIL FROM:<r@from.test> SMTPUTF8', 555, 'not offered');
$c->check('MAIL FROM:<r@from.test> SIZE=999999999', 552, 'our limit');

# larger than the buffer

$c = $t->client('small');
$c->cmd('EHLO client.test');

my $big = ('0123456789' x 7 . "\r\n.dot\r\n") x 60000;
my @r = $c->send_message('big@from.test', 'b@to.test',
    "Subject: big\r\n\r\n$big", timeout => 30);
is($r[0], 250, 'a large message');
($m) = grep { $_->{from} eq 'big@from.test' } $mta->messages();
$m->{body} =~ s/^Received:.*?(?=^Subject)//ms;
ok($m->{body} eq "Subject: big\r\n\r\n$big", 'arrives as it was');

# it turns out to be too large on the way, or ends without its end

$c->cmd('MAIL FROM:<toobig@from.test>');
$c->cmd('RCPT TO:<b@to.test>');
$c->cmd('DATA');
$c->{timeout} = 30;
$c->send_raw($big) for 1 .. 5;
$c->check('.', 552, 'over smtp_max_message_size');

$c->cmd('MAIL FROM:<half@from.test>');
$c->cmd('RCPT TO:<b@to.test>');
$c->cmd('DATA');
$c->send_raw(substr $big, 0, 1000000);
$c->close();

$c = $t->client('small');
$c->cmd('EHLO client.test');
$c->cmd('MAIL FROM:<bare@from.test>');
$c->cmd('RCPT TO:<b@to.test>');
$c->cmd('DATA');
$c->send_raw("Subject: x\r\n\r\n" . $big . "bare\n");
$c->check("\r\n.", 550, 'a bare newline behind the buffer');

$c = $t->client('small');
$c->cmd('EHLO client.test');
@r = $c->send_message('refusebig@from.test', 'b@to.test', $big);
is($r[0], 554, 'a large one is refused');
@r = $c->send_message('nodatabig@from.test', 'b@to.test', $big);
is("$r[0] $r[1]", '554 5.6.0 no data today', 'DATA of a large one is');

ok(!(grep { $_->{from} =~ /^(?:toobig|half|bare)@/ } $mta->transactions()),
    'no message without its end');

# TLS

for (['tls', $tls], ['tlson', $tls_on]) {
    my ($name, $sink) = @$_;

    $c = $t->client("${name}_in");
    $c->cmd('EHLO client.test');
    is(($c->send_message('s@from.test', 'b@to.test', "x\r\n"))[0], 250,
        "$name: taken");
    is(($sink->messages())[0]{tls}, 1, "$name: under TLS");
}

for my $port (qw/ wrongname clear /) {
    $c = $t->client($port);
    $c->cmd('EHLO client.test');
    $c->cmd('MAIL FROM:<never@from.test>');
    $c->check('RCPT TO:<b@to.test>', qr/^451 4\.4\.1/,
        "$port: not without the TLS that is asked for");
}

ok(!(grep { /never\@/ } $tls->commands(), $mta->commands()),
    'no backend heard of it');

# the log

my %log = map { $_->{from} => $_ } $t->json_log('smtp.log');

is($log{'a@from.test'}{upstream}, '127.0.0.1:' . $t->port('mta'),
    'log: upstream');
is($log{'a@from.test'}{upstream_tries}, 1, 'log: tries');
like($log{'a@from.test'}{upstream_time}, qr/^\d+(?:\.\d+)?$/, 'log: time');
is($log{'refuse@from.test'}{reply}, '5.7.1 spam it is', 'log: reply');
is($log{'refuse@from.test'}{code}, 554, 'log: code');
is($log{'banned@from.test'}{status}, 'refused', 'log: refused');

$c->close();
$t->stop();

like($t->read_file('access.log'),
    qr/^127\.0\.0\.1:\d+ 1 \d+\.\d\d\d$/m, 'variables in access_log');

$t->done();
