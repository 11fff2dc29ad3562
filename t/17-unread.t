#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Clients that do not read, or not in time, or send what nobody asked for:
# each command still has one answer, each wait an end, each message one line
# in the log that tells what became of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;
use Time::HiRes qw/ sleep time /;

$SIG{PIPE} = 'IGNORE';

my $t = Test::SMTPRelay->new();

$t->gen_cert('server', 'mx.example.org');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { worker_connections 256; }

http {
    access_log off;
    server { listen 127.0.0.1:%%PORT_http%%; location /smtp/ { smtp_status; } }
}

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_none%%;
    }

    ssl_certificate      %%DIR%%/server.crt;
    ssl_certificate_key  %%DIR%%/server.key;

    map $ssl_protocol $encrypted {
        default  0;
        "~^TLS"  1;
    }

    smtp_hostname  mx.example.org;
    smtp_log       %%DIR%%/smtp.log;

    # a small buffer: replies are in the way soon

    server {
        listen 127.0.0.1:%%PORT_flooded%% sndbuf=4k;
        smtp_starttls    on;
        smtp_trust       127.0.0.0/8;
        smtp_max_recipients  1;
        smtp_max_errors  100000;
        smtp_enqueue     out;
    }

    server {
        listen 127.0.0.1:%%PORT_small%%;
        smtp_trust       127.0.0.0/8;
        smtp_max_errors  3;
        smtp_max_idle_commands  8;
        smtp_enqueue     out;
    }

    server {
        listen 127.0.0.1:%%PORT_unread%% sndbuf=4k;
        smtp_trust       127.0.0.0/8;
        smtp_max_recipients  1;
        smtp_max_errors      100000;
        smtp_send_timeout    2s;
        smtp_enqueue     out;
    }

    server {
        listen 127.0.0.1:%%PORT_slow%%;
        smtp_trust       127.0.0.0/8;
        smtp_data_timeout    1s;
        smtp_min_data_rate   1000;
        smtp_max_message_size  100k;
        smtp_enqueue     out;
    }

    server {
        listen 127.0.0.1:%%PORT_tls%%;
        smtp_starttls    on;
        smtp_trust       $encrypted;
        smtp_enqueue     out;
    }
}
EOC

my ($c, $code);

# envelope, then so many refused recipients that their replies fill all there
# is between server and client

sub flood {
    return "MAIL FROM:<a\@example.org>\r\nRCPT TO:<b\@example.net>\r\n"
        . "RCPT TO:<c\@example.net>\r\n" x $_[0];
}

# a reader that is slow: no reply is missing, in clear and in TLS

for my $tls (0, 1) {
    $c = $t->client('flooded', rcvbuf => 4096);
    $c->ehlo();

    if ($tls) {
        is($c->starttls(), 220, 'starttls');
        $c->ehlo();
    }

    my $data = flood(20000);
    my $pos = 0;
    my $pause = 0.5;
    my $end = time() + 30 * $Test::SMTPRelay::PATIENCE;
    my %seen;

    while (time() < $end) {

        if ($pos < length $data) {
            my $n = syswrite $c->{socket}, $data, 4096, $pos;
            $pos += $n, next if $n;
        }

        # as much as is taken was sent: now everything is full

        sleep $pause;
        $pause = 0.001;

        my $n = sysread $c->{socket}, $c->{buffer}, 8192, length $c->{buffer};
        last if defined $n ? $n == 0 : !$c->again();

        $seen{$1}++ while $c->{buffer} =~ s/^(\d+) [^\n]*\n//;
        last if ($seen{452} || 0) == 20000;
    }

    is(join(' ', map { "$_:$seen{$_}" } sort keys %seen), '250:2 452:20000',
        'all replies, slowly read' . ($tls ? ', in tls' : ''));
    $c->close();
}

# clients that are gone, or still talk, when it is over: no cause for a crit

for (1 .. 5) {
    $c = $t->client('flooded', rcvbuf => 4096);
    $c->ehlo();
    $c->starttls();
    $c->ehlo();
    eval { $c->send_raw(flood(2000)) };
    $c->close(reset => 1);
}

