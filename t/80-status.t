#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_status, what it shows and to whom: status, list, filters, pages, one
# message; methods, Host, Origin; workers that are gone, a reload; nginx
# without stream{}; a page of a long queue while mail is taken.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw/ sum0 /;
use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;
use Time::HiRes qw/ time /;

# without stream{}

my $bare = Test::SMTPRelay->new();

$bare->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { }
http {
    access_log off;
    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status; }
    }
}
EOC

my $h = Test::SMTPRelay::Status->new($bare, 'http');
my ($status, $answer, $head) = $h->get('');

is($status, 200, 'without stream{}: status');
is_deeply($answer->{queues}, [], 'without stream{}: no queues');
is_deeply(($h->get('queue'))[1]{messages}, [], 'without stream{}: no mail');
is(($h->get('message/01jd8k3v9q2m7x4t5b6c-1'))[0], 404,
    'without stream{}: no message');

$bare->stop();
$bare->final_checks();
$bare->{finished} = 1;

# the directive

my $t = Test::SMTPRelay->new();

sub conf {
    my ($location) = @_;
    return "%%GLOBALS%%\nevents { }\nhttp { access_log off; server { listen"
        . " 127.0.0.1:%%PORT_http%%; $location } }\n";
}

$t->accepted(conf('location /s/ { smtp_status control=on host=a host=b; }'),
    'all parameters');
$t->refused(conf('location /s/ { smtp_status contol=on; }'),
    qr/invalid parameter "contol=on"/, 'unknown parameter');
$t->refused(conf('location /s/ { smtp_status host=; }'),
    qr/invalid parameter "host="/, 'empty host');
$t->refused(conf("location /s/ { smtp_status host=$_; }"),
    qr/invalid host "\Q$_\E", must be a name without port/, "host $_")
    for 'a.test:8025', 'http://a.test', '*.a.test';
$t->refused(conf('location /s/ { smtp_status control=on control=off; }'),
    qr/duplicate "control"/, 'control twice');
$t->refused(conf('location /s/ { smtp_status; smtp_status; }'),
    qr/is duplicate/, 'twice');
$t->refused(conf('location ~ ^/s/ { smtp_status; }'),
    qr/needs a location with a plain prefix/, 'regular expression');
$t->refused(conf('smtp_status;'), qr/not allowed here/, 'in server{}');

# mail: held() below stops at a sink that refuses everything for now

my $mx = $t->sink('mx', replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return '451 4.7.1 greylisted, please wait' if $arg =~ /grey/;
        return '450 4.2.1 always later' if $arg =~ /later|bulk/;
        return undef;
    },
});

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;
worker_rlimit_nofile 8192;

events { worker_connections 2048; }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status; }
        location /named/ { smtp_status host=mail.example.com; }
        location = /exact { smtp_status; }
    }
}

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        hostname  relay.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1h;
    }

    smtp_queue bulk {
        spool     %%DIR%%/spool2;
        hostname  relay.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1h;
    }

    server {
        listen        127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }

    server {
        listen        127.0.0.1:%%PORT_bulk%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  bulk;
    }
}
EOC

$h = Test::SMTPRelay::Status->new($t, 'http');

my $mail = "Subject: test\r\nX-Test: \"q\"\r\n\r\nbody\r\n";
my $grey = $t->submit('smtp', 'alice+tag@from.test', 'grey@to.test', $mail);
my $later = $t->submit('smtp', '', [ 'later@to.test', 'ok@to.test' ], $mail);
my $other = $t->submit('bulk', 'alice+tag@from.test', 'later@other.test',
    $mail);

$h->wait_list('state=deferred', 3);

# status

($status, $answer, $head) = $h->get('');

is($status, 200, 'status');
like($head, qr/Content-Type: application\/json\r/, 'as JSON');
like($head, qr/Cache-Control: no-store/, 'not to be stored');
like($head, qr/X-Content-Type-Options: nosniff/, 'nor guessed');
is($answer->{totals}{accepted}, 3, 'totals: accepted');
is($answer->{totals}{delivered}, 1, 'totals: delivered');
is($answer->{totals}{deferred}, 3, 'totals: deferred');
ok($answer->{totals}{attempts} >= 3, 'totals: attempts');
is(ref $answer->{complete}, 'JSON::PP::Boolean', 'complete is a boolean');
ok($answer->{complete}, 'complete');
is_deeply([ sort map { $_->{pid} } @{$answer->{workers}} ],
    [ sort $t->workers() ], 'each worker once, whatever it serves');
is(sum0(map { $_->{messages} } @{$answer->{workers}}), 3,
    'messages of the workers');

