#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A next hop that misbehaves, at each step, in each way: the worker lives, the
# message is neither lost nor doubled, and a good message behind it arrives.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

# what a peer may say instead of a reply

my %bad = (
    close => { close => 1 },
    reset => { reset => 1 },
    garbage => { raw => "\x00\x01\xff\r\n" },
    nul => { raw => "250 o\x00k\r\n" },
    http => { raw => "HTTP/1.1 400 Bad Request\r\n\r\n" },
    mixed => { raw => "250-a\r\n450 b\r\n" },
    code => { raw => "999 x\r\n" },
    half => { raw => "25", close => 1 },
    endless => { raw => '250-' . ('x' x 70 . "\r\n250-") x 4000 },
    long => { raw => '250 ' . 'x' x 1000000 },
    early => { raw => "250 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n" },
    go => { raw => "354 a\r\n354 b\r\n" },
    bye => '421 4.3.2 bye',
    slow => { bytewise => 1 },
    silent => { silent => 1 },
);

my @steps = qw/ BANNER EHLO MAIL RCPT DATA DOT RSET /;

# Each message names in its recipient what goes wrong with it.  The peer is
# good again after the first time, so that every message arrives in the end;
# before MAIL it does not know the message: those go to a sink of their own.

my %once = map { my $step = $_; ($step => sub {
    my ($s, $arg) = @_;

    my $text = ref $arg ? "@{$arg->{rcpts}}" : $arg;
    $text .= " $s->{from}" if defined $s->{from};

    if ($step eq 'RSET') {
        return undef unless $s->{seen_rset};
        return $s->{seen_rset};
    }

    my ($how) = $text =~ /\b$step-(\w+)\@/ or return undef;

    return undef if $s->count("$step-$how") > 1;

    my $a = $bad{$how};

    return ref $a ? { %$a } : $a;
}) } @steps;

# RSET follows a refused message on the same connection

$once{RCPT} = do {
    my $usual = $once{RCPT};
    sub {
        my ($s, $arg) = @_;

        if ($arg =~ /\bRSET-(\w+)\@/) {
            return undef if $s->count("RSET-$1") > 1;
            $s->{seen_rset} = ref $bad{$1} ? { %{$bad{$1}} } : $bad{$1};
            return '450 4.2.0 once';
        }

        return $usual->($s, $arg);
    };
};

my $mx = $t->sink('mx', ehlo => [ 'PIPELINING' ], replies => \%once);
my $serial = $t->sink('serial', ehlo => [], replies => { %once });

# before MAIL: the first connections go wrong, one way after the other

my @ways = sort keys %bad;

my %early = map { my $step = $_;
    ("early$step" => $t->sink("early$step", replies => { $step => [
        (map { ref $bad{$_} ? { %{$bad{$_}} } : $bad{$_} } @ways), undef ] }))
} qw/ BANNER EHLO /;

my $queue = <<'EOC';
    smtp_queue NAME {
        spool            %%DIR%%/spool;
        hostname         relay.test;
        next_hop         127.0.0.1:PORT;
        tls              off;
        retry            1s;
        connect_timeout  2s;
        command_timeout  2s;
        data_timeout     2s;
        max_connections  20;
    }

    server {
        listen        127.0.0.1:%%PORT_in-NAME%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  NAME;
    }

EOC

my $queues = '';

for my $name (qw/ mx serial earlyBANNER earlyEHLO /) {
    my $text = $queue;
    my ($port, $in) = ($t->port($name), $t->port("in-$name"));
    $text =~ s/%%PORT_in-NAME%%/$in/;
    $text =~ s/PORT/$port/;
    $text =~ s/NAME/$name/g;
    $queues .= $text;
}

$t->write_conf(<<"EOC")->run(listen => []);
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

$queues
}
EOC

my ($worker) = $t->workers();

# A pipelined reply that is left out cannot be told from its follower, which
# here is a 503 to RCPT or DATA.

sub cases {
    my ($name) = @_;

    return grep { !($name eq 'mx' && /^(?:MAIL|RCPT) silent/) }
        map { my $step = $_; map { "$step $_" } @ways }
        qw/ MAIL RCPT DATA DOT RSET /;
}

# one message for each step and way

for my $name (qw/ mx serial /) {
    my $c = $t->client("in-$name");
    $c->cmd('EHLO client.test');

    for (cases($name)) {
        my ($step, $way) = split;

        my $from = $step eq 'MAIL' || $step eq 'DATA'
            ? "$step-$way\@from.test" : 'a@from.test';
        my $to = $step eq 'MAIL' || $step eq 'DATA'
            ? 'b@to.test' : "$step-$way\@to.test";

        my @reply = $c->send_message($from, $to,
            "Subject: $step-$way\r\n\r\nx\r\n");
        $reply[0] == 250 or fail("$step-$way: @reply[0, 1]");
    }

    $c->quit();
}

for my $name (sort keys %early) {
    my $c = $t->client("in-$name");
    $c->cmd('EHLO client.test');
    $c->send_message('a@from.test', 'b@to.test', "Subject: $name\r\n\r\nx\r\n");
    $c->quit();
}

# everything arrives

sub subjects {
    my %n;
    $n{$_}++ for map { $_->{body} =~ /^Subject: (\S+)/m ? $1 : () } @_;
    return %n;
}

for my $name (qw/ mx serial /) {
    my $sink = $name eq 'mx' ? $mx : $serial;

    for (cases($name)) {
        my ($step, $way) = split;

        # a 250 and more behind it is a 250

        my $arrived = eval {
            wait_for(sub {
                my %n = subjects("$step $way" eq 'DOT early'
                    ? $sink->transactions() : $sink->messages());
                $n{"$step-$way"};
            }, 60, "$step-$way");
        } || 0;

        # an answer that was lost may make a second one, nothing else

        my $most = $step eq 'DOT' ? 2 : 1;

        ok($arrived >= 1 && $arrived <= $most,
            "$name: $step $way: arrives") or diag("$arrived times");
    }
}

for my $name (sort keys %early) {
    my $n = eval { $early{$name}->wait_messages(1, 120) } || 0;
    is($n, 1, "$name: arrives in the end");
}

# no reply was taken for that of another command: what the log calls delivered
# was answered so

my @lines = grep { $_->{event} eq 'delivery' } $t->json_log('smtp.log');

is(scalar(grep { $_->{status} eq 'failed' || $_->{status} eq 'expired' }
    @lines), 0, 'nothing was given up');

for my $name (qw/ mx serial /) {
    my $sink = $name eq 'mx' ? $mx : $serial;
    my @taken = grep { $_->{queue} eq $name && $_->{status} eq 'delivered' }
        @lines;
    cmp_ok(scalar @taken, '<=', 1 + $sink->messages(),
        "$name: what was called delivered was taken");
}

is(($t->workers())[0], $worker, 'it is the same worker');

$t->done();