$c = $t->client('flooded');
$c->ehlo();
is($c->starttls(), 220, 'starttls');
$c->ehlo();
$c->check('QUIT', 221, 'quit');
eval { $c->send_raw("NOOP\r\n") };
ok($c->closed(), 'talks behind QUIT');
$c->close();

# one that does not read is left after smtp_send_timeout, though it sends on

$c = $t->client('unread', rcvbuf => 4096);
$c->ehlo();
$c->send_raw(flood(12000));

my $start = time();

while (time() - $start < 8 * $Test::SMTPRelay::PATIENCE) {
    my $n = syswrite $c->{socket}, 'x', 1;
    last if !defined $n && !$c->again();
    sleep 0.4;
}

my $spent = time() - $start;

cmp_ok($spent, '<', 5 * $Test::SMTPRelay::PATIENCE,
    'left after the time for sending');
like($t->read_file('error.log'), qr/client takes no replies/, 'and says why');
$c->close();

# a client that has sent a whole message and never takes its replies: the
# message is accepted, and the log says so

for my $try (1 .. 3) {
    $c = $t->client('unread');
    $c->ehlo();
    $c->send_raw("MAIL FROM:<unread$try\@example.org>\r\n"
        . "RCPT TO:<b\@example.net>\r\n"
        . "DATA\r\n" . "Subject: x\r\n\r\nx\r\n.\r\n");
    sleep 0.2;
    $c->close(reset => 1);
}

wait_for(sub {
    3 == grep { $_->{event} eq 'transaction' && $_->{from} =~ /^unread/ }
        $t->json_log('smtp.log')
}, 10, 'lines of unread messages');

for (grep { $_->{event} eq 'transaction' && $_->{from} =~ /^unread/ }
    $t->json_log('smtp.log'))
{
    is("$_->{status} $_->{code}", 'accepted 250', 'unread is accepted')
        or diag(explain($_));
}

# replies that fill all there is just before the message is stored: its answer
# is there, and cannot be sent.  One of these is full at that moment.

my @full = map { $t->client('unread', rcvbuf => 4096) } 1 .. 40;

for (@full) {
    $_->ehlo();
    $_->send_raw(flood(0));
}

