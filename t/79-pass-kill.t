#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_pass under load while its backends are killed in turn, and all at once,
# with and without the spool behind: every message is accounted for, in the
# lists of the client, of each backend, and in the log.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Time::HiRes qw/ sleep time /;

my $sessions = 20;
my $rounds = $ENV{TEST_ROUNDS} || 1;

my $t = Test::SMTPRelay->new();
my @names = qw/ one two three /;

# mx is behind the spool, and lives

my $l = Test::SMTPRelay::Load->new($t, sink => 'mx');
my %sink = map { $_ => Test::SMTPRelay::Load->new($t, sink => $_) } @names;

$t->write_conf(<<'EOC');
%%GLOBALS%%
worker_processes 2;
events { worker_connections 1024; }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  in.test;
    smtp_log       %%DIR%%/smtp.log;

    smtp_queue q {
        spool     %%DIR%%/spool;
        spool_min_free  64m;
        spool_segment_size  4m;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1s;
    }

    upstream group {
        zone    group 64k;
        server  127.0.0.1:%%PORT_one%% fail_timeout=1s;
        server  127.0.0.1:%%PORT_two%% fail_timeout=1s;
        server  127.0.0.1:%%PORT_three%% fail_timeout=1s;
    }

    server {
        listen  127.0.0.1:%%PORT_bare%%;
        smtp_pass  group;
    }

    server {
        listen  127.0.0.1:%%PORT_queue%%;
        smtp_pass  group;
        smtp_enqueue  q fallback=error,timeout,421,4xx;
    }

    # each message is larger than the buffer

    server {
        listen  127.0.0.1:%%PORT_large%%;
        smtp_pass  group;
        smtp_pass_buffer_size  1k;
        smtp_enqueue  q fallback=error,timeout,421,4xx;
    }
}
EOC

my %total = (acked => 0, failed => 0);

sub account {
    return $l->account(map { ('--sink', $_->{sink_file}) } values %sink);
}

# a reply takes some time, so that there are transactions to be lost

sub sink_start {
    $sink{$_[0]}->sink_start(delay => 30);
}

sub load_start {
    $l->{to} = shift;
    $l->start(sessions => $sessions);
}

# What is in doubt is told to the client: lost behind its end of data.  At most
# one of each session can be, for each kill.

sub accounts {
    my ($name, $sum, $kills) = @_;

    my $n = account();

    note(explain([ $sum, $n ]));

    $total{$_} += $sum->{$_} for keys %total;

    cmp_ok($sum->{acked}, '>', 50, "$name: mail was taken");
    is($sum->{unknown}, 0, "$name: each end of data was answered");
    cmp_ok($sum->{failed}, '<=', $kills * $sessions, "$name: few failed");
    is($n->{acked}, $total{acked}, "$name: all are in the list");
    is($n->{lost}, 0, "$name: nothing lost");
    is($n->{doubled}, 0, "$name: nothing twice");
    is($n->{stray} + $n->{unknown}, 0, "$name: nothing made up");
    cmp_ok($n->{ghosts}, '<=', $total{failed},
        "$name: who has what failed was in doubt");
}

sub in_turn {
    for my $round (1 .. $rounds) {
        for my $name (@names) {
            sleep 0.5;
            $sink{$name}->sink_stop('KILL');
            sleep 0.5;
            sink_start($name);
        }
    }

    sleep 0.5;

    return $rounds * @names;
}

# the next server alone

$l->sink_start();
sink_start($_) for map { "$_" } @names;
$t->run();

load_start('bare');
my $kills = in_turn();
accounts('bare', $l->finish(end => 1), $kills);

# the spool behind; at times nobody else is there

for my $name (qw/ queue large /) {
    load_start($name);
    $kills = in_turn();

    for my $backend (@names) {
        $sink{$backend}->sink_stop('KILL');
    }

    sleep 1;

    for my $backend (@names) {
        sink_start($backend);
    }

    sleep 0.5;

    my $sum = $l->finish(end => 1);

    wait_for(sub { account()->{lost} == 0 }, 60, "$name: what was queued");

    accounts($name, $sum, $kills + @names);
}

# the log knows of each, and what those were told that failed

my @log = grep { $_->{event} eq 'transaction' } $t->json_log('smtp.log');
my %status;
my %told;

for my $line (@log) {
    $status{$line->{status}}++;
    $told{"$line->{code} $line->{reply}"}++ if $line->{status} ne 'accepted';
}

note(explain([ \%status, \%told ]));

is($status{accepted}, $total{acked}, 'log: what was taken');
is(join(', ', grep { !/^451 4\.4\.2 / } sort keys %told), '',
    'log: who failed was told that nobody knows');
cmp_ok(scalar(grep { !$_->{upstream} || $_->{queue_id} }
    grep { $_->{status} eq 'accepted' } @log), '>', 0,
    'log: the spool had some');

$t->done();
