#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Mail that an operator sends elsewhere: to another queue, to another next hop;
# through restarts, a kill -9, and from a queue that is not configured any
# more.  And what was wanted of a message in an attempt outlives its worker.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

# mx defers everything, and lets the end of data of "slow" wait

my $mx = $t->sink('mx', replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return $arg =~ /slow/ ? undef : '450 4.2.1 not now';
    },
    DOT => { delay => 30, reply => '451 4.3.0 no' },
});

my $other = $t->sink('other');
my $third = $t->sink('third');
my $reports = $t->sink('reports');

my $conf = <<'EOC';
%%GLOBALS%%

worker_processes 1;

events { }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status control=on; }
    }
}

stream {
    smtp_log  %%DIR%%/smtp.log json;

    upstream spare {
        server 127.0.0.1:%%PORT_third%%;
    }

    %%QUEUE%%

    smtp_queue other {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_other%%;
        tls           off;
        retry         1h;
    }

    smtp_queue reports {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_reports%%;
        tls           off;
        retry         1s;
    }

    smtp_queue apart {
        spool         %%DIR%%/apart;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_other%%;
        tls           off;
    }

    server {
        listen        127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  %%NAME%%;
    }
}
EOC

my $queue = $t->expand('smtp_queue out { spool %%DIR%%/spool;'
    . ' hostname relay.test; next_hop 127.0.0.1:%%PORT_mx%%; tls off;'
    . ' retry 1h; report_queue reports; }');

$t->set(QUEUE => $queue, NAME => 'out');
$t->write_conf($conf)->run();

my $h = Test::SMTPRelay::Status->new($t, 'http');

sub submit {
    my ($to) = @_;
    return $t->submit('smtp', 'a@from.test', $to,
        "Subject: for $to\r\n\r\nbody\r\n");
}

sub waiting { $h->waiting(submit(@_)) }

# the only worker, as soon as the event is with the kernel

sub crash {
    my ($old) = $t->workers();
    sleep 0.3;
    $t->kill_worker($old);
    wait_for(sub { my ($new) = $t->workers(); $new && $new != $old }, 30,
        'another worker');
}

$t->expect_log(qr/exited on signal 9/);

# what cannot be

my $id = waiting('a@to.test');

$h->act($id, 'move', 400, 'this action needs "to"');
$h->act($id, 'hold?to=other', 400, '"to" is for move and next-hop');
$h->act($id, 'move?to=none', 409, 'refused', 'an unknown queue: refused');
$h->act($id, 'move?to=apart', 409, 'refused', 'of another spool: refused');
$h->act($id, 'move?to=out', 200, 'unchanged', 'where it is: unchanged');
$h->act($id, 'next-hop?to=-', 200, 'unchanged', 'its own next hop: unchanged');
$h->act($id, "next-hop?to=$_", 409, 'refused', "next hop $_: refused")
    for 'example.test:25', '127.0.0.1', 'nothing', '127.0.0.1:0',
        '127.0.0.1:99999', '127.0.0.0/8', 'unix:', '[::1', '*:25',
        '127.0.0.1:25/path';
is($h->state($id), 'deferred', 'it waits as before');

# another queue

$h->act($id, 'move?to=other', 200, 'done');
$h->gone($id, 'moved: delivered');
is($other->received('a@to.test'), 1, 'where it was moved to');

# another next hop: an address, an upstream{}, as a queue has it

for my $case ([ b => '127.0.0.1:' . $t->port('third') ], [ c => 'spare' ]) {
    my ($name, $hop) = @$case;

    $id = waiting("$name\@to.test");
    $h->act($id, "next-hop?to=$hop", 200, 'done', "next hop $hop");
    $h->gone($id, 'delivered');
    is($third->received("$name\@to.test"), 1, 'to it');
    my ($line) = $t->json_log('smtp.log', sub {
        $_->{event} eq 'delivery' && $_->{queue_id} eq $id
            && $_->{status} eq 'delivered'
    });
    is("$line->{queue} $line->{next_hop}", "out $hop", 'as the log has it');
}

