#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Postfix's smtp-sink as next hop: with what it usually offers, and without
# ESMTP, without PIPELINING, without 8BITMIME.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my ($binary) = grep { -x } map { "$_/smtp-sink" }
    split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';

$t->skip_all('no smtp-sink: install postfix') unless $binary;

my %sinks = (
    usual => [],
    helo => [ '-e' ],
    plain => [ '-p' ],
    bits => [ '-8' ],
);

for my $name (sort keys %sinks) {
    mkdir $t->dir() . "/$name";
    chmod 0777, $t->dir() . "/$name";

    $t->spawn("sink-$name", [ $binary, @{$sinks{$name}},
        $> == 0 ? (-u => 'nobody') : (), '-R', $t->dir(),
        '-d', "$name/mail.", '127.0.0.1:' . $t->port($name), '100' ]);

    wait_for(sub {
        IO::Socket::INET->new(PeerAddr => '127.0.0.1',
            PeerPort => $t->port($name));
    }, 10, "smtp-sink $name");
}

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
worker_processes 2;
events { worker_connections 256; }

stream {
    smtp_queue usual { spool %%DIR%%/spool; spool_min_free 1m;
                       next_hop 127.0.0.1:%%PORT_usual%%; }
    smtp_queue helo  { spool %%DIR%%/spool;
                       next_hop 127.0.0.1:%%PORT_helo%%; }
    smtp_queue plain { spool %%DIR%%/spool;
                       next_hop 127.0.0.1:%%PORT_plain%%; }
    smtp_queue bits  { spool %%DIR%%/spool;
                       next_hop 127.0.0.1:%%PORT_bits%%; }

    smtp_trust  127.0.0.0/8;

    server { listen 127.0.0.1:%%PORT_to_usual%%; smtp_enqueue usual; }
    server { listen 127.0.0.1:%%PORT_to_helo%%; smtp_enqueue helo; }
    server { listen 127.0.0.1:%%PORT_to_plain%%; smtp_enqueue plain; }
    server { listen 127.0.0.1:%%PORT_to_bits%%; smtp_enqueue bits; }
}
EOC

my $count = 20;

for my $name (sort keys %sinks) {
    my $c = $t->client("to_$name");
    $c->ehlo();

    for (1 .. $count) {
        my ($code) = $c->send_message('a@example.org',
            [ "b$_\@example.net", "c$_\@example.net" ],
            "Subject: $name $_\r\n\r\n.dot\r\n..\r\n\xe4\r\n" . 'x' x 5000
            . "\r\n", mail => 'BODY=8BITMIME');
        is($code, 250, "$name $_") if $code != 250;
    }

    $c->quit();

    my @mails;

    eval {
        wait_for(sub {
            @mails = map { $t->read_file($_ =~ s{^.*/($name/)}{$1}r) }
                glob $t->dir() . "/$name/mail.*";
            $count == grep { /x{5000}\r?\n/ } @mails;
        }, 20, "$count mails at $name");
    };

    is(scalar(grep { /\n\.dot\r?\n\.\.\r?\n\xe4\r?\nx{5000}\r?\n/ } @mails),
        $count, "$name: all have arrived as they were sent");
    is(scalar(grep { /^X-Rcpt-Args: <b\d+\@example\.net>/m
        && /^X-Rcpt-Args: <c\d+\@example\.net>/m } @mails), $count,
        "$name: for both recipients");

    my %subjects = map { /^Subject: $name (\d+)\r?$/m ? ($1 => 1) : () } @mails;
    is(scalar(keys %subjects), $count, "$name: each once");
}

$t->done();