my %queue = map { $_->{name} => $_ } @{$answer->{queues}};

is_deeply([ map { "$_ $queue{out}{$_}" } qw/ messages deferred due busy held
    unknown report / ], [ 'messages 2', 'deferred 2', 'due 0', 'busy 0',
    'held 0', 'unknown 0', 'report 0' ], 'counts of a queue');
is($queue{bulk}{messages}, 1, 'and of the other one');
ok($queue{bulk}{configured}, 'it is configured');

is(($h->request('GET', '?queue=none'))[0], 400, 'of everything, always');
is(($h->request('HEAD', ''))[0], 200, 'HEAD');
is(($h->request('GET', ''))[0], 200, 'GET with a slash');
{
    local $h->{base} = '/exact';
    is(($h->request('GET', ''))[0], 200, 'in an exact location');
}

# list and filters

my %row = map { $_->{id} => $_ } $h->list();

is_deeply([ sort keys %row ], [ sort $grey, $later, $other ], 'the list');

my $r = $row{$grey};

is($r->{queue}, 'out', 'queue');
is($r->{state}, 'deferred', 'state');
is($r->{sender}, 'alice+tag@from.test', 'sender');
is_deeply($r->{recipients}, [ 'grey@to.test' ], 'recipients');
is($r->{attempts}, 1, 'attempts');
like($r->{error}, qr/4\.7\.1 greylisted, please wait/, 'last error');
cmp_ok(abs($r->{received} - time()), '<', 60, 'received');
cmp_ok($r->{due} - time(), '>', 3000, 'due');
is_deeply([ @{$row{$later}}{qw/ sender recipient_count pending_count / },
    @{$row{$later}{recipients}} ], [ '', 2, 1, 'later@to.test' ],
    'recipients that are done are not shown');

my @filters = (
    'queue=out' => [ $grey, $later ],
    'queue=none' => [],
    'sender=alice+tag@from.test' => [ $grey, $other ],
    'sender=ALICE%2Btag%40from.test' => [ $grey, $other ],
    'sender=alice' => [],
    'sender=%3C%3E' => [ $later ],
    'recipient=later@other.test' => [ $other ],
    'recipient=ok@to.test' => [],
    'domain=to.test' => [ $grey, $later ],
    'domain=from.test&queue=bulk' => [ $other ],
    'older=1h' => [],
    'younger=1h' => [ $grey, $later, $other ],
    'state=held' => [],
    'state=due' => [],
    'error=GREYLISTED' => [ $grey ],
    'error=nothing' => [],
    'sender=alice+tag@from.test&domain=to.test&error=wait' => [ $grey ],
);

while (my ($query, $want) = splice @filters, 0, 2) {
    is_deeply([ sort map { $_->{id} } $h->list($query) ], [ sort @$want ],
        "filter $query");
}

# pages

($status, $answer) = $h->get('queue?limit=2');
is(scalar @{$answer->{messages}}, 2, 'a page');
is($answer->{next}, $answer->{messages}[1]{id}, 'and where it ends');
is_deeply([ map { $_->{id} } $h->list('limit=1') ],
    [ sort keys %row ], 'page by page, in the order of ids');

# what is wrong with a request

my @bad = ('older=x', 'older=', 'older=0', 'limit=0', 'limit=1001',
    'limit=-1', 'state=nonsense', 'quue=a', 'queue=a&queue=b', 'queue=%zz',
    'queue=%0a', 'queue', 'queue=%', 'id=' . $grey, 'queue=' . 'a' x 2000,
    'older=99999999999999999999d', 'state=held&state=due', 'limit=5&limit=5',
    'older=1d&older=2d', 'younger=1d&younger=1d', 'after=zzz');

for my $query (@bad) {
    ($status, $answer) = $h->request('GET', "queue?$query");
    is($status, 400, 'bad request: ' . substr $query, 0, 30);
}

is(($h->request('GET', 'queue?&&queue=out&'))[0], 200,
    'empty arguments do no harm');

for my $path (qw( x queue/x queue/list message message/x message/1-1/hold/x
    queue/hold/x message/01jd8k3v9q2m7x4t5b6c-01 ))
{
    is(($h->request('GET', $path))[0], 404, "nothing at $path");
}

# one message

($status, $answer) = $h->get("message/$later");

is($status, 200, 'one message');
is_deeply($answer->{recipients}, [
    { address => 'later@to.test', final => JSON::PP::false },
    { address => 'ok@to.test', final => JSON::PP::true } ],
    'its recipients');
