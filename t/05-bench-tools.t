#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Tests for the load client, the sink and the accounting between them: the
# crash and reload tests are worth what these are worth.

use warnings;
use strict;

use FindBin;
use File::Temp qw/tempdir/;
use IO::Select;
use IO::Socket::INET;
use POSIX qw/:sys_wait_h/;
use Test::More;
use Time::HiRes qw/sleep time/;

my $bench = "$FindBin::Bin/bench";
my $dir = tempdir('ngx-smtp-bench-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my ($load, $sink) = ("$dir/load", "$dir/sink");
my %children;

$SIG{PIPE} = 'IGNORE';

END { local $?; kill 'KILL', keys %children; }

is(system("$bench/build", $dir), 0, 'build') or BAIL_OUT('cannot build');

# all goes well

{
	my $s = sink_start('well');

	for my $case (
		['kept', '-s 10 -m 2000', 2000, 1],
		['connection per message', '-s 10 -m 500 -c', 500, 1],
		['pipelining, 3 recipients', '-s 10 -m 1000 -p -n 3', 1000, 3],
		['large', '-s 4 -m 20 -l 3000000', 20, 1],
		['small', '-s 4 -m 20 -l 1', 20, 1])
	{
		my ($name, $args, $n, $rcpts) = @$case;
		my @files = map { "$dir/$_" } qw/acked others/;

		unlink @files;

		my $r = load($s, "$args -o $files[0] -u $files[1]");

		is($r->{status}, 0, "$name: status");
		is($r->{acked}, $n, "$name: acked");
		is($r->{messages}, $n, "$name: messages");
		is($r->{failed} + $r->{unknown} + $r->{reconnects}, 0,
			"$name: nothing else");
		is(lines($files[0]), $n, "$name: list");
		is(lines($files[1]), 0, "$name: list of others");

		my ($status, $a) = account("--acked $files[0] --sink "
			. "$s->{record} --rcpts $rcpts");

		is($status, 0, "$name: account");
		is($a->{lost}, 0, "$name: nothing lost");
	}

	my $sum = sink_stop($s);

	is($sum->{messages}, 3540, 'sink: messages');
	is($sum->{without_id}, 0, 'sink: all with id');
	is(lines($s->{record}), 3540, 'sink: record');
	is((grep { !/^\S+ [13] \d+\.\d{6} ok$/ } slurp($s->{record})), 0,
		'sink: form of the record');
}

# what a message looks like

for my $size (700, 4096, 4097, 100001) {
	my ($r, @got) = scripted("-l $size -f a\@example.com", ['ok']);
	my $msg = $got[0]{message};

	is($r->{acked}, 1, "message of $size");
	is(length($msg), $size, 'its size');
	unlike($msg, qr/[^\r]\n|\r[^\n]|[^\x20-\x7e\r\n]/, 'its line ends');
	ok(!(grep { length > 78 || /^\./ } split /\r\n/, $msg), 'its lines');

	my ($head, $body) = split /\r\n\r\n/, $msg, 2;

	like($head, qr/^Date: \w{3}, \d\d \w{3} \d{4} [\d:]{8} \+0000\r$/m, 'Date');
	like($head, qr/^From: <a\@example\.com>\r$/m, 'From');
	like($head, qr/^Message-ID: <\S+\@\S+>\r$/m, 'Message-ID');
	like($head, qr/^X-Load-Id: (\S+)\r$/m, 'X-Load-Id');

	$head =~ /^X-Load-Id: (\S+)\r$/m;
	like($body, qr/\Q$1\E\r$/m, 'id in the body');
}

# what counts as what: the first connection misbehaves, the next does not

for my $case (
	# step, what happens there, acked, failed, unknown, reconnects
	['banner', 'close', 1, 0, 0, 1],
	['banner', '421 4.3.2 Busy', 1, 0, 0, 1],
	['EHLO', 'close', 1, 0, 0, 1],
	['EHLO', 'reset', 1, 0, 0, 1],
	['MAIL', 'close', 1, 0, 0, 1],
	['MAIL', '421 4.3.2 Leaving', 1, 0, 0, 1],
	['MAIL', '452 4.3.1 Full', 1, 0, 0, 1],
	['RCPT', 'close', 0, 1, 0, 0],
	['RCPT', '421 4.3.2 Leaving', 0, 1, 0, 0],
	['RCPT', '450 4.2.1 No', 0, 1, 0, 0],
	['DATA', 'close', 0, 1, 0, 0],
	['DATA', '451 4.3.0 No', 0, 1, 0, 0],
	['body', 'reset', 0, 1, 0, 0],
	['body', '552 5.3.4 Too much', 0, 1, 0, 0],
	['.', '451 4.3.0 No', 0, 1, 0, 0],
	['.', '554 5.6.0 No', 0, 1, 0, 0],
	['.', '421 4.3.2 Leaving', 0, 1, 0, 0],
	['.', 'close', 0, 0, 1, 0],
	['.', 'reset', 0, 0, 1, 0])
{
	my ($step, $what, $acked, $failed, $unknown, $reconnects) = @$case;

	for my $pipelining ('', '-p') {
		my $others = "$dir/others";

		unlink $others;

		# larger than all buffers, to be still on its way then

		my $size = $step eq 'body' ? 20000000 : 4096;

		my ($r) = scripted("$pipelining -l $size -u $others",
			["$step=$what"], ['ok']);

		is("$r->{acked} $r->{failed} $r->{unknown} $r->{reconnects}",
			"$acked $failed $unknown $reconnects",
			"$what at $step" . ($pipelining && ', pipelining'));
		is(lines($others), $failed + $unknown, 'its list of others');
	}
}

{
	my ($r) = scripted('-m 3 -n 2 -p', ['RCPT=450 4.2.1 No']);

	is($r->{acked}, 3, 'one of two recipients refused: acked');
	is($r->{failed}, 1, 'one of two recipients refused: failed');
	is($r->{refused_rcpts}, 1, 'one of two recipients refused');
	is($r->{status}, 1, 'status of a run with a failure');

	my ($acked) = (scripted('-m 5', ['MAIL2=421 4.3.2 Leaving'], ['ok']));

	is("$acked->{acked} $acked->{failed} $acked->{reconnects}", '5 0 1',
		'421 between transactions');
}

{
	my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1');
	my $port = $s->sockport();
	close $s;

	my $started = time();
	my $r = load({ port => $port }, '-s 3 -m 10 -w 0.5');

	is($r->{status}, 2, 'no server: status');
	is($r->{gave_up}, 3, 'no server: gave up');
	cmp_ok(time() - $started, '<', 4, 'no server: time');

	($r) = scripted('', ['MAIL=530 5.7.0 Log in'], ['ok']);
	is($r->{status}, 2, 'MAIL refused for good');

	($r) = scripted('-T starttls', ['ok']);
	is($r->{status}, 2, 'no STARTTLS where it was asked for');
}

# the sink refuses

{
	my $s = sink_start('refuse', '-r', 10, '-e', 10);
	my $r = load($s, "-s 10 -m 1000 -o $dir/refuse.acked "
		. "-u $dir/refuse.others");
	my $sum = sink_stop($s);

	cmp_ok($sum->{refused_rcpts}, '>', 20, 'sink refuses recipients');
	cmp_ok($sum->{refused_messages}, '>', 20, 'sink refuses messages');
	is($r->{failed}, $sum->{refused_rcpts} + $sum->{refused_messages},
		'all refused are failed');
	is($r->{acked} + $r->{failed}, 1000, 'and all others acked');

	my ($status, $a) = account("--acked $dir/refuse.acked --others "
		. "$dir/refuse.others --sink $s->{record} --no-doubled");

	is($status, 0, 'refused ones are accounted for');
	is($a->{ghosts}, 0, 'and were not delivered');
}

# the sink is killed in the middle, again and again

for my $args ('-s 20', '-s 20 -p', '-s 20 -c', '-s 5 -l 500000') {
	my ($acked, $others) = map { "$dir/kill.$_" } qw/acked others/;

	unlink $acked, $others;

	my $s = sink_start('kill');
	unlink $s->{record};
	sink_kill($s);
	$s = sink_start('kill', -port => $s->{port});

	my $l = load_start($s, "$args -t 1.2 -o $acked -u $others");

	for (1 .. 2) {
		sleep 0.4;
		sink_kill($s);
		sleep 0.1;
		$s = sink_start('kill', -port => $s->{port});
	}

	my $r = load_wait($l);
	my $sum = sink_stop($s);

	cmp_ok($r->{acked}, '>', 100, "killed, $args: acked");
	cmp_ok($r->{reconnects}, '>=', 5, 'reconnects');
	is($r->{messages}, $r->{acked} + $r->{failed} + $r->{unknown},
		'all accounted for by load');
	cmp_ok($r->{failed} + $r->{unknown}, '>', 0, 'the kill was noticed');
	cmp_ok($r->{failed} + $r->{unknown}, '<=', 40, 'but not more');
	is(lines($acked), $r->{acked}, 'list of acked');
	is(lines($others), $r->{failed} + $r->{unknown}, 'list of others');
	is($sum->{without_id}, 0, 'no message without id');

	my ($status, $a) = account("--acked $acked --others $others "
		. "--sink $s->{record} --no-doubled");

	is($status, 0, 'account');
	is($a->{acked}, $r->{acked}, 'account: acked');
	is("$a->{lost} $a->{doubled} $a->{ghosts} $a->{stray}", '0 0 0 0',
		'account: nothing lost, doubled, or made up');
	cmp_ok($a->{unknown}, '<=', $r->{unknown}, 'account: unknown');
	is($a->{received}, $a->{acked} + $a->{unknown}, 'account: sum');
}

# the accounting notices

{
	my ($acked, $rec, $queued) = map { "$dir/faked.$_" } qw/acked rec queued/;
	my $args = "--acked $acked --sink $rec --others $dir/faked.others";

	spew($acked, map { "m$_ 1.0 0.1\n" } 1 .. 9);
	spew("$dir/faked.others", "u1 1.0 unknown\n", "f1 1.0 failed\n");
	spew($rec, map { "m$_ 1 1.0 ok\n" } 1 .. 9);

	is((account($args))[0], 0, 'faked: nothing wrong');
	is((account("$args --rcpts 2"))[0], 1, 'faked: half the recipients');

	spew($rec, map { "m$_ 1 1.0 ok\n" } 1 .. 8);

	my ($status, $a) = account($args);

	is($status, 1, 'faked: lost, status');
	is($a->{lost}, 1, 'faked: lost');

	spew($queued, "m9 deferred\n");
	is((account("$args --queued $queued"))[0], 0, 'faked: still queued');

	spew($rec, (map { "m$_ 1 1.0 ok\n" } 1 .. 9), "m3 1 1.0 gone\n",
		"u1 1 1.0 ok\n", "f1 1 1.0 ok\n", "x1 1 1.0 ok\n", "m1 1 1.0");
	($status, $a) = account($args);

	is($status, 0, 'faked: doubled, status');
	is("$a->{doubled} $a->{unknown} $a->{ghosts} $a->{stray}", '1 1 1 1',
		'faked: doubled, unknown, ghosts, stray');
	is((account("$args --no-doubled"))[0], 2, 'faked: --no-doubled');
	is((account("$args --no-doubled --no-gone"))[0], 0, 'faked: --no-gone');
}

# a slow end of data

{
	my $s = sink_start('slow', '-D', 300);
	my $started = time();
	my $r = load($s, '-s 5 -m 10 -p');

	is($r->{acked}, 10, 'slow: acked');
	cmp_ok($r->{p50_ms}, '>', 290, 'slow: latency');
	cmp_ok(time() - $started, '<', 5, 'slow: all sessions at a time');

	$r = load($s, "-s 1 -m 1 -k 0.1 -w 0.1 -u $dir/slow.others");
	is($r->{unknown}, 1, 'slow: the client does not wait');
	sleep 0.5;

	my $sum = sink_stop($s);

	is($sum->{gone}, 1, 'slow: a client is gone');
	is((grep { /^\S+ 1 \S+ gone$/ } slurp($s->{record})), 1,
		'slow: the message is taken nevertheless');
}

# the sink knows only one end of data, wherever a write is cut

{
	my $s = sink_start('strict');
	my $c = IO::Socket::INET->new("127.0.0.1:$s->{port}") or die;
	my $msg = "X-Load-Id: strict\r\n\r\na\n.\r\nb\r\n.\nc\r\n.\rd\r\n"
		. "..\r\ne.\r\n\n.\n\r.\r\n.\r\n";

	$c->autoflush(1);
	print $c "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nDATA\r\n";

	for my $octet (split //, $msg) {
		print $c $octet;
		sleep 0.001;
	}

	print $c "QUIT\r\n";

	is((grep { !/^250-/ } map { s/ .*//sr } readline($c))
		. '', 7, 'sink: replies');

	my $sum = sink_stop($s);

	is($sum->{messages}, 1, 'sink: one end of data');
	like((slurp($s->{record}))[0], qr/^strict 1 /, 'sink: its id');
}

# idle sessions

{
	my $s = sink_start('idle');

	my $l = load_start($s, '-i 100');
	is(readline($l->{out}), "ready 100\n", 'idle: ready');
	close $l->{in};
	my $r = load_wait($l);
	is("$r->{status} $r->{idle} $r->{lost}", '0 100 0', 'idle: summary');

	$l = load_start($s, '-i 10');
	is(readline($l->{out}), "ready 10\n", 'idle: ready again');
	my $sum = sink_stop($s);
	sleep 0.3;
	close $l->{in};
	$r = load_wait($l);
	is("$r->{status} $r->{lost}", '2 10', 'idle: all lost');
	is($sum->{connections}, 110, 'idle: connections');
}

# TLS and login

SKIP: {
	eval { require IO::Socket::SSL; require IO::Socket::SSL::Utils; };
	skip 'IO::Socket::SSL not installed', 6 if $@;

	my ($cert, $key) = IO::Socket::SSL::Utils::CERT_create(
		subject => { commonName => 'load' });

	my @tls = (SSL_server => 1, SSL_cert => $cert, SSL_key => $key);

	for my $mode ('implicit', 'starttls') {
		my ($r, @got) = scripted(
			"-T $mode -A us\@example.com:pa:ss -m 3 -l 50000 "
			. "-o $dir/$mode.acked",
			{ mode => $mode, tls => \@tls }, ['ok']);

		is($r->{acked}, 3, "$mode: acked");
		is($r->{failed} + $r->{unknown}, 0, "$mode: nothing else");
		is($got[0]{auth}, "\0us\@example.com\0pa:ss", "$mode: login");
	}
}

done_testing();


sub sink_start {
	my ($name, @args) = @_;
	my $port = 0;
	my $s = { record => "$dir/$name.record" };

	if (@args && $args[0] eq '-port') {
		(undef, $port, @args) = @args;
	}

	$s->{pid} = open($s->{out}, '-|', $sink, '-o', $s->{record}, @args,
		"127.0.0.1:$port") or die "cannot run the sink: $!\n";
	$children{$s->{pid}} = 1;

	readline($s->{out}) =~ /^listening 127\.0\.0\.1:(\d+)$/
		or die "no address from the sink\n";
	$s->{port} = $1;

	return $s;
}


sub sink_kill {
	my ($s) = @_;

	kill 'KILL', $s->{pid};
	close $s->{out};
	delete $children{$s->{pid}};
}


sub sink_stop {
	my ($s) = @_;

	kill 'TERM', $s->{pid};

	my $sum = parse(join '', readline($s->{out}));

	ok(close($s->{out}), 'the sink ends well');
	delete $children{$s->{pid}};

	return $sum;
}


sub load_start {
	my ($s, $args) = @_;
	my $l = {};

	pipe(my $out, my $child_out) or die;
	pipe(my $child_in, my $in) or die;

	defined($l->{pid} = fork()) or die;

	if ($l->{pid} == 0) {
		open STDIN, '<&', $child_in;
		open STDOUT, '>&', $child_out;
		open STDERR, '>>', "$dir/load.err";
		close $in;
		exec($load, split(' ', $args), "127.0.0.1:$s->{port}")
			or POSIX::_exit(127);
	}

	$children{$l->{pid}} = 1;
	@$l{qw/in out/} = ($in, $out);

	return $l;
}


sub load_wait {
	my ($l) = @_;

	my $r = parse(join '', readline($l->{out}));

	waitpid($l->{pid}, 0);
	delete $children{$l->{pid}};
	$r->{status} = $? & 127 ? "signal $?" : $? >> 8;

	return $r;
}


sub load {
	return load_wait(load_start(@_));
}


sub account {
	my ($args) = @_;
	my $out = `$^X $bench/account.pl --json $args`;

	return ($? >> 8, parse($out));
}


# the JSON is flat and has numbers only

sub parse {
	return { $_[0] =~ /"(\w+)": (-?[\d.]+)/g };
}


sub lines {
	my ($name) = @_;

	return -e $name ? scalar(my @lines = slurp($name)) : 0;
}


sub slurp {
	my ($name) = @_;

	open my $fh, '<', $name or die "cannot open $name: $!\n";

	return <$fh>;
}


sub spew {
	my ($name, @lines) = @_;

	open my $fh, '>', $name or die "cannot open $name: $!\n";
	print $fh @lines;
	close $fh or die;
}


# Runs load with one session and one message, unless the arguments say
# something else, against a server that follows a script: an array reference
# for each connection, of "step=reply" or "step=close" or "step=reset" (MAIL2
# is the second MAIL); the last is used for all further connections.  Gives
# the summary of load and, for each connection, what it has seen.

sub scripted {
	my ($args, @scripts) = @_;

	my $tls = ref $scripts[0] eq 'HASH' ? shift @scripts : {};
	my $listen = IO::Socket::INET->new(Listen => 5, ReuseAddr => 1,
		LocalAddr => '127.0.0.1') or die "cannot listen: $!\n";
	my $l = load_start({ port => $listen->sockport() },
		'-s 1' . ($args =~ /-m / ? '' : ' -m 1') . " -w 2 $args");
	my @got;

	while (waitpid($l->{pid}, WNOHANG) == 0) {
		next unless IO::Select->new($listen)->can_read(0.02);

		my $c = $listen->accept() or next;
		my $script = @scripts > 1 ? shift @scripts : $scripts[0];

		push @got, serve($c, $tls, @$script);
	}

	my $status = $?;
	my $r = parse(join '', readline($l->{out}));

	delete $children{$l->{pid}};
	$r->{status} = $status >> 8;

	return ($r, @got);
}


sub serve {
	my ($c, $tls, @script) = @_;
	my $got = {};
	my (%seen, $line);
	my %at = map { /^([^=]+)=(.*)$/ ? ($1, $2) : () } @script;

	$c->autoflush(1);

	# a reply, or what the script has instead; false: the end

	my $step = sub {
		my ($name, $reply) = @_;
		my $n = ++$seen{$name};

		my $do = delete($at{"$name$n"}) // ($n == 1 && delete $at{$name});

		if ($do && ($do eq 'close' || $do eq 'reset')) {
			if ($do eq 'reset') {
				setsockopt($c, SOL_SOCKET, SO_LINGER, pack('ll', 1, 0));
			}

			return 0;
		}

		print $c ($do || $reply), "\r\n";

		return !$do || $do !~ /^421/;
	};

	if (($tls->{mode} // '') eq 'implicit') {
		IO::Socket::SSL->start_SSL($c, @{ $tls->{tls} }) or return $got;
	}

	$step->('banner', '220 test') or return $got;

	while ($line = readline($c)) {
		if ($line =~ /^EHLO /) {
			$step->('EHLO', "250-test\r\n250-STARTTLS\r\n250 PIPELINING")
				or return $got if $tls->{mode};
			$step->('EHLO', "250-test\r\n250 PIPELINING")
				or return $got if !$tls->{mode};

		} elsif ($line =~ /^STARTTLS/) {
			print $c "220 2.0.0 Go\r\n250 injected\r\n";
			IO::Socket::SSL->start_SSL($c, @{ $tls->{tls} })
				or return $got;

		} elsif ($line =~ /^AUTH PLAIN (\S+)/) {
			require MIME::Base64;
			$got->{auth} = MIME::Base64::decode($1);
			print $c "235 2.7.0 Ok\r\n";

		} elsif ($line =~ /^(MAIL|RCPT)/) {
			$step->($1, '250 Ok') or return $got;

		} elsif ($line =~ /^DATA/) {
			$step->('DATA', '354 Go') or return $got;
			next if $seen{DATA} == 1 && "@script" =~ /DATA=[45]/;

			if (exists $at{body}) {
				readline($c);
				$step->('body', '') or return $got;
				# all is read, so that the reply is not lost
				while (readline($c)) { }
				return $got;
			}

			my $msg = '';

			while ($line = readline($c)) {
				last if $line eq ".\r\n";
				$msg .= $line;
			}

			return $got if !defined $line;

			$got->{message} = $msg;
			$step->('.', '250 Ok') or return $got;

		} elsif ($line =~ /^RSET/) {
			print $c "250 Ok\r\n";

		} elsif ($line =~ /^QUIT/) {
			print $c "221 Bye\r\n";
			return $got;

		} else {
			print $c "500 What?\r\n";
		}
	}

	return $got;
}
