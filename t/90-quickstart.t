#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The quickstart, as a new user meets it: start, the command it prints, the
# message delivered, stop.  Nothing is left running, neither by "stop" nor by
# Ctrl-C.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();
my $run = $t->dir() . '/run';
my $script = "$Test::SMTPRelay::REPO/conf-examples/quickstart.sh";
my @names = qw/ quickstart nginx redis sink /;

for my $program (qw/ redis-server redis-cli openssl curl setsid /) {
    $t->skip_all("$program is not installed")
        unless Test::SMTPRelay::which($program);
}

my %port = map { $_ => $t->port($_) }
    qw/ SUBMISSION SUBMISSIONS LOCAL NEXT_HOP REDIS /;

my %env = (BUILD => $t->dir(), NGINX => $t->{binary}, MODULE => $t->{module},
    map { ("PORT_$_" => $port{$_}) } keys %port);

# whatever happens: nothing stays

$t->at_end(sub {
    kill 'KILL', grep { $t->alive($_) } pids();
});

# start

my $starter = start();

is(scalar pids(), 4, 'four processes');

my %before = map { $_ => 1 } everything();
cmp_ok(keys %before, '>', 4, 'and their workers');

# a second one does not disturb the first

my ($status, $out) = $t->command({ env => \%env }, 'sh', $script, 'start');
isnt($status, 0, 'a second start fails');
like($out, qr/^quickstart: \w+ is already running/m, 'and says why');

# the printed command, as it stands

my ($curl) = output() =~ /^( +curl .*?[^\\])\n/ms;
ok($curl, 'a curl command is printed') or diag(output());

($status, $out) = $t->command('sh', '-c', $curl);
is($status, 0, 'the curl command') or diag($out);

delivered('1.eml', 'the message', qr/^Delivered-To: bob\@example\.net\r\n/m,
    qr/^Return-Path: <alice\@example\.com>\r\n/,
    qr/with ESMTPSA id/, qr/^Date: .*^Message-ID: .*^From: Alice /ms,
    qr/\r\n\r\nIt works\.\r\n\z/);

wait_for(sub { output() =~ m{^delivered: \Q$run\E/delivered/1\.eml, }m }, 5,
    'the delivery to be told');
pass('told in the terminal');

# and the other one

SKIP: {
    skip 'swaks is not installed', 2 unless Test::SMTPRelay::which('swaks');

    my ($swaks) = output() =~ /^( +swaks .*?[^\\])\n/ms;
    $swaks =~ s/bob\@/nobody\@/;

    ($status, $out) = $t->command('sh', '-c', $swaks);
    is($status, 0, 'the swaks command') or diag($out);

    delivered('2.eml', 'a bounce',
        qr/^Return-Path: <>\r\nDelivered-To: alice\@example\.com\r\n/,
        qr/550 5\.1\.1 There is nobody of this name/);
}

# the password is needed

(my $wrong = $curl) =~ s/(alice\@example\.com:)\w+/${1}wrong/;
isnt(($t->command('sh', '-c', $wrong))[0], 0, 'a wrong password');

# STARTTLS is not the only way in

(my $tls = $curl) =~ s{smtp://127\.0\.0\.1:\d+}
                      {smtps://127.0.0.1:$port{SUBMISSIONS}};
is(($t->command('sh', '-c', $tls))[0], 0, 'TLS from the start');

# each line of the log is JSON of one of the two kinds

wait_for(sub { () = read_run('logs/smtp.log') =~ /"event":"delivery"/g }, 5,
    'deliveries in the log');

my %events;
$events{$_->{event}}++ for $t->json_log('run/logs/smtp.log');
is(join(' ', sort keys %events), 'delivery transaction', 'smtp.log');

# stop, from another terminal

my @pids = pids();

($status, $out) = $t->command({ env => \%env }, 'sh', $script, 'stop');
is($status, 0, 'stop') or diag($out);
is($t->wait_pid($starter), 0, 'start ends well');
nothing_left('stop', @pids);

($status, $out) = $t->command({ env => \%env }, 'sh', $script, 'stop');
is($status, 0, 'stop when nothing runs') or diag($out);

# once more, ended by Ctrl-C: the terminal signals the process group

$starter = start();
@pids = pids();
is(@pids, 4, 'started again');

kill 'INT', -$starter;
is($t->wait_pid($starter), 0, 'Ctrl-C ends it');
nothing_left('Ctrl-C', @pids);

# a port that is taken is told before anything is started

my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
    LocalPort => $port{LOCAL}, ReuseAddr => 1);

($status, $out) = $t->command({ env => \%env }, 'sh', $script, 'start');
isnt($status, 0, 'a port in use');
is($out, "quickstart: port $port{LOCAL} of 127.0.0.1 is in use\n",
    'is named');
is(scalar pids(), 0, 'and nothing was started');

unlike(read_run('logs/error.log'), qr/\[(?:alert|crit|emerg|error)\]/,
    'error log');

$t->done();


sub start {
    unlink $t->dir() . '/quickstart.out';

    my $pid = $t->spawn('quickstart', [ 'sh', $script, 'start' ],
        env => \%env, group => 1, stop => 'TERM');

    wait_for(sub {
        $t->reap();
        defined $t->{status}{$pid} and die "quickstart.sh ended: ", output();
        output() =~ /^Ctrl-C, or/m
    }, 30, 'the quickstart');

    return $pid;
}


sub output { $t->read_file('quickstart.out') }

sub read_run { $t->read_file("run/$_[0]") }


# ids of the processes by their files

sub pids {
    return map { read_run("$_.pid") =~ /^(\d+)$/m ? $1 : () } @names;
}


# all processes that work in our folder, whoever started them

sub everything {
    return grep { (readlink "/proc/$_/cwd" // '') =~ m{^\Q$run\E(?:/|$)} }
        map { m{(\d+)$} } glob '/proc/[0-9]*';
}


sub delivered {
    my ($name, $what, @want) = @_;

    wait_for(sub { -s "$run/delivered/$name" }, 10, "$what, $name");

    my $text = read_run("delivered/$name");
    my @missing = grep { $text !~ $_ } @want;

    is("@missing", '', "$what is delivered") or diag($text);
}


sub nothing_left {
    my ($how, @was) = @_;

    is(join(' ', grep { $t->alive($_) } @was), '', "$how: processes gone");
    is(join(' ', grep { $t->alive($_) } everything()), '',
        "$how: all of them");
    is(join(' ', grep { listening($_) } values %port), '',
        "$how: ports closed");
    is(scalar(pids()), 0, "$how: no files of processes");
}


sub listening {
    my ($port) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
}