is($answer->{helo}, 'client.test', 'its HELO');
is($answer->{client}, '127.0.0.1', 'its client');
like($answer->{header}, qr/^Received: .*\r\nSubject: test\r\nX-Test: "q"\r\n$/s,
    'its header');
unlike($answer->{header}, qr/body/, 'not its body');

is(($h->get('message/01jd8k3v9q2m7x4t5b6c-1'))[0], 404, 'an unknown one');
(my $next = $grey) =~ s/-\d+$/-999/;
is(($h->get("message/$next"))[0], 404, 'an unknown number');

# methods, control is off

for my $method (qw/ POST PUT DELETE /) {
    ($status, $answer, $head) = $h->request($method, 'queue');
    is($status, 405, "$method of the list");
    like($head, qr/Allow: GET, HEAD/, 'and what is allowed');
}

($status, $answer, $head) = $h->request('GET', "message/$grey/hold");
is($status, 405, 'an action with GET');
like($head, qr/Allow: POST/, 'and what is allowed');
is(($h->request('POST', "message/$grey/hold"))[0], 403, 'control is off');
is(($h->request('POST', 'queue/hold?all=1'))[0], 403, 'for many, too');
is(($h->list('state=held')), 0, 'nothing is held');

# Host and Origin

my $port = $t->port('http');

my @hosts = (
    [ 200, Host => '127.0.0.1' ], [ 200, Host => 'localhost' ],
    [ 200, Host => "LOCALHOST:$port" ], [ 200, Host => '[::1]:8025' ],
    [ 200, Host => '192.0.2.1' ],
    [ 403, Host => 'evil.test' ], [ 403, Host => "evil.test:$port" ],
    [ 403, Host => 'localhost.evil.test' ], [ 403, Host => '127.0.0.1.nip.io' ],
    [ 403, Host => '1.2.3' ], [ 403, Host => 'mail.example.com' ],
    [ 200, Origin => "http://127.0.0.1:$port" ],
    [ 200, Origin => "https://127.0.0.1:$port" ],
    [ 403, Origin => 'http://127.0.0.1' ],
    [ 403, Origin => 'http://evil.test' ],
    [ 403, Origin => "http://x127.0.0.1:$port" ],
    [ 403, Origin => "http:///127.0.0.1:$port/" ],
    [ 403, Origin => "ftp://127.0.0.1:$port" ],
    [ 403, Origin => 'null' ], [ 403, Origin => '' ],
    [ 403, 'Sec-Fetch-Site' => 'cross-site' ],
    [ 403, 'Sec-Fetch-Site' => 'same-site' ],
    [ 200, 'Sec-Fetch-Site' => 'same-origin' ],
);

for (@hosts) {
    my ($want, @header) = @$_;
    ($status, $answer) = $h->request('GET', '', @header);
    is($status, $want, "$header[0]: $header[1]");
}

{
    local $h->{base} = '/named/';
    is(($h->request('GET', '', Host => 'Mail.Example.COM'))[0], 200,
        'a listed Host');
    is(($h->request('GET', '', Host => 'example.com'))[0], 403,
        'another is refused');
}

# a worker that was killed leaves a socket behind, which is removed

sub sockets { map { glob "$t->{dir}/$_/run/*" } qw/ spool spool2 / }

is(scalar sockets(), 4, 'a socket for each worker and spool');
is(scalar(grep { ((stat)[2] & 0777) != 0600 } sockets()), 0, 'their mode');

my $killed = $t->kill_worker();
$t->expect_log(qr/exited on signal 9/);

wait_for(sub { sockets() == 6 }, 10, 'sockets of the new worker');
ok((grep { m{/$killed-} } sockets()), 'that of the killed one is there');
$h->wait_list('', 3);
ok(eval { wait_for(sub { !grep { m{/$killed-} } sockets() }, 10,
    'it to go') }, 'until somebody asks');
is(scalar sockets(), 4, 'the others stay');

# garbage in run/ does no harm

$t->write_file('spool/run/999-zzz', '', 0600);
$t->write_file('spool/run/12345-0123456789ab', '', 0600);
is(scalar $h->list(), 3, 'other files in run/');
unlink map { "$t->{dir}/spool/run/$_" } '999-zzz', '12345-0123456789ab';

# a worker that is stopped is named, and the others answer in time

my ($stopped) = $t->workers();
kill 'STOP', $stopped;

# the kernel may give the connection to the one that stands still
my $partial;
my $took;

