package Test::SMTPRelay;

# Copyright (C) ngx_smtp_relay_module authors

# The test harness: an nginx with the module in a temporary folder.
#
#     use FindBin;
#     use lib "$FindBin::Bin/lib";
#
#     use Test::More;
#     use Test::SMTPRelay;
#
#     my $t = Test::SMTPRelay->new();
#     my $sink = $t->sink('mx');
#
#     $t->write_conf(<<'EOC')->run();
#     %%GLOBALS%%
#     events { }
#     stream {
#         server { listen 127.0.0.1:%%PORT_smtp%%; ... %%PORT_mx%% ... }
#     }
#     EOC
#
#     my $c = $t->client('smtp');
#     $c->check('EHLO test', 250, 'hello');
#     is(($c->cmd('MAIL FROM:<>'))[0], 250, 'mail');
#
#     $t->expect_log(qr/\[crit\] .* declared, so must appear/);
#     $t->done();
#
# done() stops everything, checks the log, and prints the plan.  A test
# fails when nginx logged an alert, crit or emerg that was not declared by
# expect_log(), when a declared line did not appear, when a sanitizer
# reported something, or when done() was not reached.
#
# Text that is expanded:
#
#     %%GLOBALS%%     load_module, user, pid, error_log: first line of every
#                     configuration
#     %%DIR%%         the temporary folder, no slash at the end
#     %%PORT_name%%   a free port of 127.0.0.1; the same for the same name
#     %%ANY%%         what $t->set(ANY => 'text') said
#
# Environment:
#
#     TEST_NGINX_BINARY   nginx to test with; /usr/sbin/nginx
#     TEST_SMTP_MODULE    the module; build/ngx_smtp_relay_module.so
#     TEST_SANITIZE       nginx is built with sanitizers: be patient
#     TEST_LEAVE          keep the temporary folder, say where it is
#     TEST_DEBUG          error_log at debug instead of info
#     TEST_TRACE          transcripts of clients as comments
#
# Nothing in here sleeps and hopes: wait_for() polls for a condition, with a
# limit.  Everything started is ended by process id, also when a test dies.

use strict;
use warnings;

use Carp qw/ croak /;
use Cwd qw/ abs_path /;
use Exporter qw/ import /;
use Fcntl qw/ :flock O_RDWR O_CREAT /;
use File::Basename qw/ dirname /;
use File::Path qw/ make_path remove_tree /;
use File::Temp qw/ tempdir /;
use IO::Socket::INET;
use JSON::PP ();
use POSIX qw/ :sys_wait_h _exit setpgid /;
use Test::More ();
use Time::HiRes qw/ sleep time /;

use Test::SMTPRelay::Client;
use Test::SMTPRelay::Redis;
use Test::SMTPRelay::Sink;
use Test::SMTPRelay::Postfix;

our @EXPORT = qw/ wait_for testdata /;

our $REPO = abs_path(dirname(__FILE__) . '/../../..');

# how much slower than usual everything may be
our $PATIENCE = $ENV{TEST_SANITIZE} ? 4 : 1;

my $PORT_LOCKS = '/tmp/ngx_smtp_test_ports';

my @live;           # weak list of harness objects, for END
my $owner = $$;


# ---------------------------------------------------------------------------
# creation and configuration


# new(user => 'root', keep => 1)
#
# user: of the workers when run as root; "nobody", so that a forgotten chown
# shows.  None is set when not run as root.

sub new {
    my ($class, %opts) = @_;

    my $self = bless {
        ports => {}, set => {}, expect => [], children => {}, groups => {},
        user => 'nobody', owner => $$, %opts
    }, $class;

    $self->{dir} = tempdir('ngx-smtp-XXXXXXXX', DIR => '/tmp',
        CLEANUP => 0);
    chmod 0755, $self->{dir};

    if ($> == 0) {
        my ($uid, $gid) = (getpwnam $self->{user})[2, 3];
        chown $uid, $gid, $self->{dir};
    }

    $self->{binary} = $ENV{TEST_NGINX_BINARY} || '/usr/sbin/nginx';
    $self->{module} = $ENV{TEST_SMTP_MODULE}
        || "$REPO/build/ngx_smtp_relay_module.so";

    -x $self->{binary} or croak "no nginx $self->{binary}";
    -f $self->{module} or croak "no module $self->{module}: run make first";

    push @live, $self;

    return $self;
}


