#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A worker of the proxy that leaves, by reload and by QUIT: a transaction in
# progress finishes wherever it is, the session gets 421 behind it, and
# connections to backends are ended by QUIT.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep /;

my $t = Test::SMTPRelay->new();

my $go = $t->dir() . '/go';

# replies to recipients "wait@" and messages of "wait@" when there is a file

sub held {
    my ($text) = @_;
    return undef if $text !~ /\bwait\@/;

    for (1 .. 3000) {
        last if -e $go;
        sleep 0.01;
    }

    return undef;
}

my $mta = $t->sink('mta', replies => {
    RCPT => sub { held($_[1]) },
    DOT => sub { held($_[1]{from}) } });

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;
    smtp_pass_keepalive_timeout  10m;

    server {
        listen     127.0.0.1:%%PORT_smtp%%;
        smtp_pass  127.0.0.1:%%PORT_mta%%;
        smtp_pass_buffer_size  64k;
        smtp_pass_temp_path    temp;
    }
}
EOC

my $big = "Subject: x\r\n\r\n" . ('0123456789' x 7 . "\r\n") x 10000;

sub client {
    my ($from, @more) = @_;

    my $c = $t->client('smtp', timeout => 60);
    $c->cmd('EHLO client.test');
    $c->cmd("MAIL FROM:<$from\@from.test>");
    $c->check('RCPT TO:<a@to.test>', 250, "$from: recipient");
    $c->check('DATA', 354, "$from: DATA") if @more;
    $c->send_raw($_) for @more;

    return $c;
}

sub arrived {
    my ($from) = @_;
    return grep { $_->{from} eq "$from\@from.test" } $mta->messages();
}

sub quits { return scalar grep { / QUIT/ } $mta->commands() }

for my $how (qw/ reload quit /) {
    unlink $go;

    my $n = $mta->connections();
    my $quits = quits();
    my %c;

    # one that is kept, and has nothing to do

    my $idle = $t->client('smtp');
    $idle->cmd('EHLO client.test');
    is(($idle->send_message("idle$how\@from.test", 'a@to.test', "x\r\n"))[0],
        250, "$how: a message before");

    $c{rcpt} = client("rcpt$how");
    $c{data} = client("data$how", "half");
    $c{big} = client("big$how", substr $big, 0, 400000);

    $c{asked} = client("asked$how");
    $c{asked}->send_raw("RCPT TO:<wait\@to.test>\r\n");

    $c{dot} = client('wait', "x\r\n.\r\n");
    $c{bigdot} = client('wait', "$big.\r\n");

    sleep 0.3;

    my ($old) = $t->workers();

    $how eq 'reload' ? $t->reload() : kill 'QUIT', $t->pid();

    is(($idle->read_reply())[0], 421, "$how: an idle session gets 421");

    sleep 0.5;
    ok($t->alive($old), "$how: the worker waits for its transactions");

    $t->write_file('go', '');

    for my $name (qw/ dot bigdot /) {
        is(($c{$name}->read_reply())[0], 250, "$how: $name finishes");
    }

    is(($c{asked}->read_reply())[0], 250, "$how: the recipient has its reply");

    for my $name (qw/ rcpt asked /) {
        $c{$name}->check('DATA', 354, "$how: $name goes on");
        $c{$name}->check("x\r\n.", 250, "$how: $name finishes");
    }

    $c{data}->check("\r\n.", 250, "$how: data finishes");

    $c{big}->send_raw(substr $big, 400000);
    $c{big}->check('.', 250, "$how: big finishes");

    for my $name (sort keys %c) {
        my ($code) = $c{$name}->read_reply();
        is($code, 421, "$how: $name: 421 behind it");
    }

    wait_for(sub { !$t->alive($old) }, 30, 'the old worker to leave');
    pass("$how: the worker has left");

    is(scalar arrived($_), 1, "$how: $_ arrived once")
        for map { "$_$how" } qw/ idle rcpt data big asked /;

    $n = $mta->connections() - $n;
    cmp_ok($n, '>=', 6, "$how: connections to the backend");
    wait_for(sub { quits() - $quits >= $n }, 10, 'QUIT');
    is(quits() - $quits, $n, "$how: each was ended by QUIT");
}

is(scalar arrived('wait'), 4, 'those that waited for their reply');

$t->done();