for (1 .. 50) {
    my $begin = time();
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
        or next;
    print {$s} "GET /smtp/queue HTTP/1.0\r\nHost: localhost\r\n\r\n";
    vec(my $in = '', fileno $s, 1) = 1;
    next unless select $in, undef, undef, 2;
    my $reply = do { local $/; <$s> };
    $took = time() - $begin;
    $partial = JSON::PP->new->decode($reply =~ /(\{.*)/s);
    last;
}

# clients that do not wait for that

for (1 .. 20) {
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
        or next;
    print {$s} "GET /smtp/queue HTTP/1.0\r\nHost: localhost\r\n\r\n";
    close $s;
}

kill 'CONT', $stopped;

ok($partial->{partial}, 'a worker that does not answer: partial');
ok((grep { /^$stopped-/ } @{$partial->{silent}}), 'and it is named');
cmp_ok($took, '<', 5 * $Test::SMTPRelay::PATIENCE, 'within the time');
is(scalar $h->list(), 3, 'all is there when it goes on');

# what is queued is there after a reload; the sockets of the old are gone

$t->reload(wait => 1);
$h->wait_list('', 3);
is_deeply([ sort map { $_->{id} } $h->list() ], [ sort keys %row ],
    'after a reload');
wait_for(sub { sockets() == 4 }, 10, 'sockets of the new workers');

# a long queue: 20,000 messages that wait

my $tool = $t->tool('load');
my $many = 20000;

my ($rc, $out) = $t->command({ timeout => 120 }, $tool, '-s', 50, '-m', $many,
    '-l', 1000, '-r', 'bulk@to.test', '127.0.0.1:' . $t->port('bulk'));
is($rc, 0, 'load') or diag $out;

my $deferred;

wait_for(sub {
    my ($s, $a) = $h->request('GET', '');
    my ($q) = grep { $_->{name} eq 'bulk' } @{$a->{queues}};
    $deferred = $q->{deferred};
    $a->{complete} && $deferred == $many + 1;
}, 180, "$many deferred messages");

is($deferred, $many + 1, 'all deferred');

# first without load; what nothing takes tells how busy the machine is: a page
# is some twenty turns of processes and threads

my (@quiet, @nothing);

for (1 .. 20) {
    my $begin = time();
    ($status, $answer) = $h->request('GET', 'nothing');
    push @nothing, time() - $begin;

    $begin = time();
    ($status, $answer) = $h->request('GET', 'queue?limit=100');
    push @quiet, time() - $begin;
}

@quiet = sort { $a <=> $b } @quiet;
@nothing = sort { $a <=> $b } @nothing;

my $busy = 20 * $nothing[10];

cmp_ok($quiet[10], '<', 0.5 * $Test::SMTPRelay::PATIENCE + $busy,
    'an unfiltered page comes at once');

# with load going on, that competes for the processors and the disk

my $load = $t->spawn('load', [ $tool, '-s', 4, '-m', 4000, '-l', 1000,
    '-r', 'ok@to.test', '127.0.0.1:' . $t->port('smtp') ]);

my @times;
my $n = 0;
my $after = '';

while (@times < 20) {
    my $begin = time();
    ($status, $answer) = $h->request('GET', "queue?limit=100$after");
    push @times, time() - $begin;

    $n += @{$answer->{messages}};
    $after = defined $answer->{next} ? "&after=$answer->{next}" : '';
}

@times = sort { $a <=> $b } @times;
note(sprintf 'pages of %d messages: median %.1f ms, under load %.1f ms,'
    . ' slowest %.1f ms; nothing: %.1f ms', $many,
    map { 1000 * $_ } $quiet[10], $times[10], $times[-1], $nothing[10]);

cmp_ok($times[10], '<', 1 * $Test::SMTPRelay::PATIENCE + $busy,
    'and is bounded under load');
cmp_ok($n, '>=', 1000, 'and has messages');

is($t->wait_pid($load, 120), 0, 'load goes on meanwhile');

# a filter that looks into each of them: bounded time, and a cursor

my $begin = time();
($status, $answer) = $h->request('GET', 'queue?recipient=later@other.test');
my $once = time() - $begin;

cmp_ok($once, '<', 2 * $Test::SMTPRelay::PATIENCE + $busy,
    'a filter by address answers in time');

is_deeply([ map { $_->{id} } $h->list('recipient=later@other.test') ],
    [ $other ], 'and by its cursor finds everything');

my ($all, $pages) = (0, 0);
$after = '';

do {
    ($status, $answer) = $h->get("queue?queue=bulk&limit=1000$after");
    $all += @{$answer->{messages}};
    $after = defined $answer->{next} ? "&after=$answer->{next}" : '';
    $pages++;
} while ($after);

is($all, $many + 1, "each of them is listed once, on $pages pages");

$t->done();
