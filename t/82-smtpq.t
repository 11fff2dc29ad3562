#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The command-line tool smtpq: what it prints, what it does, its exit status.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();
my $smtpq = "$Test::SMTPRelay::REPO/ngx_smtp_relay_module/tools/smtpq";

my $mx = $t->sink('mx', replies => { RCPT => '450 4.2.1 not now' });

$t->write_file('users', "admin:{PLAIN}secret\n", 0644);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;

events { }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        listen unix:%%DIR%%/http.sock;

        location /smtp/ { smtp_status control=on; }
        location /show  { smtp_status; }
        location /plain { return 200 "hello"; }

        location /denied/ {
            smtp_status;
            deny all;
        }

        location /secret/ {
            auth_basic            "queue";
            auth_basic_user_file  %%DIR%%/users;
            smtp_status           control=on;
        }
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

    server {
        listen        127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

my $h = Test::SMTPRelay::Status->new($t, 'http');
my $url = 'http://127.0.0.1:' . $t->port('http') . '/smtp/';

sub smtpq {
    my ($status, $out) = $t->command({ env => { SMTPQ_URL => $url } },
        $^X, $smtpq, @_);
    return ($status >> 8, $out);
}

# a worker may be late on a busy machine: exit status 4, asked again

sub runs {
    my ($want, $re, $name, @args) = @_;
    my ($status, $out);

    for (1 .. 10) {
        ($status, $out) = smtpq(@args);
        last if $status != 4;
    }

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok($status == $want && $out =~ $re, $name)
        or diag("exit status $status: $out");

    return $out;
}

sub submit {
    my ($from, @to) = @_;
    return $t->submit('smtp', $from, \@to,
        "Subject: \e[31mred\r\nX-C1: \xc2\x9b2J\r\n"
        . "X-Turn: \xe2\x80\xaex\r\n\r\nbody\r\n");
}

runs(0, qr/^Mail queue is empty\n$/, 'an empty queue');

# an action by filter, when workers have just come

my ($status, $out);

for (1 .. 5) {
    ($status, $out) = smtpq('hold', '--queue', 'none');
    last if $out =~ /run it again/;
    $t->reload(wait => 1);
}

ok($status == 4 && $out =~ /^hold: 0 done$/m
    && $out =~ /may have been passed over, run it again$/m,
    'an action while mail changes hands') or diag("$status: $out");
wait_for(sub { ($h->post('queue/hold?queue=none'))[1]{settled} }, 20,
    'the workers to settle');

my $one = submit('alice@from.test', 'bob@to.test', 'carol@to.test');
my $two = submit('', 'dave@to.test');

$h->wait_list('state=deferred', 2);

# like postqueue -p

$out = runs(0, qr/^-Queue ID-\s+--Size-- ----Arrival Time---- -Sender/,
    'the list');

like($out, qr/^\Q$one\E\s+\d+ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d  alice\@/m,
    'a message');
like($out, qr/^ {62}bob\@to\.test\n {62}carol\@to\.test\n\n/m, 'recipients');
like($out, qr/^\Q$two\E .* MAILER-DAEMON$/m, 'the null sender');
like($out, qr/^\(.*4\.2\.1 not now\)$/m, 'the last error');
like($out, qr/^-- \d+ Kbytes in 2 Requests\.\n\z/m, 'the sum');

$out = runs(0, qr/./, 'as JSON', '--json');
my @rows = map { JSON::PP->new->utf8->decode($_) } split /\n/, $out;
is_deeply([ sort map { $_->{id} } @rows ], [ sort $one, $two ],
    'one object a line');

$out = runs(0, qr/in 1 Request\./, 'filters', '--sender', '<>');
unlike($out, qr/\Q$one/, 'only what matches');
runs(0, qr/^No message matches\n$/, 'nothing matches', '--queue=none');
runs(0, qr/in 1 Request \(there are more\)/, 'a limit', '--limit', 1);

# one message

$out = runs(0, qr/^id: +\Q$one\E$/m, 'show', 'show', $one);
like($out, qr/^recipient: bob\@to\.test$/m, 'recipients');
like($out, qr/^client: +127\.0\.0\.1$/m, 'client');
like($out, qr/^Subject: \?\[31mred$/m, 'no escape sequence gets through');
unlike($out, qr/^body/m, 'not its body');
unlike($out, qr/[^\x20-\x7e\n]/, 'nor any other of that kind');
$out = runs(0, qr/^\{.*"header":"Received/, 'show as JSON', '--json', 'show',
    $one);
unlike($out, qr/[^\x20-\x7e\n]/, 'nothing in it steers a terminal');
like(JSON::PP->new->utf8->decode($out)->{header},
    qr/^X-C1: \x{9b}2J\r\nX-Turn: \x{202e}x\r$/m, 'and all is there');
runs(1, qr/no such message/, 'show: an unknown one', 'show', 'abc');

# status

$out = runs(0, qr/^queue +messages +due/, 'status', 'status');
like($out, qr/^out +2 +0 +2 +0 +0 +0 /m, 'counts');
like($out, qr/^accepted +2$/m, 'totals');
is(scalar(() = $out =~ /^worker \d+ /mg), 2, 'workers');
runs(0, qr/^\{.*"workers":\[/, 'status as JSON', 'status', '--json');

# actions

runs(0, qr/^\Q$one\E: hold: done\n\Q$two\E: hold: done\n\z/, 'hold', 'hold',
    $one, $two);
runs(0, qr/^\Q$one\E! /m, 'held ones are marked');
runs(0, qr/hold: nothing to do/, 'hold again', 'hold', $one);
runs(1, qr/flush: not possible for this message: it is on hold \(release/,
    'flush', 'flush', $one);
runs(1, qr/move: not possible .*: its spool has no smtp_queue of that name/,
    'move to nowhere', 'move', '--to', 'nowhere', $one);
runs(1, qr/next-hop: not possible .*: it must be the name of an upstream/,
    'a next hop that is none', 'next-hop', '--to', '192.0.2.1', $one);
runs(2, qr/invalid "older", must be as "90", "10m"/, 'a time', '--older', '5x');
runs(1, qr/no such message/, 'hold of an unknown one', 'hold', "${one}999");
runs(0, qr/^release: 2 done\n/, 'release by filter', 'release', '--state',
    'held');
runs(0, qr/^requeue: 2 done\n/, 'requeue of all', 'requeue', '--all');
runs(0, qr/^\{"action":"hold","again":0,"done":1,/, 'as JSON', '--json',
    'hold', '--sender', 'alice@from.test');
runs(0, qr/: bounce: done/, 'bounce', 'bounce', $one);
runs(0, qr/^delete: 0 done\n/, 'delete without a match', 'delete',
    '--recipient', 'alice+x@from.test');
runs(0, qr/^delete: \d done/, 'delete of all', 'delete', '--all');
$h->wait_list('', 0);

# how it is called, and where the server is

for my $wrong ([ 'nonsense' ], [ '--nonsense' ], [ 'show' ], [ 'delete' ],
    [ 'delete', '--all', $one ], [ 'list', $one ], [ '--queue' ],
    [ '--limit', 'x' ], [ '--older', 'x' ], [ '--state', 'x' ],
    [ 'show', $one, '--queue', 'a' ], [ '--url', 'nonsense' ],
    [ '--json=1' ], [ 'delete', '--queue', 'a', '--queue', 'b' ],
    [ 'delete', '--queue', 'a', '--limit', 1 ], [ 'show', $one, '--limit', 1 ],
    [ 'next-hop', '--to', "a\nb", $one ])
{
    runs(2, qr/./, "usage: @$wrong", @$wrong);
}

runs(0, qr/^usage: smtpq/, 'help', '--help');

runs(0, qr/empty/, 'over a unix socket', '--url',
    'unix:' . $t->dir() . '/http.sock:/smtp/');
runs(3, qr/cannot connect/, 'no such socket', '--url',
    'unix:' . $t->dir() . '/none.sock:/smtp/');
runs(3, qr/cannot connect to \S+: Connection refused; .*"smtp_status"\?/,
    'nobody there', '--url',
    'http://127.0.0.1:' . $t->port('none') . '/smtp/');

(my $base = $url) =~ s{/smtp/}{};

runs(3, qr/not as smtp_status does/, 'something else', '--url',
    "$base/plain");
runs(0, qr/empty/, 'a URL without a slash', '--url', "$base/show");
is((Test::SMTPRelay::Status->new($t, 'http', base => '/show')
    ->request('GET', 'queue'))[0], 404, 'and what only begins as it');
runs(3, qr/control is off/, 'control is off', '--url', "$base/show",
    'delete', '--all');
runs(3, qr/control is off/, 'also for one message', '--url', "$base/show",
    'hold', $one);
runs(3, qr/wants a name and a password, see --user$/, 'without a password',
    '--url', "$base/secret/");
runs(3, qr/and not those/, 'with another one', '--url', "$base/secret/",
    '--user', 'admin:wrong');
runs(3, qr/does not let us in: 403/, 'by allow and deny', '--url',
    "$base/denied/");
runs(0, qr/empty/, 'with a password', '--url', "$base/secret/", '--user',
    'admin:secret');

$t->done();
