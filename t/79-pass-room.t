#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Copies of large messages on their way through the proxy are in the file
# system of the spool: when its room becomes scarce they go, also those of
# clients that take their time, and new mail is spooled.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();
my $small = $t->dir() . '/small';

mkdir $small, 0755;

my ($status, $out) = $t->command('mount', '-t', 'tmpfs', '-o', 'size=64m',
    'none', $small);

$t->skip_all("a file system of its own is not permitted here: $out")
    if $status;

$t->at_end(sub { system 'umount', '-l', $small });

my $sink = $t->sink('sink');
my $mx = $t->sink('mx');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;
    smtp_max_message_size  100m;

    smtp_queue q {
        spool     %%DIR%%/small/spool;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        spool_min_free  40m;
    }

    server {
        listen  127.0.0.1:%%PORT_pass%%;
        smtp_pass  127.0.0.1:%%PORT_sink%%;
        smtp_enqueue  q;
    }

    server {
        listen  127.0.0.1:%%PORT_spool%%;
        smtp_enqueue  q;
    }
}
EOC

sub mail {
    my ($name) = @_;

    my $c = $t->client('spool', timeout => 30);
    $c->cmd('EHLO client.test');
    my @r = $c->send_message("$name\@from.test", 'a@to.test', "x\r\n");
    $c->close();

    return $r[0];
}

is(mail('before'), 250, 'there is room');

my $given_up = qr/copy of a large message is given up.*spool_min_free/;
my $mb = ('z' x 62 . "\r\n") x 16384;
my $n = 0;

my $c = $t->client('pass', timeout => 60);
$c->cmd('EHLO client.test');
$c->cmd('MAIL FROM:<large@from.test>');
$c->cmd('RCPT TO:<a@to.test>');
$c->cmd('DATA');
$c->send_raw("Subject: large\r\n\r\n");

# how much room there is, is looked at now and then

while ($n < 40 && $t->log() !~ $given_up) {
    $c->send_raw($mb);
    $n++;
    select undef, undef, undef, 0.1;
}

note("$n MB");
like($t->log(), $given_up, 'a message takes more than there is');

# while its client takes its time

ok(wait_for(sub { mail('beside') == 250 }, 30, 'room'), 'room for others');

$c->send_raw($mb);
$c->check('.', qr/^250 2\.0\.0 taken$/, 'the message is passed all the same');
$c->close();

my ($m) = $sink->messages();
ok($m->{body} =~ s/^.*?^Subject: large\r\n\r\n//ms
    && $m->{body} eq $mb x ($n + 1), 'all of it');

$t->done();