# any number of next hops, one after the other: those that no message has any
# more, with an idle connection or without, make room for others

$id = waiting('many@to.test');
$h->act($id, 'next-hop?to=127.0.0.1:' . $t->port('third'), 200, 'done');
$h->gone($id, 'a connection is left');
$id = waiting('many@to.test');
$h->act($id, 'hold', 200, 'done');

# of all of 127.0.0.0/8 only 127.0.0.1 is listened on, also by other tests

sub hop { return sprintf '127.88.%d.%d:1', $_[0] / 250, $_[0] % 250 + 1 }

my %results;

for (1 .. 600) {
    my ($status, $answer) = $h->post("message/$id/next-hop?to=" . hop($_));
    $results{"$status " . ($answer->{result} // '')}++;
}

is(join(' ', map { "$_: $results{$_}" } sort keys %results), '200 done: 600',
    'six hundred next hops');
is($h->show($id)->{next_hop}, hop(600), 'it has the last one');
$h->act($id, 'next-hop?to=127.0.0.1:' . $t->port('third'), 200, 'done');
$h->act($id, 'release', 200, 'done');
$h->act($id, 'requeue', 200, 'done');
$h->gone($id, 'delivered to the next hop it had before');

# but no more than can be at a time

my @ids = map { submit("n$_\@to.test") } 1 .. 257;
%results = ();

for my $i (0 .. 255) {
    my ($status, $answer) = $h->post("message/$ids[$i]/next-hop?to="
        . hop($i));
    $results{($answer->{result} // '') =~ s/pending/done/r}++;
}

is(join(' ', map { "$_: $results{$_}" } sort keys %results), 'done: 256',
    'next hops of 256 messages');
$h->act($ids[256], 'next-hop?to=' . hop(601), 409, 'refused',
    'and no other one');
$h->post("message/$ids[0]/delete");
$h->gone($ids[0], 'one of them is deleted');
$h->post("message/$ids[256]/next-hop?to=" . hop(601));
is($h->show($ids[256])->{next_hop}, hop(601), 'its room is another\'s');
$h->post("message/$_/delete") for @ids[1 .. 256];
wait_for(sub { !grep { defined $h->show($_) } @ids }, 30, 'the others to end');

# held mail stays held; the change survives a restart and a crash

$id = waiting('d@to.test');
$h->act($id, 'hold', 200, 'done');
$h->act($id, 'next-hop?to=spare', 200, 'done', 'of what is held');
is($h->show($id)->{next_hop}, 'spare', 'it is shown');
is($h->state($id), 'held', 'and still held');
my $moved = waiting('e@to.test');
$h->act($moved, 'hold', 200, 'done');
$h->act($moved, 'move?to=other', 200, 'done', 'move of what is held');

crash();
wait_for(sub { $h->show($id) && $h->show($moved) }, 30, 'both after kill -9');
is($h->show($id)->{next_hop}, 'spare', 'after kill -9: its next hop');
is($h->show($moved)->{queue}, 'other', 'its queue');
is_deeply([ map { $_->{id} } $h->list('queue=other') ], [ $moved ],
    'also for the filter');

$t->stop();
$t->run();
wait_for(sub { $h->show($id) && $h->show($moved) }, 30, 'both after a restart');
is($h->show($id)->{next_hop}, 'spare', 'after a restart: its next hop');
is($h->show($moved)->{queue}, 'other', 'its queue');
is($h->show($id)->{error}, '4.2.1 not now', 'and its last error');
is_deeply([ map { $_->{id} } $h->list('error=NOT%20now') ], [ $id, $moved ],
    'that the filter finds');
is(scalar $h->list('error=nonsense'), 0, 'and nothing else');

$h->act($_, 'release', 200, 'done') for $id, $moved;
$h->act($_, 'requeue', 200, 'done') for $id, $moved;
$h->gone($_, 'released: delivered') for $id, $moved;
is($third->received('d@to.test') . $other->received('e@to.test'), '11',
    'each where it was moved to');

# back to what the queue has

$id = waiting('f@to.test');
$h->act($id, 'hold', 200, 'done');
$h->act($id, 'next-hop?to=spare', 200, 'done');
$h->act($id, 'next-hop?to=-', 200, 'done', 'the next hop of the queue again');
ok(!exists $h->show($id)->{next_hop}, 'none is shown');
$h->act($id, 'delete', 200, 'done');

# by filter

my @many = map { waiting("g$_\@to.test") } 1 .. 3;
my ($status, $answer) = $h->post('queue/move?to=other&domain=to.test');
is("$status $answer->{done}", '200 3', 'move by filter');
$h->gone($_, 'delivered') for @many;
is($other->received('g2@to.test'), 1, 'there');
($status, $answer) = $h->post('queue/move?to=other');
is($status, 400, 'a target is no filter');

# an upstream that is gone: waits for another word

$id = waiting('h@to.test');
$h->act($id, 'hold', 200, 'done');
$h->act($id, 'next-hop?to=spare', 200, 'done');
(my $less = $conf) =~ s/upstream spare/upstream renamed/;
$t->write_conf($less);
$t->reload(wait => 1);
wait_for(sub { $h->show($id) }, 30, 'the message after a reload');
$h->act($id, 'release', 200, 'done');
is($h->state($id), 'unknown', 'an unknown next hop: it waits');
is_deeply([ map { $_->{id} } $h->list('state=unknown') ], [ $id ], 'listed');
$h->act($id, 'next-hop?to=renamed', 200, 'done');
$h->gone($id, 'with another one it goes on');
$t->write_conf($conf);
$t->reload(wait => 1);

# its queue is gone

$id = waiting('i@to.test');
my $left = waiting('j@to.test');
$t->set(QUEUE => '', NAME => 'other');
$t->write_conf($conf);
$t->reload(wait => 1);
wait_for(sub { $h->state($id) eq 'unknown' && $h->state($left) eq 'unknown' }, 60,
    'the unknown queue');
$h->act($id, 'next-hop?to=spare', 409, 'refused',
    'a next hop for a queue that is not there: refused');
$h->act($id, 'move?to=other', 200, 'done', 'move from an unknown queue');
$h->gone($id, 'it goes on');
is($other->received('i@to.test'), 1, 'delivered');
is($h->state($left), 'unknown', 'the other one waits');
$h->act($left, 'move?to=other', 200, 'done');
$h->gone($left, 'until it is moved, too');

$t->set(QUEUE => $queue, NAME => 'out');
$t->write_conf($conf);
$t->reload(wait => 1);

# wanted while it was in an attempt; the worker does not live to see its end

sub busy {
    my $id = submit(@_);
    wait_for(sub { ($h->show($id) || {})->{outstanding} }, 30, "$id to be sent");
    return $id;
}

my %id = map { $_ => busy("slow-$_\@to.test") } qw/ bounce delete move hold /;

$h->act($id{bounce}, 'bounce', 202, 'pending');
$h->act($id{delete}, 'delete', 202, 'pending');
$h->act($id{move}, 'move?to=other', 202, 'pending');
$h->act($id{hold}, 'hold', 202, 'pending');
$h->act($id{hold}, 'delete', 202, 'pending', 'and delete: pending');

crash();

$h->gone($id{bounce}, 'bounced after kill -9');
$reports->wait_messages(1);
is(scalar grep({ $_->{body} =~ /slow-bounce\@to\.test/ }
    $reports->messages()), 1, 'its sender hears it');
$h->gone($id{delete}, 'deleted after kill -9');
$h->gone($id{hold}, 'held and deleted: deleted');
$h->gone($id{move}, 'moved: delivered');
is($other->received('slow-move@to.test'), 1, 'to the other');
is(scalar $reports->messages(), 1, 'nothing else was reported');

is(scalar $h->list(), 0, 'nothing is left');
$t->stop();
$t->run();
wait_for(sub { ($h->get(''))[1]{complete} }, 30, 'all to be read');
my $last = waiting('last@to.test');
is_deeply([ map { $_->{id} } $h->list() ], [ $last ],
    'nor after a restart: a new message is alone');

$t->done();
