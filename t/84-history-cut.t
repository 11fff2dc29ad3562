#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The past of a message that goes with the log: a log that is written anew
# keeps the last MB of it.  What is shown of an older message says that
# something is missing, and what is known all the same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Conf;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();

my $long = '452 4.2.2 ' . 'x' x 400;

my $mx = $t->sink('mx', replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return $arg =~ /many/ ? $long : '450 4.2.1 not now';
    },
});

$t->write_conf(relay_conf(
    queue => { spool_min_free => '1m', spool_segment_size => '1m' },
    server => { smtp_max_recipients => 5000 }))->run();

my $h = Test::SMTPRelay::Status->new($t, 'http');

my $c = $t->client('smtp');
$c->cmd('EHLO client.test');

my ($code, $text) = $c->send_message('a@from.test', 'old@to.test',
    "Subject: old\r\n\r\nx\r\n");
is($code, 250, 'the older one');
my ($id) = $text =~ /queued as (\S+)/;

wait_for(sub { (($h->get("message/$id"))[1]{attempts} // 0) == 1 }, 20,
    'its attempt');

my $answer;

wait_for(sub {
    $answer = ($h->get("message/$id"))[1];
    @{$answer->{history}};
}, 20, 'its history');

is($answer->{history}[0]{event}, 'deferred', 'it was tried');
ok($answer->{history_complete}, 'nothing is missing');

# more than a MB of results in the log behind it

$code = ($c->send_message('a@from.test',
    [ map { "many$_\@to.test" } 1 .. 3500 ], "Subject: many\r\n\r\nx\r\n"))[0];
is($code, 250, 'one with many recipients');

wait_for(sub {
    grep { $_->{recipient_count} > 1 && $_->{attempts} } $h->list('');
}, 60, 'its attempt');

# the segment is full, and sealed in its time

for (1 .. 3) {
    $code = ($c->send_message('a@from.test', 'big@to.test',
        "Subject: big\r\n\r\n" . ("x" x 70 . "\r\n") x 10000))[0];
    is($code, 250, 'a large one');
}

# (it goes on to the next one with the first mail after that is there)

my $more = 0;

wait_for(sub {
    if (time() > $more) {
        $c->send_message('a@from.test', 'more@to.test',
            "Subject: more\r\n\r\nx\r\n");
        $more = time();
    }

    $answer = ($h->get("message/$id"))[1];
    !@{$answer->{history}};
}, 60, 'the log to be written anew');

ok(!$answer->{history_complete}, 'now its past is missing, and it is told');
is($answer->{attempts}, 1, 'the number of attempts is known');
like($answer->{error}, qr/^4\.2\.1 not now/, 'so is the last error');
ok($answer->{received}, 'when it was accepted');
ok($answer->{due}, 'and when it is due');

my ($status, $out) = $t->command($^X, "$FindBin::Bin/../ngx_smtp_relay_"
    . 'module/tools/smtpq', '--url', 'http://127.0.0.1:' . $t->port('http')
    . '/smtp/', 'show', $id);
like($out, qr/^\(earlier events are not kept\)/m, 'smtpq says so');
like($out, qr/^attempts: +1$/m, 'and shows the number of attempts');

$t->done();
