#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A node that is drained stays so over an upgrade of the binary, and back; and
# with "smtp_drain on" over a restart.

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

sub conf {
    my ($drain) = @_;

    return relay_conf(workers => 2, status => 'control=on',
        queue => { spool_min_free => '1m', retry => '1s' },
        stream => $drain);
}

$t->write_conf(conf(''))->run();

my $h = Test::SMTPRelay::Status->new($t, 'http');

sub smtpq {
    my ($status, $out) = $t->command($^X, "$FindBin::Bin/../ngx_smtp_relay_"
        . 'module/tools/smtpq', '--url', 'http://127.0.0.1:'
        . $t->port('http') . '/smtp/', @_);
    chomp $out;
    return ($status >> 8) . " $out";
}

my $mail = "Subject: x\r\n\r\nbody\r\n";

sub send_one {
    my $c = $t->client('smtp');
    my ($code) = $c->banner();
    return $code if $code != 220;
    $c->cmd('EHLO client.test');
    return ($c->send_message('a@from.test', 'b@to.test', $mail))[0];
}

# what several connections get, of whichever worker
sub codes {
    my %seen = map { send_one() => 1 } 1 .. 6;
    return join ' ', sort keys %seen;
}

is(send_one(), 250, 'before: taken');
like(smtpq('drain', 'on'), qr/^0 draining/, 'smtpq drain on');
is(codes(), 421, 'refused');

# an upgrade: while both are there, and after it

$t->upgrade();
is(codes(), 421, 'two binaries: both refuse');

$t->upgrade_finish();
is(codes(), 421, 'the new binary refuses');
like(smtpq('drain'), qr/^1 draining: 1 messages/, 'and says so');

# it is one state for both

$t->upgrade();
is(smtpq('drain', 'off'), '0 not draining: new mail is taken',
    'smtpq drain off in the middle of an upgrade');
is(codes(), 250, 'two binaries: both take mail');
like(smtpq('drain', 'on'), qr/^0 draining/, 'smtpq drain on again');

is(codes(), 421, 'two binaries: both refuse again');

# back to the old one

my ($old, $new) = @$t{qw/ old pid /};
kill 'QUIT', $new;
wait_for(sub { !$t->alive($new) && !-e "$t->{dir}/nginx.pid.oldbin" }, 30,
    'the new binary to end');
delete $t->{old};
$t->{pid} = $old;

is(codes(), 421, 'back at the old binary: refused');
$t->reload(wait => 1);
is(codes(), 421, 'and after a reload of it');

like(smtpq('drain', 'off'), qr/^0 not draining/, 'smtpq drain off');
is(codes(), 250, 'taken');

# a restart forgets the switch, and not the directive

$t->write_conf(conf('smtp_drain on;'))->reload(wait => 1);

is(codes(), 421, 'smtp_drain on: refused after the reload');
$t->wait_log(qr/\[notice\] .*draining: new mail is refused.*"smtp_drain on"/);

like(smtpq('drain'), qr{^1 draining \("smtp_drain on"\): }, 'smtpq drain knows');
ok(($h->get(''))[1]{drain_configured}, 'the status says why');

my ($status, $answer) = $h->request('POST', 'drain/off');
is($status, 409, 'smtp_drain on: cannot be switched off');
like($answer->{error}, qr/"smtp_drain on".*reload/, 'and says what to do');
like(smtpq('drain', 'off'), qr/^3 .*"smtp_drain on"/, 'smtpq says so, too');

$t->stop();
$t->run();
is(codes(), 421, 'after a restart, still');

$t->write_file('up', '');
wait_for(sub { ($h->get(''))[1]{drained} }, 40, 'the node to be empty');
like(smtpq('drain'), qr/^0 drained: nothing is left/, 'smtpq drain: drained');

$t->write_conf(conf('smtp_drain off;'))->reload(wait => 1);
is(codes(), 250, 'smtp_drain off: taken after the reload');
like(smtpq('drain'), qr/^1 not draining/, 'smtpq drain: off');

$t->done();
