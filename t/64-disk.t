#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The disk: too little of it by configuration, really full, a spool directory
# that is not as it must be, and one that cannot be written any more.  New mail
# is refused for now, never taken falsely; what is queued goes out all the
# same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Load;

my $t = Test::SMTPRelay->new();

my $up = "$t->{dir}/up";        # exists: the next hop takes mail

my $sink = $t->sink('mx', replies => {
    MAIL => sub { -e $up ? undef : '451 4.3.0 later' },
});

my $spool = "$t->{dir}/spool";

my $conf = <<'EOC';
%%GLOBALS%%
worker_processes 1;
events { }

stream {
    smtp_queue out {
        spool     %%SPOOL%%;
        spool_min_free %%MIN_FREE%%;
        spool_segment_size %%SEGMENT%%;
        hostname  out.test;
        next_hop  127.0.0.1:%%HOP%%;
        tls       off;
        retry     1s;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_hostname in.test;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  out;
    }
}
EOC

my $mail = "Subject: x\r\n\r\n" . ('y' x 70 . "\r\n") x 700;

sub session {
    my $c = $t->client('smtp', timeout => 30);
    $c->cmd('EHLO client.test');
    return $c;
}

# the subjects of what arrived, with how often

sub arrived {
    my %n;
    $n{$_->{body} =~ /^Subject: (\S+)/m ? $1 : '?'}++ for $sink->messages();
    return \%n;
}

sub subject { my ($s) = @_; (my $m = $mail) =~ s/^Subject: x/Subject: $s/; $m }


# a directory that is not as it must be

$t->set(SPOOL => $spool, MIN_FREE => '1m', SEGMENT => '1m',
    HOP => $sink->port());

my $user = $> == 0 ? $t->{user} : (getpwuid $>)[0];

sub wrong {
    my ($re, $name) = @_;
    $t->refused($conf, qr/spool "\Q$spool\E[^"]*" $re.* in \S+\.conf:\d+/,
        $name);
}

mkdir "$t->{dir}/real", 0700;
symlink "$t->{dir}/real", $spool;
wrong(qr/is a symbolic link/, 'a symbolic link');
unlink $spool;

$t->write_file('spool', '');
wrong(qr/cannot be opened as a directory/, 'a file');
unlink $spool;

for my $mode (0770, 0755, 0701, 02700) {
    mkdir $spool;
    chown +(getpwnam $user)[2, 3], $spool;
    chmod $mode, $spool;
    wrong(sprintf('has mode %04o', $mode), sprintf('mode %04o', $mode));
    rmdir $spool;
}

SKIP: {
    skip 'not root', 1 if $> != 0;

    mkdir $spool, 0700;
    wrong(qr/is owned by uid 0/, "root's");
    rmdir $spool;
}

mkdir $spool, 0700;
chown +(getpwnam $user)[2, 3], $spool;
mkdir "$spool/tmp", 0755;
chown +(getpwnam $user)[2, 3], "$spool/tmp";
wrong(qr/has mode 0755/, 'a directory in it');
rmdir "$spool/tmp";

$t->accepted($conf, 'as it must be');
ok(!-l $spool && ((stat $spool)[2] & 07777) == 0700, 'and stays so');


# more than the disk has shall stay free: old mail goes out, new is refused

$t->write_conf($conf)->run();

my $c = session();
is(($c->send_message('a@from.test', 'b@to.test', subject("old$_")))[0],
    250, "queued $_") for 1 .. 3;

$t->set(MIN_FREE => '100000g');
$t->write_conf($conf)->reload(wait => 1);

is(($c->cmd('NOOP'))[0], 421, 'session of the old worker');
$c = session();

my ($code, $text) = $c->cmd('MAIL FROM:<a@from.test>');
is("$code $text", '452 4.3.1 Insufficient system storage',
    'too little space: refused');

$t->write_file('up', '');
$sink->wait_messages(3);
is_deeply(arrived(), { old1 => 1, old2 => 1, old3 => 1 },
    'too little space: old mail goes out');

$t->set(MIN_FREE => '1m');
$t->write_conf($conf)->reload(wait => 1);

$c = session();
is(($c->send_message('a@from.test', 'b@to.test', subject('again')))[0], 250,
    'enough space again');
$sink->wait_messages(4);


# The directory cannot be written any more: the segment that is open can, and
# takes what comes, beyond its size; a new worker has none.

unlink $up;
chmod 0500, $spool;

my ($taken, $refused) = (0, 'none');

for (1 .. 50) {
    ($code, $text) = $c->send_message('a@from.test', 'b@to.test',
        subject("ro$_"));

    $refused = "$code $text" if $code != 250;
    $taken++ if $code == 250;
}

is("$taken $refused", '50 none', 'not writable: an open segment is');

$t->expect_log(qr/\[alert\] .* exited on signal 9/);
$t->expect_log(qr/\[crit\] .*Permission denied/);

$t->kill_worker();
$t->wait_log(qr/\[crit\] .*Permission denied/);

# the log line may be the old worker's: the new one has to find out first

eval {
    wait_for(sub {
        $c = session();
        ($code, $text) = $c->cmd('MAIL FROM:<a@from.test>');
        return $code == 451;
    }, 10, 'a refusal');
};

is("$code $text", '451 4.3.0 Cannot store the message',
    'not writable: refused');

$t->write_file('up', '');
$sink->wait_messages(4 + $taken, 20);
pass('not writable: old mail goes out');

