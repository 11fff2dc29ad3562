#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What an operator does to queued mail: each action by id and by filter, what
# it answers and what becomes of the message, also when it is in an attempt,
# on its way through a reload, or in a queue that is not configured any more.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

# recipients say what happens: later is refused until "open" is set, slow gets
# its answer to the end of data after some seconds

my $mx = $t->sink('mx', replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return undef if -e $t->dir() . '/open';
        return '450 4.2.1 not now' if $arg =~ /later/;
        return '550 5.1.1 nobody here' if $arg =~ /never/;
        return undef;
    },
    DOT => sub {
        my ($s, $txn) = @_;
        my ($rcpt) = @{$txn->{rcpts}};
        return { delay => 3, reply => '250 2.0.0 at last' }
            if $rcpt =~ /slow-ok/;
        return { delay => 3, reply => '451 4.3.0 no' } if $rcpt =~ /slow/;
        return undef;
    },
});

# and so does a report to slow-report

my $reports = $t->sink('reports', replies => {
    DOT => sub {
        my ($s, $txn) = @_;
        return $txn->{rcpts}[0] =~ /slow-report/
            ? { delay => 3, reply => '250 2.0.0 at last' } : undef;
    },
});

my $conf = <<'EOC';
%%GLOBALS%%

worker_processes 2;

events { }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status control=on; }
        location /show/ { smtp_status; }

        location /except/ {
            smtp_status control=on host=queue.test;

            limit_except GET {
                allow 127.0.0.1;
                deny  all;
            }
        }

        location /nobody/ {
            smtp_status control=on;
            limit_except GET { deny all; }
        }

        location /if/ {
            smtp_status control=on;
            if ($request_method = POST) { set $post 1; }
            location /if/inner/ { return 204; }
        }
    }
}

stream {
    smtp_log  %%DIR%%/smtp.log json;

    smtp_queue out {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_mx%%;
        tls           off;
        retry         1h;
        report_queue  reports;
    }

    smtp_queue reports {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_reports%%;
        tls           off;
        retry         1s;
    }

    smtp_queue down {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_down%%;
        tls           off;
        retry         1h;
    }

    %%OLD%%

    server {
        listen        127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }

    server {
        listen        127.0.0.1:%%PORT_todown%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  down;
    }

    server {
        listen        127.0.0.1:%%PORT_toold%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  %%OLDNAME%%;
    }
}
EOC

my $old = 'smtp_queue old { spool %%DIR%%/spool; hostname relay.test;'
    . ' next_hop 127.0.0.1:%%PORT_mx%%; tls off; retry 1h; }';

$t->set(OLD => $t->expand($old), OLDNAME => 'old');
$t->write_conf($conf)->run();

my $h = Test::SMTPRelay::Status->new($t, 'http');

sub submit {
    my ($to, %opts) = @_;

    return $t->submit($opts{port} || 'smtp', $opts{from} // 'a@from.test', $to,
        "Subject: for $to\r\n\r\nbody\r\n");
}

# a message that waits

sub waiting { $h->waiting(submit(@_)) }

sub logged {
    my ($id, $status) = @_;
    return $t->deliveries($id, sub {
        $_->{status} eq $status && !$_->{report}
    });
}

sub open_hop { $t->write_file('open', '') }
sub close_hop { unlink $t->dir() . '/open' }

# hold and release, requeue, flush

my $id = waiting('later1@to.test');

$h->act($id, 'hold', 200, 'done');
is($h->state($id), 'held', 'it is held');
$h->act($id, 'hold', 200, 'unchanged');
$h->act($id, 'flush', 409, 'refused', 'flush of what is held: refused');

my $fence = waiting('later-fence@to.test');
open_hop();
$h->act($fence, 'flush', 200, 'done', 'another one is flushed');
$h->gone($fence, 'and delivered');
is($h->state($id), 'held', 'what is held is not tried');

$h->act($id, 'release', 200, 'done');
$h->act($id, 'release', 200, 'unchanged');
is($h->state($id), 'deferred', 'after release it waits as before');
is(scalar $mx->received('later1@to.test'), 0, 'and was not sent');

$h->act($id, 'hold', 200, 'done');
$h->act($id, 'requeue', 200, 'done', 'requeue of what is held: done');
$h->gone($id, 'it was delivered');
is(scalar $mx->received('later1@to.test'), 1, 'once');

