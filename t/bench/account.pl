#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Accounts for every message: compares what load has been told was accepted
# with what sink has received.
#
#     account.pl --acked FILE ... --sink FILE ... [options]
#
#     --others FILE    what load -u wrote: failed and unknown ones
#     --queued FILE    ids (first word of each line) still queued or bounced,
#                      which are thus not lost
#     --rcpts N        recipients a message has (1); it counts as delivered
#                      when that many have been, in whatever transactions
#     --no-doubled     a doubled message is a failure, too
#     --no-gone        do not count what the sink took from clients that did
#                      not wait for the answer: their sender must repeat it
#     --show N         print up to N ids of each kind (5)
#     --json           one line of JSON instead of words
#
# All options that name a file can be repeated.
#
#     lost             acknowledged, neither received nor queued, or not for
#                      all recipients
#     doubled          received for more recipients than it has
#     unknown          received though load got no answer to its end of data
#     ghosts           received though load was told that it failed
#     stray            received, and load knows nothing of it
#
# Exit status: 0 nothing lost, 1 something lost, 2 something doubled and
# --no-doubled given, 64 a wrong call.

use warnings;
use strict;

use Getopt::Long;

my (@acked, @sink, @others, @queued);
my ($rcpts, $show, $no_doubled, $no_gone, $json) = (1, 5);

my $ok = GetOptions(
	'acked=s{1,}' => \@acked, 'sink=s{1,}' => \@sink,
	'others=s{1,}' => \@others, 'queued=s{1,}' => \@queued,
	'rcpts=i' => \$rcpts, 'show=i' => \$show, 'json' => \$json,
	'no-doubled' => \$no_doubled, 'no-gone' => \$no_gone);

if (!$ok || @ARGV || !@acked || !@sink) {
	print STDERR "usage: account.pl --acked FILE ... --sink FILE ...\n";
	exit 64;
}

# The last line of a list may be cut where its writer was killed.  A line that
# is cut has not been acknowledged by the sink, and is not counted; load is
# not what is killed, so in its list a cut line is an error.

my (%acked, %others, %queued, %got);

each_line(1, sub { $acked{$_[0]} = 1 }, @acked);
each_line(1, sub { $others{$_[0]} = $_[2] }, @others);
each_line(0, sub { $queued{$_[0]} = 1 }, @queued);

each_line(0, sub {
	my ($id, $n, $time, $state) = @_;

	return if $no_gone && $state eq 'gone';

	$got{$id} += $n;
}, @sink);

my @lost = grep { ($got{$_} // 0) < $rcpts && !$queued{$_} } keys %acked;
my @doubled = grep { $got{$_} > $rcpts } keys %got;
my (@unknown, @ghosts, @stray);

for my $id (keys %got) {
	next if $acked{$id};

	my $what = $others{$id} // '';

	push @{ $what eq 'unknown' ? \@unknown
		: $what eq 'failed' ? \@ghosts : \@stray }, $id;
}

my %lists = (lost => \@lost, doubled => \@doubled, unknown => \@unknown,
	ghosts => \@ghosts, stray => \@stray);
my @order = qw/lost doubled unknown ghosts stray/;

if ($json) {
	print '{"acked": ', scalar keys %acked, ', "received": ',
		scalar keys %got, ', ',
		join(', ', map { "\"$_\": " . scalar @{ $lists{$_} } } @order),
		"}\n";

} else {
	printf "%-10s %d\n", 'acked', scalar keys %acked;
	printf "%-10s %d\n", 'received', scalar keys %got;

	for my $what (@order) {
		my @list = sort @{ $lists{$what} };
		my $n = @list < $show ? @list : $show;

		printf "%-10s %d%s\n", $what, scalar @list,
			$n ? "  (@list[0 .. $n - 1])" : '';
	}
}

exit 1 if @lost;
exit 2 if @doubled && $no_doubled;
exit 0;


sub each_line {
	my ($whole, $sub, @files) = @_;

	for my $name (@files) {
		open my $fh, '<', $name or die "cannot open $name: $!\n";

		while (my $line = <$fh>) {
			if ($line !~ /\n\z/) {
				die "$name: the last line is cut\n" if $whole;
				last;
			}

			next if $line !~ /\S/;

			$sub->(split ' ', $line);
		}

		close $fh;
	}
}
