#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_pass with messages over smtp_pass_buffer_size: the backend gets them
# while the client sends, a copy in a temporary file keeps the next server and
# the spool possible, and memory holds no more than the buffer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Socket qw/ SOL_SOCKET SO_RCVBUF /;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

# does what the sender says; "drop" and a number: closes within the body

# A connection that is closed while all of a message is in the buffers of the
# kernel is closed behind its end: these take at most 4 MB and what "rcvbuf"
# says.

my $odd = $t->sink('odd', rcvbuf => 65536, replies => {
    DATA => sub { my ($s) = @_;
        return $s->{from} =~ /^drop(\d+)/
            ? { reply => '354 go', drop_after => $1 }
            : $s->{from} =~ /^later/ ? '451 4.3.0 not now'
            : $s->{from} =~ /^never/ ? '554 5.6.0 never' : undef },
    DOT => sub { my ($s, $txn) = @_;
        return $txn->{from} =~ /^dotlater/ ? '452 4.3.1 full'
            : $txn->{from} =~ /^dotclose/ ? { close => 1 } : undef },
});

my $odd2 = $t->sink('odd2', rcvbuf => 65536, replies => {
    DATA => { reply => '354 go', drop_after => 1500000 } });
my $good = $t->sink('good');
my $mx = $t->sink('mx');

# reads what comes, counts it, and pauses: to the file "hole" it writes how
# much it has; "pause" while that exists it reads nothing

my $dir = $t->dir();

my $hole = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1')
    or die $!;
$t->set(HOLE => $hole->sockport());
$t->spawn_perl('hole', sub {
    while (my $s = $hole->accept()) {
        if (fork() == 0) { hole($s); POSIX::_exit(0) }
        close $s;
    }
});

sub hole {
    my ($s) = @_;
    my ($in, $tail, $n, $data) = ('', '', 0, 0);

    syswrite $s, "220 hole.test\r\n";

    for ( ;; ) {
        sleep 0.02 while -e "$dir/pause" && $data;
        sysread($s, $in, 262144) or return;

        if ($data) {
            $n += length $in;
            $tail = substr $tail . $in, -5;
            sleep 0.02 if -e "$dir/slow";
            next if $tail ne "\r\n.\r\n";
            $t->write_file('hole', $n);
            syswrite $s, "250 2.0.0 $n\r\n";
            ($data, $n, $tail) = (0, 0, '');
            next;
        }

        for (split /\r\n/, $in) {
            $data = 1 if /^DATA/;
            syswrite $s, $data ? "354 go\r\n" : "250 ok\r\n";
        }
    }
}

# takes a few octets now and then, for ever

my $drip = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1')
    or die $!;
setsockopt $drip, SOL_SOCKET, SO_RCVBUF, pack 'l', 8192;
$t->set(DRIP => $drip->sockport());
$t->spawn_perl('drip', sub {
    while (my $s = $drip->accept()) {
        syswrite $s, "220 drip.test\r\n";
        my ($in, $data) = ('', 0);

        while (sysread $s, $in, 1024) {
            sleep 0.05 if $data;
            next if $data;
            $data = 1 if $in =~ /^DATA/m;
            syswrite $s, $data ? "354 go\r\n" : "250 ok\r\n" x $in =~ tr/\n//;
        }
    }
});

$t->set(GONE => "$dir/gone");

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;
    smtp_max_message_size  200m;

    smtp_pass_timeout          2s;
    smtp_pass_data_timeout     20s;
    smtp_pass_buffer_size      64k;

    smtp_queue q {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        spool_min_free  1m;
    }

    upstream two {
        server  127.0.0.1:%%PORT_odd%% max_fails=0;
        server  127.0.0.1:%%PORT_good%% backup;
    }

    upstream bad {
        server  127.0.0.1:%%PORT_odd%% max_fails=0;
        server  127.0.0.1:%%PORT_odd2%% max_fails=0 backup;
    }

    server {
        listen  127.0.0.1:%%PORT_queue%%;
        smtp_pass  127.0.0.1:%%PORT_odd%%;
        smtp_enqueue  q fallback=error,timeout,421,4xx;
    }

    server {
        listen  127.0.0.1:%%PORT_next%%;
        smtp_pass  two;
        smtp_pass_temp_path  %%DIR%%/temp;
    }

    server {
        listen  127.0.0.1:%%PORT_both%%;
        smtp_pass  bad;
        smtp_enqueue  q fallback=error,timeout,421,4xx;
    }

    server {
        listen  127.0.0.1:%%PORT_off%%;
        smtp_pass  two;
        smtp_enqueue  q;
        smtp_pass_temp_path  off;
    }

    server {
        listen  127.0.0.1:%%PORT_gone%%;
        smtp_pass  two;
        smtp_enqueue  q;
        smtp_pass_temp_path  %%GONE%%;
    }

    server {
        listen  127.0.0.1:%%PORT_drip%%;
        smtp_pass  127.0.0.1:%%DRIP%%;
        smtp_pass_send_timeout  1500ms;
        smtp_enqueue  q;
    }

    server {
        listen  127.0.0.1:%%PORT_hole%%;
        smtp_pass  127.0.0.1:%%HOLE%%;
        smtp_enqueue  q;
        smtp_pass_buffer_size  1m;
    }

    server {
        listen  127.0.0.1:%%PORT_stream%%;
        smtp_pass  127.0.0.1:%%HOLE%%;
        smtp_pass_buffer_size  1m;
    }
}
EOC

