#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Limits of a queue, counted over all workers: max_messages, max_size, the
# inodes of spool_min_free; new mail gets 452, what is queued goes out.  And
# what smtp_status counts: mail of now, commits, mail whose client left.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();

my $up = "$t->{dir}/up";        # exists: the next hop takes mail

my $sink = $t->sink('mx', replies => {
    MAIL => sub { -e $up ? undef : '451 4.3.0 later' },
});

my $conf = <<'EOC';
%%GLOBALS%%

worker_processes 3;

events { }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status control=on; }
    }
}

stream {
    smtp_queue few {
        spool          %%DIR%%/spool;
        spool_min_free 1m %%INODES%%;
        hostname       out.test;
        next_hop       127.0.0.1:%%PORT_mx%%;
        tls            off;
        retry          1h;
        max_messages   %%MESSAGES%%;
    }

    smtp_queue small {
        spool     %%DIR%%/spool;
        hostname  out.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1h;
        max_size  %%SIZE%%;
    }

    smtp_queue free {
        spool     %%DIR%%/spool;
        hostname  out.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1h;
    }

    smtp_trust 127.0.0.0/8;

    server { listen 127.0.0.1:%%PORT_few%%; smtp_enqueue few; }
    server { listen 127.0.0.1:%%PORT_small%%; smtp_enqueue small; }
    server { listen 127.0.0.1:%%PORT_free%%; smtp_enqueue free; }
}
EOC

# what nginx -t says

for (['10m inodes=', qr/invalid parameter "inodes="/],
    ['10m inodes=x', qr/invalid parameter "inodes=x", must be/],
    ['10m 1000', qr/invalid parameter "1000"/],
    ['10m; spool_min_free 10m', qr/"spool_min_free" directive is duplicate/],
    ['lots', qr/invalid value "lots" of "spool_min_free", must be a size/])
{
    $t->refused("%%GLOBALS%%\nevents { }\nstream { smtp_queue q { spool"
        . " %%DIR%%/spool; next_hop 127.0.0.1:1; spool_min_free $_->[0]; } }",
        $_->[1], "spool_min_free $_->[0]");
}

$t->refused("%%GLOBALS%%\nevents { }\nstream { smtp_queue a { spool"
    . " %%DIR%%/spool; next_hop 127.0.0.1:1; spool_min_free 1m inodes=5; }"
    . " smtp_queue b { spool %%DIR%%/spool; next_hop 127.0.0.1:1;"
    . " spool_min_free 1m inodes=6; } }",
    qr/smtp_queue "b" shares its spool .* differently/,
    'inodes of queues that share a spool');

$t->set(INODES => '', MESSAGES => 5, SIZE => '20k');
$t->write_conf($conf)->run();

my $h = Test::SMTPRelay::Status->new($t, 'http');

# one session for each message: the workers take turns

sub submit {
    my ($port, $subject, $size) = @_;

    my $c = $t->client($port, timeout => 20);
    $c->cmd('EHLO client.test');

    my ($code, $text) = $c->send_message('a@from.test', 'b@to.test',
        "Subject: $subject\r\n\r\n" . 'x' x ($size || 10) . "\r\n");
    $c->quit();

    return "$code $text";
}

sub count { my ($text, @replies) = @_; scalar grep { /$text/ } @replies }

# workers learn of each other's mail within 100 ms: ask in between

my $full = qr/^452 4\.3\.1 Mail queue is full, try again later$/;
my @replies;

for (1 .. 8) {
    push @replies, submit('few', "few$_");
    select undef, undef, undef, 0.15;
}

is(count(qr/^250/, @replies), 5, 'max_messages: so many are taken')
    or diag(join "\n", @replies);
is(count($full, @replies), 3, 'max_messages: the others are refused');

like(submit('free', 'free1'), qr/^250/, 'another queue has room');

# at MAIL already, and only the mail of a transaction

my $c = $t->client('few');
$c->cmd('EHLO client.test');
like(join(' ', ($c->cmd('MAIL FROM:<a@from.test>'))[0, 1]), $full,
    'refused at MAIL');
