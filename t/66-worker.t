#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What a worker uses after a lot of mail: memory and file descriptors do not
# grow, an idle worker does not spin, and each one ends when it is told to.
# TEST_MESSAGES is how many messages that are.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use POSIX ();
use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Time::HiRes qw/ sleep time /;

my $PATIENCE = $Test::SMTPRelay::PATIENCE;
my $messages = $ENV{TEST_MESSAGES} || ($ENV{TEST_SANITIZE} ? 20000 : 80000);

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
        spool_memory 2m;
        hostname  out.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1s;
        data_timeout 4s;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_hostname in.test;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

my @workers = $t->workers();

# of both workers: kilobytes, open files, seconds of CPU time

sub memory {
    my $n = 0;

    for my $pid (@workers) {
        $n += $1 if `cat /proc/$pid/status` =~ /^RssAnon:\s+(\d+) kB/m;
    }

    return $n;
}

sub files {
    my $n = 0;
    $n += () = glob "/proc/$_/fd/*" for @workers;
    return $n;
}

sub cpu {
    my $n = 0;

    for my $pid (@workers) {
        open my $f, '<', "/proc/$pid/stat" or die "/proc/$pid/stat: $!";
        my @fields = split / /, <$f> =~ s/.*\) //r;
        $n += $fields[11] + $fields[12];
    }

    return $n / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

sub send_mail {
    my ($n, @args) = @_;

    $l->start(sessions => 50, messages => $n, args => \@args);
    my $sum = $l->finish(timeout => 120);
    is($sum->{acked}, $n, "$n taken");

    my @missing = $l->drained(60);
    is(scalar @missing, 0, 'all arrived');

    return $sum;
}

# idle connections to the next hop are closed after 5 s

sub settled {
    my ($files) = @_;

    eval { wait_for(sub { files() <= $files }, 15, 'files to be closed') };

    return files();
}

send_mail($messages / 4);
send_mail($messages / 16, '-c');

# of each worker: two segments with data and log, the directory, and what
# nginx itself has; the other worker's segments may be there in between

my $files = settled(2 * 20);
cmp_ok($files, '<=', 2 * 20, "$files open files");

my $memory = memory();

for (1 .. 2) {
    send_mail($messages / 4, '-p');
    send_mail($messages / 16, '-c');
}

cmp_ok(settled($files + 4), '<=', $files + 4, 'open files do not grow');

my $more = memory() - $memory;
note("memory: $memory KB, then $more more");

SKIP: {
    skip 'sanitizers keep what was freed', 1 if $ENV{TEST_SANITIZE};

    # what grows with the longest queue so far stays; 100 bytes a message
    # would be more
    cmp_ok($more, '<', 6144, 'memory does not grow');
}

# what lies in the spool is what it always is: the open segments

my @segments = $l->segments();
cmp_ok(scalar @segments, '<=', 4, 'segments in the spool');

my $used = 0;
$used += (stat)[12] for glob "$t->{dir}/spool/*";
cmp_ok($used / 2, '<', 40 * 1024, 'space used');

# idle

my ($cpu, $time) = (cpu(), time());
sleep 3;
my $share = (cpu() - $cpu) / (time() - $time) / @workers;
note("idle: $share");
cmp_ok($share, '<', 0.05, 'idle workers take less than 5 % of a CPU');

# the same with mail that waits for a next hop that is not there

$l->sink_stop();
$l->start(sessions => 10, messages => 1000);
is($l->finish()->{acked}, 1000, 'taken while the next hop is away');

sleep 1;
($cpu, $time) = (cpu(), time());
sleep 3;
$share = (cpu() - $cpu) / (time() - $time) / @workers;
note("waiting: $share");
cmp_ok($share, '<', 0.05, 'workers with waiting mail, too');

# the end: with idle sessions, and mail that waits

my @open = map { $t->client('smtp') } 1 .. 20;
$_->cmd('EHLO client.test') for @open;

$time = time();
$t->stop();
cmp_ok(time() - $time, '<', 5 * $PATIENCE, 'QUIT ends the workers');
is(scalar(grep { ($_->read_reply())[0] == 421 } @open), 20,
    'idle sessions were told');

$l->sink_start();
$t->run();

is(scalar(my @missing = $l->drained(30)), 0, 'what waited arrived');

my $n = $l->account();
is($n->{lost}, 0, 'nothing lost');
is($n->{doubled}, 0, 'nothing doubled');

# TERM while mail comes in

$l->start(sessions => 20, args => [ '-w', 5 ]);
sleep 1;

$time = time();
$t->term();
cmp_ok(time() - $time, '<', 5 * $PATIENCE, 'TERM ends the workers');

$t->run();
sleep 0.5;
$l->finish(end => 1);

is(scalar(@missing = $l->drained(30)), 0, 'TERM: all arrived');

# whose answer was outstanding is sent again after the time-out
sleep 6;

$n = $l->account();
is($n->{lost}, 0, 'TERM: nothing lost');
cmp_ok($n->{doubled}, '<=', 40, "TERM: $n->{doubled} doubled, not too many");

$t->stop();
is(join(' ', $l->segments()), '', 'nothing left in the spool');

$t->done();
