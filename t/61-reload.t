#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A reload every second under load, also with another number of workers each
# time: no transaction fails, nothing is lost, nothing doubled, and the old
# workers go away.  TEST_RELOAD is for how long, in seconds.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Time::HiRes qw/ sleep time /;

my $seconds = $ENV{TEST_RELOAD} || ($ENV{TEST_SANITIZE} ? 21 : 60);

my $t = Test::SMTPRelay->new();
my $l = Test::SMTPRelay::Load->new($t);

my $conf = <<'EOC';
%%GLOBALS%%
worker_processes %%WORKERS%%;
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

$l->sink_start();

$t->set(WORKERS => 2);
$t->write_conf($conf)->run();
$l->watch_start();

# for so long; before each reload workers() says how many there shall be

sub reloads {
    my ($name, $seconds, $workers) = @_;

    my $n = 0;

    $l->start(sessions => 50);

    for (my $end = time() + $seconds; time() < $end; $n++) {
        sleep 1;

        $t->set(WORKERS => $workers->($n));
        $t->write_conf($conf);
        $t->reload();
    }

    my $sum = $l->finish(end => 1);
    note(explain($sum));

    is($sum->{failed}, 0, "$name: no transaction failed");
    is($sum->{unknown}, 0, "$name: no end of data without an answer");
    is($sum->{gave_up}, 0, "$name: every session came back");
    cmp_ok($sum->{acked}, '>', $seconds * 20, "$name: mail was taken");
    cmp_ok($sum->{reconnects}, '>=', 50, "$name: sessions were ended");

    my @missing = $l->drained(60);
    is(scalar @missing, 0, "$name: all that was acknowledged arrived")
        or diag("missing: @missing[0 .. ($#missing > 5 ? 5 : $#missing)]");

    my $account = $l->account('--no-doubled');
    is($account->{lost}, 0, "$name: nothing lost");
    is($account->{doubled}, 0, "$name: nothing doubled");
    is($account->{ghosts} + $account->{stray}, 0, "$name: nothing made up");
    note(explain($account));

    my %now = map { $_ => 1 } $t->workers();

    ok(eval {
        wait_for(sub {
            !grep { !$now{$_} } $t->workers(all => 1)
        }, 10, 'old workers to leave');
    }, "$name: no old worker stays") or diag($@);
}

reloads('two workers', $seconds * 2 / 3, sub { 2 });
reloads('1, 2, 1, ...', $seconds / 3, sub { 1 + $_[0] % 2 });

my ($alone, $name) = $l->watch_stop();
cmp_ok($alone, '<', 5, "no segment without an owner for 5 s")
    or diag($name);
note("longest without an owner: $alone s");

$t->stop();
is(join(' ', $l->segments()), '', 'nothing left in the spool');

$t->done();