sub dir { $_[0]{dir} }


# set(NAME => 'text'): %%NAME%% in configurations

sub set {
    my ($self, %set) = @_;
    $self->{set} = { %{$self->{set}}, %set };
    return $self;
}


# A free port of 127.0.0.1, reserved for this process: its number is locked
# until the process ends, and it lies below the ports that the kernel gives
# to clients, so that nobody takes it before nginx does.

sub port {
    my ($self, $name) = @_;

    return $self->{ports}{$name} if $self->{ports}{$name};

    unless (-d $PORT_LOCKS) {
        mkdir $PORT_LOCKS;
        chmod 01777, $PORT_LOCKS;
    }

    for (1 .. 2000) {
        my $port = 10000 + int rand 20000;

        sysopen my $lock, "$PORT_LOCKS/$port", O_RDWR | O_CREAT, 0666
            or next;
        flock $lock, LOCK_EX | LOCK_NB or next;

        my $s = IO::Socket::INET->new(Listen => 1, Proto => 'tcp',
            LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1)
            or next;
        close $s;

        $self->{locks}{$port} = $lock;

        return $self->{ports}{$name} = $port;
    }

    croak 'no free port';
}


sub globals {
    my ($self, $log) = @_;

    my $v = $self->version();
    my $stream = '';

    if ($v =~ /--with-stream=dynamic/) {
        my ($path) = $v =~ /--modules-path=(\S+)/;
        $stream = "load_module $path/ngx_stream_module.so;\n";
    }

    my $level = $ENV{TEST_DEBUG} ? 'debug' : 'info';

    return $stream
        . "load_module $self->{module};\n"
        . ($> == 0 ? "user " . $self->{user} . ' '
            . getgrgid((getpwnam $self->{user})[3]) . ";\n" : '')
        . ($ENV{TEST_SANITIZE} ? "env ASAN_OPTIONS;\nenv UBSAN_OPTIONS;\n"
            : '')
        . "pid $self->{dir}/nginx.pid;\n"
        . "error_log $self->{dir}/$log $level;\n";
}


sub expand {
    my ($self, $text, $log) = @_;

    $log ||= 'error.log';

    $text =~ s/%%GLOBALS%%/$self->globals($log)/ge;
    $text =~ s/%%DIR%%/$self->{dir}/g;
    $text =~ s/%%PORT_(\w+)%%/$self->port($1)/ge;
    $text =~ s{%%(\w+)%%}
              {$self->{set}{$1} // croak "nothing set for %%$1%%"}ge;

    return $text;
}


# write_file(name, text): into the folder, parents made; returns its path.
# Given a mode, the file belongs to the user of the workers.

sub write_file {
    my ($self, $name, $text, $mode) = @_;

    my $path = "$self->{dir}/$name";
    make_path(dirname($path));

    open my $f, '>:raw', $path or croak "$path: $!";
    print $f $text;
    close $f or croak "$path: $!";

    if ($mode) {
        chmod $mode, $path;
        chown +(getpwnam $self->{user})[2, 3], $path if $> == 0;
    }

    return $path;
}


sub read_file {
    my ($self, $name) = @_;

    open my $f, '<:raw', "$self->{dir}/$name" or return '';
    local $/;

    return <$f> // '';
}


# write_conf(text, [file]): expands; returns the object, so that ->run() can
# follow

sub write_conf {
    my ($self, $text, $name) = @_;

    $name ||= 'nginx.conf';
    $self->write_file($name, $self->expand($text));

    return $self;
}


# ($status, $output) = test_conf(text): what nginx -t says; 0 is good

sub test_conf {
    my ($self, $text) = @_;

    my $name = 'test-' . ++$self->{tests} . '.conf';

    $self->write_file($name, $self->expand($text, 'test.log'));
    my ($status, $out) = $self->command($self->{binary}, '-t',
        '-p', $self->{dir}, '-e', 'stderr', '-c', "$self->{dir}/$name");

    $self->sanitizer_reports($out);

    return ($status, $out);
}


# refused(text, qr/error/, name): nginx -t must refuse, with file and line
# and the given error

sub refused {
    my ($self, $text, $re, $name) = @_;

    my ($status, $out) = $self->test_conf($text);

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    Test::More::ok($status && $out =~ /\[emerg\].*$re/
        && $out !~ /signal/, $name)
        or Test::More::diag("status $status: $out");
}


# accepted(text, name, [qr/warning/]): without a warning, but that nobody may
# send, since most configurations of tests are about something else

sub accepted {
    my ($self, $text, $name, $re) = @_;

    my ($status, $out) = $self->test_conf($text);

    $out =~ s/^.*\[warn\].* refuses all mail, .*\n//mg unless defined $re;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    Test::More::ok($status == 0
        && (defined $re ? $out =~ $re : $out !~ /\[(warn|error|crit)\]/),
        $name)
        or Test::More::diag("status $status: $out");
}


