package Bench;

# Copyright (C) ngx_smtp_relay_module authors

# What the parts of the benchmark share: tools, processes and what they cost,
# numbers.  Everything runs in a temporary folder, Bench::begin() makes it; at
# the end of the program the processes are stopped and the folder is removed.

use warnings;
use strict;

use Exporter qw/import/;
use File::Path qw/remove_tree/;
use File::Temp qw/tempdir/;
use IO::Handle;
use IO::Socket::INET;
use JSON;
use POSIX qw/:sys_wait_h sysconf/;
use Time::HiRes qw/sleep time/;

our @EXPORT = qw/%opt %children @warnings $dir which host source sink_start
	sink_count sink_wait mail_module nginx_run nginx_end cpu family pss loops
	median round bool run stop free_port wait_port write_file read_file
	print_checks/;

our (%opt, %children, @warnings, $dir);

my $parent = $$;
my @at_end;


sub begin {
	$dir = tempdir('ngx-smtp-bench-XXXXXX', DIR => $opt{dir});
	chmod 0755, $dir;
}


# a function that is called before the processes are stopped

sub at_end {
	push @at_end, shift;
}


END {
	if ($$ == $parent) {
		local $?;
		$_->() for @at_end;
		stop($_) for keys %children;
		remove_tree($dir) if $dir && !$opt{keep};
	}
}


sub which {
	my ($name) = @_;

	return (grep { -x } map { "$_/$name" } split /:/, $ENV{PATH})[0];
}


sub host {
	my ($kernel) = (POSIX::uname())[2];
	my ($fs) = `stat -f -c %T $dir` =~ /(\S+)/;
	my ($cores) = `nproc` =~ /(\d+)/;

	if ($fs eq 'tmpfs') {
		push @warnings, "$dir is on tmpfs: nothing is durable there";
	}

	open my $fh, '>', "$dir/fsync" or die "cannot write in $dir: $!\n";

	my ($n, $started) = (0, time());

	while (time() - $started < 0.5) {
		syswrite $fh, 'x' x 4096;
		$fh->sync();
		$n++;
	}

	my $rate = int($n / (time() - $started));

	unlink "$dir/fsync";

	return { cores => $cores, kernel => $kernel, fs => $fs, fsync => $rate };
}


sub source {
	my ($port, $messages, $new) = @_;

	my $pid = run(undef, 'smtp-source', $new ? () : '-d', '-s', $opt{sessions},
		'-m', $messages, '-l', $opt{size}, '-f', 'bench@example.com',
		'-t', 'bench@example.net', "127.0.0.1:$port");

	waitpid($pid, 0);
	delete $children{$pid};

	$? == 0 or die "smtp-source failed, see above\n";
}


# smtp-sink shows its counters after each message; only the last one matters

sub sink_start {
	my $port = free_port();
	my $out = "$dir/sink.$port";
	my @user = $> == 0 ? ('-u', 'nobody') : ();

	my $pid = run($out, 'smtp-sink', @user, '-c', '-m', 1000,
		"127.0.0.1:$port", 1000);

	wait_port($port);

	return { pid => $pid, port => $port, out => $out };
}


sub sink_count {
	my ($sink) = @_;
	my $tail = '';

	open my $fh, '<', $sink->{out} or die "cannot open $sink->{out}: $!\n";
	seek $fh, -200, 2;
	read $fh, $tail, 200;

	return $tail =~ /.*mesg=(\d+)\D/s ? $1 : 0;
}


sub sink_wait {
	my ($sink, $messages) = @_;
	my ($last, $since) = (0, time());

	for ( ;; ) {
		my $n = sink_count($sink);

		return if $n >= $messages;

		($last, $since) = ($n, time()) if $n > $last;

		time() - $since < 60
			or die "delivery stands still at $last of $messages\n";

		sleep 0.01;
	}
}


# how nginx's mail module is loaded; undef: it is not there

sub mail_module {
	my $v = `$opt{nginx} -V 2>&1`;

	return '' if $v =~ /--with-mail(?!=dynamic)\s/;

	my ($path) = $v =~ /--modules-path=(\S+)/ or return undef;

	return -e "$path/ngx_mail_module.so"
		? "load_module $path/ngx_mail_module.so;" : undef;
}


# user and system time, in seconds, of a process and all its descendants, and
# of those of them that ended and were waited for

