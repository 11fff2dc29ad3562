#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Reports and kill -9: none is lost, and none is made twice; what may be
# repeated is the delivery of one whose answer was not recorded yet, with the
# Message-ID it had.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

my $PATIENCE = $Test::SMTPRelay::PATIENCE;
my $rounds = $ENV{TEST_ROUNDS} || ($ENV{TEST_SANITIZE} ? 4 : 10);

my $t = Test::SMTPRelay->new();

my $mx = $t->sink('mx', replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return '550 5.1.1 no such user' if $arg =~ /<fail/;
        return '450 4.2.1 come later' if $arg =~ /<wait/;
        return undef;
    },
});

my $reports = $t->sink('reports', replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return '550 5.1.7 forged' if $arg =~ /<forged/;
        return undef;
    },
    DOT => sub {
        my ($s, $txn) = @_;
        return { silent => 1 }
            if grep { /^mute/ } @{$txn->{rcpts}} and $s->count('mute') == 1;
        return undef;
    },
});

$t->write_conf(<<'EOC');
%%GLOBALS%%

worker_processes 2;

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
        delay_warning  2s;
        data_timeout   2s;
        report_queue   reports;
        postmaster     pm@relay.test;
    }

    smtp_queue reports {
        spool          %%DIR%%/spool;
        hostname       relay.test;
        next_hop       127.0.0.1:%%PORT_reports%%;
        tls            off;
        retry          1s;
        expire         1h;
        data_timeout   2s;
    }

    server {
        listen         127.0.0.1:%%PORT_smtp%%;
        smtp_trust     127.0.0.0/8;
        smtp_enqueue   out;
    }
}
EOC

$t->expect_log(qr/\[alert\] .* exited on signal 9/);
$t->run();

my $message = "Subject: test\r\n\r\nbody\r\n";

sub submit {
    my ($from, $to, %opts) = @_;

    my $c = $t->client('smtp');
    $c->cmd('EHLO client.test');
    my @reply = $c->send_message($from, $to, $message, %opts);
    $c->quit();

    return $reply[0] == 250;
}

sub message_id { $_[0]{body} =~ /^Message-ID: (\S+)\r$/m ? $1 : 'none' }

# the answer to a report's end of data is out when its worker is killed

submit('mute@from.test', 'fail@to.test');
wait_for(sub { grep { "@{$_->{rcpts}}" =~ /^mute/ } $reports->transactions() },
    10, 'the report at its end of data');
$t->kill_worker($_) for $t->workers();
wait_for(sub { (grep { "@{$_->{rcpts}}" =~ /^mute/ }
    $reports->transactions()) > 1 }, 20, 'the report once more');
sleep 3;

my @got = grep { "@{$_->{rcpts}}" =~ /^mute/ } $reports->transactions();
is(scalar @got, 2, 'killed at the end of data: sent once more');
is(message_id($got[0]), message_id($got[1]), '... with the same Message-ID');

# reports that wait when all is killed

$reports->stop();
ok(submit("down$_\@from.test", 'fail@to.test'), 'taken') for 1 .. 10;
ok(submit("slow$_\@from.test", [ 'wait@to.test', "once$_\@to.test" ]),
    'taken') for 1 .. 10;

# a report waits behind the one that probes the dead host: no line of its own
# in the log, so the attempts tell the time

wait_for(sub {
    my %late = map { $_->{from} => 1 } grep {
        $_->{event} eq 'delivery' && $_->{from} =~ /^slow/
            && $_->{attempt} >= 5
    } $t->json_log('smtp.log');
    keys %late == 10;
}, 30, 'five attempts of each');

sleep 1;
$t->kill_all();
$t->run();
$reports->start();

wait_for(sub { $reports->count_messages() >= 20 + 1 }, 30, 'waiting reports');
sleep 3;

is(join(' ', map { scalar $reports->received("down$_\@from.test") } 1 .. 10),
    join(' ', (1) x 10), 'each failure was reported once');
is(join(' ', map { scalar $reports->received("slow$_\@from.test") } 1 .. 10),
    join(' ', (1) x 10), 'each delay was reported once');

# a delay that was told is known to who comes after a kill

$t->kill_all();
$t->run();
sleep 4;
is(join(' ', map { scalar $reports->received("slow$_\@from.test") } 1 .. 10),
    join(' ', (1) x 10), 'and not again after a kill');

# nor are results of recipients forgotten, or attempts

my %times;
$times{$_}++ for map { @{$_->{rcpts}} } $mx->messages();
is(join(' ', map { $times{"once$_\@to.test"} // 0 } 1 .. 10),
    join(' ', (1) x 10), 'who got it before a kill gets it once');

my %attempts;

for ($t->json_log('smtp.log')) {
    push @{$attempts{$_->{from}}}, $_->{attempt}
        if $_->{event} eq 'delivery' && $_->{from} =~ /^slow/;
}

is(join(' ', grep { my @a = @{$attempts{$_}};
    grep { $a[$_] <= $a[$_ - 1] } 1 .. $#a } sort keys %attempts), '',
    'and attempts are counted on');

# at random moments

my (@kills, @senders);

for my $round (1 .. $rounds) {
    for my $n (1 .. 8) {
        my $who = ($n == 1 ? 'forged' : 'r') . "-$round-$n\@from.test";
        push @senders, $who if submit($who, $n & 1 ? 'fail@to.test'
            : [ 'fail@to.test', 'ok@to.test' ],
            rcpt => 'NOTIFY=SUCCESS,FAILURE');
    }

    sleep rand 0.3;

    my $before = time();

    if ($round % 3) {
        $t->kill_worker(($t->workers())[rand 2]);
        push @kills, [ $before, time() ];

    } else {
        $t->kill_all();
        push @kills, [ $before, time() ];
        $t->run();
    }
}

cmp_ok(scalar @senders, '>', $rounds * 7, 'senders');

# two for one whose second recipient got it: failure and success

my %expect;

for (@senders) {
    my ($n) = /-(\d+)\@/;
    my $to = /^forged/ ? 'pm@relay.test' : $_;
    $expect{$to} += $n & 1 ? 1 : 2;
}

my $unique = sub {
    my ($to) = @_;
    my %ids = map { message_id($_) => 1 } $reports->received($to);
    return scalar keys %ids;
};

my $total = 0;
$total += $_ for values %expect;

wait_for(sub {
    my %ids;
    $ids{message_id($_)} = 1 for grep { $expect{$_->{rcpts}[0]} }
        $reports->messages();
    keys %ids >= $total;
}, 60, "all of $total reports");

sleep 3;

is_deeply({ map { $_ => $unique->($_) } keys %expect }, \%expect,
    'every report arrived, and no other');

my (%seen, @bad);
my $twice = 0;

for my $r (sort { $a->{time} <=> $b->{time} } $reports->messages()) {
    next unless $expect{$r->{rcpts}[0]};

    my $id = message_id($r);
    my $first = $seen{$id};
    $seen{$id} = $r->{time};
    next unless $first;

    $twice++;
    push @bad, sprintf '%s %.3f %.3f', $id, $first, $r->{time}
        unless grep { $first > $_->[0] - 0.5 * $PATIENCE
            && $first < $_->[1] + 0.1 && $r->{time} > $_->[0] } @kills;
}

note("$twice deliveries of $total reports were repeated");
is_deeply(\@bad, [], 'repeated only where a kill came between');

$t->done();