close_hop();
$id = waiting('later2@to.test');
open_hop();
$h->act($id, 'flush', 200, 'done');
$h->gone($id, 'flush: it was delivered');
is(scalar $mx->received('later2@to.test'), 1, 'once');
close_hop();

# hold survives a restart

$id = waiting('later3@to.test');
$h->act($id, 'hold', 200, 'done');
$t->stop();
$t->run();
wait_for(sub { $h->state($id) }, 10, 'the message after a restart');
is($h->state($id), 'held', 'held after a restart');
$h->act($id, 'delete', 200, 'done', 'what is held can be deleted');
is($h->state($id), '', 'and is gone');

# ... and kill -9

$id = waiting('later4@to.test');
$h->act($id, 'hold', 200, 'done');
sleep 1.2;
$t->expect_log(qr/exited on signal 9/);
$t->kill_worker($_) for $t->workers();
wait_for(sub { $h->state($id) }, 10, 'the message after kill -9');
is($h->state($id), 'held', 'held after kill -9');
$h->act($id, 'delete', 200, 'done');

# a dead next hop: flush probes it at once

my @down = map { waiting("x$_\@down.test", port => 'todown') } 1 .. 3;
wait_for(sub { $h->list('queue=down&state=deferred') == 3 }, 10, 'down');
my $hop = $t->sink('down');
my ($status, $answer) = $h->post('queue/flush?queue=down');
is("$status $answer->{done}", '200 3', 'flush of a queue');
$h->gone($_, "$_: delivered to the next hop that is back") for @down;

# bounce

$id = waiting('later5@to.test');
$h->act($id, 'bounce', 200, 'done');
$reports->wait_messages(1);
my ($report) = $reports->messages();
is_deeply($report->{rcpts}, [ 'a@from.test' ], 'bounce: the sender hears it');
like($report->{body}, qr/^Final-Recipient: rfc822; *later5\@to\.test\r$/mi,
    'for whom');
like($report->{body}, qr/^Action: failed\r$/m, 'failed');
like($report->{body}, qr/^Status: 5\.7\.1\r$/m, 'with status');
like($report->{body}, qr/returned to the sender by an operator/, 'and why');
$h->gone($id, 'bounce: then it is gone');
my ($line) = logged($id, 'failed');
is_deeply($line->{to}, [ 'later5@to.test' ], 'in the log');
ok(eval { $t->wait_log(qr/message $id was bounced by an operator/) },
    'and in the error log');

$id = waiting('later6@to.test', from => '');
$h->act($id, 'bounce', 200, 'done', 'bounce of a report: done');
$h->gone($id, 'and nothing is reported to the null sender');

# of two recipients one has its mail

$id = waiting([ 'fine@to.test', 'later7@to.test' ]);
$h->act($id, 'bounce', 200, 'done');
$h->gone($id, 'bounce of the rest: gone');
$reports->wait_messages(2);
$report = ($reports->messages())[1];
like($report->{body}, qr/later7/, 'it tells of the one');
unlike($report->{body}, qr/Final-Recipient: rfc822; *fine\@/i,
    'and not of the other');

# delete

$id = waiting('later8@to.test');
$h->act($id, 'delete', 200, 'done');
is($h->state($id), '', 'delete: gone at once');
$h->act($id, 'delete', 404, 'no such message');
$h->act($id, $_, 404, 'no such message', "$_ of an unknown id")
    for qw/ flush hold release requeue bounce /;
($line) = logged($id, 'failed');
like($line->{reply}, qr/deleted by an operator, not reported/,
    'the log says so');
is(scalar $reports->messages(), 2, 'nothing was reported');

# by filter

my @many = map { waiting("later-f$_\@to.test", from => "f$_\@from.test") }
    1 .. 4;
my $other = waiting('later-other@else.test');

($status, $answer) = $h->post('queue/hold?domain=to.test');
is("$status $answer->{done} $answer->{unchanged}", '200 4 0',
    'hold by filter');
ok(!exists $answer->{next}, 'all of it');
($status, $answer) = $h->post('queue/hold?domain=to.test');
is("$answer->{done} $answer->{unchanged}", '0 4', 'and again');
is($h->state($other), 'deferred', 'others are not touched');

