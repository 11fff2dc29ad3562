#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Reload, stop and kill while messages are on their way: what was handed to
# the next hop in full is waited for, what was not is dropped and tried by the
# next worker, and nothing is delivered twice that was answered.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ time /;

my $t = Test::SMTPRelay->new();

my $mx = $t->sink('mx', replies => {
    DOT => sub {
        my ($s, $txn) = @_;
        my ($to) = @{$txn->{rcpts}};
        return { delay => $1 } if $to =~ /^slow(\d+)/;
        return { silent => 1 } if $to =~ /^(mute\d)/ && $s->count($1) == 1;
        return undef;
    },
    DATA => sub {
        my ($s) = @_;
        return { delay => 60 } if grep { /^stuck/ } @{$s->{rcpts}}
            and $s->count('stuck') == 1;
        return undef;
    },
});

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;
worker_shutdown_timeout 12s;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

    smtp_queue mx {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_mx%%;
        tls           off;
        retry         1s;
        data_timeout  20s;
        max_connections  30;
    }

    server {
        listen        127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  mx;
    }
}
EOC

sub submit {
    my ($to) = @_;

    # a session that has not begun a transaction gets 421 from a worker that
    # leaves

    for (1 .. 5) {
        my $c = $t->client('smtp');
        $c->cmd('EHLO client.test');
        my @reply = $c->send_message('a@from.test', "$to\@to.test",
            "Subject: $to\r\n\r\nx\r\n");
        $c->quit();

        return $1 if $reply[1] =~ /queued as (\S+)/;
        diag("$to: @reply[0, 1]");
    }

    return 'none';
}

sub attempts {
    my ($id) = @_;
    return grep { $_->{event} eq 'delivery' && $_->{queue_id} eq $id }
        $t->json_log('smtp.log');
}

sub at_sink {
    my ($to) = @_;
    return grep { $_->{rcpts}[0] eq "$to\@to.test" } $mx->transactions();
}

# in full at the next hop, which thinks about it: the old worker waits

my $slow = submit('slow7');
wait_for(sub { at_sink('slow7') }, 10, 'end of data');

# the same, but it never answers: worker_shutdown_timeout ends that

my $mute = submit('mute1');
wait_for(sub { at_sink('mute1') }, 10, 'end of data');

# not yet: 354 does not come

my $stuck = submit('stuck');
wait_for(sub { (grep { /DATA/ } $mx->commands()) == 3 }, 10, 'DATA');

my %old = map { $_ => 1 } $t->workers();
my $start = time();

$t->reload();

# a new worker takes over what the old one dropped

wait_for(sub { at_sink('stuck') }, 15, 'the next worker delivers');
cmp_ok(time() - $start, '<', 7, 'what was not handed over goes at once');
is(scalar attempts($slow), 0, 'the other one is still waited for');

wait_for(sub { attempts($slow) }, 15, 'the answer');
is((attempts($slow))[0]{status}, 'delivered', 'its answer counts');

is(scalar at_sink('mute1'), 1, 'the third one is waited for longer');

wait_for(sub { !grep { $old{$_} } $t->workers(all => 1) }, 15,
    'the old workers');
pass('then the old workers go');

my @lost = attempts($mute);
is($lost[0]{status}, 'deferred', 'an answer that never came is none');
is($lost[0]{code}, 0, 'and no reply');
cmp_ok($lost[0]{next_attempt} - (at_sink('mute1'))[0]{time}, '>=', 18,
    'not before its time is over');

# reloads under load

my $n = 200;
my %ids;

for my $i (1 .. $n) {
    $ids{submit("load$i")} = 1;
    $t->reload() if $i % 40 == 0;
}

wait_for(sub { $mx->count_messages() >= $n + 2 }, 40, 'all of the load');
wait_for(sub { at_sink('mute1') > 1 }, 30, 'the second attempt');
cmp_ok((at_sink('mute1'))[1]{time} - (at_sink('mute1'))[0]{time}, '>=', 18,
    'the second attempt came when the time was over');
sleep 2;

is(scalar at_sink('slow7'), 1, 'delivered once: the slow one');
is(scalar at_sink('stuck'), 1, 'and the one that was dropped');

my %seen;
$seen{$_->{rcpts}[0]}++ for grep { $_->{rcpts}[0] =~ /^load/ }
    $mx->transactions();
is(scalar keys %seen, $n, 'all arrived');
is(scalar(grep { $_ > 1 } values %seen), 0, 'none twice');
is(scalar keys %ids, $n, 'each had an id of its own');

# killed while an answer is awaited: not before its time is over

submit('mute2');
wait_for(sub { at_sink('mute2') }, 10, 'end of data');
my $sent = (at_sink('mute2'))[0]{time};

$t->term();
$t->run();

wait_for(sub { at_sink('mute2') > 1 }, 40, 'the next attempt');
cmp_ok((at_sink('mute2'))[1]{time} - $sent, '>=', 18,
    'not before the time-out of the first');

$t->done();
