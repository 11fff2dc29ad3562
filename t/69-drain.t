#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Draining a node: new mail gets 421, what is being received is taken, what is
# queued is delivered, over a reload and the death of a worker; the status says
# when nothing is left.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Conf;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();

my $up = "$t->{dir}/up";        # exists: the next hop takes mail

my $sink = $t->sink('mx', replies => {
    MAIL => sub { -e $up ? undef : '451 4.3.0 later' },
});

$t->write_conf(relay_conf(workers => 2, status => 'control=on',
    queue => { spool_min_free => '1m', retry => '1s' },
    http => <<'EOC'))->run();
    server {
        listen 127.0.0.1:%%PORT_show%%;
        location /smtp/ { smtp_status; }
    }
EOC

my $h = Test::SMTPRelay::Status->new($t, 'http');
my $url = 'http://127.0.0.1:' . $t->port('http');

sub smtpq {
    my ($status, $out) = $t->command($^X, "$FindBin::Bin/../ngx_smtp_relay_"
        . 'module/tools/smtpq', '--url', "$url/smtp/", @_);
    chomp $out;
    return ($status >> 8) . " $out";
}

sub session {
    my $c = $t->client('smtp');
    $c->cmd('EHLO client.test');
    return $c;
}

my $mail = "Subject: x\r\n\r\nbody\r\n";
my $refused = qr/^421 4\.3\.2 Not taking mail now, try another server/;

is((session()->send_message('a@from.test', 'b@to.test', $mail))[0], 250,
    'before: taken');

is(smtpq('drain'), '1 not draining: new mail is taken', 'smtpq drain: off');

my ($idle, $busy) = (session(), session());
is(($busy->cmd('MAIL FROM:<a@from.test>'))[0], 250, 'a transaction begins');

is(smtpq('drain', 'on'),
    '0 draining: 1 messages are left, 1 are being received', 'smtpq drain on');
$t->wait_log(qr/\[notice\] .*draining: new mail is refused/);

# all workers

for (1 .. 6) {
    my $c = $t->client('smtp');
    like(join(' ', @{[$c->banner()]}[0, 1]), $refused, "greeting $_");
}

like(join(' ', ($idle->cmd('MAIL FROM:<a@from.test>'))[0, 1]), $refused,
    'an open session: refused at MAIL');
ok($idle->closed(), 'and closed');

is(($busy->cmd('RCPT TO:<b@to.test>'))[0], 250,
    'a transaction that had begun goes on');
is(($busy->send_data($mail))[0], 250, 'and is taken');
like(join(' ', ($busy->cmd('MAIL FROM:<a@from.test>'))[0, 1]), $refused,
    'the next one is not');

$t->reload(wait => 1);

like(join(' ', @{[$t->client('smtp')->banner()]}[0, 1]), $refused,
    'after a reload, still');

$t->expect_log(qr/\[alert\] .* exited on signal 9/);
$t->kill_worker();

my $s = ($h->get(''))[1];
ok($s->{draining}, 'status: draining');
ok(!$s->{drained}, 'status: not drained');

$h->wait_list('', 2);
like(smtpq('drain'), qr/^1 draining: 2 messages are left, 0 are being/,
    'smtpq drain: what is left');

# delivered, and nothing is on its way

$t->write_file('up', '');
$sink->wait_messages(2, 20);

wait_for(sub { ($h->get(''))[1]{drained} }, 20, 'the node to be empty');

is(smtpq('drain'), '0 drained: nothing is left', 'smtpq drain: drained');
is($sink->count_messages(), 2, 'each was delivered once');

like(smtpq('status'), qr/^draining: new mail is refused$/m,
    'smtpq status: draining');

# others may look, and not switch

my $show = Test::SMTPRelay::Status->new($t, 'show');
ok(($show->get(''))[1]{drained}, 'shown without control');
is(($show->request('POST', 'drain/off'))[0], 403, 'but not switched');
is(($h->request('GET', 'drain/off'))[0], 405, 'nor by GET');
is(($h->request('POST', 'drain/maybe'))[0], 404, 'nor to something else');
is(($h->request('POST', 'drain/off?x=1'))[0], 400, 'without arguments');

is(smtpq('drain', 'off'), '0 not draining: new mail is taken',
    'smtpq drain off');
is((session()->send_message('a@from.test', 'b@to.test', $mail))[0], 250,
    'taken again');
$sink->wait_messages(3, 20);

$t->done();
