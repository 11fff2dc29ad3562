#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The worker bus against who stops reading: another process that asked over
# the socket in run/, the client of smtp_status.  And against thousands of
# sockets whose workers were killed while nobody asked.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Poll qw/ POLLHUP POLLIN /;
use IO::Socket::INET;
use Socket qw/ AF_UNIX SOCK_SEQPACKET SO_RCVBUF SOL_SOCKET
    pack_sockaddr_un /;
use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Conf;
use Test::SMTPRelay::Status;
use Time::HiRes qw/ time /;

# one worker, so that all mail is in one answer

my $t = Test::SMTPRelay->new();

$t->write_conf(relay_conf(
    events => 'worker_connections 512;',
    queue => { next_hop => '127.0.0.1:%%PORT_none%%' },
    http => <<'EOC'))->run();
    server {
        listen 127.0.0.1:%%PORT_small%% sndbuf=4k;
        send_timeout  1s;
        location /smtp/ { smtp_status; }
    }
EOC

my $h = Test::SMTPRelay::Status->new($t, 'http');

# a list that is longer than the buffer of a socket

my $many = 300;
my $c = $t->client('smtp');
$c->cmd('EHLO client.test');

my $envelope = "MAIL FROM:<a\@from.test>\r\n" . join '',
    map { sprintf "RCPT TO:<%s-%02d\@to.test>\r\n", 'x' x 60, $_ } 1 .. 20;

for (1 .. $many) {
    $c->send_raw("${envelope}DATA\r\n");
    $c->read_reply() for 1 .. 22;
    $c->send_raw("Subject: x\r\n\r\nx\r\n.\r\n");
    ($c->read_reply())[0] == 250 or die 'not taken';
}

$c->quit();
$h->wait_list('', $many, 30);

# who asks over the bus and does not read; more of them than a worker serves
# at a time

my @silent = map { ask(run_socket()) } 1 .. 80;

ok(eval { wait_for(sub { @silent == grep { ended($_) } @silent }, 15,
    'the end') } || 0, 'who does not read is left');

my $cut = grep { !whole($_) } @silent;

cmp_ok($cut, '>', 0, 'when the time for its answer is over');
$t->wait_log(qr/\[info\] .*worker bus: .* was not taken/);

my ($status, $answer) = $h->get('');
is("$status " . ($answer->{partial} ? 1 : 0), '200 0',
    'the next one is answered');

# one that reads late, but in time, gets all

my $late;
wait_for(sub { $late = ask(run_socket()); whole($late) }, 15, 'an answer');
pass('who reads gets a whole answer');

# the client of smtp_status

my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
    PeerPort => $t->port('small'), Proto => 'tcp',
    Sockopts => [ [ SO_RCVBUF, 4096 ] ]) or die $!;
print {$client} "GET /smtp/queue?limit=1000 HTTP/1.1\r\nHost: localhost\r\n"
    . "\r\n";
ok(eval { $t->wait_log(qr/client timed out .*queue.limit=1000/, 15) } || 0,
    'a client that does not read is left after send_timeout');
close $client;

$t->stop();
$t->final_checks();
$t->{finished} = 1;

# dead sockets; a debug log says what is done in one go

$t = Test::SMTPRelay->new();

$t->write_conf(relay_conf(
    main => 'error_log %%DIR%%/debug.log debug;',
    queue => { next_hop => '127.0.0.1:%%PORT_none%%' }))->run();

$h = Test::SMTPRelay::Status->new($t, 'http');

my $dead = 2500;

for (1 .. $dead) {
    socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die "socket: $!";
    my $path = sprintf '%s/spool/run/%d-%012x', $t->dir(), $_, $_;
    bind $s, pack_sockaddr_un($path) or die "bind: $!";
    chown +(getpwnam $t->{user})[2, 3], $path if $> == 0;
}

is(scalar sockets(), $dead + 1, "$dead sockets of dead workers");

ok(eval { wait_for(sub { $h->get(''); sockets() == 1 }, 30,
    'the dead to go') } || 0, 'are removed by who asks');
ok(-S run_socket(), 'and that of the worker is not');

($status, $answer) = $h->get('');
is("$status " . ($answer->{partial} ? 1 : 0), '200 0', 'an answer');

my @slices = map { /smtp bus: (\d+) names/ } split /\n/,
    $t->read_file('debug.log');
my @removed = map { /\[info\] .* (\d+) sockets of dead workers/ ? $1 : () }
    split /\n/, $t->log();

cmp_ok(scalar(grep { $_ > 64 } @slices), '==', 0,
    'no more than 64 names without a break');
cmp_ok(scalar @slices, '>=', $dead / 64, 'in many slices');
cmp_ok(scalar(grep { $_ > 1024 } @removed), '==', 0,
    'no more than 1024 are removed by one request');
is(eval { join '+', @removed } && eval(join '+', @removed), $dead,
    'each of them once');

# the folder is not written to by who reads it

my $run = $t->dir() . '/spool/run';
my $old = int time() - 3 * 86400;

utime $old, $old, $run;
is(($h->get(''))[0], 200, 'asked once more');
is((stat $run)[8], $old, 'the time of access stays');

$t->done();


sub sockets { my @all = glob $t->dir() . '/spool/run/*'; return @all }

sub run_socket {
    my ($worker) = $t->workers();
    return (grep { m{/$worker-} } sockets())[0];
}


# a request for a list, as docs/architecture.md has it; its answer begins

sub ask {
    my ($path) = @_;

    my $number = sub { pack 'n N Q>', $_[0], 8, $_[1] };

    socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die "socket: $!";
    connect $s, pack_sockaddr_un($path) or die "$path: $!";
    $s->blocking(0);

    syswrite $s, pack('a2 C C N N', 'SB', 1, 1, 77, 0)
        . $number->(1, 2) . $number->(4, 1000);

    my $poll = IO::Poll->new();
    $poll->mask($s => POLLIN);
    $poll->poll(2);

    return $s;
}


# was it closed by the other side?

sub ended {
    my ($s) = @_;

    my $poll = IO::Poll->new();
    $poll->mask($s => POLLIN);
    $poll->poll(0);

    return $poll->events($s) & POLLHUP;
}


# is its answer complete?

sub whole {
    my ($s) = @_;

    my $end = time() + 2;
    my $n = 0;

    while (time() < $end) {
        my $poll = IO::Poll->new();
        $poll->mask($s => POLLIN);
        $poll->poll(0.5);

        sysread $s, my $packet, 65536 or last;
        $n++;

        return $n if unpack('x8 N', $packet) == 0;
    }

    return 0;
}