cmp_ok(scalar(() = $t->log() =~ /\[crit\]/g), '<', 10,
    'not writable: it is not logged again and again');

chmod 0700, $spool;

ok(eval {
    wait_for(sub {
        ($c->cmd('MAIL FROM:<a@from.test>'))[0] == 250;
    }, 10, 'mail to be taken');
}, 'writable again') or diag($t->log_tail(20));
$c->cmd('RSET');

is(($c->send_message('a@from.test', 'b@to.test', subject('rw')))[0], 250,
    'writable again: taken');

$sink->wait_messages(5 + $taken);
my %want = map { $_ => 1 } qw/ old1 old2 old3 again rw /,
    map { "ro$_" } 1 .. $taken;
is_deeply(arrived(), \%want, 'each once');

$t->stop();
is(join(' ', glob "$spool/*.data"), '', 'nothing left in the spool');


# really full

SKIP: {
    my $small = "$t->{dir}/small";
    mkdir $small, 0755;

    my ($status, $out) = $t->command('mount', '-t', 'tmpfs', '-o',
        'size=12m', 'none', $small);

    skip "a file system of its own is not permitted here: $out", 1
        if $status;

    $t->at_end(sub { system 'umount', '-l', $small });

    full($small);
}

$t->done();


sub full {
    my ($small) = @_;

    unlink $up;

    $t->expect_log(qr/\[crit\] .*: No space left on device/);

    mkdir "$small/spool", 0700;
    chown +(getpwnam $user)[2, 3], "$small/spool";

    $t->set(SPOOL => "$small/spool", MIN_FREE => '4k');
    $t->write_conf($conf)->run();

    my $before = $sink->count_messages();
    my $c = session();
    my %want;

    for (1 .. 20) {
        ($code) = $c->send_message('a@from.test', 'b@to.test',
            subject("full$_"));
        is($code, 250, "disk full: queued $_") if $code != 250;
        $want{"full$_"} = 1;
    }

    # nothing is left

    open my $f, '>', "$small/filler" or die "filler: $!";
    1 while syswrite $f, 'x' x 4096;
    close $f;

    # what was allocated ahead takes some more; they must arrive, too

    my %codes;

    for (1 .. 60) {
        my ($code, $text) = $c->send_message('a@from.test', 'b@to.test',
            subject("no$_"));

        if ($code == 250) {
            $want{"no$_"} = 1;
            next;
        }

        last if ++$codes{"$code $text"} == 5;
    }

    is(join(', ', %codes), '452 4.3.1 Insufficient system storage, 5',
        'disk full: 452');

    # one that does not fit, with a file of its own

    unlink "$small/filler";
    open $f, '>', "$small/filler" or die "filler: $!";
    syswrite $f, 'x' x 4096 for 1 .. 2000;
    close $f;

    wait_for(sub {
        my ($code) = $c->cmd('MAIL FROM:<a@from.test>');
        $c->cmd('RSET');
        $code == 250;
    }, 10, 'space to be seen');

    my $large = ('z' x 70 . "\r\n") x 100000;

    ($code, $text) = $c->send_message('a@from.test', 'b@to.test', $large);
    is("$code $text", '452 4.3.1 Insufficient system storage',
        'disk full: 452 at the end of a large message');

    open $f, '>>', "$small/filler" or die "filler: $!";
    1 while syswrite $f, 'x' x 4096;
    close $f;

    # a reload works, too, and old mail goes out on a full disk

    $t->reload(wait => 1);
    $t->write_file('up', '');

    $sink->wait_messages($before + keys %want, 20);
    pass('disk full: old mail goes out');

    # the results were recorded: a crash repeats nothing

    $t->kill_all();
    $t->run();

    $c = session();
    unlink "$small/filler";

    ok(eval {
        wait_for(sub {
            ($c->send_message('a@from.test', 'b@to.test',
                subject('free')))[0] == 250;
        }, 10, 'mail to be taken');
    }, 'space again: taken');
    $want{free} = 1;

    $sink->wait_messages($before + keys %want);
    my $got = arrived();
    is_deeply({ map { $_ => $got->{$_} // 0 } keys %want }, \%want,
        'disk full: each once');
    is($sink->count_messages(), $before + keys %want, 'and no other');

    # under load: whatever was taken arrives, whatever was refused does not

    my $l = Test::SMTPRelay::Load->new($t, sink => 'mx2',
        spool => "$small/spool");

    $t->set(HOP => $t->port('mx2'));
    $t->write_conf($conf)->reload(wait => 1);

    $l->start(sessions => 30, seconds => 4, size => 30000);
    my $sum = $l->finish();
    note(explain($sum));

    cmp_ok($sum->{acked}, '>', 50, 'disk full under load: some were taken');
    cmp_ok($sum->{failed}, '>', 0, 'disk full under load: some refused');

    $l->sink_start();
    my @missing = $l->drained(30);
    is(scalar @missing, 0, 'disk full under load: all taken ones arrived');

    my $n = $l->account();
    note(explain($n));
    is($n->{lost}, 0, 'disk full under load: nothing lost');
    is($n->{doubled}, 0, 'disk full under load: nothing doubled');
    is($n->{ghosts} + $n->{stray}, 0,
        'disk full under load: nothing delivered that was refused');

    $t->stop();
    is(join(' ', glob "$small/spool/*.data"), '',
        'nothing left in the spool');
    is(join(' ', glob "$small/spool/*.body"), '', 'no body is left');
}