ok(-d "$dir/temp", 'smtp_pass_temp_path is made');

# lines of all lengths, with dots to be doubled

my $n = 0;
my $big = "Subject: big\r\n\r\n"
    . join '', map { ($_ % 3 ? '' : '.') . ++$n . 'x' x ($_ % 97) . "\r\n" }
    1 .. 130000;

my $sent = 0;

sub client {
    my ($port) = @_;
    my $c = $t->client($port, timeout => 60);
    $c->cmd('EHLO client.test');
    return $c;
}

sub send_big {
    my ($port, $from, $code, $name) = @_;

    my @r = client($port)->send_message("$from\@from.test", 'a@to.test',
        $big);
    like("$r[0] $r[1]", $code, $name);
}

sub arrived {
    my ($sink, $from, $name) = @_;

    my @m;

    wait_for(sub { @m = grep { $_->{from} eq "$from\@from.test" }
        $sink->messages() }, 30, "$name: message");

    is(scalar @m, 1, "$name: one copy");
    $m[0]{body} =~ s/^Received:.*?(?=^Subject)//ms;
    ok($m[0]{body} eq $big, "$name: all of it");
}

sub none {
    my ($from, $name, @sinks) = @_;
    is(scalar(grep { $_->{from} eq "$from\@from.test" }
        map { $_->messages() } @sinks), 0, "$name: not elsewhere");
}

# the backend fails in each way behind the buffer

for (['drop1000', 'at once'], ['drop300000', 'early'],
     ['drop2000000', 'late'], ['later', '4xx to DATA'],
     ['dotlater', '4xx to the message'])
{
    my ($from, $name) = @$_;

    send_big('queue', $from, qr/^250 2\.0\.0 Ok: queued as /,
        "queue, $name: taken");
    arrived($mx, $from, "queue, $name");
    none($from, "queue, $name", $odd);
}

for (['drop1001', 'at once'], ['drop300001', 'early'],
     ['drop2000001', 'late'])
{
    my ($from, $name) = @$_;

    send_big('next', $from, qr/^250 /, "next server, $name: taken");
    arrived($good, $from, "next server, $name");
    none($from, "next server, $name", $odd);
}

send_big('both', 'drop700000', qr/^250 2\.0\.0 Ok: queued as /,
    'two fail, then the spool');
arrived($mx, 'drop700000', 'two fail, then the spool');

send_big('queue', 'never', qr/^554 5\.6\.0 never$/, '5xx to DATA');
none('never', '5xx to DATA', $mx);

send_big('queue', 'dotclose', qr/^451 4\.4\.2 /, 'lost after its end: 451');

send_big('queue', 'fine', qr/^250 2\.0\.0 taken$/, 'nothing fails');
arrived($odd, 'fine', 'nothing fails');

# by BDAT, in chunks

my $c = client('next');
$c->cmd('MAIL FROM:<drop900000@from.test>');
$c->cmd('RCPT TO:<a@to.test>');

for (my $pos = 0; $pos < length $big; $pos += 1000000) {
    my $chunk = substr $big, $pos, 1000000;
    $c->send_raw(sprintf "BDAT %d%s\r\n", length $chunk,
        $pos + 1000000 < length $big ? '' : ' LAST');
    $c->send_raw($chunk);
    my @r = $c->read_reply();
    is($r[0], 250, "chunk at $pos") if $r[0] != 250;
}

arrived($good, 'drop900000', 'BDAT, next server');

# the backend goes while the client is silent, and after that

$c = client('queue');
$c->cmd('MAIL FROM:<drop200000@from.test>');
$c->cmd('RCPT TO:<a@to.test>');
$c->cmd('DATA');
my $stuffed = Test::SMTPRelay::Client::stuff($big);
$c->send_raw(substr $stuffed, 0, 300000);
sleep 0.5;
$c->send_raw(substr $stuffed, 300000, -3);
$c->check('.', qr/^250 2\.0\.0 Ok: queued as /, 'lost while the client waits');
arrived($mx, 'drop200000', 'lost while the client waits');