# "nginx -V"

sub version {
    my ($self) = @_;

    our %versions;
    $versions{$self->{binary}} //= `$self->{binary} -V 2>&1`;

    return $versions{$self->{binary}};
}


# nginx_version() >= 1.25.5: nginx_version() ge v1.25.5

sub nginx_version {
    my ($self) = @_;

    my ($v) = $self->version() =~ m!nginx/([\d.]+)!;

    return version::->declare("v$v");
}


# ---------------------------------------------------------------------------
# nginx: start, stop, signals


# run([listen => [names of ports to wait for]]): starts nginx and waits until
# it listens on all the %%PORT_name%% of its "listen" directives.  It runs as
# a daemon: a child of the test would refuse USR2.

sub run {
    my ($self, %opts) = @_;

    croak 'nginx is already running' if $self->alive();

    my $conf = $self->read_file('nginx.conf');
    my $single = $conf =~ /^\s*master_process\s+off/m;

    unlink "$self->{dir}/nginx.pid";

    my ($status, $out) = $self->command($self->{binary}, '-p', $self->{dir},
        '-c', "$self->{dir}/nginx.conf", '-e', "$self->{dir}/error.log");

    $self->{output} .= $out;
    croak "nginx did not start: $out" if $status;

    wait_for(sub { $self->read_file('nginx.pid') =~ /\n/ }, 10,
        'the pid of nginx');

    # a daemon leads a process group of its own: that is what is killed
    ($self->{pid}) = $self->read_file('nginx.pid') =~ /^(\d+)/;
    $self->{groups}{$self->{pid}} = 1;

    my @ports = $opts{listen} ? map { $self->port($_) } @{$opts{listen}}
        : conf_ports($conf);

    wait_for(sub {
        $self->alive() or croak 'nginx ended at once: ', $self->log_tail();
        listening(@ports)
            && ($single || $self->workers() >= $self->configured());
    }, 10, 'nginx to listen');

    return $self;
}


# the ports that a configuration listens on

