#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# After going back to an older binary: a segment that only the newer version
# can read is left as it is, the log says so once, other mail is delivered; and
# so is this one when it can be read.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->write_conf(<<'EOC');
%%GLOBALS%%
worker_processes 1;
events { worker_connections 256; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        hostname  mail.example.org;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1s;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_hostname mail.example.org;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

$t->expect_log(qr/\[crit\] .* has format version 2, .* start the newer one/);

sub give {
    my ($subject) = @_;

    my $c = $t->client('smtp');
    $c->ehlo();

    is(($c->send_message('a@example.org', ['b@example.net'],
        "Subject: $subject\r\n\r\ntext\r\n"))[0], 250, "$subject taken");
    $c->quit();
}

# one byte of the header of all data files: the version

sub version {
    my ($version) = @_;

    for my $name (glob $t->dir() . '/spool/*.data') {
        my $mtime = (stat $name)[9];

        open my $f, '+<', $name or die "$name: $!";
        binmode $f;
        seek $f, 8, 0;
        print $f chr $version;
        close $f or die "$name: $!";
        utime $mtime, $mtime, $name;
    }
}

sub content {
    my ($name) = @_;

    open my $f, '<', $name or die "$name: $!";
    binmode $f;
    local $/;
    return <$f>;
}

# nobody listens at the next hop yet

$t->run();
give('first');
$t->quit();

version(2);

my @kept = glob $t->dir() . '/spool/*.{data,log}';
my %before = map { $_ => content($_) } @kept;

is(scalar @kept, 2, 'a segment is left');

my $sink = $t->sink('mx');

$t->run();
$t->wait_log(qr/has format version 2/);
give('second');

$sink->wait_messages(1);
like(($sink->messages())[0]{body}, qr/^Subject: second\r$/m,
    'other mail is delivered');

$t->quit();

is_deeply({ map { $_ => content($_) } @kept }, \%before,
    'the segment is left alone');

my $told = () = $t->log() =~ /has format version 2/g;
is($told, 1, 'told once');

version(1);

$t->run();
$sink->wait_messages(2);
like(($sink->messages())[1]{body}, qr/^Subject: first\r$/m,
    'and delivered by who can read it');

$t->done();