is(($c->cmd('NOOP'))[0], 250, 'and the session goes on');

# by size; what SIZE= says counts

@replies = ();

for (1 .. 4) {
    push @replies, submit('small', "small$_", 8000);
    select undef, undef, undef, 0.15;
}

is(join(' ', map { substr $_, 0, 3 } @replies), '250 250 452 452',
    'max_size: refused when it would be more');
like($replies[2], $full, 'max_size: with the same reply');
like(submit('small', 'little', 100), qr/^250/, 'max_size: a small one fits');

$c = $t->client('small');
$c->cmd('EHLO client.test');
like(join(' ', ($c->cmd('MAIL FROM:<a@from.test> SIZE=10000'))[0, 1]), $full,
    'max_size: SIZE= is too much');

$t->wait_log(qr/\[warn\] .*smtp_queue "few" is full: 5 messages of \d+ bytes/);
my @told = $t->log() =~ /smtp_queue "few" is full/g;
cmp_ok(scalar @told, '<=', 3, 'told once by each worker');

# what is now

wait_for(sub { ($h->get(''))[1]{now}{outbound} == 0 }, 20,
    'no connections');

my $s = ($h->get(''))[1];

is($s->{now}{queued}, 9, 'status: queued');
is($s->{now}{held}, 0, 'status: held');
is($s->{totals}{accepted}, 9, 'status: accepted');
is($s->{now}{sessions}, 1, 'status: sessions');
cmp_ok($s->{totals}{commits}, '>=', 1, 'status: commits');
cmp_ok($s->{totals}{commits}, '<=', 9, 'status: commits, one a batch');

is(($h->post('queue/hold?queue=few'))[0], 200, 'hold');
is(($h->get(''))[1]{now}{held}, 5, 'status: held after hold');
is(($h->post('queue/release?queue=few'))[0], 200, 'release');
is(($h->get(''))[1]{now}{held}, 0, 'status: held after release');

# a reload takes the limits and the mail along

$t->set(MESSAGES => 6);
$t->write_conf($conf)->reload(wait => 1);

$h->wait_list('', 9);
wait_for(sub { ($h->get(''))[1]{now}{queued} == 9 }, 20,
    'nine queued');

select undef, undef, undef, 0.15;
like(submit('few', 'few6'), qr/^250/, 'reload: one more');
select undef, undef, undef, 0.15;
like(submit('few', 'few7'), $full, 'reload: no more');

# what is delivered makes room

$t->write_file('up', '');
is(($h->post('queue/flush?all=1'))[0], 200, 'flush');
$sink->wait_messages(10);

wait_for(sub { ($h->get(''))[1]{now}{queued} == 0 }, 20,
    'nothing queued');
select undef, undef, undef, 0.15;

like(submit('few', 'again'), qr/^250/, 'room again');
$sink->wait_messages(11);

# clients that do not wait for the answer are counted

my $before = ($h->get(''))[1]{totals}{accepted};

for (1 .. 20) {
    $c = $t->client('free');
    $c->cmd('EHLO client.test');
    $c->cmd($_) for 'MAIL FROM:<a@from.test>', 'RCPT TO:<b@to.test>', 'DATA';
    $c->send_raw("Subject: gone$_\r\n\r\nx\r\n.\r\n");
    $c->close();
}

$sink->wait_messages(31, 20);
is(($h->get(''))[1]{totals}{accepted}, $before + 20,
    'accepted: also when the client is gone');

# too few inodes

$t->set(INODES => 'inodes=4000000000000');
$t->write_conf($conf)->reload(wait => 1);

my $reply = '';

eval {
    wait_for(sub {
        ($reply = submit('free', 'inodes')) =~ /^452/;
    }, 20, 'a refusal');
};

like($reply, qr/^452 4\.3\.1 Insufficient system storage$/,
    'too few inodes: refused');

$t->set(INODES => 'inodes=0');
$t->write_conf($conf)->reload(wait => 1);
like(submit('free', 'enough'), qr/^250/, 'enough of them');

$t->done();
