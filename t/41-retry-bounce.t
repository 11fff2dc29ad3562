#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What is tried again, what is given up, and what the sender hears of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Time::Local qw/ timegm /;

my $t = Test::SMTPRelay->new();

# the sink answers by recipient, so that each test has its own

my $mx = $t->sink('mx', ehlo => [ 'PIPELINING', 'SIZE 100000', '8BITMIME' ],
    replies => {
        RCPT => sub {
            my ($s, $arg) = @_;
            return '550 5.1.1 no such user' if $arg =~ /<never/;
            return '450 4.2.1 always later' if $arg =~ /<later/;
            return $s->count('twice') < 3 ? '450 4.2.1 wait' : undef
                if $arg =~ /<twice/;
            return undef;
        },
        DOT => sub {
            my ($s, $txn) = @_;
            return '554 5.7.1 content refused'
                if grep { /^refused/ } @{$txn->{rcpts}};
            return { close => 1 } if grep { /^lost/ } @{$txn->{rcpts}};
            return undef;
        },
    });

my $reports = $t->sink('reports');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

    smtp_queue mx {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_mx%%;
        tls           off;
        retry         1s 2s;
        expire        1h;
        data_timeout  6s;
        report_queue  reports;
    }

    smtp_queue brief {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_mx%%;
        tls           off;
        retry         1s;
        expire        3s;
    }

    smtp_queue down {
        spool            %%DIR%%/spool;
        hostname         relay.test;
        next_hop         127.0.0.1:%%PORT_later%%;
        tls              off;
        retry            1s;
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
        smtp_enqueue  mx;
    }

    server {
        listen        127.0.0.1:%%PORT_brief%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  brief;
    }

    server {
        listen        127.0.0.1:%%PORT_down%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  down;
    }
}
EOC

my $message = "Subject: test\r\nX-Test: header\r\n\r\nthe secret body\r\n";

