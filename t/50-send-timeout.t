#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The time for sending: send_timeout of a queue, smtp_pass_send_timeout and
# smtp_send_timeout.  It is that of one piece: who takes nothing is left, who
# takes all of it slowly, for more than twice that time, is not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Socket qw/ SOL_SOCKET SO_RCVBUF /;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

$SIG{PIPE} = 'IGNORE';

my $limit = 3;
my $long = 2.5 * $limit;

my $t = Test::SMTPRelay->new();

# more than the kernel keeps for a connection, which is some megabytes

my $message = "Subject: large\r\n\r\n" . ('x' x 78 . "\r\n") x 200000;

# next hops with small buffers, that read a message in that time, or nothing

for my $name (qw/ slow silent /) {
    my $listen = IO::Socket::INET->new(Listen => 10,
        LocalAddr => '127.0.0.1') or die $!;
    setsockopt $listen, SOL_SOCKET, SO_RCVBUF, pack 'l', 65536;

    $t->set(uc $name => $listen->sockport());
    $t->spawn_perl($name, sub {
        while (my $s = $listen->accept()) {
            if (fork() == 0) { hop($s, $name); POSIX::_exit(0) }
            close $s;
        }
    });
}

$t->set(LIMIT => "${limit}s");

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust  127.0.0.0/8;
    smtp_log    %%DIR%%/smtp.log json;

    smtp_send_timeout       %%LIMIT%%;
    smtp_pass_send_timeout  %%LIMIT%%;
    smtp_pass_buffer_size   64k;

    smtp_queue slow {
        spool         %%DIR%%/spool;
        next_hop      127.0.0.1:%%SLOW%%;
        tls           off;
        retry         1h;
        send_timeout  %%LIMIT%%;
    }

    smtp_queue silent {
        spool         %%DIR%%/spool;
        next_hop      127.0.0.1:%%SILENT%%;
        tls           off;
        retry         1h;
        send_timeout  %%LIMIT%%;
    }

    server {
        listen        127.0.0.1:%%PORT_toslow%%;
        smtp_enqueue  slow;
    }

    server {
        listen        127.0.0.1:%%PORT_tosilent%%;
        smtp_enqueue  silent;
    }

    server {
        listen        127.0.0.1:%%PORT_passslow%%;
        smtp_pass     127.0.0.1:%%SLOW%%;
    }

    server {
        listen        127.0.0.1:%%PORT_passsilent%%;
        smtp_pass     127.0.0.1:%%SILENT%%;
    }

    # a small buffer: replies are in the way soon

    server {
        listen        127.0.0.1:%%PORT_replies%% sndbuf=4k;
        smtp_max_recipients  1;
        smtp_max_errors      100000;
        smtp_enqueue  slow;
    }
}
EOC

# all at the same time: two that pass, whose answers are awaited ...

my $start = time();
my %pass = map { $_ => begin("pass$_", $_) } qw/ slow silent /;

# ... two in queues ...

my %id;

for my $name (qw/ slow silent /) {
    my $c = begin("to$name", "queued-$name");
    my @r = $c->read_reply();
    is($r[0], 250, "queue, $name: taken");
    ($id{$name}) = $r[1] =~ /queued as (\S+)/;
    $c->quit();
}

# ... and a client that reads its replies slowly

my $wanted = 20000;
my $all = "MAIL FROM:<a\@from.test>\r\nRCPT TO:<b\@to.test>\r\n"
    . "RCPT TO:<c\@to.test>\r\n" x $wanted;

my $c = $t->client('replies', rcvbuf => 4096);
$c->cmd('EHLO client.test');

my ($pos, $seen, $begun) = (0, 0, time());
my $end = $begun + 60 * $Test::SMTPRelay::PATIENCE;

while ($seen < $wanted && time() < $end) {

    if ($pos < length $all) {
        my $n = syswrite $c->{socket}, $all, 4096, $pos;
        $pos += $n if $n;
    }

    # no faster than all of them in that time

    if ($seen / $wanted > (time() - $begun) / $long) {
        sleep 0.02;
        next;
    }

    my $n = sysread $c->{socket}, $c->{buffer}, 2048, length $c->{buffer};
    last if defined $n ? $n == 0 : !$c->again();
    sleep 0.001 unless defined $n;

    while ($c->{buffer} =~ s/^(\d+) [^\n]*\n//) {
        $seen++ if $1 == 452;
    }
}

is($seen, $wanted, 'replies, slowly: all of them');
cmp_ok(time() - $begun, '>', 2 * $limit, 'in more than the time for sending');
$c->close();

unlike($t->log(), qr/client takes no replies/, 'and was not left');

# what became of the others

my ($line) = delivery('slow');
is("$line->{status} $line->{attempt}", 'delivered 1', 'queue, slow: delivered');
cmp_ok(taken('queued-slow'), '>', 2 * $limit,
    'in more than the time for sending');

($line) = delivery('silent');
is("$line->{status} $line->{code}", 'deferred 0', 'queue, silent: left');
like($line->{reply}, qr/timed out/, 'for the time');

my @r = $pass{slow}->read_reply();
is($r[0], 250, 'pass, slow: taken');
cmp_ok(taken('slow'), '>', 2 * $limit, 'in more than the time for sending');

@r = $pass{silent}->read_reply();
like("$r[0] $r[1]", qr/^451 4\.4\./, 'pass, silent: left');

cmp_ok(time() - $start, '<', 60 * $Test::SMTPRelay::PATIENCE, 'and in time');

$t->done();


# a client that has sent all of a message and waits for the answer

sub begin {
    my ($port, $from) = @_;

    my $c = $t->client($port, timeout => 60);
    $c->cmd('EHLO client.test');
    $c->cmd("MAIL FROM:<$from\@from.test>");
    $c->cmd('RCPT TO:<a@to.test>');
    $c->cmd('DATA');
    $c->send_raw("$message.\r\n");

    return $c;
}


sub delivery {
    my ($name) = @_;

    return $t->json_log('smtp.log', sub {
        $_->{event} eq 'delivery' && $_->{queue_id} eq $id{$name}
    }, 60);
}


# how long it took to read that message

sub taken { $t->read_file("taken-$_[0]") || 0 }


sub hop {
    my ($s, $name) = @_;

    my ($from, $n, $tail, $started);

    syswrite $s, "220 $name.test\r\n";

    while (sysread $s, my $in, 65536) {

        if (!defined $started) {
            $from = $1 if $in =~ /^MAIL FROM:<([^@>]*)/mi;
            ($started, $n, $tail) = (time(), 0, '') if $in =~ /^DATA/mi;
            syswrite $s, defined $started ? "354 go\r\n"
                : "250 ok\r\n" x ($in =~ tr/\n//);

            # until the one that accepts is gone
            my $parent = getppid();
            sleep 0.5 while defined $started && $name eq 'silent'
                && getppid() == $parent;

            next;
        }

        $n += length $in;
        $tail = substr $tail . $in, -5;

        if ($tail eq "\r\n.\r\n") {
            $t->write_file("taken-$from", time() - $started);
            syswrite $s, "250 2.0.0 taken\r\n";
            undef $started;
            next;
        }

        my $early = $n / length($message) * $long - (time() - $started);
        sleep $early if $early > 0;
    }
}