for my $n (1 .. $#full) {
    $_->send_raw("RCPT TO:<c\@example.net>\r\n" x 180) for @full[$n .. $#full];
    sleep 0.05;
}

$_->send_raw("RCPT TO:<c\@example.net>\r\n" x 375
    . "DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n") for @full;
sleep 1;
$_->close(reset => 1) for @full;

my $h = Test::SMTPRelay::Status->new($t, 'http');
my ($told, $counted);

# the last ones may be stored when their clients are gone

eval {
    wait_for(sub {
        (undef, my $answer) = $h->get('');
        $counted = $answer->{totals}{accepted};
        $told = grep { $_->{event} eq 'transaction'
            && $_->{status} eq 'accepted' } $t->json_log('smtp.log');

        return $answer->{now}{sessions} == 0 && $counted == $told;
    }, 10, 'all of them to be counted');
};

is($counted, $told, 'what is accepted is counted, whoever reads the reply');

# lines that are no commands count, too

for my $line ("NO\0OP", "NO\rOP", 'x' x 5000) {
    $c = $t->client('small');
    $c->ehlo();

    my @codes;
    for (1 .. 6) {
        ($code) = $c->cmd($line);
        push @codes, $code;
        last if $code == 421 || $code == 0;
    }

    is("@codes", '500 500 500 500 421', 'too many lines that are bad: '
        . substr $line =~ s/[^ -~]/?/gr, 0, 5);
}

# a chunk in one packet with its command is not too slow

$c = $t->client('slow');
$c->ehlo();
$c->cmd('MAIL FROM:<a@example.org>');
$c->cmd('RCPT TO:<b@example.net>');

my @codes;
for (1 .. 4) {
    $c->send_raw("BDAT 3000\r\n" . 'x' x 2900);
    sleep 0.4;
    $c->send_raw('x' x 100);
    push @codes, ($c->read_reply())[0];
}
is("@codes", '250 250 250 250', 'chunks at the rate that is asked for');
$c->send_raw("BDAT 0 LAST\r\n");
is(($c->read_reply())[0], 250, 'and all of them');
$c->close();

# chunks do not get around that rate, in however small pieces they come

for my $chunk ("BDAT 1\r\nx", "BDAT 0\r\n") {
    $c = $t->client('slow');
    $c->ehlo();
    $c->cmd('MAIL FROM:<a@example.org>');
    $c->cmd('RCPT TO:<b@example.net>');

    my $end = time() + 6 * $Test::SMTPRelay::PATIENCE;
    my @reply = (250);

    while (time() < $end && $reply[0] == 250) {
        sleep 0.3;
        $c->send_raw($chunk);
        @reply = $c->read_reply();
    }

    like("@reply[0, 1]", qr/^421 4\.4\.2/, 'chunks that drip: '
        . $chunk =~ s/\r.*//sr);
    ok($c->closed(), 'closed');
}

# a chunk that is refused has an end: in time ...

$c = $t->client('slow');
$c->ehlo();
$c->send_raw("BDAT 9000000000000000000\r\n");
$start = time();

while (time() - $start < 6 * $Test::SMTPRelay::PATIENCE
    && !$c->readable(0.3))
{
    $c->send_raw('x');
}

like(join(' ', ($c->read_reply())[0, 1]), qr/^421 4\.4\.2/,
    'a refused chunk that drips');
ok($c->closed(), 'closed');

# ... and in bytes; so has a message

sub pour {
    my ($c) = @_;


    my $block = join '', ('y' x 78 . "\r\n") x 800;
    my $sent = 0;
    my $end = time() + 30;

    while ($sent < 300 * 1024 * 1024 && time() < $end) {
        my $k = syswrite $c->{socket}, $block;

        if (!defined $k) {
            last unless $c->again();
            vec(my $bits = '', fileno $c->{socket}, 1) = 1;
            select undef, $bits, undef, 1;
            next;
        }

        $sent += $k;
    }

    return int $sent / 1024 / 1024;
}

$c = $t->client('slow');
$c->ehlo();
$c->send_raw("BDAT 9000000000000000000\r\n");
cmp_ok(pour($c), '<', 150, 'a refused chunk is not read for ever');
$c->close();

$c = $t->client('slow');
$c->ehlo();
$c->cmd('MAIL FROM:<endless@example.org>');
$c->cmd('RCPT TO:<b@example.net>');
$c->cmd('DATA');
cmp_ok(pour($c), '<', 150, 'a refused message is not read for ever');
$c->close();

wait_for(sub {
    grep { $_->{event} eq 'transaction' && $_->{from} =~ /^endless/ }
        $t->json_log('smtp.log')
}, 10, 'line of the endless message');
is(join(' ', map { "$_->{status} $_->{code}" } grep {
        $_->{event} eq 'transaction' && $_->{from} =~ /^endless/
    } $t->json_log('smtp.log')), 'refused 552', 'and refused');

# a chunk that was too large, in the log

$c = $t->client('slow');
$c->ehlo();
$c->cmd('MAIL FROM:<chunk@example.org>');
$c->cmd('RCPT TO:<b@example.net>');
$c->send_raw("BDAT 200000\r\n" . 'x' x 200000);
is(($c->read_reply())[0], 552, 'chunk too large');
$c->quit();
wait_for(sub { $t->read_file('smtp.log') =~ /"chunk\@/ }, 5, 'its line');
is(join(' ', map { "$_->{status} $_->{code}" } grep {
        $_->{event} eq 'transaction' && $_->{from} =~ /^chunk/
    } $t->json_log('smtp.log')), 'refused 552', 'refused in the log');

# what was evaluated before STARTTLS is not true behind it; $ssl_* are there

$c = $t->client('tls');
$c->ehlo();
$c->cmd('MAIL FROM:<a@example.org>');
$c->check('RCPT TO:<b@example.net>', 550, 'not without tls');
$c->check('RSET', 250, 'rset');
is($c->starttls(), 220, 'starttls');
$c->ehlo();
$c->cmd('MAIL FROM:<a@example.org>');
$c->check('RCPT TO:<b@example.net>', 250, 'trust by $ssl_protocol');
$c->quit();

$t->done();
