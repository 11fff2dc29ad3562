#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Two workers have as many next hops as operators may give to the mail of one
# each; the only worker that comes after them has all of that mail to deliver.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Conf;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();

# nobody listens at any of the next hops

my %conf = (
    status => 'control=on',
    server => { listen => '127.0.0.1:%%PORT_smtp%% reuseport' },
);

$t->write_conf(relay_conf(%conf, workers => 2))->run();

my $h = Test::SMTPRelay::Status->new($t, 'http');

# the kernel gives either worker half of the connections

my $count = 320;
my %results;

for (1 .. $count) {
    my $id = $t->submit('smtp', 'a@from.test', "b$_\@to.test",
        "Subject: x\r\n\r\nbody\r\n");
    my $hop = sprintf '127.89.%d.%d:1', $_ / 250, $_ % 250 + 1;
    my ($status, $answer) = $h->post("message/$id/next-hop?to=$hop");
    $results{($answer->{result} // "status $status") =~ s/pending/done/r}++;
}

is(join(' ', map { "$_: $results{$_}" } sort keys %results), "done: $count",
    'next hops of the mail of two workers');

# one worker takes it all over

my %old = map { $_ => 1 } $t->workers();

$t->write_conf(relay_conf(%conf, workers => 1))->reload();

wait_for(sub {
    my %of;
    $of{$_->{worker}}++ for $h->list('');
    join(' ', values %of) eq $count && !grep { $old{$_} } keys %of;
}, 30, 'the new worker to have all of it');

# flush refuses what has no route

my %sum;

for (my $path = 'queue/flush?all=1'; $path; ) {
    my ($status, $answer) = $h->post($path);
    $sum{$_} += $answer->{$_} // 0 for qw/ done unchanged refused /;
    $path = $answer->{next} ? "queue/flush?all=1&after=$answer->{next}" : '';
}

is($sum{refused}, 0, 'nothing has no route');
is($sum{done} + $sum{unchanged}, $count, 'all of it is tried');

$t->done();