($status, $answer) = $h->post('queue/release?recipient=later-f1@to.test');
is($answer->{done}, 1, 'release by recipient');
($status, $answer) = $h->post('queue/bounce?sender=f2@from.test');
is($answer->{done}, 1, 'bounce by sender');
$h->gone($many[1], 'gone');
wait_for(sub { $reports->received('f2@from.test') }, 10, 'its report');
($status, $answer) = $h->post('queue/delete?state=held');
is($answer->{done}, 2, 'delete by state');
is_deeply([ sort map { $_->{id} } $h->list() ],
    [ sort $many[0], $other ], 'what is left');
($status, $answer) = $h->post('queue/delete?error=not+now');
is($answer->{done}, 0, 'a plus is a plus');

open_hop();
($status, $answer) = $h->post('queue/requeue?all=1');
is($answer->{done}, 2, 'requeue of all');
$h->gone($_, 'delivered') for $many[0], $other;
close_hop();

($status, $answer) = $h->post("queue/$_")
    and is($status, 400, "$_ of everything needs all=1")
    for qw/ flush hold release requeue bounce delete /;
is(($h->post('queue/delete?stat=held'))[0], 400, 'a filter that is none');
is(($h->post('queue/delete?domain=to.test&limit=1'))[0], 400,
    'an action has no limit');
is(($h->post('queue/delete?queue=none'))[1]{done}, 0, 'none matches');

{
    local $h->{base} = '/show/';
    is(($h->post('queue/delete?all=1'))[0], 403, 'control is off elsewhere');
}

# a body is not read, and does not become the next request

for my $body ("Content-Length: 40\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"
    . "28\r\n")
{
    my $raw = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $t->port('http')) or die "connect: $@";

    # (one after the other, as nginx reads a pipelined one unaligned)

    print {$raw} "POST /smtp/queue/hold?queue=none HTTP/1.1\r\nHost: localhost"
        . "\r\n${body}POST /smtp/queue/delete?all=1 HTTP/1.1\r\n",
        $body =~ /chunked/ ? "\r\n0\r\n\r\n" : '';

    my $reply = '';
    while ($reply !~ /\}\n\z/) {
        sysread $raw, $reply, 4096, length $reply or last;
    }

    print {$raw} "GET /smtp/queue/nothing HTTP/1.1\r\nHost: localhost\r\n"
        . "Connection: close\r\n\r\n";

    $reply .= do { local $/; <$raw> } // '';

    is(join(' ', $reply =~ /^HTTP\/1\.1 (\d+)/mg), '200 404',
        'with a body');
}

# blocks within its location belong to it

