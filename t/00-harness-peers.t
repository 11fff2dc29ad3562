#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The peers of the harness that are real: redis-server and Postfix.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $redis = $t->redis('redis', username => 'smtp', password => 'secret',
    tls => 1);

is($redis->cmd('SET', "k\0\r\n", "v\0\r\n"), 'OK', 'binary key');
is($redis->cmd('GET', "k\0\r\n"), "v\0\r\n", 'binary value');
is($redis->cmd('GET', 'none'), undef, 'null');
ok(!eval { $redis->cmd('NONSENSE') }, 'error');

$redis->account('User@example.com', 'pass', senders => '@example.com');
is(crypt('pass', $redis->cmd('HGET', 'smtp:account:user@example.com',
    'password')), Test::SMTPRelay::Redis::hash('pass'), 'account');

$redis->kill();
ok(!eval { $redis->cmd('PING') }, 'killed');
$redis->start();
is($redis->cmd('HGET', 'smtp:account:user@example.com', 'senders'),
    '@example.com', 'account is back');

my $postfix = $t->postfix('mta', tls => 1);

my $c = $t->client('mta');
ok(exists $c->ehlo()->{STARTTLS}, 'Postfix offers TLS');
is($c->starttls(), 220, 'and does it');
$c->ehlo();
is(($c->send_message('a@example.com', 'b@example.net',
    "Subject: x\r\n\r\nbody\r\n"))[0], 250, 'message');

my ($m) = $postfix->wait_messages(1);
like($m, qr{^Subject: x\n(?:.+\n)*\nbody\n}m, 'in the mailbox');

$t->done();
