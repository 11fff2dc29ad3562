#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Two nginx with configurations of their own on the same spool, both under
# load: kill -9 of one, and the other has its mail within five seconds.  Then
# an upgrade whose new binary is killed: the old one goes on.  Nothing is
# lost, and doubled is only what was not recorded when somebody was killed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Time::HiRes qw/ sleep time /;

my $PATIENCE = $Test::SMTPRelay::PATIENCE;

my $t = Test::SMTPRelay->new();
my $other = Test::SMTPRelay->new();
my $l = Test::SMTPRelay::Load->new($t);

my $conf = <<'EOC';
%%GLOBALS%%
worker_processes 2;
events { worker_connections 1024; }

stream {
    smtp_queue out {
        spool     %%SPOOL%%;
        spool_min_free 64m;
        spool_segment_size 4m;
        hostname  out.test;
        next_hop  127.0.0.1:%%MX%%;
        tls       off;
        retry     1s;
    }

    server {
        listen 127.0.0.1:%%LISTEN%%;
        smtp_hostname in.test;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

for my $nginx ($t, $other) {
    $nginx->set(SPOOL => "$t->{dir}/spool", MX => $t->port('mx'));
}

$t->set(LISTEN => $t->port('smtp'));
$other->set(LISTEN => $t->port('smtp2'));

$l->sink_start();
$t->write_conf($conf)->run();
$other->write_conf($conf)->run();

# one load client for each; both go into the same accounts

my @clients;

sub load {
    for my $port (@_) {
        $l->{to} = $port;
        $l->start(sessions => 20);
        push @clients, [ $l->{load_pid}, $l->{load_out} ];
    }
}

sub finish {
    my @sums;

    while (my $client = shift @clients) {
        ($l->{load_pid}, $l->{load_out}) = @$client;
        push @sums, $l->finish(end => 1);
    }

    return @sums;
}

sub accounts {
    my ($name, @kill) = @_;

    my @missing = $l->drained(40);
    is(scalar @missing, 0, "$name: all that was acknowledged arrived")
        or diag("missing: @missing[0 .. ($#missing > 5 ? 5 : $#missing)]");

    my ($n, @bad) = $l->unexcused(0.25 * $PATIENCE, @kill);
    is("@bad", '', "$name: doubled only what was not recorded ($n)")
        or diag("kills: ", join ' ', map { @$_ } @kill);

    my ($alone, $segment) = $l->watch_stop();
    cmp_ok($alone, '<', 5 * $PATIENCE,
        "$name: no segment without an owner for 5 s") or diag($segment);
    note("longest without an owner: $alone s");
}

# both, then one

$l->watch_start();
load('smtp', 'smtp2');
sleep 2;

cmp_ok(scalar($l->segments()), '>=', 4, 'all four workers use the spool');

my $time = time();
$other->kill_all();
my @kill = ([ $time, time() ]);     # what is doubled may come late

sleep 1.5;

my ($one, $two) = finish();
is($one->{failed} + $one->{unknown}, 0, 'killed: the other serves on');
cmp_ok($one->{acked}, '>', 50, 'mail was taken by one');
cmp_ok($two->{acked}, '>', 50, 'and by the other');

accounts('killed', @kill);

# it is back, and leaves properly

$l->watch_start();
$other->run();
load('smtp', 'smtp2');
sleep 1.5;

# its clients have nowhere to go then

($two) = (finish())[1];
cmp_ok($two->{acked}, '>', 50, 'mail was taken again');
$other->stop();

accounts('left', @kill);

# a new binary that dies: the old one never stopped

$l->watch_start();

my $old = $t->pid();

load('smtp');
sleep 0.5;

$t->expect_log(qr/\[alert\] .*new binary process \d+ exited on signal 9/);

my $new = $t->upgrade();
sleep 1;

$time = time();
kill 'KILL', $new, $t->workers(all => 1);
wait_for(sub { !$t->alive($new) }, 10, 'the new binary to die');
push @kill, [ $time, time() ];

$t->{pid} = $old;
sleep 1;

finish();

ok($t->alive($old), 'the old master lives');
is(scalar($t->workers()), 2, 'with its workers');

accounts('upgrade', @kill);

$other->final_checks();
$other->{finished} = 1;

$t->done();
