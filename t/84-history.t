#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What is told of a message's past: its attempts, what each recipient got,
# what an operator did, and the reports it caused; also after a restart.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

my $mx = $t->sink('mx', replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return '550 5.1.1 no such user' if $arg =~ /none/;
        return '452 4.2.2 mailbox full' if $arg =~ /full/;
        return '450 4.2.1 not now' if $arg =~ /later/;
        return undef;
    },
});

my $reports = $t->sink('reports');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

events { }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status control=on; }
    }
}

stream {
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

    server {
        listen        127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

my $h = Test::SMTPRelay::Status->new($t, 'http');

sub show { $h->show(@_) || {} }

sub history { @{show(@_)->{history} || []} }

sub names { join ' ', map { $_->{event} } history(@_) }

# an event is there when the kernel has it

sub until_names {
    my ($id, $want, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    eval { wait_for(sub { names($id) eq $want }, 30, $name) };
    is(names($id), $want, $name);
}

sub submit { $t->submit('smtp', 'a@from.test', [ @_ ]) }

my $start = time();
my $other = submit('later9@to.test');
my $id = submit('later1@to.test', 'later2@to.test', 'full@to.test',
    'none@to.test', 'fine@to.test');

$reports->wait_messages(1);
until_names($id, 'deferred result report reported', 'the first attempt');

my ($deferred, $result, $report, $reported) = history($id);

cmp_ok(abs($deferred->{time} - $start), '<', 60, 'when');
is($deferred->{attempt}, 1, 'which attempt');
like($deferred->{peer}, qr/127\.0\.0\.1\]?:@{[ $t->port('mx') ]}$/,
    'with whom');
cmp_ok($deferred->{due} - $deferred->{time}, '>', 600, 'until when');
is_deeply($deferred->{results}, [
    { status => 'deferred', code => 450, text => '4.2.1 not now',
        recipients => [ 0, 1 ], count => 2 },
    { status => 'deferred', code => 452, text => '4.2.2 mailbox full',
        recipients => [ 2 ], count => 1 },
], 'what was deferred, by group');
is_deeply([ map { "$_->{status} @{$_->{recipients}}" }
    @{$result->{results}} ], [ 'failed 3', 'delivered 4' ],
    'what is final');
is("$report->{kind} $report->{report}", 'failure 1', 'the report');
is($reported->{report}, 1, 'was delivered');
ok(show($id)->{history_complete}, 'that is all');
is(names($other), 'deferred', 'another message has its own');

# the operator

is(($h->post("message/$id/$_"))[0], 200, $_) for qw/ hold release hold /;
is(($h->post("message/$id/next-hop?to=127.0.0.1:1"))[0], 200, 'next hop');
is(($h->post("message/$id/move?to=reports"))[0], 200, 'move');

my $past = 'deferred result report reported hold release hold moved moved';

until_names($id, $past, 'what was done to it');
is_deeply([ map { [ @$_{qw/ queue next_hop /} ] }
    grep { $_->{event} eq 'moved' } history($id) ],
    [ [ 'out', '127.0.0.1:1' ], [ 'reports', undef ] ], 'and where to');

$t->stop();
$t->run();
wait_for(sub { show($id)->{id} }, 30, 'the message after a restart');
is(names($id), $past, 'a restart forgets nothing');
ok(show($id)->{history_complete}, 'it is still all');

# many attempts: the last hundred events

for my $n (1 .. 110) {
    my ($status) = $h->post("message/$other/" . ($n % 2 ? 'hold' : 'release'));
    is($status, 200, "$n") if $status != 200;
}

eval { wait_for(sub { names($other) !~ /deferred/ }, 30, 'many events') };
is(scalar(history($other)), 100, 'a hundred events are told');
unlike(names($other), qr/deferred/, 'the last ones');
ok(!show($other)->{history_complete}, 'and that there were more');

# smtpq prints it

my $smtpq = "$FindBin::Bin/../ngx_smtp_relay_module/tools/smtpq";
my $url = 'http://127.0.0.1:' . $t->port('http') . '/smtp/';
my $out = `$^X $smtpq --url $url show $id`;

like($out, qr/^\S+ \S+ deferred, attempt 1, with \S+$/m, 'smtpq: an attempt');
like($out, qr/^ +450 4\.2\.1 not now \(2 recipients\)$/m,
    'smtpq: what it gave');
like($out, qr/^\S+ \S+ moved to reports$/m, 'smtpq: a move');

$t->done();
