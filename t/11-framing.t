#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# End of data in every disguise, bare newlines, NUL, long lines: what arrives
# at the next hop, and what never does (ATTACKS 1 to 3, 5, 6).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $sink = $t->sink('mx');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { worker_connections 256; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_mx%%;
    }

    smtp_trust     127.0.0.0/8;
    smtp_hostname  mx.example.org;

    server {
        listen 127.0.0.1:%%PORT_reject%%;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_normalize%%;
        smtp_bare_newline normalize;
        smtp_enqueue out;
    }
}
EOC

my $n = 0;
my %expected;

# sends wire bytes behind 354; the replies to it and to a NOOP behind it

sub wire {
    my ($port, $wire, $bytes) = @_;

    my $c = $t->client($port);
    $c->ehlo();
    $c->cmd('MAIL FROM:<a@example.org>');
    $c->cmd('RCPT TO:<n' . ++$n . '@example.net>');
    $c->cmd('DATA');

    $bytes ? $c->send_bytes("${wire}NOOP\r\n") : $c->send_raw("${wire}NOOP\r\n");

    my @codes = map { ($c->read_reply(5))[0] } 1 .. 2;
    $c->quit();

    return "@codes";
}

sub expect { $expected{"n$n\@example.net"} = $_[0] }

# each is one message to its CRLF.CRLF; nothing before ends it

my @disguised = (
    "a\n.\nMAIL FROM:<x\@example.org>\r\n.\r\n",
    "a\n.\r\nMAIL FROM:<x\@example.org>\r\n.\r\n",
    "a\r\n.\nMAIL FROM:<x\@example.org>\r\n.\r\n",
    "a\r.\rMAIL FROM:<x\@example.org>\r\n.\r\n",
    "a\r\n.\rMAIL FROM:<x\@example.org>\r\n.\r\n",
    "a\r.\r\nMAIL FROM:<x\@example.org>\r\n.\r\n",
    "a\r\r\n.\r\r\nMAIL FROM:<x\@example.org>\r\n.\r\n",
    "a\n\n.\n\nMAIL FROM:<x\@example.org>\r\n.\r\n",
);

for my $i (0 .. $#disguised) {
    is(wire('reject', $disguised[$i], $_), '550 250',
        "disguise $i is refused, once" . ($_ ? ', byte by byte' : ''))
        for 0, 1;
}

for my $i (0 .. $#disguised) {
    is(wire('normalize', $disguised[$i]), '250 250', "disguise $i is one mail");

    my $mail = $disguised[$i] =~ s/\.\r\n\z//r;
    $mail =~ s/(^|\r\n)\./$1/g;
    $mail =~ s/\r\n|\r|\n/\r\n/g;
    expect($mail);
}

# what is content

my @content = (
    [ "\r\n.\r\n", "\r\n" ],
    [ ".\r\n", '' ],
    [ "..\r\n.\r\n", ".\r\n" ],
    [ ".a\r\n.\r\n", "a\r\n" ],
    [ "...\r\n....\r\n.\r\n", "..\r\n...\r\n" ],
    [ "a\0b\r\n\0\r\n.\r\n", "a\0b\r\n\0\r\n" ],
    [ "a\r\n\0.\r\n.\r\n", "a\r\n\0.\r\n" ],
    [ "X: " . 'y' x 100000 . "\r\n\r\n" . 'z' x 1000000 . "\r\n.\r\n",
        "X: " . 'y' x 100000 . "\r\n\r\n" . 'z' x 1000000 . "\r\n" ],
    [ join('', map { "F$_: x\r\n" } 1 .. 100000) . "\r\n.\r\n",
        join('', map { "F$_: x\r\n" } 1 .. 100000) . "\r\n" ],
    [ "X: y\r\n" . (" folded\r\n" x 12000) . "no colon\r\n\r\nz\r\n.\r\n",
        "X: y\r\n" . (" folded\r\n" x 12000) . "no colon\r\n\r\nz\r\n" ],
    [ join('', map { chr } 128 .. 255) . "\r\n.\r\n",
        join('', map { chr } 128 .. 255) . "\r\n" ],
);

for my $i (0 .. $#content) {
    is(wire('reject', $content[$i][0]), '250 250', "content $i");
    expect($content[$i][1]);

    next if length $content[$i][0] > 1000;

    is(wire('reject', $content[$i][0], 1), '250 250',
        "content $i byte by byte");
    expect($content[$i][1]);
}

# BDAT: leading dots are nothing special, and are stuffed on the way out

sub bdat {
    my ($port, @chunks) = @_;

    my $c = $t->client($port);
    $c->ehlo();
    $c->cmd('MAIL FROM:<a@example.org>');
    $c->cmd('RCPT TO:<n' . ++$n . '@example.net>');

    my $last = pop @chunks;
    $c->send_raw(join('', map { 'BDAT ' . length() . "\r\n$_" } @chunks)
        . 'BDAT ' . length($last) . " LAST\r\n${last}NOOP\r\n");

    my @codes = map { ($c->read_reply())[0] } 1 .. @chunks + 2;
    $c->quit();

    return "@codes";
}

is(bdat('reject', ".\r\n..\r\n.x\r\n"), '250 250', 'bdat with dots');
expect(".\r\n..\r\n.x\r\n");

is(bdat('reject', "a\r", "\n.\r", "\n"), '250 250 250 250',
    'bdat with split newlines');
expect("a\r\n.\r\n");

is(bdat('reject', "a\r\nno end"), '250 250', 'bdat without last newline');
expect("a\r\nno end\r\n");

is(bdat('reject', "a\nb\r\n"), '550 250', 'bdat with bare lf');
is(bdat('reject', "a\r", "b\r\n"), '250 550 250', 'bdat with bare cr');
is(bdat('normalize', "a\nb\r", "c"), '250 250 250', 'bdat normalized');
expect("a\r\nb\r\nc\r\n");

is(bdat('reject', split //, "Subject: x\r\n\r\n" . '.' x 500),
    join(' ', ('250') x 515), 'bdat in chunks of one byte');
expect("Subject: x\r\n\r\n" . '.' x 500 . "\r\n");

# what arrived

$sink->wait_messages(scalar keys %expected);

my %got = map { $_->{rcpts}[0] => $_->{body} } $sink->messages();

for (sort { substr($a, 1) <=> substr($b, 1) }
    map { s/\@.*//r } keys %expected)
{
    my $want = $expected{"$_\@example.net"};
    my $body = $got{"$_\@example.net"} // 'nothing';

    ok($body =~ s/\AReceived: (?:(?!\r\n\S).)*?\r\n(?=[^ \t]|\z|\r)//s,
        "$_ has a received field") unless $want =~ /\A[ \t]/;
    ok($body eq $want, "$_ arrived as it was sent")
        or diag(length($want) . ' bytes sent, ' . length($body) . ' got');
}

is(scalar(keys %got), scalar(keys %expected), 'nothing else arrived');

$t->done();
