#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_pass under load, while the configuration is reloaded every second, and
# while the backend is killed and comes back: no transaction fails that need
# not, and every message is accounted for.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Time::HiRes qw/ sleep time /;

my $seconds = $ENV{TEST_RELOAD} || 10;

my $t = Test::SMTPRelay->new();
my $l = Test::SMTPRelay::Load->new($t);

my $conf = <<'EOC';
%%GLOBALS%%
worker_processes 2;
events { worker_connections 1024; }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  in.test;
    smtp_log       %%DIR%%/smtp.log;

    smtp_queue mta {
        spool     %%DIR%%/spool;
        spool_min_free  64m;
        spool_segment_size  4m;
        next_hop  mta;
        tls       off;
        retry     1s;
        data_timeout  2s;
    }

    upstream mta {
        zone    mta 64k;
        server  127.0.0.1:%%PORT_mx%% fail_timeout=1s;
    }

    server {
        listen  127.0.0.1:%%PORT_smtp%%;
        smtp_pass  mta;
        %%QUEUE%%
    }
}
EOC

$l->sink_start();
$t->set(QUEUE => '');
$t->write_conf($conf)->run();

# reloads

$l->start(sessions => 30);

for (my $end = time() + $seconds; time() < $end; ) {
    sleep 1;
    $t->reload();
}

my $sum = $l->finish(end => 1);
note(explain($sum));

is($sum->{failed}, 0, 'reload: no transaction failed');
is($sum->{unknown}, 0, 'reload: no end of data without an answer');
cmp_ok($sum->{acked}, '>', $seconds * 20, 'reload: mail was taken');

my @missing = $l->drained(5);
is(scalar @missing, 0, 'reload: all that was acknowledged arrived');

my $account = $l->account();
is($account->{lost}, 0, 'reload: nothing lost');
is($account->{doubled}, 0, 'reload: nothing doubled');

# the backend is killed, and comes back; the spool stands behind

$t->set(QUEUE => 'smtp_enqueue mta fallback=error,timeout,421,4xx;');
$t->write_conf($conf);
$t->reload();

$l->start(sessions => 30);

for (1 .. 4) {
    sleep 1;
    $l->sink_stop('KILL');
    sleep 0.7;
    $l->sink_start();
}

sleep 1;

$sum = $l->finish(end => 1);
note(explain($sum));

cmp_ok($sum->{acked}, '>', 100, 'kill: mail was taken');

# what the spool took is its business; what it has not tried after a while is
# handed to other workers, so that it is seen to be there

@missing = $l->drained(15);

if (@missing) {
    diag(scalar(@missing) . ' queued and not delivered before a reload');
    $t->reload();
    @missing = $l->drained(30);
}

is(scalar @missing, 0, 'kill: all that was acknowledged arrived')
    or diag("missing: @missing[0 .. ($#missing > 5 ? 5 : $#missing)]");

$account = $l->account();
note(explain($account));
is($account->{lost}, 0, 'kill: nothing lost');

# with a killed backend some were told 451 that it had: RFC 1047

is($account->{stray}, 0, 'kill: nothing made up');
cmp_ok($account->{ghosts}, '<=', 4 * 30, 'kill: few are in doubt');

$t->done();
