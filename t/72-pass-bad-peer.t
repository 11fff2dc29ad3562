#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The proxy between a hostile client and a hostile backend: nothing reaches the
# backend that it could take for something else, no reply reaches the client
# that belongs to another command, and the worker lives.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

# what a peer may say instead of a reply, and whether it is one after all

my %bad = (
    garbage => { raw => "\x00\x01\xff\r\n" },
    nul => { raw => "250 o\x00k\r\n" },
    http => { raw => "HTTP/1.1 400 Bad Request\r\n\r\n" },
    mixed => { raw => "250-a\r\n450 b\r\n" },
    code => { raw => "999 x\r\n" },
    low => { raw => "150 x\r\n" },
    half => { raw => "25", close => 1 },
    nocrlf => { raw => "250 ok", silent => 1 },
    endless => { raw => '250-' . ('x' x 70 . "\r\n250-") x 4000 },
    long => { raw => '250 ' . 'x' x 1000000 },
    go => { raw => "354 a\r\n354 b\r\n" },
    drip => { reply => '250 ' . 'x' x 100, bytewise => 1, pace => 0.1 },
    nothing => { silent => 1 },
    gone => { close => 1 },
);

my @steps = qw/ MAIL RCPT DATA DOT /;

# the step and the way are in the sender, for RCPT and so on in the session

my %replies = map { my $step = $_; ($step => sub {
    my ($s, $arg) = @_;
    my $text = ($s->{from} // '') . (ref $arg ? $arg->{from} : " $arg");

    if ($text =~ /\b$step-(\w+)\@/) {
        return { %{$bad{$1}} };
    }

    return $step eq 'RCPT' && $arg =~ /<(no)?(\d+)@/
        ? ($1 ? "550 5.1.1 not $2" : "250 2.1.5 yes $2")
        : $step eq 'RCPT' && $arg =~ /<ctl/
        ? { raw => "550-5.1.1 \x01\x1b[2J\x7f\xe9\r\n550 5.1.1 \tend\r\n" }
        : undef;
}) } @steps;

my $mta = $t->sink('mta', replies => \%replies);
my $serial = $t->sink('serial', ehlo => [], replies => { %replies });
my $slow = $t->sink('slow', replies => { RCPT => sub {
    my ($s, $arg) = @_;
    my ($no, $n) = $arg =~ /<(no)?(\d+)@/;
    return { bytewise => 1, reply =>
        $no ? "550 5.1.1 not $n" : "250 2.1.5 yes $n\n250 2.1.5 and so on" };
} });

my $strip = $t->sink('strip', tls => 1,
    replies => { STARTTLS => { raw => "220 go\r\n250 injected\r\n" } });

my $servers = '';

for my $name (qw/ mta serial slow /) {
    for my $newline (qw/ reject normalize /) {
        my $listen = $t->port("$name$newline");
        my $port = $t->port($name);

        # the slow one is as slow as the machine

        my $timeout = $name eq 'slow' ? 'smtp_pass_timeout  30s;' : '';

        $servers .= <<"EOC";
    server {
        listen  127.0.0.1:$listen;
        smtp_pass  127.0.0.1:$port;
        smtp_bare_newline  $newline;
        $timeout
    }

EOC
    }
}

$t->set(SERVERS => $servers);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust         127.0.0.0/8;
    smtp_hostname      proxy.test;
    smtp_max_errors    1000;
    smtp_pass_timeout  500ms;
    smtp_pass_data_timeout  500ms;

%%SERVERS%%

    server {
        listen  127.0.0.1:%%PORT_strip_in%%;
        smtp_pass  127.0.0.1:%%PORT_strip%%;
        smtp_pass_ssl  starttls;
    }
}
EOC

# ends of data that are none (ATTACKS 1 to 3), split at every place

my %ends = (
    'LF.LF' => "\n.\n", 'LF.CRLF' => "\n.\r\n", 'CRLF.LF' => "\r\n.\n",
    'CR.CR' => "\r.\r", 'CRLF.CR' => "\r\n.\rx",
    'CRCRLF.CRCRLF' => "\r\r\n.\r\r\n", 'NUL' => "\r\n\0.\r\n",
    'CRLF.NUL' => "\r\n.\0\r\n",
);

my $smuggled = "MAIL FROM:<smuggled\@from.test>\r\nRCPT TO:<1\@to.test>\r\n"
    . "DATA\r\nsmuggled\r\n";

for my $newline (qw/ reject normalize /) {
    for my $end (sort keys %ends) {
        my $text = "Subject: x\r\n\r\na$ends{$end}$smuggled";
        my $bare = $text =~ /(?<!\r)\n|\r(?!\n)/;
        my $good = $newline eq 'normalize' || !$bare;

        for my $at (0 .. length $ends{$end}) {
            my $c = $t->client("mta$newline");

            $c->cmd('EHLO client.test');
            $c->cmd('MAIL FROM:<a@from.test>');
            $c->cmd('RCPT TO:<1@to.test>');
            $c->cmd('DATA');

            my $pos = length("Subject: x\r\n\r\na") + $at;
            $c->send_raw(substr $text, 0, $pos);
            select undef, undef, undef, 0.003;
            $c->send_raw((substr $text, $pos) . "\r\n.\r\n");

            my ($code) = $c->read_reply();
            is($code, $good ? 250 : 550, "$newline, $end at $at")
                if $code != ($good ? 250 : 550) || $at == 0;
            $c->close();
        }
    }

    # by BDAT

    my $c = $t->client("mta$newline");
    my $text = "Subject: x\r\n\r\n.\r\n.\n..\n$smuggled\n.\r\n";

    $c->cmd('EHLO client.test');
    $c->cmd('MAIL FROM:<bdat@from.test>');
    $c->cmd('RCPT TO:<1@to.test>');
    $c->send_raw('BDAT ' . length($text) . " LAST\r\n$text");
    is(($c->read_reply())[0], $newline eq 'reject' ? 550 : 250,
        "$newline, BDAT");
    $c->close();
}

