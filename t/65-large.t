#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Large messages: kept in files of their own, delivered as they are, gone
# afterwards; given up half-way, killed or refused, they leave nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5 qw/ md5_hex /;
use Socket qw/ SOL_SOCKET SO_LINGER /;
use Test::More;
use Test::SMTPRelay;

my $MB = 1024 * 1024;
my $PATIENCE = $Test::SMTPRelay::PATIENCE;

my $t = Test::SMTPRelay->new();

my $down = "$t->{dir}/down";        # exists: the next hop takes no mail
my $cut = "$t->{dir}/cut";          # exists: it hangs up within the next body

my $sink = $t->sink('mx', replies => {
    MAIL => sub { -e $down ? '451 4.3.0 later' : undef },
    DATA => sub { unlink($cut)
        ? { reply => '354 go', drop_after => 2 * $MB } : undef },
});

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
worker_processes 1;
events { }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 64m;
        hostname  out.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1s;
        data_timeout 20s;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_hostname in.test;
        smtp_trust    127.0.0.0/8;
        smtp_max_message_size 31m;
        smtp_max_errors 1000;
        smtp_enqueue  out;
    }
}
EOC

# So many bytes that are not alike, with dots at line starts.  No line begins
# like a field that is added.

sub message {
    my ($subject, $size) = @_;

    my $part = join '', map { ($_ % 7 ? '' : '.') . ($_ % 11 ? '' : '.')
        . $_ * 2654435761 % 4294967291 . 'x' x ($_ % 70) . "\r\n" } 1 .. 1000;

    my $m = "Subject: $subject\r\n\r\n";
    my $n = int(($size - length $m) / (length($part) + 12));

    $m .= join '', map { sprintf("%010d\r\n", $_) . $part } 1 .. $n;
    $m .= 'z' x ($size - 2 - length $m) . "\r\n";

    return $m;
}

sub session {
    my $c = $t->client('smtp', timeout => 60);
    $c->cmd('EHLO client.test');
    return $c;
}

sub content {
    my ($m) = @_;
    (my $body = $m->{body}) =~ s/\AReceived: .*\r\n(?:[ \t].*\r\n)*//;
    return $body;
}

# a glob in scalar context goes through its list call by call

sub bodies {
    my @files = glob "$t->{dir}/spool/*.body";
    return @files;
}

# files of the spool that the worker has open though they have no name; what
# got its name later is still shown as deleted

