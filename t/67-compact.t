#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Compaction: most of what is queued is delivered, and its space comes back
# though some of it stays; workers are killed about when it begins.  All is
# accounted for: what was delivered before does not come back, what stays is
# there, once.  And ten thousand transactions that are given up leave nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

my $mails = 240;
my $keep = 24;          # each so many-th stays
my $aborts = 10000;

my $t = Test::SMTPRelay->new();

my $up = "$t->{dir}/up";        # exists: the next hop takes all

my $sink = $t->sink('mx', replies => {
    MAIL => sub { -e $up || $_[1] !~ /stays/ ? undef : '451 4.3.0 later' },
});

my $spool = "$t->{dir}/spool";

$t->set(HOP => $sink->port());

$t->write_conf(<<'EOC');
%%GLOBALS%%
worker_processes 2;
events { }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        spool_segment_size 2m;
        hostname  out.test;
        next_hop  127.0.0.1:%%HOP%%;
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

$t->run();

# bytes on disk of all segments

sub bytes {
    my $n = 0;

    for my $file (glob "$spool/*.data $spool/*.log") {
        my @st = stat $file;
        $n += $st[12] * 512 if @st;
    }

    return $n;
}

sub session {
    my $c = $t->client('smtp', timeout => 30);
    $c->cmd('EHLO client.test');
    return $c;
}

sub arrived {
    my %n;
    $n{$_->{body} =~ /^Subject: (\S+)/m ? $1 : '?'}++ for $sink->messages();
    return \%n;
}


# fill

my $body = ('y' x 70 . "\r\n") x 500;
my (%leaves, %stays);
my @sessions = map { session() } 1 .. 4;

for my $i (1 .. $mails) {
    my $name = $i % $keep ? "leaves$i" : "stays$i";
    my $from = $i % $keep ? 'leaves@from.test' : 'stays@from.test';

    my ($code) = $sessions[$i % 4]->send_message($from, 'b@to.test',
        "Subject: $name\r\n\r\n$body");

    ($i % $keep ? \%leaves : \%stays)->{$name} = 1 if $code == 250;
}

is(keys(%leaves) + keys %stays, $mails, 'all was taken');

$sink->wait_messages(scalar keys %leaves, 60);
is_deeply(arrived(), \%leaves, 'what can be delivered is');

sleep 1.5;      # the results are on disk


# workers are killed before, while, or after it is compacted

$t->expect_log(qr/\[alert\] .* exited on signal 9/);

# those that are full are compacted five seconds later, and five seconds after
# they were taken over

sleep 3 + rand 1;

for my $pid ($t->workers()) {
    $t->kill_worker($pid);
    sleep rand 0.3;
}

# an active segment of each worker has zeros ahead at most

wait_for(sub { bytes() < 5 * 1024 * 1024 }, 30, 'the space comes back');
cmp_ok(bytes(), '<', 5 * 1024 * 1024, 'the space comes back');

my @compacted = $t->log() =~ /segment (\w+) compacted, from/g;
cmp_ok(scalar @compacted, '>', 0, scalar(@compacted) . ' times compacted');
cmp_ok(scalar(glob "$spool/*.2.log") ? 1 : 0, '==', 1, 'a second generation');

is_deeply(arrived(), \%leaves, 'nothing that was delivered comes back');

$t->write_file('up', '');
$sink->wait_messages($mails, 60);

is_deeply(arrived(), { %leaves, %stays }, 'all the others arrive, once');

wait_for(sub { bytes() < 3 * 1024 * 1024 }, 30, 'empty segments to go');


# transactions that are given up, in all ways there are

my ($pid) = $t->workers();

sub leftovers {
    my %n;

    for my $w ($t->workers()) {
        my @fds = glob "/proc/$w/fd/*";
        $n{fds} += @fds;

        open my $fh, '<', "/proc/$w/status" or next;
        /^VmRSS:\s+(\d+)/ and $n{rss} += $1 for <$fh>;
    }

    $n{files} = () = glob "$spool/*.body $spool/tmp/*";
    $n{bytes} = bytes();

    return \%n;
}

sub abort_some {
    my ($n) = @_;

    # all but their data, ended by RSET

    my $c = session();
    my $one = "MAIL FROM:<a\@from.test>\r\nRCPT TO:<b\@to.test>\r\nRSET\r\n";

    for (my $i = 0; $i < $n; $i += 100) {
        $c->send_raw($one x 100);
        $c->read_reply() for 1 .. 300;
    }

    # in the middle of the data, a large one in its file already

    for my $i (1 .. 20) {
        $c = session();
        $c->cmd('MAIL FROM:<a@from.test>');
        $c->cmd('RCPT TO:<b@to.test>');
        $c->cmd('DATA');
        $c->send_raw($body x ($i % 4 ? 1 : 50));
        $c->close();
    }
}

SKIP: {
    skip 'no /proc', 1 unless -r "/proc/$pid/status";

    abort_some(500);        # what is allocated once is
    sleep 1;
    my $before = leftovers();

    abort_some($aborts);

    my $after;

    eval {
        wait_for(sub {
            $after = leftovers();
            return $after->{fds} <= $before->{fds} && !$after->{files};
        }, 10, 'everything to be closed');
    };

    note(explain([ $before, $after ]));

    cmp_ok($after->{fds}, '<=', $before->{fds}, "$aborts aborted: no fd");
    is($after->{files}, 0, "$aborts aborted: no file");
    cmp_ok($after->{bytes}, '<=', $before->{bytes} + 65536,
        "$aborts aborted: no byte of a segment");

    cmp_ok($after->{rss}, '<', $before->{rss} + 4096,
        "$aborts aborted: no memory") if !$ENV{TEST_SANITIZE};
}

is_deeply(arrived(), { %leaves, %stays }, 'nothing else arrived');

$t->done();