# larger than what is sent at once, with a dot at each place

{
    my $c = $t->client('mtareject');
    my $text = join '', map { ('x' x $_) . "\r\n." } 1 .. 700;

    $c->cmd('EHLO client.test');
    my @r = $c->send_message('dots@from.test', '1@to.test', "\r\n$text\r\n");
    is($r[0], 250, 'many dots');

    my ($m) = grep { $_->{from} eq 'dots@from.test' } $mta->messages();
    my $body = $m->{body} =~ s/^Received:.*?\r\n(?=\r\n)//sr;
    ok($body eq "\r\n$text\r\n", 'arrive as they were');
    $c->close();
}

my @messages = $mta->messages();

is(scalar(grep { $_->{from} =~ /smuggled/ } $mta->transactions()), 0,
    'nothing was smuggled');
is(scalar(grep { !/^\d+ (?:EHLO|MAIL|RCPT|DATA|RSET|QUIT)\b/ }
    $mta->commands()), 0, 'the backend saw our commands only');
is(scalar(grep { $_->{body} =~ /(?<!\r)\n|\r(?!\n)/ } @messages), 0,
    'no bare CR or LF in ' . @messages . ' messages');

# a pipeline on both sides, with replies that tell what they answer

for my $port (qw/ mtareject serialreject slowreject /) {
    my $c = $t->client($port, timeout => 30);
    my $wrong = 0;

    $c->cmd('EHLO client.test');

    for my $round (1 .. 3) {
        my @n = map { $round * 1000 + $_ } 1 .. 12;

        $c->send_raw("MAIL FROM:<p\@from.test>\r\n" . join('', map {
            "RCPT TO:<" . ($_ % 3 ? '' : 'no') . "$_\@to.test>\r\n" } @n)
            . "NOOP\r\nDATA\r\n");

        $wrong++ if ($c->read_reply())[0] != 250;

        for (@n) {
            my @r = $c->read_reply();
            my $want = $_ % 3 ? qr/^250 2\.1\.5 yes $_( and so on)?$/
                : qr/^550 5\.1\.1 not $_$/;
            $wrong++ unless "$r[0] $r[1]" =~ $want;
        }

        $wrong++ if ($c->read_reply())[0] != 250;
        $wrong++ if ($c->read_reply())[0] != 354;
        $c->send_raw("x\r\n.\r\nNOOP\r\n");
        $wrong++ if ($c->read_reply())[1] !~ /taken/;
        $wrong++ if ($c->read_reply())[1] !~ /Ok/;
    }

    is($wrong, 0, "$port: each reply to its command");
    $c->close();
}

# what a backend says is cleaned

my $c = $t->client('mtareject');
$c->cmd('EHLO client.test');
$c->cmd('MAIL FROM:<a@from.test>');
$c->check('RCPT TO:<ctl@to.test>', qr/^550 5\.1\.1 [ -~]*end$/,
    'no controls in a reply');
$c->cmd('RSET');

# a backend that talks nonsense costs this transaction, and nothing else

for my $sink (['mta', $mta], ['serial', $serial]) {
    my ($port, $peer) = ("$sink->[0]reject", $sink->[1]);

    for my $step (@steps) {
        for my $how (sort keys %bad) {
            my $name = "$port: $step $how";
            my $from = "$step-$how\@from.test";
            my $c = $t->client($port);

            $c->cmd('EHLO client.test');
            $c->cmd("MAIL FROM:<$from>");

            my @r = $c->cmd('RCPT TO:<1@to.test>');

            my $want = qr/^451 4\.4\.\d /;

            if ($r[0] == 250) {
                $c->cmd('DATA');
                @r = $c->cmd("x\r\n.");
            }

            like("$r[0] $r[1]", $want, $name);
            $c->cmd("RSET");

            @r = $c->send_message('fine@from.test', '1@to.test', "x\r\n");
            is("@r[0, 1]", '250 2.0.0 taken', "$name: the next one")
                if "@r[0, 1]" ne '250 2.0.0 taken';
        }
    }
}

# in clear behind the 220 to STARTTLS

$c = $t->client('strip_in');
$c->cmd('EHLO client.test');
$c->cmd('MAIL FROM:<a@from.test>');
$c->check('RCPT TO:<1@to.test>', qr/^451 4\.4\.1/, 'injected plaintext');
ok(!(grep { / MAIL/ } $strip->commands()), 'no mail went there');
$c->close();

is(scalar(() = $t->log() =~ /exited on signal/g), 0, 'the worker lives');

$t->done();
