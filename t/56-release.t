#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Mail that waits changes hands: by a reload, with another number of workers
# each time, and by kill -9 of a worker.  All of it has an owner again soon,
# and is spread over the workers.  TEST_MESSAGES is how many messages.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw/ sum0 /;
use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Test::SMTPRelay::Status;
use Time::HiRes qw/ sleep time /;

my $PATIENCE = $Test::SMTPRelay::PATIENCE;

# enough for some segments of 1 MB: of two or three one worker may have all

my $messages = $ENV{TEST_MESSAGES} || ($ENV{TEST_SANITIZE} ? 1500 : 3000);

my $t = Test::SMTPRelay->new();
my $l = Test::SMTPRelay::Load->new($t);

# nobody listens on the port of the next hop

my $conf = <<'EOC';
%%GLOBALS%%

worker_processes %%WORKERS%%;

events { worker_connections 1024; }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status; }
    }
}

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 64m;
        spool_segment_size 1m;
        hostname  out.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1h;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

$t->set(WORKERS => 2);
$t->write_conf($conf)->run();

my $h = Test::SMTPRelay::Status->new($t, 'http');

$l->start(sessions => 30, messages => $messages, size => 4096);
my $sum = $l->finish();
is($sum->{acked}, $messages, 'all were taken');

# messages of each worker that stays, once they have all of them; how long
# that took.  The old ones are those that do not, also before they know it.

sub owned {
    my ($since, $workers, @old) = @_;

    my (@n, %old);

    @old{@old} = ();

    wait_for(sub {
        my ($status, $s) = $h->request('GET', '');
        return 0 if $status != 200 || $s->{partial} || !$s->{complete};

        @n = map { $_->{messages} }
            grep { !$_->{leaving} && !exists $old{$_->{pid}} } @{$s->{workers}};

        return @n == $workers && sum0(@n) == $messages;
    }, 30, "$messages messages in $workers workers");

    return (time() - $since, @n);
}

owned(time(), 2);

for my $workers (4, 1, 3) {
    $t->set(WORKERS => $workers);
    $t->write_conf($conf);

    my @old = $t->workers(all => 1);
    my $time = time();
    kill 'HUP', $t->pid();

    my ($took, @n) = owned($time, $workers, @old);

    note(sprintf '%d workers: all of it after %.2f s: %s', $workers, $took,
        "@n");
    cmp_ok($took, '<', 5 * $PATIENCE, "reload to $workers workers: soon");
    cmp_ok(scalar(grep { $_ } @n), '>=', $workers > 1 ? 2 : 1,
        "reload to $workers workers: it is spread");
}

wait_for(sub { $t->workers(all => 1) == 3 }, 20, 'the old workers to go');

$t->expect_log(qr/\[alert\] .* exited on signal 9/);

my $time = time();
$t->kill_worker();

my ($took, @n) = owned($time, 3);
note(sprintf 'killed: all of it after %.2f s: %s', $took, "@n");
cmp_ok($took, '<', 5 * $PATIENCE, 'killed: within five seconds');
cmp_ok(scalar(grep { $_ } @n), '>=', 2, 'killed: it is spread');

my ($status, $s) = $h->get('');
is($s->{queues}[0]{messages}, $messages, 'nothing is lost');

$t->done();
