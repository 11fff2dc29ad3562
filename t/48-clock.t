#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A wall clock that is set while mail waits, in both directions: nothing waits
# longer, is tried sooner, expires, or is called late because of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $cc = Test::SMTPRelay::which('cc') || Test::SMTPRelay::which('gcc');
$t->skip_all('no C compiler') unless $cc;
$t->skip_all('not with sanitizers, which want to be loaded first')
    if $ENV{TEST_SANITIZE};

# the clock that nginx asks is the system's and what a file says, in seconds

$t->write_file('clock.c', <<'EOC');
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    int              fd;
    char             buf[32];
    ssize_t          n;
    struct timespec  ts;

    (void) tz;
    clock_gettime(CLOCK_REALTIME, &ts);

    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;

    fd = open(CLOCK_FILE, O_RDONLY|O_CLOEXEC);

    if (fd != -1) {
        n = read(fd, buf, sizeof(buf) - 1);
        buf[n > 0 ? n : 0] = '\0';
        tv->tv_sec += atol(buf);
        close(fd);
    }

    return 0;
}
EOC

my $dir = $t->dir();
my ($status, $out) = $t->command($cc, '-shared', '-fPIC', '-O1',
    "-DCLOCK_FILE=\"$dir/offset\"", '-o', "$dir/clock.so", "$dir/clock.c");
$t->skip_all("no shared object: $out") if $status;

# renamed into its place: never half

sub clock_set {
    my ($offset) = @_;

    open my $f, '>', "$dir/offset.new" or die $!;
    print $f "$offset\n";
    close $f;
    rename "$dir/offset.new", "$dir/offset" or die $!;
}

clock_set(0);

my $mx = $t->sink('mx', replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return '450 4.2.1 come later' if $arg =~ /<wait/;
        return undef;
    },
});

$t->write_conf(<<'EOC');
%%GLOBALS%%

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

    smtp_queue out {
        spool          %%DIR%%/spool;
        hostname       relay.test;
        next_hop       127.0.0.1:%%PORT_mx%%;
        tls            off;
        retry          1s;
        expire         1h;
        delay_warning  30m;
    }

    server {
        listen         127.0.0.1:%%PORT_smtp%%;
        smtp_trust     127.0.0.0/8;
        smtp_enqueue   out;
    }
}
EOC

sub run {
    local $ENV{LD_PRELOAD} = "$dir/clock.so";
    $t->run();
}

sub submit { $t->submit('smtp', 'a@from.test', @_) }

sub attempts {
    my ($id) = @_;
    return grep { $_->{event} eq 'delivery' && $_->{queue_id} eq $id }
        $t->json_log('smtp.log');
}

# tried at its usual pace, and nothing else

sub goes_on {
    my ($name, @ids) = @_;

    for my $id (@ids) {
        my $n = () = attempts($id);
        wait_for(sub { (() = attempts($id)) > $n + 1 }, 12,
            "attempts: $name");
    }

    my $n = () = attempts($ids[0]);
    sleep 3;
    my $more = (() = attempts($ids[0])) - $n;
    cmp_ok($more, '>=', 1, "$name: tried");
    cmp_ok($more, '<=', 4, "$name: no sooner");
    is(join(' ', map { $_->{status} } grep { $_->{status} ne 'deferred' }
        map { attempts($_) } @ids), '', "$name: and nothing but that");
}

run();

my $now = (attempts(submit('ok@to.test')))[0];
my $id = submit('wait@to.test');
goes_on('clock is right', $id);

# is it the clock that nginx sees?

clock_set(-86400);
wait_for(sub { (attempts($id))[-1]{time} lt (attempts($id))[0]{time} }, 10,
    'nginx to see another time');
pass('the clock was set');

my $back = submit('wait2@to.test');
goes_on('a day back', $id, $back);

clock_set(10 * 86400);
my $ahead = submit('wait3@to.test');
goes_on('ten days ahead', $id, $back, $ahead);

clock_set(0);
my $right = submit('wait4@to.test');
goes_on('right again', $id, $back, $ahead, $right);

# the due times on disk are of a clock that is wrong now

$t->stop();
clock_set(-2 * 86400);
run();
goes_on('another worker, two days back', $id, $back, $ahead, $right);

is(scalar $mx->messages(), 1, 'no report of a delay, or of failure');

$t->done();