sub conf_ports {
    return $_[0] =~ /(?:^|[;{])\s*listen\s+127\.0\.0\.1:(\d+)/mg;
}


# is every port listened on?

sub listening {
    my %want = map { sprintf('0100007F:%04X', $_) => 1 } @_;

    open my $f, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";

    while (<$f>) {
        my (undef, $local, undef, $state) = split;
        delete $want{$local} if $state eq '0A';
    }

    return !%want;
}


sub pid { $_[0]{pid} }

sub alive {
    my ($self, $pid) = @_;

    $pid //= $self->{pid};
    return 0 unless $pid;

    $self->reap();

    # a zombie of somebody else's is as good as dead
    open my $f, '<', "/proc/$pid/stat" or return 0;
    return (<$f> // '') =~ /\) [ZX] / ? 0 : 1;
}


# processes of nginx that have this parent, [pid, title] each

sub children {
    my ($self, $parent) = @_;

    my @found;

    for my $path (glob '/proc/[0-9]*/stat') {
        open my $f, '<', $path or next;
        my $stat = <$f> // next;
        my ($pid, $state, $ppid) = $stat =~ /^(\d+) \(.*\) (\S) (\d+)/s;

        next unless $ppid && $ppid == $parent && $state !~ /[ZX]/;

        open my $g, '<', "/proc/$pid/cmdline" or next;
        (my $title = <$g> // '') =~ s/\0.*//s;

        push @found, [ $pid, $title ];
    }

    return @found;
}


# how many workers nginx.conf asks for

sub configured {
    my ($self) = @_;
    return $self->read_file('nginx.conf') =~ /^\s*worker_processes\s+(\d+)/m
        ? $1 : 1;
}


# pids of the workers; with all => 1 also of those that are leaving

sub workers {
    my ($self, %opts) = @_;

    my @workers = sort { $a <=> $b } map { $_->[0] } grep {
        $_->[1] =~ /^nginx: worker process( is shutting down)?/
            && ($opts{all} || !$1)
    } $self->children($opts{master} || $self->{pid});

    return @workers;
}


# stop(): QUIT, and all workers gone; term(): TERM.  Both wait.

sub stop { $_[0]->end_nginx('QUIT', $_[1]) }
sub quit { $_[0]->end_nginx('QUIT', $_[1]) }
sub term { $_[0]->end_nginx('TERM', $_[1]) }

sub end_nginx {
    my ($self, $signal, $timeout) = @_;

    return 1 unless $self->alive();

    my $pid = $self->{pid};

    kill $signal, $pid;

    my $gone = eval {
        wait_for(sub { !$self->alive($pid) }, $timeout || 15,
            "nginx to end on $signal");
    };

    unless ($gone) {
        Test::More::fail("nginx ends on $signal");
        Test::More::diag($@, $self->log_tail());
        $self->kill_all();
    }

    return $gone;
}


sub signal {
    my ($self, $signal) = @_;
    kill $signal, $self->{pid} or croak "nginx is not running";
    return $self;
}


# reopens logs; returns when a written line would land in the new file

sub usr1 {
    my ($self) = @_;

    my $n = () = $self->log() =~ /reopening logs/g;
    my $want = $n + 1 + $self->workers(all => 1);

    # the lines of master and workers may be in the renamed file
    $self->signal('USR1');

    eval {
        wait_for(sub {
            my $k = 0;
            for (glob "$self->{dir}/error.log*") {
                s{.*/}{};
                $k += () = $self->read_file($_) =~ /reopening logs/g;
            }
            $k >= $want
        }, 2, 'logs to be reopened');
    };

    return $self;
}


# reload([wait => 1]): HUP, and returns when the new workers run, with
# wait => 1 when the old ones are gone, too

sub reload {
    my ($self, %opts) = @_;

    my %old = map { $_ => 1 } $self->workers(all => 1);
    my $n = $self->configured();

    $self->signal('HUP');

    wait_for(sub {
        my @new = grep { !$old{$_} } $self->workers();
        @new >= $n && (!$opts{wait} || !grep { $self->alive($_) } keys %old);
    }, $opts{timeout} || 10, 'new workers after reload');

    return $self;
}


# kill -9 of one worker (the first, or the given one); returns its pid when
# the master has a new one.  Logs an alert that the test must declare.

sub kill_worker {
    my ($self, $pid) = @_;

    my @before = $self->workers();
    $pid ||= $before[0];

    kill 'KILL', $pid;

    wait_for(sub {
        !$self->alive($pid) && $self->workers() >= @before
    }, 10, 'a worker to be replaced');

    return $pid;
}


# kill -9 of the master alone: its workers stay; returns their pids

sub kill_master {
    my ($self) = @_;

    my @workers = $self->workers(all => 1);

    kill 'KILL', $self->{pid};
    wait_for(sub { !$self->alive() }, 5, 'the master to die');

    return @workers;
}


# kill -9 of master and workers, orphans too, at once

sub kill_all {
    my ($self) = @_;

    for my $group (keys %{$self->{groups}}) {
        kill '-KILL', $group;
        wait_for(sub { !group_alive($group) }, 5, 'nginx to die');
        delete $self->{groups}{$group};
    }

    # the kernel may close the sockets of the dead a moment later

    wait_for(sub { !grep { listening($_) }
        conf_ports($self->read_file('nginx.conf')) }, 10,
        'the sockets of the dead nginx to close');

    $self->reap();
    unlink "$self->{dir}/nginx.pid";

    return $self;
}


# binary upgrade: USR2; returns the pid of the new master when its workers
# run.  Then end the old one with upgrade_finish().

sub upgrade {
    my ($self) = @_;

    my $old = $self->{pid};

    $self->signal('USR2');

    my $new = wait_for(sub {
        -s "$self->{dir}/nginx.pid.oldbin" or return;
        my ($pid) = $self->read_file('nginx.pid') =~ /^(\d+)/;
        $pid && $pid != $old && $self->workers(master => $pid) && $pid;
    }, 10, 'the new binary');

    $self->{old} = $old;
    $self->{pid} = $new;

    return $new;
}


# QUIT to the old master, and waits for it and its workers

sub upgrade_finish {
    my ($self, %opts) = @_;

    my $old = delete $self->{old};
    my @workers = $self->workers(master => $old, all => 1);

    kill 'QUIT', $old;

    wait_for(sub { !grep { $self->alive($_) } $old, @workers },
        $opts{timeout} || 30, 'the old binary to end');

    return $self;
}


# ---------------------------------------------------------------------------
# logs


sub log { $_[0]->read_file('error.log') }

sub log_tail {
    my ($self, $n) = @_;

    my @lines = split /^/, $self->log();
    $n = $#lines if !defined $n && ($n = 40) > $#lines;

    return join '', @lines[-($n) .. -1] if @lines;
    return '';
}


# expect_log(qr/re/): a line of level alert, crit or emerg that this test
# causes on purpose.  It must appear before done().

sub expect_log {
    my ($self, @re) = @_;
    push @{$self->{expect}}, @re;
    return $self;
}


# waits for a line in the error log and returns it

sub wait_log {
    my ($self, $re, $timeout) = @_;

    return wait_for(sub { $self->log() =~ /^(.*$re.*)$/m && $1 },
        $timeout || 10, "$re in the error log");
}


# the lines of a JSON log, decoded; with a condition waits until it is met
# and returns what met it:
#     my ($line) = $t->json_log('smtp.log', sub { $_->{queue_id} eq $id });

sub json_log {
    my ($self, $name, $cond, $timeout) = @_;

    my $json = JSON::PP->new->utf8;
    my $read = sub {
        map { $json->decode($_) }
            $self->read_file($name) =~ /^(.+)\n/mg;
    };

    return $read->() unless $cond;

    my @found;

    wait_for(sub { @found = grep { $cond->() } $read->() },
        $timeout || 10, "a line in $name");

    return @found;
}


sub sanitizer_reports {
    my ($self, @texts) = @_;

    for my $path (glob "$self->{dir}/sanitizer.*") {
        open my $f, '<', $path or next;
        push @texts, do { local $/; <$f> };
    }

    for (@texts, $self->{output} // '', $self->log()) {
        if (/(^.*(?:Sanitizer|runtime error:).*(?:\n.*){0,30})/m) {
            $self->{sanitizer}{substr $1, 0, 4000} = 1;
        }
    }

    my @reports = sort keys %{$self->{sanitizer} || {}};

    return @reports;
}


# ---------------------------------------------------------------------------
# the end


# stops nginx and all helpers, makes the final checks, prints the plan

sub done {
    my ($self) = @_;

    $self->stop();
    $self->cleanup_processes();
    $self->final_checks();

    Test::More::done_testing();
    $self->{finished} = 1;
}


sub final_checks {
    my ($self) = @_;

    my @lines = split /\n/, $self->log();
    my %seen;
    my @bad;

    for my $line (@lines) {
        my $declared = 0;

        for my $i (0 .. $#{$self->{expect}}) {
            if ($line =~ $self->{expect}[$i]) {
                $seen{$i} = 1;
                $declared = 1;
            }
        }

        push @bad, $line if !$declared
            && $line =~ /\[(alert|crit|emerg)\]|open\ socket\ .*\ left|leaked
                |process\ \d+\ exited\ with\ code\ [1-9]/x;
    }

    Test::More::is(join("\n", @bad), '', 'no undeclared alerts');

    for my $i (0 .. $#{$self->{expect}}) {
        Test::More::ok($seen{$i}, "logged as declared: $self->{expect}[$i]");
    }

    my @reports = $self->sanitizer_reports();
    Test::More::is(join("\n", @reports), '', 'no sanitizer reports');
}


sub cleanup_processes {
    my ($self) = @_;

    # a daemon that run() gave up on
    for (map { $self->read_file($_) } qw/ nginx.pid nginx.pid.oldbin /) {
        $self->{groups}{$1} = 1 if /^(\d+)/ && group_alive($1);
    }

    for my $pid (keys %{$self->{children}}) {
        kill $self->{children}{$pid}{stop} || 'TERM', $pid;
    }

    my $end = time() + 5;

    while (time() < $end) {
        $self->reap();
        last unless %{$self->{children}} || $self->groups_alive();
        kill 'TERM', map { -$_ } keys %{$self->{groups}};
        sleep 0.02;
    }

    kill 'KILL', keys %{$self->{children}};
    kill 'KILL', map { -$_ } grep { group_alive($_) }
        keys %{$self->{groups}};

    waitpid $_, 0 for keys %{$self->{children}};
    $self->{children} = {};
    $self->{groups} = {};

    $_->() for splice @{$self->{at_end} || []};
}


# runs when the test ends, however it does

sub at_end {
    my ($self, $code) = @_;
    push @{$self->{at_end}}, $code;
}


# zombies do not count: it is not for the test to reap a daemon

sub group_alive {
    my ($group) = @_;

    return 0 unless kill 0, -$group;

    for my $path (glob '/proc/[0-9]*/stat') {
        open my $f, '<', $path or next;
        return 1 if (<$f> // '') =~ /\) ([^ZX]) \d+ $group /;
    }

    return 0;
}


sub groups_alive { grep { group_alive($_) } keys %{$_[0]{groups}} }


sub reap {
    my ($self) = @_;

    for my $pid (keys %{$self->{children}}) {
        if (waitpid($pid, WNOHANG) == $pid) {
            $self->{status}{$pid} = $?;
            delete $self->{children}{$pid};
        }
    }
}


# a crash of a test must not leave anything running, and must be seen

$SIG{$_} = sub { exit 1 } for qw/ INT TERM HUP /;

END {
    my $status = $?;

    if ($$ == $owner) {
        for my $t (@live) {
            eval { $t->cleanup_processes() };

            unless ($t->{finished} || $t->{skipped}) {
                Test::More::diag("done() was not reached; error log:\n",
                    $t->log_tail(), $t->sanitizer_reports())
                    if -s "$t->{dir}/error.log";
                $status ||= 1;
            }

            if (!Test::More->builder->is_passing && $t->{finished}) {
                Test::More::diag("error log:\n", $t->log_tail());
            }

            if ($ENV{TEST_LEAVE}) {
                Test::More::diag("left in $t->{dir}");

            } else {
                remove_tree($t->{dir}, { safe => 0, error => \my $ignored });
            }
        }
    }

    $? = $status;
}


# skip_all(reason): leaves the test file, nothing is an error

sub skip_all {
    my ($self, $why) = @_;
    $self->{skipped} = 1;
    Test::More::plan(skip_all => $why);
}


# has_daemon('postfix'): skips the whole file unless it is installed

sub has_daemon {
    my ($self, @names) = @_;

    for my $name (@names) {
        $self->skip_all("$name is not installed") unless which($name);
    }

    return $self;
}


sub which {
    my ($name) = @_;

    for (split(/:/, $ENV{PATH}), '/usr/sbin', '/sbin', '/usr/local/bin') {
        return "$_/$name" if -x "$_/$name" && !-d _;
    }

    return undef;
}


# ---------------------------------------------------------------------------
# processes


# spawn(name, [command], group => 1, stop => 'INT', env => {}): starts a
# process, output to <name>.out, ended at the end of the test; returns its pid

sub spawn {
    my ($self, $name, $command, %opts) = @_;

    my $pid = fork() // croak "fork: $!";

    if ($pid == 0) {
        setpgid(0, 0) if $opts{group};

        $SIG{$_} = 'DEFAULT' for qw/ INT TERM HUP PIPE /;
        $self->sanitizer_env();
        $ENV{$_} = $opts{env}{$_} for keys %{$opts{env} || {}};

        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/$name.out";
        open STDERR, '>&', \*STDOUT;

        { no warnings; exec { $command->[0] } @$command; }
        print "exec $command->[0]: $!\n";
        _exit(127);
    }

    setpgid($pid, $pid) if $opts{group};
    $self->{groups}{$pid} = 1 if $opts{group};
    $self->{children}{$pid} = { stop => $opts{stop} };

    return $pid;
}


# spawn_perl(name, sub {...}): the same with a forked Perl function

sub spawn_perl {
    my ($self, $name, $code, %opts) = @_;

    my $pid = fork() // croak "fork: $!";

    if ($pid == 0) {
        $SIG{$_} = sub { _exit(0) } for qw/ INT TERM HUP /;

        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/$name.out";
        open STDERR, '>&', \*STDOUT;
        STDOUT->autoflush(1);

        eval { $code->() };
        print "$name: $@" if $@;
        _exit($@ ? 1 : 0);
    }

    $self->{children}{$pid} = { stop => $opts{stop} };

    return $pid;
}


# waits for a process of spawn() and returns its exit status ($?)

sub wait_pid {
    my ($self, $pid, $timeout) = @_;

    wait_for(sub { $self->reap(); defined $self->{status}{$pid} },
        $timeout || 30, "process $pid to end");

    return $self->{status}{$pid};
}


# kill_pid(pid, [signal]) and wait for its end

sub kill_pid {
    my ($self, $pid, $signal) = @_;

    kill $signal || 'TERM', $pid;

    return $self->wait_pid($pid);
}


# ($status, $output) = command(@command): runs it, stdout and stderr mixed.
# With a hash first: timeout, stdin, env.

sub command {
    my $self = shift;
    my %opts = ref $_[0] ? %{shift()} : ();
    my @command = @_;

    my $in = $self->write_file('stdin-' . ++$self->{commands},
        $opts{stdin} // '');

    my $outfile = "$self->{dir}/output-$self->{commands}";

    my $pid = fork() // croak "fork: $!";

    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw/ INT TERM HUP PIPE /;
        $self->sanitizer_env();
        $ENV{$_} = $opts{env}{$_} for keys %{$opts{env} || {}};

        open STDIN, '<', $in;
        open STDOUT, '>', $outfile;
        open STDERR, '>&', \*STDOUT;

        { no warnings; exec { $command[0] } @command; }
        print STDERR "exec $command[0]: $!\n";
        _exit(127);
    }

    $self->{children}{$pid} = {};

    my $late = !eval {
        wait_for(sub { $self->reap(); !$self->{children}{$pid} },
            $opts{timeout} || 60, $command[0]);
    };

    if ($late) {
        kill 'KILL', $pid;
        waitpid $pid, 0;
        $self->{status}{$pid} = $?;
        delete $self->{children}{$pid};
    }

    my $out = $self->read_file("output-$self->{commands}");
    $out .= "\nkilled after a time-out\n" if $late;

    unlink $in, $outfile;

    return ($self->{status}{$pid}, $out);
}


sub sanitizer_env {
    my ($self) = @_;

    $ENV{ASAN_OPTIONS} = join ':', 'detect_leaks=0',
        "log_path=$self->{dir}/sanitizer", $ENV{ASAN_OPTIONS} || ();
    $ENV{UBSAN_OPTIONS} = join ':', 'print_stacktrace=1',
        "log_path=$self->{dir}/sanitizer", $ENV{UBSAN_OPTIONS} || ();
    $ENV{TSAN_OPTIONS} = join ':', 'die_after_fork=0', 'exitcode=0',
        "suppressions=$REPO/t/tools/tsan.supp",
        "log_path=$self->{dir}/sanitizer", $ENV{TSAN_OPTIONS} || ();
}


# ---------------------------------------------------------------------------
# what tests talk to


# client(port or name, %opts): see Test::SMTPRelay::Client

sub client {
    my ($self, $port, %opts) = @_;

    $port = $self->port($port) if $port !~ /^\d+$/;

    return Test::SMTPRelay::Client->new(port => $port, %opts);
}


# submit(port or name, from, to, [message], %opts): one message, by a client of
# its own; to is an address or an array.  Returns the id it is queued under,
# dies when it is not taken.  Options as for send_message().

sub submit {
    my ($self, $port, $from, $to, $message, %opts) = @_;

    my $c = $self->client($port);
    $c->cmd('EHLO client.test');

    my @reply = $c->send_message($from, $to,
        $message // "Subject: test\r\n\r\nbody\r\n", %opts);
    $c->quit();

    return $reply[0] == 250 && $reply[1] =~ /queued as (\S+)/ ? $1
        : croak "not taken: @reply[0, 1]";
}


# deliveries(id, sub {...}, seconds): the lines of smtp.log on the attempts of
# that message that meet the condition, when there is one

sub deliveries {
    my ($self, $id, $cond, $timeout) = @_;

    return $self->json_log('smtp.log', sub {
        $_->{event} eq 'delivery' && $_->{queue_id} eq $id && $cond->()
    }, $timeout);
}


# sink(name, %behavior): see Test::SMTPRelay::Sink; listens on %%PORT_name%%

sub sink {
    my ($self, $name, %opts) = @_;
    return Test::SMTPRelay::Sink->new($self, $name, %opts)->start();
}


# redis(name, %opts): see Test::SMTPRelay::Redis

sub redis {
    my ($self, $name, %opts) = @_;

    $self->has_daemon('redis-server');

    return Test::SMTPRelay::Redis->new($self, $name, %opts)->start();
}


# postfix(name, %opts): see Test::SMTPRelay::Postfix

sub postfix {
    my ($self, $name, %opts) = @_;
    return Test::SMTPRelay::Postfix->new($self, $name, %opts)->start();
}


# tool('load'): the path of a program of t/bench, compiled when necessary

sub tool {
    my ($self, $name) = @_;

    my $dir = ($ENV{TEST_BUILD} || "$REPO/build") . '/bench';
    make_path($dir);

    open my $lock, '>', "$dir/lock" or croak "$dir/lock: $!";
    flock $lock, LOCK_EX;

    my ($status, $out) = $self->command("$REPO/t/bench/build", $dir);
    croak "t/bench/build: $out" if $status;

    return "$dir/$name";
}


# ($cert, $key) = gen_cert(name, [CN], [days]): self-signed, P-256

sub gen_cert {
    my ($self, $name, $cn, %opts) = @_;

    $cn ||= 'localhost';

    my ($crt, $key) = map { "$self->{dir}/$name.$_" } qw/ crt key /;

    my ($status, $out) = $self->command('openssl', 'req', '-x509',
        '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
        '-nodes', '-days', $opts{days} || 10, '-subj', "/CN=$cn",
        '-addext', "subjectAltName=DNS:$cn,IP:127.0.0.1",
        '-keyout', $key, '-out', $crt);

    croak "openssl: $out" if $status;
    chmod 0644, $key;

    return ($crt, $key);
}


# ---------------------------------------------------------------------------
# functions


# wait_for(sub {...}, seconds, 'what'): polls until the function returns
# something true, returns that; dies after the time (longer with sanitizers)

sub wait_for {
    my ($cond, $timeout, $what) = @_;

    my $end = time() + ($timeout || 10) * $PATIENCE;
    my $pause = 0.005;

    for ( ;; ) {
        my $rc = $cond->();
        return $rc if $rc;

        croak 'timed out waiting for ' . ($what || 'a condition')
            if time() >= $end;

        sleep $pause;
        $pause *= 1.5 if $pause < 0.1;
    }
}


# testdata('mime'): path of the public test data beside the repository, or
# undef: skip then, with a reason

sub testdata {
    my ($name) = @_;

    my $path = "$REPO/../shared/testdata/$name";

    return -e $path ? $path : undef;
}


1;