sub cpu {
	my ($root) = @_;
	my (%kids, %time, $sum);

	for my $file (glob '/proc/[0-9]*/stat') {
		my ($pid, $rest) = read_file($file) =~ /^(\d+) \(.*\) (.*)/s or next;
		my @f = split ' ', $rest;

		push @{ $kids{$f[1]} }, $pid;
		$time{$pid} = $f[11] + $f[12] + $f[13] + $f[14];
	}

	my @list = ($root);

	while (defined(my $pid = shift @list)) {
		$sum += $time{$pid} // 0;
		push @list, @{ $kids{$pid} // [] };
	}

	return $sum / sysconf(POSIX::_SC_CLK_TCK());
}


sub family {
	my ($root) = @_;
	my @list;

	for my $file (glob '/proc/[0-9]*/stat') {
		my ($pid, $ppid) = read_file($file) =~ /^(\d+) \(.*\) \S (\d+)/s
			or next;

		push @list, $pid if $ppid == $root;
	}

	return @list;
}


sub pss {
	my $sum = 0;

	for my $pid (@_) {
		read_file("/proc/$pid/smaps_rollup") =~ /^Pss:\s+(\d+) kB/m
			or die "cannot read the memory of $pid\n";
		$sum += $1;
	}

	return $sum;
}


sub median {
	my @list = sort { $a <=> $b } @_;

	return @list % 2 ? $list[$#list / 2]
		: ($list[@list / 2 - 1] + $list[@list / 2]) / 2;
}


sub round {
	return sprintf("%.$_[1]f", $_[0]) + 0;
}


sub bool {
	return $_[0] ? JSON::true : JSON::false;
}


# runs a command, with its output in a file if one is named

sub run {
	my ($out, @command) = @_;
	my $pid = fork() // die "fork() failed: $!\n";

	if ($pid == 0) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', $out if defined $out;
		exec(@command) or POSIX::_exit(127);
	}

	$children{$pid} = 1;

	return $pid;
}


sub stop {
	my ($pid, $signal) = @_;

	delete $children{$pid};
	kill $signal // 'TERM', $pid;

	for (1 .. ($signal ? 3000 : 100)) {
		return if waitpid($pid, WNOHANG) != 0;
		sleep 0.1;
	}

	push @warnings, "process $pid had to be killed";
	kill 'KILL', $pid;
	waitpid($pid, 0);
}


sub free_port {
	my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
		or die "cannot listen: $!\n";

	return $s->sockport();
}


sub wait_port {
	my ($port, $pid) = @_;

	for (1 .. 200) {
		return if IO::Socket::INET->new("127.0.0.1:$port");

		if ($pid && waitpid($pid, WNOHANG) == $pid) {
			my $home = delete $children{$pid};
			die "nginx does not start:\n", read_file("$home/error.log");
		}

		sleep 0.05;
	}

	die "nothing listens on port $port\n";
}


sub write_file {
	my ($name, $text) = @_;

	open my $fh, '>', $name or die "cannot write $name: $!\n";
	print $fh $text;
	close $fh or die "cannot write $name: $!\n";
}


sub read_file {
	my ($name) = @_;

	open my $fh, '<', $name or return '';
	local $/;

	return readline($fh) // '';
}


# starts nginx with these blocks of configuration in the folder home

sub nginx_run {
	my ($home, $blocks, $port, $module) = @_;
	my $modules = '';

	-d $home or mkdir $home or die "cannot make $home: $!\n";

	if (`$opt{nginx} -V 2>&1` =~ /--with-stream=dynamic/) {
		my ($path) = `$opt{nginx} -V 2>&1` =~ /--modules-path=(\S+)/;

		$modules = "load_module $path/ngx_stream_module.so;";
	}

	if ($blocks =~ /^mail /m) {
		$modules .= mail_module();
	}

	$module //= $opt{module};

	write_file("$home/nginx.conf", <<"CONF");
$modules
load_module $module;

daemon off;
worker_processes @{[$opt{workers} // 2]};
worker_rlimit_nofile 16384;
pid $home/nginx.pid;
error_log $home/error.log @{[$opt{level} // 'notice']};

thread_pool commit threads=4;

events {
    worker_connections 4096;
}

$blocks
CONF

	my $pid = run(undef, $opt{nginx}, '-p', "$home/", '-e',
		"$home/error.log", '-c', "$home/nginx.conf");

	$children{$pid} = $home;
	wait_port($port, $pid);

	return $pid;
}


# stops it; what its error log complains of becomes warnings

sub nginx_end {
	my ($pid, $signal) = @_;
	my $home = $children{$pid};

	stop($pid, $signal);

	open my $fh, '<', "$home/error.log" or return $home;

	while (my $line = <$fh>) {
		chomp $line;

		push @warnings, $line
			if $line =~ /\[(?:warn|error|crit|alert|emerg)\]/
			&& $line !~ /Connection refused/ && @warnings < 20;
	}

	return $home;
}


# the longest iteration of the event loop in us, from this offset of the error
# log on; undef: not measured.  In list context also the offset of its end, and
# how many iterations took over 5 ms, of how many.

sub loops {
	my ($home, $offset) = @_;
	my ($longest, $over, $all);

	open my $fh, '<', "$home/error.log" or return;
	seek $fh, $offset // 0, 0;

	while (<$fh>) {
		/ smtp loop: (\d+) us until [\d.]+, (\d+) of (\d+)/ or next;
		$longest = $1 if !defined $longest || $1 > $longest;
		$over += $2;
		$all += $3;
	}

	return wantarray ? ($longest, tell $fh, $over, $all) : $longest;
}


# name, value, unit, sign, target, goal, ok of each

sub print_checks {
	my @checks = @_;

	printf "\n%-38s %10s %14s %14s\n", '', 'value', 'target', 'design goal'
		if @checks;

	for my $c (@checks) {
		my $goal = defined $c->{goal} ? "$c->{sign} $c->{goal}$c->{unit}" : '';

		printf "%-38s %10s %14s %14s  %s\n", $c->{name},
			"$c->{value}$c->{unit}", "$c->{sign} $c->{target}$c->{unit}",
			$goal, $c->{ok} ? 'ok' : 'MISSED';
	}
}


1;
