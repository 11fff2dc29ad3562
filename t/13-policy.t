#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Who may relay, by variables, behind a PROXY protocol; slow clients, too many
# connections, leaving sessions.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { worker_connections 64; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_none%%;
    }

    smtp_hostname  mx.example.org;

    map $smtp_rcpt_domain $ours {
        hostnames;
        default          0;
        .ours.example    1;
    }

    map $smtp_mail_from_domain:$smtp_rcpt_to:$smtp_helo $partner {
        "~^partner\.example:(?<box>[^@]+)@other\.example:good\.example$"  $box;
    }

    log_format f '$smtp_helo|$smtp_user|$smtp_mail_from|$status';
    access_log %%DIR%%/access.log f;
    smtp_log   %%DIR%%/smtp.log;

    server {
        listen 127.0.0.1:%%PORT_variables%%;
        smtp_domains  $ours;
        smtp_trust    $partner;
        smtp_enqueue  out;
    }

    server {
        listen 127.0.0.1:%%PORT_realip%% proxy_protocol;
        set_real_ip_from 127.0.0.1;
        smtp_trust    192.0.2.0/24;
        smtp_enqueue  out;
    }

    server {
        listen 127.0.0.1:%%PORT_slow%%;
        smtp_trust    127.0.0.0/8;
        smtp_data_timeout   1s;
        smtp_min_data_rate  1000;
        smtp_enqueue  out;
    }
}
EOC

my ($c, $code, $text);

# variables: a fresh answer for each recipient, not the first one's

$c = $t->client('variables');
$c->cmd('EHLO good.example');
$c->check('MAIL FROM:<a@partner.example>', 250, 'mail');
$c->check('RCPT TO:<b@foreign.example>', qr/^550 5\.7\.1/, 'foreign');
$c->check('RCPT TO:<b@ours.example>', 250, 'ours');
$c->check('RCPT TO:<b@foreign.example>', qr/^550 5\.7\.1/, 'foreign again');
$c->check('RCPT TO:<b@sub.ours.example>', 250, 'ours by wildcard');
$c->check('RCPT TO:<b@other.example>', 250, 'trusted for this partner');
$c->check('RCPT TO:<b@foreign.example>', qr/^550/, 'no capture is left');
$c->check('RCPT TO:<0@other.example>', qr/^550/, 'the value 0 is a no');
$c->check('RSET', 250, 'rset');
$c->check('MAIL FROM:<a@stranger.example>', 250, 'other sender');
$c->check('RCPT TO:<b@other.example>', qr/^550/, 'nothing of the last mail');
$c->check('RCPT TO:<b@ours.example>', 250, 'ours');
like(join(' ', ($c->send_data("S: x\r\n\r\nx\r\n"))[0, 1]), qr/^250/, 'sent');
$c->quit();

$c = $t->client('variables');
$c->cmd('EHLO bad.example');
$c->cmd('MAIL FROM:<a@partner.example>');
$c->check('RCPT TO:<b@other.example>', qr/^550/, 'nothing of other sessions');
$c->quit();

wait_for(sub { $t->read_file('access.log') =~ /\n.*\n/ }, 5, 'access log');
like($t->read_file('access.log'), qr/^good\.example\|\|?-?\|?-?\|200$/m,
    'session variables in access_log') or diag($t->read_file('access.log'));

# refused transactions are logged too

my @log = $t->json_log('smtp.log');
is(join(' ', map { $_->{status} } grep { $_->{event} eq 'transaction' } @log),
    'aborted accepted refused', 'outcomes in the log')
    or diag($t->read_file('smtp.log'));
is((grep { $_->{code} == 250 } @log)[0]{to}[0], 'b@ours.example',
    'accepted transaction in the log');

# PROXY protocol

sub proxied {
    my ($line) = @_;

    my $c = $t->client('realip', greeting => 0);
    $c->send_raw($line);
    my ($code) = $c->read_reply();
    return "no greeting" unless $code == 220;

    $c->ehlo();
    $c->cmd('MAIL FROM:<a@example.org>');
    ($code) = $c->cmd('RCPT TO:<b@example.net>');
    $c->quit();
    return $code;
}

is(proxied("PROXY TCP4 192.0.2.7 127.0.0.1 1000 25\r\n"), 250,
    'trusted address by PROXY protocol');
is(proxied("PROXY TCP4 198.51.100.7 127.0.0.1 1000 25\r\n"), 550,
    'address that is not trusted');
is(proxied("EHLO x\r\n"), 'no greeting', 'no PROXY header');
is(proxied("PROXY TCP4 192.0.2.7 127.0.0.1 1000 25\r\nEHLO early\r\n"),
    250, 'talk behind the PROXY header');

# slow: silence, and drops

$c = $t->client('slow');
$c->ehlo();
$c->cmd('MAIL FROM:<a@example.org>');
$c->cmd('RCPT TO:<b@example.net>');
$c->check('DATA', 354, 'data');
like(join(' ', ($c->read_reply())[0, 1]), qr/^421 4\.4\.2/, 'silent in data');
ok($c->closed(), 'closed');

$c = $t->client('slow');
$c->ehlo();
$c->cmd('MAIL FROM:<a@example.org>');
$c->cmd('RCPT TO:<b@example.net>');
$c->check('DATA', 354, 'data');

my $end = time() + 10;
while (time() < $end && !$c->readable(0.2)) {
    $c->send_raw("drip\r\n");
}

like(join(' ', ($c->read_reply())[0, 1]), qr/^421 4\.4\.2/,
    'slower than the minimum data rate');
ok($c->closed(), 'closed');

# the last eighth of the connections is not for new sessions

my @held;
my $refused;

for (1 .. 64) {
    my $s = $t->client('variables');
    ($code, $text) = $s->banner();
    $refused = "$code $text", last if $code != 220;
    push @held, $s;
}

like($refused, qr/^421 4\.3\.2/, 'busy');
cmp_ok(scalar(@held), '>', 40, 'but not early');
cmp_ok(scalar(@held), '<=', 56, 'an eighth is left');
$_->close() for @held;

# leaving: what was sent already is served, a transaction is finished

my $idle = $t->client('variables');
$idle->ehlo();
my $busy = $t->client('variables');
$busy->ehlo();
$busy->cmd('MAIL FROM:<a@partner.example>');
$busy->cmd('RCPT TO:<b@ours.example>');
my $talking = $t->client('variables');
$talking->ehlo();

$t->reload();

like(join(' ', ($idle->read_reply())[0, 1]), qr/^421 4\.3\.2/,
    'idle session gets 421');
ok($idle->closed(), 'and is closed');
like(join(' ', ($busy->send_data("S: x\r\n\r\nx\r\n"))[0, 1]), qr/^250/,
    'open transaction is finished');
like(join(' ', ($busy->read_reply())[0, 1]), qr/^421 4\.3\.2/,
    'and then 421');
ok($busy->closed(), 'and closed');
$talking->close();

$t->done();
