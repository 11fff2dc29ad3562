#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Two backends that fail at random at every step, and clients that leave at
# random, with and without another server and a queue behind, small messages
# and streamed ones, and a reload in between: what got 250 is there once, and
# anything else is nowhere.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

my @ways = ('451 4.3.5 later', '550 5.7.7 not at all', '421 4.3.2 going down',
    { close => 1 }, { reset => 1 }, { raw => "\x00\xff nonsense\r\n" },
    { delay => 0.2 }, { silent => 1 }, { raw => "250 ok\r\n25" },
    { raw => "250 ok\r\n250 and more\r\n" },
    { reply => '250 2.0.0 and bye', close => 1 });

# each process of a sink has its own luck

my $seeded = 0;

sub luck {
    my ($step) = @_;

    return sub {
        if ($seeded != $$) {
            srand($seeded = $$);
        }

        return undef if rand > 0.06;

        return { reply => '354 go', drop_after => int rand 300000 }
            if $step eq 'DATA' && rand > 0.5;

        # what says yes is for commands that may be taken back; nobody waits
        # for the reply to a message for long here

        my @may = $step eq 'DOT' ? @ways[0 .. 6]
            : $step =~ /BANNER|EHLO|DATA/ ? @ways[0 .. 7] : @ways;
        my $way = $may[rand @may];

        return ref $way ? { %$way } : $way;
    };
}

my %replies = map { $_ => luck($_) } qw/ BANNER EHLO MAIL RCPT DATA DOT RSET /;

my @sinks = ((map { $t->sink($_, rcvbuf => 65536, replies => \%replies) }
    qw/ a b /), map { $t->sink($_) } qw/ good mx /);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;

events { }

stream {
    smtp_trust       127.0.0.0/8;
    smtp_hostname    proxy.test;
    smtp_max_errors  10000;

    smtp_pass_timeout      1s;
    smtp_pass_buffer_size  64k;

    smtp_queue q {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        spool_min_free  1m;
    }

    upstream two {
        server  127.0.0.1:%%PORT_a%% max_fails=2 fail_timeout=1s;
        server  127.0.0.1:%%PORT_b%% max_fails=2 fail_timeout=1s;
    }

    upstream three {
        server  127.0.0.1:%%PORT_a%% max_fails=0;
        server  127.0.0.1:%%PORT_b%% max_fails=0;
        server  127.0.0.1:%%PORT_good%% backup;
    }

    server {
        listen  127.0.0.1:%%PORT_two%%;
        smtp_pass  two;
    }

    server {
        listen  127.0.0.1:%%PORT_three%%;
        smtp_pass  three;
        smtp_pass_next_upstream  error timeout 421 4xx;
        smtp_pass_temp_path  %%DIR%%/temp;
    }

    server {
        listen  127.0.0.1:%%PORT_two_queue%%;
        smtp_pass  two;
        smtp_enqueue  q fallback=error,timeout,421,4xx;
    }

    server {
        listen  127.0.0.1:%%PORT_three_queue%%;
        smtp_pass  three;
        smtp_pass_keepalive  2;
        smtp_enqueue  q;
    }
}
EOC

my @ports = qw/ two three two_queue three_queue /;
my $end = time() + 6;

# a session; each message is noted with what became of it

sub session {
    my ($note, $name) = @_;

    my $c = $t->client($ports[rand @ports], timeout => 90);
    $c->cmd('EHLO client.test');

    for (1 .. 1 + int rand 4) {
        my $from = $name->() . '@from.test';
        my $body = "Subject: x\r\n\r\n" . join '', map {
            (rand > 0.8 ? '.' : '') . 'q' x rand 900 . "\r\n" }
            1 .. rand(rand > 0.7 ? 1300 : 6);
        my $data = Test::SMTPRelay::Client::stuff($body);

        ($c->cmd("MAIL FROM:<$from>"))[0] == 250 or next;

        my $ok = grep { ($c->cmd("RCPT TO:<$_\@to.test>"))[0] == 250 }
            1 .. 1 + int rand 3;

        if (rand > 0.97) {
            $note->("$from left");
            $c->close();
            return;
        }

        if (!$ok || ($c->cmd('DATA'))[0] != 354) {
            $c->cmd('RSET');
            next;
        }

        my $half = int rand(length($data) - 3);
        $c->send_raw(substr $data, 0, $half);
        sleep rand 0.3 if rand > 0.8;

        if (rand > 0.97) {
            $note->("$from left");
            $c->close();
            return;
        }

        $c->send_raw(substr $data, $half);
        $note->("$from " . join ' ', ($c->read_reply(90))[0, 1]);
    }

    $c->quit();
}

my @clients = map {
    my $n = $_;

    $t->spawn_perl("client$n", sub {
        srand $n;
        open my $f, '>', $t->dir() . "/client$n" or die $!;
        $f->autoflush(1);

        my $i = 0;
        while (time() < $end) {

            # a reload ends an idle session
            eval { session(sub { print $f "@_\n" },
                sub { "client$n-" . ++$i }) };
        }
    });
} 1 .. 6;

sleep 2;
$t->reload();
$t->wait_pid($_) for @clients;

my %said = map { map { (split / /, $_, 2) } split /\n/,
    $t->read_file("client$_") } 1 .. 6;
my @taken = grep { $said{$_} =~ /^250/ } keys %said;

cmp_ok(scalar @taken, '>', 10, 'messages were taken');
note(scalar(keys %said) . ' messages, ' . @taken . ' of them taken');

my %copies;

# what was spooled takes its time

ok(wait_for(sub {
    %copies = ();
    $copies{$_->{from}}++ for map { $_->messages() } @sinks;
    return !grep { !$copies{$_} } @taken;
}, 60, 'all of them'), 'all of them are there');

is(join("\n", grep { $copies{$_} > 1 } @taken), '', 'once');
is(join("\n", map { "$_: $said{$_}" } grep { $said{$_} !~ /^250/
    && $copies{$_} } keys %said), '', 'nothing else is');
is(scalar(() = $t->log() =~ /exited on signal/g), 0, 'the workers live');

$t->done();