sub unlinked {
    my ($pid) = $t->workers();

    return grep {
        (readlink($_) // '') =~ m{/spool/} && ((stat $_)[3] // 1) == 0
    } glob "/proc/$pid/fd/*";
}

sub nothing_left {
    my ($name) = @_;

    ok(eval { wait_for(sub { !bodies() && !unlinked() }, 10, $name) },
        "$name: no file is left") or diag(join ' ', bodies(), unlinked());
}

my $seen = 0;

sub arrives {
    my ($name, $message) = @_;

    my @m = $sink->wait_messages(++$seen, 60);
    my $content = content($m[-1]);

    is(length $content, length $message, "$name: length");
    is(md5_hex($content), md5_hex($message), "$name: as it was sent");
    like($m[-1]{body}, qr/\AReceived: /, "$name: with a trace field");
}

my $c = session();

my %messages = map { $_ => message($_, int($_ * $MB)) } 0.999, 1, 1.5, 5, 30;

# over the limit of a file, and 30 MB, by DATA and by BDAT

for my $size (sort { $a <=> $b } keys %messages) {
    for my $bdat (0, 700001) {
        my $name = "$size MB" . ($bdat ? ' by BDAT' : '');
        my ($code, $text) = $c->send_message('a@from.test', 'b@to.test',
            $messages{$size}, bdat => $bdat);

        is($code, 250, "$name: taken") or diag($text);
        arrives($name, $messages{$size});
    }
}

nothing_left('delivered');

# several recipients, several attempts, the next hop hanging up half-way (all
# may have been sent by then: the result is unknown until the time-out), and a
# worker that dies: the message is read again from its file

$t->write_file('down', '');

is(($c->send_message('a@from.test', [ 'b@to.test', 'c@to.test' ],
    $messages{5}))[0], 250, 'later: taken');
is(scalar(() = bodies()), 1, 'later: it has a file');

my ($file) = bodies();
is((stat $file)[7], length $messages{5}, 'later: which is the content');
is((stat $file)[2] & 07777, 0600, 'later: and private');

wait_for(sub { grep { /^\d+ MAIL/ } $sink->commands() }, 10, 'an attempt');

$t->expect_log(qr/\[alert\] .* exited on signal 9/);
$t->kill_worker();
$t->write_file('cut', '');
unlink $down;

arrives('later', $messages{5});
ok(!-e $cut, 'later: the next hop had hung up once');
nothing_left('later');

# a reload in the middle of an upload

$c = session();
$c->cmd('MAIL FROM:<a@from.test>');
$c->cmd('RCPT TO:<b@to.test>');
$c->cmd('DATA');

my $wire = Test::SMTPRelay::Client::stuff($messages{5});
$c->send_raw(substr $wire, 0, 3 * $MB);
$t->reload();
$c->send_raw(substr $wire, 3 * $MB);

is(($c->read_reply())[0], 250, 'reload: taken');
arrives('reload', $messages{5});
nothing_left('reload');

# too large: at MAIL, and when it was read

$c = session();

is(($c->cmd('MAIL FROM:<a@from.test> SIZE=40000000'))[1],
    '5.3.4 Message exceeds the size limit', 'too large: at MAIL');

my $too = $messages{30} . $messages{1.5};

is(($c->send_message('a@from.test', 'b@to.test', $too))[1],
    '5.3.4 Message exceeds the size limit', 'too large: when it was read');
nothing_left('too large');

# BDAT: the chunk that is too much is refused
like(join(' ', ($c->send_message('a@from.test', 'b@to.test', $too,
    bdat => 4 * $MB))[0, 1]), qr/^552 5\.3\.4/, 'too large: by BDAT');
$c->cmd('RSET');
nothing_left('too large by BDAT');

is(($c->send_message('a@from.test', 'b@to.test', $messages{1.5}))[0], 250,
    'the session is good for another one');
arrives('after too large', $messages{1.5});

# 200 uploads that are given up half-way, by all means

my ($worker) = $t->workers();
my $fds = () = glob "/proc/$worker/fd/*";

sub usage { my $n = 0; $n += (stat)[12] // 0 for glob "$_[0]/*"; $n }

my $used = usage("$t->{dir}/spool");

for my $round (1 .. 10) {
    my @open;

    for my $i (1 .. 20) {
        my $c = session();
        $c->cmd('MAIL FROM:<a@from.test>');
        $c->cmd('RCPT TO:<b@to.test>');

        my $size = 300_000 * ($i % 7 + 1);

        if ($i % 3) {
            $c->cmd('DATA');
            $c->send_raw(substr $wire, 0, $size);

        } else {
            $c->send_raw('BDAT ' . 2 * $size . "\r\n"
                . substr $wire, 0, $size);
        }

        push @open, $c;
    }

    for my $i (0 .. $#open) {
        my $s = $open[$i]->socket();

        setsockopt $s, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 if $i % 2;
        $open[$i]->close();
    }
}

nothing_left('given up');

wait_for(sub { (() = glob "/proc/$worker/fd/*") <= $fds }, 10,
    'file descriptors to be closed');
pass('given up: no file descriptor is left');

cmp_ok(usage("$t->{dir}/spool") - $used, '<=', 8, 'given up: no space used');

# a worker that is killed with uploads under way

for my $i (1 .. 5) {
    my $c = session();
    $c->cmd('MAIL FROM:<a@from.test>');
    $c->cmd('RCPT TO:<b@to.test>');
    $c->cmd('DATA');
    $c->send_raw(substr $wire, 0, 2 * $MB);
    $t->{keep}{$i} = $c;
}

wait_for(sub { unlinked() == 5 }, 10, 'files of uploads');

$t->kill_worker();
nothing_left('killed');
delete $t->{keep};

$c = session();
is(($c->send_message('a@from.test', 'b@to.test', $messages{1.5}))[0], 250,
    'killed: mail is taken afterwards');
arrives('killed', $messages{1.5});

is($sink->count_messages(), $seen, 'nothing else arrived');
nothing_left('end');

$t->stop();
is(join(' ', grep { -f } glob "$t->{dir}/spool/*.{data,log,body}"), '',
    'nothing left in the spool');

$t->done();