sub submit {
    my ($port, $from, $to, %opts) = @_;

    my $id = eval { $t->submit($port, $from, $to,
        $opts{message} // $message, %opts) };
    ok($id, 'taken for ' . (ref $to ? "@$to" : $to)) or diag($@);

    return $id // 'none';
}

sub logged { $t->deliveries(@_) }

# when a line was written

sub seconds {
    my ($y, $mon, $d, $h, $m, $s) = $_[0]{time} =~ /\d+/g;
    return timegm($s, $m, $h, $d, $mon - 1, $y);
}

# 4xx is tried again, and only for those who got it

my $id = submit('smtp', 'a@from.test', [ 'now@to.test', 'twice@to.test' ]);
my ($line) = logged($id, sub { $_->{status} eq 'partial' });

is($line->{attempt}, 1, 'first attempt');
is_deeply([ map { "$_->{to} $_->{status} $_->{code}" } @{$line->{results}} ],
    [ 'twice@to.test deferred 450', 'now@to.test delivered 250' ],
    'results of each');
cmp_ok($line->{next_attempt}, '>=', time() - 5, 'next attempt');

($line) = logged($id, sub { $_->{status} eq 'delivered' }, 15);
is_deeply($line->{to}, [ 'twice@to.test' ], 'then the other one alone');
is($line->{attempt}, 3, 'at the third attempt');
is(scalar $mx->received('now@to.test'), 1, 'nobody got it twice');
is(scalar $mx->received('twice@to.test'), 1, 'and the other one did');

# 5xx bounces, through report_queue

$id = submit('smtp', 'sender@from.test', [ 'ok@to.test', 'never1@to.test',
    'never2@to.test' ], mail => 'ENVID=e+3Dx');
my ($r) = $reports->wait_messages(1);

is($r->{from}, '', 'report: null sender');
is_deeply($r->{rcpts}, [ 'sender@from.test' ], 'report: to the sender');
like($r->{body}, qr/^To: sender\@from\.test\r$/m, 'report: To');
like($r->{body}, qr/^Auto-Submitted: auto-replied\r$/m, 'report: automatic');
like($r->{body}, qr{^Content-Type: multipart/report;}m, 'report: type');
like($r->{body}, qr/^Reporting-MTA: dns; relay\.test\r$/m, 'report: who');
like($r->{body}, qr/^Original-Envelope-Id: e=x\r$/m, 'report: envelope id');
like($r->{body}, qr/^Final-Recipient: rfc822; never1\@to\.test\r\nAction: failed\r\nStatus: 5\.1\.1\r$/m,
    'report: first recipient');
like($r->{body}, qr/^Final-Recipient: rfc822; never2\@to\.test\r$/m,
    'report: second recipient');
unlike($r->{body}, qr/^Final-Recipient: rfc822; ok\@/m,
    'report: nothing of the one who got it');
like($r->{body}, qr/^Diagnostic-Code: smtp; 550 5\.1\.1 no such user\r$/m,
    'report: reply');
like($r->{body}, qr/^X-Test: header\r$/m, 'report: original header');
unlike($r->{body}, qr/secret body/, 'report: not the body');

($line) = logged($id, sub { $_->{report} eq 'failure' });
is($line->{status}, 'delivered', 'log: report delivered');
is_deeply($line->{to}, [ 'sender@from.test' ], 'log: to the sender');
is($line->{queue}, 'reports', 'log: by report_queue');

# the whole message with RET=FULL

submit('smtp', 'full@from.test', 'refused@to.test', mail => 'RET=FULL');
$reports->wait_messages(2);
($r) = $reports->received('full@from.test');
like($r->{body}, qr/the secret body/, 'RET=FULL: the body');
like($r->{body}, qr/554 5\.7\.1 content refused/, 'reply to the content');

# ... but not a large one

submit('smtp', 'large@from.test', 'refused@to.test', mail => 'RET=FULL',
    message => "Subject: l\r\n\r\n" . ('large body ' x 7 . "\r\n") x 1000);
$reports->wait_messages(3);
($r) = $reports->received('large@from.test');
unlike($r->{body}, qr/large body/, 'RET=FULL: not a large body');

# who hears nothing

my $quiet = submit('smtp', 'a@from.test', 'never3@to.test',
    rcpt => 'NOTIFY=NEVER');
my $null = submit('smtp', '', 'never4@to.test');
logged($_, sub { $_->{status} eq 'failed' }) for $quiet, $null;

# a report that is refused ends there

$reports->set(replies => { RCPT => '550 5.1.1 unknown sender' });
$id = submit('smtp', 'forged@from.test', 'never5@to.test');
logged($id, sub { $_->{report} && $_->{status} eq 'failed' });
pass('a refused report is given up');
$reports->set(replies => {});

# what the peer cannot take

$id = submit('smtp', 'big@from.test', 'b@to.test',
    message => "Subject: x\r\n\r\n" . ('x' x 78 . "\r\n") x 2000);
($line) = logged($id, sub { $_->{status} eq 'failed' });
like($line->{reply}, qr/^5\.3\.4 /, 'over its SIZE');
is($line->{code}, 0, 'without asking it');
wait_for(sub { $reports->received('big@from.test') }, 10, 'report');
($r) = $reports->received('big@from.test');
like($r->{body}, qr/^Status: 5\.3\.4\r$/m, 'bounces 5.3.4');

$id = submit('smtp', 'utf8@from.test', "\xc3\xa4\@to.test",
    mail => 'SMTPUTF8');
($line) = logged($id, sub { $_->{status} eq 'failed' });
like($line->{reply}, qr/^5\.6\.7 /, 'needs SMTPUTF8');
wait_for(sub { $reports->received('utf8@from.test') }, 10, 'report');
($r) = $reports->received('utf8@from.test');
like($r->{body}, qr/^Status: 5\.6\.7\r$/m, 'bounces 5.6.7');

# no answer to the end of data: not before its time is over

$id = submit('smtp', 'a@from.test', 'lost@to.test');
my ($first) = logged($id, sub { $_->{attempt} == 1 });
is("$first->{status} $first->{code}", 'deferred 0', 'no answer is no reply');
my ($second) = logged($id, sub { $_->{attempt} == 2 }, 20);
cmp_ok(seconds($second) - seconds($first), '>=', 4, 'not tried after 1 s');
is($second->{status}, 'deferred', 'but after the time-out');

# expiry

$id = submit('brief', 'exp@from.test', 'later@to.test');
($line) = logged($id, sub { $_->{status} eq 'expired' }, 15);
cmp_ok($line->{attempt}, '>', 1, 'was tried before it expired');
is($line->{code}, 450, 'the last reply');
wait_for(sub { $mx->received('exp@from.test') }, 10, 'report');
($r) = $mx->received('exp@from.test');
like($r->{body}, qr/^Status: 4\.2\.1\r$/m, 'expired: status');
like($r->{body}, qr/450 4\.2\.1 always later/, 'expired: the last reply');

# a next hop that comes back; across a restart

$id = submit('down', 'a@from.test', 'back@to.test');
($line) = logged($id, sub { $_->{status} eq 'deferred' });
is($line->{code}, 0, 'nobody there');
like($line->{reply}, qr/refused/, 'and the log says so');

$t->stop();
my $later = $t->sink('later');
$t->run();
is(scalar $later->wait_messages(1, 20), 1, 'delivered when it is back');
is_deeply([ ($later->messages())[0]{rcpts} ], [ [ 'back@to.test' ] ],
    'to its recipient');

# nothing else was reported

is(scalar(grep { $_->{rcpts}[0] !~ /^(sender|full|large|big|utf8)\@/ }
    $reports->messages()), 0, 'nobody else heard anything');

$t->done();
