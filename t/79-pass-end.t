#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A backend that is gone when the client goes on, both seen in one round of the
# event loop: nothing is sent to it any more, above all no end of data, which
# would leave it open who has the message.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $first = $t->sink('first');
my $good = $t->sink('good');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    upstream two {
        server  127.0.0.1:%%PORT_first%% max_fails=0;
        server  127.0.0.1:%%PORT_good%% backup;
    }

    upstream once {
        server  127.0.0.1:%%PORT_first%% max_fails=1 fail_timeout=10m;
        server  127.0.0.1:%%PORT_good%% backup;
    }

    server {
        listen  127.0.0.1:%%PORT_body%%;
        smtp_pass  two;
        smtp_pass_buffer_size  64k;
        smtp_pass_temp_path  %%DIR%%/temp;
    }

    server {
        listen  127.0.0.1:%%PORT_once%%;
        smtp_pass  once;
    }
}
EOC

my ($worker) = $t->workers();

# connections that the first one has

sub established {
    my $port = sprintf '0100007F:%04X', $first->port();

    open my $f, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";

    return scalar grep { my @f = split; $f[1] eq $port && $f[3] eq '01' } <$f>;
}


# while the worker is stopped the backend goes, or goes and comes back, and then
# the client goes on: the worker finds both, in this order

sub at_once {
    my ($c, $text, $back) = @_;

    kill 'STOP', $worker;

    $first->stop();
    wait_for(sub { !established() }, 30, 'the end of its connections');
    $first->start() if $back;

    $c->send_raw($text);
    select undef, undef, undef, 0.2;
    kill 'CONT', $worker;

    my @r = $c->read_reply(30);
    $first->start() unless $back;

    return "$r[0] $r[1]";
}

my $piece = ('0123456789' x 7 . "\r\n") x 2000;

for my $round (1, 2) {
    my $from = "body$round\@from.test";
    my $c = $t->client('body', timeout => 30);

    $c->cmd('EHLO client.test');
    $c->cmd("MAIL FROM:<$from>");
    $c->check('RCPT TO:<a@to.test>', 250, 'RCPT');
    $c->cmd('DATA');
    $c->send_raw("Subject: x\r\n\r\n$piece");

    # the first server has begun to get it

    wait_for(sub { $round == grep { / DATA/ } $first->commands() }, 30, 'DATA');
    select undef, undef, undef, 0.2;

    is(at_once($c, "end\r\n.\r\n"), '250 2.0.0 taken',
        "gone before the end of data, round $round");
    $c->close();

    my @found = grep { $_->{from} eq $from } $good->messages();
    is(scalar @found, 1, 'the next server has it, once');
    like($found[0]{body}, qr/^Subject: x\r\n\r\n\Q$piece\Eend\r\n\z/m,
        'all of it');
}

is(scalar($first->messages()), 0, 'and the first one nothing');

# it did not wait for the client, which is no failure

my $c = $t->client('once', timeout => 30);

$c->cmd('EHLO client.test');
$c->cmd('MAIL FROM:<once@from.test>');
$c->check('RCPT TO:<a@to.test>', 250, 'RCPT');
like(at_once($c, "RCPT TO:<b\@to.test>\r\n", 1), qr/^250 /,
    'gone before the next recipient');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^250 2\.0\.0 taken$/, 'the message');

my ($m) = grep { $_->{from} eq 'once@from.test' } $first->messages();

is("@{$m->{rcpts}}", 'a@to.test b@to.test', 'by the same server');

$c->send_message('again@from.test', 'a@to.test', "x\r\n");
is(scalar(grep { $_->{from} eq 'again@from.test' } $first->messages()), 1,
    'which goes on to be asked');
$c->close();

$t->done();
