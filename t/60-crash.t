#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# kill -9 under load: of random workers, then of master and workers together.
# What was acknowledged arrives, is never left without an owner, and is
# doubled only where the answer of the next hop was not recorded yet.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Time::HiRes qw/ sleep time /;

my $PATIENCE = $Test::SMTPRelay::PATIENCE;
my $rounds = $ENV{TEST_ROUNDS} || ($ENV{TEST_SANITIZE} ? 6 : 20);

my $t = Test::SMTPRelay->new();
my $l = Test::SMTPRelay::Load->new($t);

$t->write_conf(<<'EOC');
%%GLOBALS%%
worker_processes 2;
events { worker_connections 1024; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 64m;
        spool_segment_size 4m;
        hostname  out.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1s;
    }

    smtp_log %%DIR%%/smtp.log json;

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_hostname in.test;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

$t->expect_log(qr/\[alert\] .* exited on signal 9/);

$l->sink_start();
$t->run();

# Kills of all rounds: a message that a worker was at when it was killed waits
# some seconds for its next attempt, which may come in the next round.

my @kills;

sub rounds {
    my ($name, $kill) = @_;

    $l->start(sessions => 50);

    for my $i (1 .. $rounds) {
        sleep 0.4 + rand 0.6;
        push @kills, $kill->();
    }

    sleep 0.5;

    my $sum = $l->finish(end => 1);
    note(explain($sum));

    cmp_ok($sum->{acked}, '>', $rounds * 20, "$name: mail was taken");
    cmp_ok($sum->{reconnects}, '>', $rounds, "$name: sessions were lost");

    my @missing = $l->drained(60);
    is(scalar @missing, 0, "$name: all that was acknowledged arrived")
        or diag("missing: @missing[0 .. ($#missing > 5 ? 5 : $#missing)]");

    my ($n, @bad) = $l->unexcused(0.25 * $PATIENCE, @kills);
    is("@bad", '', "$name: doubled only what was not recorded");
    cmp_ok($n, '<=', $rounds * 100, "$name: $n doubled, not too many");
}

# workers

$l->watch_start();

rounds('worker', sub {
    my @workers = $t->workers();
    my $pid = $workers[rand @workers];
    my $time = time();

    $t->kill_worker($pid);
    return [ $time, time() ];
});

my ($alone, $name) = $l->watch_stop();
cmp_ok($alone, '<', 5, "worker: no segment without an owner for 5 s")
    or diag($name);
note("longest without an owner: $alone s");

# a worker that nobody replaces: the other one takes over

$l->start(sessions => 50);
sleep 1;
$l->watch_start();

my @orphans = $t->kill_master();
my $time = time();
kill 'KILL', $orphans[0];
wait_for(sub { !$t->alive($orphans[0]) }, 5, 'the worker to die');
push @kills, [ $time, time() ];

sleep 2;
$l->finish(end => 1);

my @missing = $l->drained(10);
is(scalar @missing, 0, 'orphan: all that was acknowledged arrived');

my ($n, @bad) = $l->unexcused(0.25 * $PATIENCE, @kills);
is("@bad", '', "orphan: doubled only what was not recorded ($n)");

($alone, $name) = $l->watch_stop();
cmp_ok($alone, '<', 5, 'orphan: no segment without an owner for 5 s')
    or diag($name);
note("longest without an owner: $alone s");

$time = time();
$t->kill_all();
push @kills, [ $time, time() ];
$t->run();

# master and workers

my $free = 0;

rounds('all', sub {
    my $time = time();

    $t->kill_all();

    my $killed = time();
    $free += $l->ownerless();

    $t->run();
    return [ $time, $killed ];
});

cmp_ok($free, '>=', $rounds, 'all: segments stood free while nobody lived');

# nothing stays behind

wait_for(sub { !$l->ownerless() }, 5, 'all segments to have an owner');
pass('every segment has an owner');

$n = $l->account();
is($n->{lost}, 0, 'nothing lost');
is($n->{stray}, 0, 'nothing made up');
is($n->{ghosts}, 0, 'nothing delivered that was refused');
note(explain($n));

unlike($t->log(), qr/put on hold|\bhold\b/, 'nothing on hold');

my @workers = $t->workers();
is(scalar @workers, 2, 'two workers');

$t->stop();
is(join(' ', $l->segments()), '', 'nothing left in the spool');

$t->done();
