#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Whose word a reply is: what a backend said of one recipient is never said of
# another, a refused MAIL stands however the backend leaves, and nonsense
# before MAIL is that server's failure alone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $no = '550 5.7.1 not from you';

# refuses MAIL, and leaves; with PIPELINING a word on RCPT is never said

my $refuses = $t->sink('refuses', ehlo => [], replies => {
    MAIL => sub { $_[1] =~ /<no/ ? { reply => $no, close => 1 }
        : $_[1] =~ /<bye/ ? { raw => "$no\r\n421 4.7.0 bye\r\n", close => 1 }
        : $_[1] =~ /<later/ ? { reply => '451 4.3.0 later', close => 1 }
        : undef } });
my $pipelined = $t->sink('pipelined', replies => $refuses->{replies});

# refuses a recipient

my $picky = $t->sink('picky', replies => { RCPT => '550 5.1.1 not here' });

# begins another reply behind that to EHLO

my $junk = $t->sink('junk', replies => {
    EHLO => { raw => "250-junk.test\r\n250 PIPELINING\r\n25" } });

my $good = $t->sink('good');
my $mx = $t->sink('mx');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    smtp_queue q {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        spool_min_free  1m;
    }

    upstream pipelined {
        server  127.0.0.1:%%PORT_pipelined%% max_fails=0;
        server  127.0.0.1:%%PORT_good%% backup;
    }

    upstream junk {
        server  127.0.0.1:%%PORT_junk%% max_fails=0;
        server  127.0.0.1:%%PORT_good%% backup;
    }

    map $smtp_rcpt_domain $backend {
        picky.test    127.0.0.1:%%PORT_picky%%;
        unknown.test  nowhere.test:25;
        default       "";
    }

    server {
        listen  127.0.0.1:%%PORT_refuses_in%%;
        smtp_pass  127.0.0.1:%%PORT_refuses%%;
    }

    server {
        listen  127.0.0.1:%%PORT_pipelined_in%%;
        smtp_pass  pipelined;
        smtp_enqueue  q;
    }

    server {
        listen  127.0.0.1:%%PORT_variable%%;
        smtp_pass  $backend;
    }

    server {
        listen  127.0.0.1:%%PORT_junk_next%%;
        smtp_pass  junk;
    }

    server {
        listen  127.0.0.1:%%PORT_junk_queue%%;
        smtp_pass  127.0.0.1:%%PORT_junk%%;
        smtp_enqueue  q;
    }
}
EOC

sub session {
    my ($port, $from) = @_;
    my $c = $t->client($port, timeout => 30);
    $c->cmd('EHLO client.test');
    $c->check("MAIL FROM:<$from\@from.test>", 250, "$port: MAIL");
    return $c;
}

# MAIL is refused, and the connection closed

my $c = session('refuses_in', 'no');

for my $rcpt (1 .. 3) {
    $c->check("RCPT TO:<$rcpt\@to.test>", qr/^$no$/,
        "the reply to MAIL, recipient $rcpt");

    # in which the end of the connection is seen

    $t->wait_log(qr/upstream failed: 451 the host closed/) if $rcpt == 1;
}

$c->close();

$c = session('pipelined_in', 'no');

$c->check("RCPT TO:<$_\@to.test>", qr/^$no$/,
    "pipelined with a RCPT that has no reply, recipient $_") for 1 .. 2;

$c->close();

$c = session('pipelined_in', 'bye');

$c->check("RCPT TO:<$_\@to.test>", qr/^$no$/,
    "with a 421 instead, recipient $_") for 1 .. 2;

$c->close();

# a 4xx and a lost connection is a lost connection

$c = session('pipelined_in', 'later');
$c->check('RCPT TO:<a@to.test>', 250, '4xx and closed: the next server');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^250 2\.0\.0 taken$/, 'which takes it');
$c->close();

is(scalar($good->messages()), 1, 'that message alone');

# a verdict of another backend, of another recipient

$c = session('variable', 'a');
$c->check('RCPT TO:<a@picky.test>', qr/^550 5\.1\.1 not here$/, 'a refused one');
$c->check('RCPT TO:<b@unknown.test>', qr/^451 4\.4\.1 /,
    'a backend that cannot be found is no 550');
$c->check('RCPT TO:<c@picky.test>', qr/^550 5\.1\.1 not here$/, 'the first');
$c->check('RCPT TO:<d@empty.test>', qr/^451 4\.4\.1 /,
    'nor is one without a name');
$c->close();

# junk before MAIL

$c = session('junk_next', 'junk1');
$c->check('RCPT TO:<a@to.test>', 250, 'junk behind EHLO: the next server');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^250 2\.0\.0 taken$/, 'which takes it');
$c->close();

$c = session('junk_queue', 'junk2');
$c->check('RCPT TO:<a@to.test>', 250, 'junk behind EHLO: the spool');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^250 2\.0\.0 Ok: queued as /, 'which takes it');
$c->close();

ok(!(grep { / MAIL/ } $junk->commands()), 'no MAIL behind junk');

$mx->wait_messages(1, 30);

$t->done();
