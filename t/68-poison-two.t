#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A message that kills workers, and two nginx with zones of their own that take
# it over from each other: a strike is seen by who saw the worker, so some come
# late, but they come, and it does not go on for ever.  The next hop kills the
# worker, and lets the other nginx go first: a master that cannot start workers
# is the worst case, since its own would be the first to look.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Conf;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();
my $other = Test::SMTPRelay->new();

my $cured = "$t->{dir}/cured";

# ($worker, $master): the worker with the other end of this connection

sub owner {
    my ($socket) = @_;

    my $want = sprintf '0100007F:%04X', $socket->peerport();
    my $inode;

    open my $tcp, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";

    while (<$tcp>) {
        my @f = split;
        $inode = $f[9] if $f[1] eq $want && $f[3] eq '01';
    }

    die 'no such connection' unless $inode;

    for (glob "/proc/[0-9]*/fd/*") {
        next if (readlink($_) // '') ne "socket:[$inode]";
        my $pid = (split m{/})[2];
        open my $f, '<', "/proc/$pid/stat" or next;
        my ($parent) = <$f> =~ /\) \S (\d+)/;
        return ($pid, $parent);
    }

    die 'nobody has the connection';
}

my $sink = $t->sink('mx', replies => {
    DOT => sub {
        my ($s, $txn) = @_;

        return undef if $txn->{body} !~ /^Subject: poison/m || -e $cured;

        my ($worker, $master) = owner($s->{socket});

        open my $f, '<', "$t->{dir}/kills";
        my @kills = $f ? map { (split)[0] } <$f> : ();

        open my $log, '>>', "$t->{dir}/kills" or die "kills: $!";
        print $log "$master\n";
        close $log;

        kill 'STOP', $master;
        kill 'KILL', $worker;
        kill 'CONT', $kills[-1] if @kills && $kills[-1] != $master;

        return { silent => 1 };
    },
});

my $conf = relay_conf(status => 'control=on',
    queue => { spool => '%%SPOOL%%', spool_min_free => '1m',
        next_hop => '127.0.0.1:%%MX%%', retry => '1s' });

for my $nginx ($t, $other) {
    $nginx->set(SPOOL => "$t->{dir}/spool", MX => $t->port('mx'));
    $nginx->write_conf($conf)->run();
}

my $c = $t->client('smtp');
$c->cmd('EHLO client.test');
my ($code, $text) = $c->send_message('a@from.test', 'b@to.test',
    "Subject: poison\r\n\r\nhello\r\n");
is($code, 250, 'poison taken');

# until one of them puts it on hold

my $held = qr/\[crit\] .*was worked on when 3 workers died, it is on hold/;

wait_for(sub { grep { $_->log() =~ $held } $t, $other }, 60, 'the hold');

my @kills = map { (split)[0] } split /\n/, $t->read_file('kills');
note("masters whose workers died: @kills");

cmp_ok(scalar @kills, '>=', 3, 'three workers died');
cmp_ok(scalar @kills, '<=', 5,
    'and no more than one for each master whose strike nobody saw');

my $changes = grep { $kills[$_] != $kills[$_ - 1] } 1 .. $#kills;
cmp_ok($changes, '>=', 2, 'of both, in turn');

kill 'CONT', $t->pid(), $other->pid();

wait_for(sub { $_->workers() }, 20, 'workers') for $t, $other;

my $h = Test::SMTPRelay::Status->new($t, 'http');
$h->wait_list('state=held', 1);

# it stays so

my @before = map { $_->workers() } $t, $other;
select undef, undef, undef, 1;
is_deeply([map { $_->workers() } $t, $other], \@before, 'the workers live');

my ($left) = $h->list('');
$t->write_file('cured', '');
is(($h->post("message/$left->{id}/release"))[0], 200, 'released');
wait_for(sub { $sink->count_messages() }, 30, 'the message');
pass('delivered');
$h->wait_list('', 0);

for my $nginx ($t, $other) {
    $nginx->expect_log($held) if $nginx->log() =~ $held;
    $nginx->expect_log(qr/\[alert\] .* exited on signal 9/)
        if $nginx->log() =~ /exited on signal 9/;
}

$other->stop();
$other->cleanup_processes();
$other->final_checks();
$other->{finished} = 1;
$t->done();
