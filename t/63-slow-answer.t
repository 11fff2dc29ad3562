#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A next hop that takes 20 s to answer the end of data, while nginx reloads,
# quits, is terminated: the message is in doubt for so long, and must be
# delivered once; where the worker cannot wait, not tried again before the
# time-out of that peer has passed.  Five servers at the same time, since most
# of it is waiting.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;
use Time::HiRes qw/ sleep time /;

my $PATIENCE = $Test::SMTPRelay::PATIENCE;
my $DELAY = 20;

my %servers;

# A server with a sink that says when an end of data came in, and which.  The
# subject tells how it answers: slow, only for the first time; later, 451 to
# the first.

sub server {
    my ($name, $data_timeout, $main) = @_;

    my $t = Test::SMTPRelay->new();
    my $file = "$t->{dir}/ends";

    my $sink = $t->sink('mx', replies => {
        DOT => sub {
            my ($s, $m) = @_;
            my ($subject) = $m->{body} =~ /^Subject: (\S+)/m;

            open my $f, '>>', $file or die "$file: $!";
            syswrite $f, sprintf("%s %.3f\n", $subject, time());
            close $f;

            my $n = $s->count("subject-$subject");

            return { delay => $DELAY, reply => '250 2.0.0 at last' }
                if $subject =~ /^slow/ && $n == 1;
            return '451 4.3.0 not yet' if $subject =~ /^later/ && $n == 1;
            return '250 2.0.0 taken';
        },
    });

    $t->set(DATA_TIMEOUT => $data_timeout, MAIN => $main || '',
        WORKERS => 1);

    my $conf = <<'EOC';
%%GLOBALS%%
worker_processes %%WORKERS%%;
%%MAIN%%
events { }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        hostname  out.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     3s;
        data_timeout %%DATA_TIMEOUT%%;
        max_connections 400;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_hostname in.test;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

    $t->write_conf($conf)->run();

    return $servers{$name} = { t => $t, sink => $sink, conf => $conf,
        name => $name };
}

# ([ subject, time ], ...) of the ends of data that came in

sub ends {
    my ($s, $re) = @_;

    return grep { $_->[0] =~ /^$re/ } map { [ split ] }
        split /\n/, $s->{t}->read_file('ends');
}

sub wait_end {
    my ($s, $re, $timeout, $n) = @_;

    $n ||= 1;

    return eval {
        wait_for(sub { ends($s, $re) >= $n }, $timeout,
            "$s->{name}: end of data of $re");
    };
}

sub send_mail {
    my ($s, @subjects) = @_;

    my $c = $s->{t}->client('smtp');
    $c->cmd('EHLO client.test');

    for my $subject (@subjects) {
        my ($code) = $c->send_message('a@from.test', 'b@to.test',
            "Subject: $subject\r\n\r\nhello\r\n");
        $code == 250 or die "$s->{name}: $subject: $code";
    }

    $c->quit();
}

# all in one segment: those that were refused for now, then the slow one

sub begin {
    my ($s) = @_;

    my @later = map { "later$_" } 1 .. 5;

    send_mail($s, @later);
    wait_end($s, 'later', 10, 5) or die "$s->{name}: later";

    send_mail($s, 'slow');
    wait_end($s, 'slow', 10) or die "$s->{name}: slow";

    ($s->{began}) = map { $_->[1] } ends($s, 'slow');
    ($s->{worker}) = $s->{t}->workers();
}

sub segments_of {
    my ($s, $pid) = @_;

    open my $f, '<', '/proc/locks' or die "/proc/locks: $!";
    my %inodes = map { /FLOCK .* $pid [0-9a-f]+:[0-9a-f]+:(\d+) / ? ($1, 1)
        : () } <$f>;

    return grep { $inodes{(stat $_)[1] || ''} }
        glob "$s->{t}{dir}/spool/*.data";
}

sub gone {
    my ($s, $timeout, $name, @pids) = @_;

    ok(eval {
        wait_for(sub { !grep { $s->{t}->alive($_) } @pids }, $timeout, $name);
    }, $name) or diag($@, $s->{t}->log_tail(10));
}


my $reload = server('reload', '60s');
my $quit = server('quit', '60s');
my $timeout = server('timeout', '12s', 'worker_shutdown_timeout 2s;');
my $term = server('term', '12s');

# many of them, a reload every second

my $many = { t => Test::SMTPRelay->new(), name => 'many' };
$many->{t}->set(WORKERS => 2, MAIN => '', DATA_TIMEOUT => '60s');
$many->{load} = Test::SMTPRelay::Load->new($many->{t});
$many->{load}->sink_start(delay => $DELAY * 1000);
$many->{t}->write_conf($reload->{conf})->run();
$servers{many} = $many;

begin($_) for $reload, $quit, $timeout, $term;

# a client that has sent half of its message when nginx reloads

my $c = $reload->{t}->client('smtp', timeout => 30);
$c->cmd('EHLO client.test');
$c->cmd('MAIL FROM:<a@from.test>');
$c->cmd('RCPT TO:<b@to.test>');
$c->cmd('DATA');
$c->send_raw("Subject: upload\r\n\r\n" . "first half\r\n" x 1000);

