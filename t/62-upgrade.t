#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Upgrade of the binary under load: USR2, WINCH and QUIT to the old one; and
# back: HUP to the old one, QUIT to the new one.  Nothing fails, nothing is
# lost, nothing doubled.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();
my $l = Test::SMTPRelay::Load->new($t);

$l->sink_start();

$t->write_conf(<<'EOC')->run();
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

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_hostname in.test;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

sub gone {
    my ($what, @pids) = @_;

    ok(eval {
        wait_for(sub { !grep { $t->alive($_) } @pids }, 15, $what);
    }, $what) or diag($@);
}

sub accounts {
    my ($name) = @_;

    my $sum = $l->finish(end => 1);
    note(explain($sum));

    is($sum->{failed} + $sum->{unknown}, 0, "$name: no transaction failed");
    is($sum->{gave_up}, 0, "$name: every session came back");
    cmp_ok($sum->{acked}, '>', 100, "$name: mail was taken");
    cmp_ok($sum->{reconnects}, '>=', 50, "$name: sessions were ended");

    my @missing = $l->drained(60);
    is(scalar @missing, 0, "$name: all that was acknowledged arrived")
        or diag("missing: @missing[0 .. ($#missing > 5 ? 5 : $#missing)]");

    my $n = $l->account();
    is($n->{lost}, 0, "$name: nothing lost");
    is($n->{doubled}, 0, "$name: nothing doubled");
    is($n->{ghosts} + $n->{stray}, 0, "$name: nothing made up");
    note(explain($n));
}

$l->watch_start();

for my $round (1, 2) {

    # forth: both serve for a while, then only the new one

    $l->start(sessions => 50);
    sleep 1;

    my $old = $t->pid();
    my @workers = $t->workers(all => 1);

    $t->upgrade();
    sleep 1;

    kill 'WINCH', $old;
    gone("upgrade $round: workers of the old binary", @workers);
    ok($t->alive($old), "upgrade $round: the old master waits");
    sleep 1;

    $t->upgrade_finish();
    ok(!$t->alive($old), "upgrade $round: the old master ended");
    sleep 1;

    accounts("upgrade $round");

    # back: the new one did not please

    $l->start(sessions => 50);
    sleep 1;

    $old = $t->pid();
    @workers = $t->workers(all => 1);

    my $new = $t->upgrade();

    kill 'WINCH', $old;
    gone("back $round: workers of the old binary", @workers);
    sleep 1;

    my @new = $t->workers(all => 1);

    kill 'HUP', $old;
    wait_for(sub { $t->workers(master => $old) }, 10, 'old workers, anew');

    kill 'QUIT', $new;
    gone("back $round: the new binary", $new, @new);
    $t->{pid} = $old;

    wait_for(sub { $t->read_file('nginx.pid') =~ /^$old$/m }, 10,
        'the pid file to be the old one');
    sleep 1;

    accounts("back $round");
}

my ($alone, $name) = $l->watch_stop();
cmp_ok($alone, '<', 5, "no segment without an owner for 5 s")
    or diag($name);
note("longest without an owner: $alone s");

$t->stop();
is(join(' ', $l->segments()), '', 'nothing left in the spool');

$t->done();
