package Test::SMTPRelay::Load;

# Copyright (C) ngx_smtp_relay_module authors

# Load on a server while something happens to it, and the accounts afterwards:
# t/bench/load sends, t/bench/sink is the next hop and records what arrived.
#
#     my $l = Test::SMTPRelay::Load->new($t, to => 'smtp', sink => 'mx');
#
#     $l->sink_start(delay => 20000);       # on %%PORT_mx%%; ms
#     $l->start(sessions => 50, seconds => 30, size => 4096, args => []);
#     ...
#     my $sum = $l->finish();               # what load prints, decoded
#     $l->drained(60);                      # all acknowledged have arrived
#     my $n = $l->account();                # acked received lost doubled ...
#
# Several runs of start() and finish() add up.  The watch tells for how long
# a segment stood without an owner at most, while workers lived:
#
#     $l->watch_start();
#     my ($seconds, $name) = $l->watch_stop();

use strict;
use warnings;

use Carp qw/ croak /;
use JSON::PP ();
use Time::HiRes qw/ sleep time /;

use Test::SMTPRelay;


sub new {
    my ($class, $t, %opts) = @_;

    my $self = bless { t => $t, to => 'smtp', sink => 'mx', runs => 0,
        spool => "$t->{dir}/spool", acked => [], others => [], %opts },
        $class;

    $self->{tool} = { map { $_ => $t->tool($_) } qw/ load sink / };
    $self->{sink_file} = "$t->{dir}/$self->{sink}.got";

    return $self;
}


# the sink: killed and started again at will, its record goes on

sub sink_start {
    my ($self, %opts) = @_;

    my $t = $self->{t};
    my $port = $t->port($self->{sink});

    $self->{sink_pid} = $t->spawn('sink', [ $self->{tool}{sink},
        '-o', $self->{sink_file}, $opts{delay} ? ('-D', $opts{delay}) : (),
        @{$opts{args} || []}, $port ]);

    wait_for(sub { Test::SMTPRelay::listening($port) }, 10, 'the sink');

    return $self;
}


sub sink_stop {
    my ($self, $signal) = @_;
    return $self->{t}->kill_pid(delete $self->{sink_pid}, $signal);
}


sub start {
    my ($self, %opts) = @_;

    my $t = $self->{t};
    my $n = ++$self->{runs};
    my ($acked, $others) = map { "$t->{dir}/load-$n.$_" } qw/ acked others /;

    push @{$self->{acked}}, $acked;
    push @{$self->{others}}, $others;

    $self->{load_out} = "load-$n";
    $self->{load_pid} = $t->spawn("load-$n", [ $self->{tool}{load},
        '-o', $acked, '-u', $others, '-x', "r$n-",
        '-s', $opts{sessions} || 50, '-w', $opts{patience} || 60,
        $opts{messages} ? ('-m', $opts{messages})
            : ('-t', $opts{seconds} || 600),
        $opts{size} ? ('-l', $opts{size}) : (),
        @{$opts{args} || []}, '127.0.0.1:' . $t->port($self->{to}) ]);

    return $self;
}


sub running {
    my ($self) = @_;
    $self->{t}->reap();
    return $self->{t}{children}{$self->{load_pid}};
}


# waits for the end of the load client; end => 1 ends it first, the
# transactions that were begun are finished

sub finish {
    my ($self, %opts) = @_;

    my $t = $self->{t};

    kill 'TERM', $self->{load_pid} if $opts{end};
    $t->wait_pid($self->{load_pid}, $opts{timeout} || 60);

    my $out = $t->read_file("$self->{load_out}.out");
    my ($json) = $out =~ /^(\{.*\})$/m or croak "load: $out";

    return JSON::PP->new->decode($json);
}


# waits until all that was acknowledged has been received; returns what is
# missing when it gives up