my $started = time();

$reload->{t}->signal('HUP');
$quit->{t}->signal('QUIT');
$timeout->{t}->signal('QUIT');
$term->{t}->signal('TERM');

# the worker of a server that was terminated, or may not wait: ends, and
# nothing of its mail is lost.  It is started again at once.

for my $s ($term, $timeout) {
    gone($s, 6, "$s->{name}: the server ended", $s->{t}->pid(),
        $s->{worker});
    $s->{t}->run();
}

cmp_ok(time() - $started, '<', 10 * $PATIENCE, 'they did not wait');

# reload: the old worker waits, new mail takes its way

send_mail($reload, 'new');
ok(wait_end($reload, 'new', 5), 'reload: new mail is delivered');

for (1 .. 5) {
    my $load = $many->{load};

    $load->start(sessions => 2, messages => 6);
    my $sum = $load->finish();
    is($sum->{acked} - $sum->{failed}, 6, "many: taken, $_");

    $many->{t}->reload();
    $reload->{t}->reload() if $_ == 3;
    sleep 1;
}

$c->send_raw("second half\r\n" x 1000);

# what shared the segment with the slow one is due 3 s after its first
# attempt; nobody may let it lie for more than 5 s

for my $s ($reload, $quit) {
    wait_end($s, 'later', 15, 10);

    my ($last) = map { $_->[1] } (ends($s, 'later'))[9];
    cmp_ok(($last // time()) - $started, '<', (3 + 5 + 2) * $PATIENCE,
        "$s->{name}: what shares the segment is not stuck");
}

my @held = segments_of($reload, $reload->{worker});
is(scalar @held, 1, 'reload: the old worker holds the segment');
ok($reload->{t}->alive($reload->{worker}), 'reload: the old worker waits');
ok($quit->{t}->alive($quit->{worker}), 'quit: the worker waits');

# the upload ends in the old worker

$c->send_raw(".\r\n");
my ($code, $text) = $c->read_reply();
is($code, 250, 'reload: the upload through it was taken') or diag($text);
is(($c->cmd('NOOP'))[0], 421, 'reload: then the session is ended');
ok(wait_end($reload, 'upload', 6), 'reload: the upload is delivered');

# not tried again before the peer's time-out

for my $s ($timeout, $term) {
    wait_end($s, 'slow', 20, 2);

    my @ends = map { $_->[1] } ends($s, 'slow');

    is(scalar @ends, 2, "$s->{name}: tried again")
        or diag($s->{t}->log_tail(20));
    cmp_ok(($ends[1] // 0) - $ends[0], '>', 11,
        "$s->{name}: not before the time-out");
    ok(wait_end($s, 'later', 5, 10), "$s->{name}: others were delivered");
}

# the answers come

gone($reload, 25, 'reload: the old worker ended', $reload->{worker});
gone($quit, 25, 'quit: the server ended', $quit->{t}->pid());

cmp_ok(time() - $quit->{began}, '>=', $DELAY - 1, 'they had waited');

for my $s ($reload, $quit) {
    cmp_ok(time() - $s->{began}, '<', $DELAY + 8 * $PATIENCE,
        "$s->{name}: for no longer than necessary");
}

$quit->{t}->run();

my @missing = $many->{load}->drained(45);
is("@missing", '', 'many: all arrived');

# time for doubles

sleep 4;

for my $s ($reload, $quit, $timeout, $term) {
    my %n;
    $n{$_->[0]}++ for ends($s, '');

    my %want = map { ("later$_" => 2) } 1 .. 5;
    $want{slow} = $s == $timeout || $s == $term ? 2 : 1;
    %want = (%want, new => 1, upload => 1) if $s == $reload;

    is_deeply(\%n, \%want, "$s->{name}: each as often as it must be");
    is(join(' ', grep { !$_->{body} } $s->{sink}->messages()), '',
        "$s->{name}: none was empty");
}

my ($upload) = grep { $_->{body} =~ /^Subject: upload/m }
    $reload->{sink}->messages();
my $lines = () = $upload->{body} =~ /^(?:first|second) half\r$/mg;
is($lines, 2000, 'reload: the upload is whole');

my $n = $many->{load}->account();
is($n->{lost}, 0, 'many: nothing lost');
is($n->{doubled}, 0, 'many: nothing doubled');

my %now = map { $_ => 1 } $many->{t}->workers();

gone($many, 15, 'many: old workers left',
    grep { !$now{$_} } $many->{t}->workers(all => 1));

for my $s (sort { $a->{name} cmp $b->{name} } values %servers) {
    $s->{t}->stop();
    is(join(' ', glob "$s->{t}{dir}/spool/*.data"), '',
        "$s->{name}: nothing left in the spool");

    $s->{t}->cleanup_processes();
    $s->{t}->final_checks();
    $s->{t}{finished} = 1;
}

done_testing();