# a client that goes, at any moment

for my $size (60000, 100000, 500000, 3000000) {
    for my $port (qw/ queue next both /) {
        $c = client($port);
        $c->cmd('MAIL FROM:<drop90000@from.test>');
        $c->cmd('RCPT TO:<a@to.test>');
        $c->cmd('DATA');
        $c->send_raw(substr $big, 0, $size);
        $c->close();
    }
}

$c = client('queue');
$c->cmd('MAIL FROM:<toobig@from.test> SIZE=300000000');

# a backend that reads, but not really

my $started = time();
send_big('drip', 'drip', qr/^250 2\.0\.0 Ok: queued as /,
    'reads a byte now and then');
note(sprintf 'reads a byte now and then: %.1f s', time() - $started);
arrived($mx, 'drip', 'reads a byte now and then');

# without a copy, or with one that cannot be written

send_big('off', 'drop900001', qr/^451 4\.4\.2 /, 'no copy: 451');
send_big('off', 'fine2', qr/^250 /, 'no copy: passed');

rmdir "$dir/gone";
$t->expect_log(qr/a temporary file in ".*gone" could not be written/);

send_big('gone', 'fine3', qr/^250 /, 'no file: passed');
arrived($odd, 'fine3', 'no file');
send_big('gone', 'drop900002', qr/^451 4\.4\.2 /, 'no file: 451 if it fails');
none($_, 'no copy', $mx) for 'drop900001', 'drop900002';

SKIP: {
    skip 'not root', 2 if $> != 0;

    mkdir "$dir/gone", 0700;
    chown +(getpwnam $t->{user})[2, 3], "$dir/gone";

    my ($status, $out) = $t->command('mount', '-t', 'tmpfs', '-o',
        'size=1m,mode=0777', 'tmpfs', "$dir/gone");

    skip "a file system of its own is not permitted here: $out", 2
        if $status != 0;

    $t->at_end(sub { system 'umount', '-l', "$dir/gone" });

    send_big('gone', 'fine4', qr/^250 /, 'full disk: passed');
    send_big('gone', 'drop2000002', qr/^451 4\.4\.2 /,
        'full disk: 451 if it fails');
}

# nothing of it is left

is_deeply([ glob "$dir/temp/*" ], [ ], 'no files have a name');
wait_for(sub { !grep { (readlink || '') =~ m{/temp/} }
    glob '/proc/' . ($t->workers())[0] . '/fd/*' }, 10, 'all are closed');
pass('all are closed');

# memory: the peak of the worker, of 100 MB

my $line = 'y' x 70 . "\r\n";
my $mb = $line x (1024 * 1024 / length $line);

sub peak {
    my ($name) = @_;

    open my $f, '<', '/proc/' . ($t->workers())[0] . '/status' or die $!;
    my ($kb) = join('', <$f>) =~ /^$name:\s+(\d+) kB/m;

    return $kb;
}

sub memory {
    my ($port, $name, $size, $during) = @_;

    my $worker = ($t->workers())[0];

    open my $f, '>', "/proc/$worker/clear_refs" or return skip_memory($name);
    syswrite $f, "5\n";
    close $f;

    my $before = peak('VmHWM');

    $c = $t->client($port, timeout => 120);
    $c->cmd('EHLO client.test');
    $c->cmd('MAIL FROM:<m@from.test>');
    $c->cmd('RCPT TO:<a@to.test>');
    $c->cmd('DATA');

    for (1 .. $size) {
        $during->($_);
        $c->send_raw($mb);
    }

    $c->check('.', qr/^250 /, "$name: taken");
    cmp_ok($t->read_file('hole'), '>=', $size * length $mb, "$name: all");

    my $more = peak('VmHWM') - $before;
    note("$name: $more KB");

    SKIP: {
        skip 'sanitizers keep what was freed', 1 if $ENV{TEST_SANITIZE};
        cmp_ok($more, '<', 4096, "$name: memory");
    }
}

sub skip_memory {
    note("$_[0]: no clear_refs here");
}

my $size = $ENV{TEST_SANITIZE} ? 20 : 100;

# one before, for what is allocated once

memory('hole', 'warm up', 2, sub { });

memory('hole', 'with a copy', $size, sub { });
memory('stream', 'streamed', $size, sub { });

# a backend that stands still and then is slow; a client that is slow

for my $port (qw/ hole stream /) {
    $t->write_file('pause', '');

    my $pid = $t->spawn_perl("go-$port", sub {
        sleep 1;
        $t->write_file('slow', '');
        unlink "$dir/pause";
    });

    memory($port, "$port, slow backend", 20, sub { });
    $t->wait_pid($pid);
    unlink "$dir/slow";

    memory($port, "$port, slow client", 5, sub { sleep 0.1 });
}

$t->done();