sub drained {
    my ($self, $timeout) = @_;

    my %missing;

    for my $name (@{$self->{acked}}) {
        open my $f, '<', $name or croak "$name: $!";
        /^(\S+)/ and $missing{$1} = 1 while <$f>;
    }

    open my $f, '<', $self->{sink_file} or croak "$self->{sink_file}: $!";
    my $end = time() + $timeout * $Test::SMTPRelay::PATIENCE;
    my $rest = '';

    while (%missing && time() < $end) {
        while (sysread $f, my $buf, 1 << 20) {
            $rest .= $buf;
            delete $missing{$1} while $rest =~ /\G(\S+).*\n/gc;
            $rest = substr $rest, pos($rest) // 0;
        }

        sleep 0.05;
    }

    return sort keys %missing;
}


# the numbers of account.pl

sub account {
    my ($self, @args) = @_;

    my ($status, $out) = $self->{t}->command($^X,
        "$Test::SMTPRelay::REPO/t/bench/account.pl", '--json',
        '--acked', @{$self->{acked}}, '--others', @{$self->{others}},
        '--sink', $self->{sink_file}, @args);

    $out =~ /^\{/ or croak "account.pl: $out";

    return JSON::PP->new->decode($out);
}


# { id => [ times it was received ] } of those received more than once

sub doubled {
    my ($self) = @_;

    my %times;

    open my $f, '<', $self->{sink_file} or croak "$self->{sink_file}: $!";

    while (<$f>) {
        my ($id, undef, $time) = split;
        push @{$times{$id}}, $time;
    }

    return { map { $_ => [ sort { $a <=> $b } @{$times{$_}} ] }
        grep { @{$times{$_}} > 1 } keys %times };
}


# How many arrived twice since the last call, and those among them for which
# there is no excuse: a kill, [ before, after ], before the second time and
# shortly after the first, or shortly before it: the sink may come to read what
# was sent when the sender is dead already.

sub unexcused {
    my ($self, $window, @kills) = @_;

    my $all = $self->doubled();
    my ($n, @bad) = (0);

    for my $id (sort keys %$all) {
        next if $self->{counted}{$id}++;

        $n++;

        my ($first, $second) = @{$all->{$id}};

        push @bad, sprintf '%s %.3f %.3f', $id, $first, $second
            unless grep { $first > $_->[0] - $window
                && $first < $_->[1] + $window && $second > $_->[0] } @kills;
    }

    return ($n, @bad);
}


sub segments {
    my ($self) = @_;
    return map { m{([^/]+)\.data$} } glob "$self->{spool}/*.data";
}


# Segments whose data file nobody has locked.  The kernel lists its locks.

sub ownerless {
    my ($self) = @_;

    my @paths = glob "$self->{spool}/*.data";
    my %locked;

    open my $f, '<', '/proc/locks' or croak "/proc/locks: $!";
    /FLOCK .* [0-9a-f]+:[0-9a-f]+:(\d+) / and $locked{$1} = 1 while <$f>;

    # what was unlinked or locked meanwhile is looked at the next time

    my @free;

    for my $path (@paths) {
        my $inode = (stat $path)[1] or next;
        push @free, $path unless $locked{$inode};
    }

    return @free;
}


sub watch_start {
    my ($self) = @_;

    my $t = $self->{t};

    $self->{watch_file} = 'watch-' . ++$self->{watches};
    $self->{watch_pid} = $t->spawn_perl($self->{watch_file}, sub {
        my (%since, $max, $name);

        $max = 0;

        for ( ;; ) {
            my $now = time();
            my %free = map { $_ => 1 } $self->ownerless();

            for (keys %since) {
                delete $since{$_} unless $free{$_};
            }

            for (keys %free) {
                $since{$_} //= $now;

                if ($now - $since{$_} > $max) {
                    $max = $now - $since{$_};
                    print "$max $_\n";
                }
            }

            sleep 0.1;
        }
    });

    return $self;
}


sub watch_stop {
    my ($self) = @_;

    my $t = $self->{t};

    $t->kill_pid(delete $self->{watch_pid});

    my $out = $t->read_file("$self->{watch_file}.out");

    croak "watch: $out" if $out =~ /^watch/m;

    my ($last) = reverse split /\n/, $out;

    return split / /, $last // '0 -';
}


1;
