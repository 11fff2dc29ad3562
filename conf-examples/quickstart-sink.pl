#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The next hop of the quickstart: takes every message and writes it to a file,
# <folder>/<number>.eml, with the envelope on top.  Recipients "nobody@..." are
# refused, to see a bounce; "later@..." are put off, to see a retry.  It is
# meant for trying out on loopback, and for nothing else.
#
#     quickstart-sink.pl port folder

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Socket qw/ IPPROTO_TCP TCP_NODELAY /;

my ($port, $folder) = @ARGV;

die "usage: quickstart-sink.pl port folder\n" unless @ARGV == 2;

$| = 1;
$SIG{PIPE} = 'IGNORE';

my $listen = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'tcp',
    Listen => 64, ReuseAddr => 1, Blocking => 0)
    or die "listen on 127.0.0.1:$port: $!\n";

my $select = IO::Select->new($listen);
my %sessions;
my $number = 0;

for (glob "\Q$folder\E/*.eml") {
    $number = $1 if m!/(\d+)\.eml$! && $1 > $number;
}

for ( ;; ) {
    for my $fd ($select->can_read()) {

        if ($fd == $listen) {
            my $client = $listen->accept() or next;

            setsockopt $client, IPPROTO_TCP, TCP_NODELAY, 1;
            $select->add($client);
            $sessions{$client} = { in => '' };
            reply($client, '220 quickstart-sink ESMTP');
            next;
        }

        my $s = $sessions{$fd};

        if (!sysread($fd, $s->{in}, 65536, length $s->{in})
            || !serve($fd, $s))
        {
            $select->remove($fd);
            delete $sessions{$fd};
            close $fd;
        }
    }
}


# Carries out what is complete in the input; false: the session is over.

sub serve {
    my ($fd, $s) = @_;

    for ( ;; ) {

        if ($s->{data}) {
            return 1 unless $s->{in} =~ s/\A(.*?)^\.\r\n//ms;

            my $text = $1;
            $text =~ s/^\.//mg;

            reply($fd, deliver($s, $text));
            $s->{data} = 0;
            $s->{rcpts} = [];
            next;
        }

        return 1 unless $s->{in} =~ s/\A(.*?)\r?\n//;

        my $line = $1;

        if ($line =~ /^EHLO/i) {
            reply($fd, '250-quickstart-sink', '250-PIPELINING',
                '250-8BITMIME', '250-SMTPUTF8', '250 ENHANCEDSTATUSCODES');

        } elsif ($line =~ /^MAIL FROM:<([^>]*)>/i) {
            $s->{from} = $1;
            $s->{rcpts} = [];
            reply($fd, '250 2.1.0 Ok');

        } elsif ($line =~ /^RCPT TO:<(nobody@[^>]*)>/i) {
            print "refused:   $1\n";
            reply($fd, '550 5.1.1 There is nobody of this name');

        } elsif ($line =~ /^RCPT TO:<(later@[^>]*)>/i) {
            print "put off:   $1\n";
            reply($fd, '450 4.2.0 Try again later');

        } elsif ($line =~ /^RCPT TO:<([^>]+)>/i) {
            push @{$s->{rcpts}}, $1;
            reply($fd, '250 2.1.5 Ok');

        } elsif ($line =~ /^DATA$/i) {
            $s->{data} = @{$s->{rcpts} || []};
            reply($fd, $s->{data} ? '354 Go ahead'
                : '554 5.5.1 No valid recipients');

        } elsif ($line =~ /^(?:HELO|RSET|NOOP)/i) {
            $s->{rcpts} = [];
            reply($fd, '250 2.0.0 Ok');

        } elsif ($line =~ /^QUIT/i) {
            reply($fd, '221 2.0.0 Bye');
            return 0;

        } else {
            reply($fd, '502 5.5.1 Not implemented');
        }
    }
}


# Written under another name first: who sees the file sees all of it.

sub deliver {
    my ($s, $text) = @_;

    my $path = sprintf '%s/%d.eml', $folder, ++$number;
    my $from = $s->{from};

    if (!open my $f, '>:raw', "$path.new") {
        print "failed:    $path: $!\n";
        return '451 4.3.0 Cannot write the message';

    } else {
        print $f "Return-Path: <$from>\r\n",
            map({ "Delivered-To: $_\r\n" } @{$s->{rcpts}}), $text;

        close $f && rename "$path.new", $path
            or return '451 4.3.0 Cannot write the message';
    }

    print "delivered: $path, from <$from> to ",
        join(', ', map { "<$_>" } @{$s->{rcpts}}), "\n";

    return "250 2.0.0 Ok: $number";
}


sub reply {
    my ($fd, @lines) = @_;
    syswrite $fd, join '', map { "$_\r\n" } @lines;
}