for my $base (qw{ /except/ /if/ }) {
    local $h->{base} = $base;
    is(($h->request('GET', ''))[0], 200, "$base: seen");
    ($status, $answer) = $h->request('POST', 'queue/hold?queue=none');
    is("$status " . ($answer->{done} // ''), '200 0', "$base: and controlled");
}

{
    local $h->{base} = '/except/';
    is(($h->request('POST', 'queue/hold?queue=none', Host => 'queue.test'))[0],
        200, 'limit_except: the names of its host');
    local $h->{base} = '/nobody/';
    is(($h->request('GET', ''))[0], 200, 'limit_except, deny: seen');
    is(($h->request('POST', 'queue/hold?queue=none'))[0], 403,
        'limit_except, deny: not controlled');
}

for my $headers ([ Host => 'evil.test' ], [ Origin => 'http://evil.test' ],
    [ 'Sec-Fetch-Site' => 'cross-site' ])
{
    is(($h->request('POST', 'queue/delete?all=1', @$headers))[0], 403,
        "POST with $headers->[0]: $headers->[1]");
}

# in an attempt: nothing is taken away from it

sub busy {
    my $id = submit(@_);
    wait_for(sub {
        my ($s, $a) = $h->get("message/$id");
        $s == 200 && $a->{outstanding};
    }, 10, "$id to be sent");
    return $id;
}

$id = busy('slow-hold@to.test');
is($h->state($id), 'busy', 'busy');
$h->act($id, 'flush', 200, 'unchanged', 'flush of what is busy: unchanged');
$h->act($id, 'hold', 202, 'pending', 'hold: pending');
wait_for(sub { $h->state($id) ne 'busy' }, 10, 'the end of the attempt');
is($h->state($id), 'held', 'then it is held');
$h->act($id, 'delete', 200, 'done');

$id = busy('slow-ok-hold@to.test');
$h->act($id, 'hold', 202, 'pending', 'hold of what is taken: pending');
$h->gone($id, 'it was delivered');
is(scalar $mx->received('slow-ok-hold@to.test'), 1, 'once');

my $n = $reports->messages();

$id = busy('slow-delete@to.test');
$h->act($id, 'delete', 202, 'pending', 'delete: pending');
is(($h->get("message/$id"))[1]{wish}, 'delete', 'and shown');
$h->gone($id, 'when the attempt has failed it is gone');
($line) = logged($id, 'deferred');
is($line->{code}, 451, 'the attempt was logged');
($line) = logged($id, 'failed');
like($line->{reply}, qr/deleted by an operator/, 'and the end');

$id = busy('slow-ok-delete@to.test');
$h->act($id, 'delete', 202, 'pending', 'delete of what is taken: pending');
$h->gone($id, 'it is gone');
is(scalar(logged($id, 'delivered')), 1, 'delivered, as the log says');
is(scalar $mx->received('slow-ok-delete@to.test'), 1, 'once');
is(scalar $reports->messages(), $n, 'none was reported');

$id = busy('slow-bounce@to.test');
$h->act($id, 'bounce', 202, 'pending', 'bounce: pending');
$h->gone($id, 'bounced after the attempt');
is(scalar $reports->messages(), $n + 1, 'with one report');

$id = busy('slow-requeue@to.test');
$h->act($id, 'hold', 202, 'pending');
$h->act($id, 'requeue', 200, 'done', 'requeue of what is busy: the hold ends');
wait_for(sub { $h->state($id) ne 'busy' }, 10, 'the end of the attempt');
is($h->state($id), 'deferred', 'and it is not held then');
$h->act($id, 'delete', 200, 'done');

# nor does an attempt for a report keep its message from being tried

$id = submit([ 'never@to.test', 'later-r@to.test' ],
    from => 'slow-report@from.test');
wait_for(sub {
    my $m = $h->show($id);
    $m && $m->{attempts} == 1 && $m->{state} eq 'busy'
        && @{$m->{reports}};
}, 20, 'its report to be tried');
open_hop();
$h->act($id, 'flush', 200, 'done', 'flush while a report is sent: done');
$h->gone($id, 'it was delivered');
is(scalar $mx->received('later-r@to.test'), 1, 'once');
close_hop();

$n = $reports->messages() - 1;

# a reload while an answer is awaited: the old worker is asked as well

$id = busy('slow-reload@to.test');
my ($before) = ($h->get("message/$id"))[1]{worker};
$t->reload();
my $now = ($h->get("message/$id"))[1];
is($now->{worker}, $before, 'the old worker still has it');
ok(eval { wait_for(sub { !grep { $_ == $before } $t->workers() }, 10,
    'leaving') }, 'it is an old one');
ok(eval { wait_for(sub { grep { $_->{pid} == $before && $_->{leaving} }
    @{($h->request('GET', ''))[1]{workers}} }, 2, 'leaving') },
    'and said to be leaving');
$h->act($id, 'delete', 202, 'pending', 'delete in the old worker: pending');
$h->gone($id, 'and carried out there');
is(scalar $reports->messages(), $n + 1, 'no report');

# an unknown queue

$id = waiting('later9@to.test', port => 'toold');
$t->set(OLD => '', OLDNAME => 'out');
$t->write_conf($conf);
$t->reload(wait => 1);
wait_for(sub { $h->state($id) eq 'unknown' }, 30, 'the unknown queue');

($status, $answer) = $h->get('');
my ($q) = grep { $_->{name} eq 'old' } @{$answer->{queues}};
is("$q->{messages} $q->{unknown}", '1 1', 'an unknown queue: counted');
ok(!$q->{configured}, 'as not configured');
is(scalar $h->list('state=unknown'), 1, 'and listed');
$h->act($id, 'flush', 409, 'refused');
$h->act($id, 'bounce', 409, 'refused');
$h->act($id, 'hold', 200, 'done');
$h->act($id, 'release', 200, 'done');
$h->act($id, 'delete', 200, 'done', 'it can be deleted');
is($h->state($id), '', 'and is gone');

is(scalar $h->list(), 0, 'nothing is left');

# and nothing comes back

$t->stop();
$t->run();
wait_for(sub { ($h->get(''))[1]{complete} }, 30, 'all to be read');
$h->gone(submit('fence@to.test'), 'after a restart: a message is delivered');
is(scalar $h->list(), 0, 'and none came back');

my %seen;
$seen{$_}++ for map { @{$_->{rcpts}} } $mx->messages();
is(join(' ', grep { $seen{$_} > 1 } keys %seen), '', 'nothing came twice');

$t->done();
