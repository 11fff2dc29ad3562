package Test::SMTPRelay::Sink;

# Copyright (C) ngx_smtp_relay_module authors

# A next hop that does what the test says: an SMTP server with a process for
# each connection.
#
#     my $sink = $t->sink('mx',                  # listens on %%PORT_mx%%
#         ehlo => [ 'PIPELINING', 'SIZE 1000' ], # keywords; a good set else
#         tls => 1,                              # offers STARTTLS
#         tls => 'implicit',                     # TLS from the start
#         tls => [ $cert, $key ],                # with this certificate
#         rcvbuf => 65536,                       # the kernel holds no more
#         replies => {
#             RCPT => '550 5.1.1 no such user',
#             MAIL => [ '451 4.3.0 later', '250 ok' ],
#             DOT => sub { my ($s, $arg) = @_; ... '250 ok' },
#             DATA => { reply => '354 go', drop_after => 1000 },
#         });
#
# Steps: BANNER EHLO HELO MAIL RCPT DATA DOT BDAT RSET NOOP QUIT STARTTLS
# TLS AUTH and any other verb.  The answer to a step is
#
#     a string    the reply; several lines are separated by \n
#     an array    the first answer for the first time the step comes (over all
#                 connections of the sink), and so on; the last one repeats
#     a function  called with the session and the argument of the command (for
#                 DOT: the transaction); returns any of the others.  Undef
#                 means the usual reply.
#     a hash      delay => s        before the reply
#                 reply => '...'
#                 silent => 1       no reply at all, the connection stays
#                 close => 1        close after the reply, or without one
#                 reset => 1        the same with RST
#                 raw => "bytes"    instead of a reply, as they are
#                 bytewise => 1     the reply byte by byte
#                 pace => s         between two of them
#                 drop_after => n   for DATA, BDAT: close after n bytes of body
#
# The session has: n (number of the connection, from 1), helo, tls, from,
# from_params, rcpts, and count('word'), a counter over all connections.
#
# What was received, after each end of data:
#
#     $sink->wait_messages(2);              # until there are two
#     for ($sink->messages()) {             # those that got a 2xx
#         $_->{from} $_->{from_params} $_->{rcpts} $_->{rcpt_params}
#         $_->{body}                        # bytes, dots unstuffed
#         $_->{helo} $_->{tls} $_->{conn} $_->{txn} $_->{time} $_->{reply}
#         $_->{chunks}                      # of BDAT, else 0
#     }
#     $sink->received('b@to.test');         # those for that recipient
#     $sink->transactions();                # the refused ones too
#     $sink->commands();                    # "n verb argument" of everything
#     $sink->connections();                 # how many there were
#     $sink->stop(); $sink->start();        # gone and back, on the same port

use strict;
use warnings;

use Carp qw/ croak /;
use Fcntl qw/ :flock O_RDWR O_CREAT /;
use IO::Socket::INET;
use IO::Socket::SSL ();
use JSON::PP ();
use POSIX qw/ _exit WNOHANG /;
use Socket qw/ IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_LINGER
    SO_RCVBUF /;
use Time::HiRes qw/ sleep time /;


my @KEYWORDS = ('PIPELINING', 'SIZE 104857600', '8BITMIME', 'SMTPUTF8',
    'ENHANCEDSTATUSCODES');

my %REPLIES = (
    BANNER => '220 sink.test ESMTP',
    HELO => '250 sink.test',
    MAIL => '250 2.1.0 sender ok',
    RCPT => '250 2.1.5 recipient ok',
    DATA => '354 go ahead',
    DOT => '250 2.0.0 taken',
    BDAT => '250 2.0.0 octets received',
    RSET => '250 2.0.0 reset',
    NOOP => '250 2.0.0 ok',
    VRFY => '252 2.0.0 maybe',
    QUIT => '221 2.0.0 bye',
    STARTTLS => '220 2.0.0 go ahead',
    AUTH => '235 2.7.0 welcome',
    RAW => '500 5.5.2 unknown command',
);


sub new {
    my ($class, $t, $name, %opts) = @_;

    my $self = bless { t => $t, name => $name, replies => {},
        timeout => 300, %opts }, $class;

    $self->{dir} = $t->dir() . "/sink-$name";
    mkdir $self->{dir} or croak "$self->{dir}: $!";

    $self->{port} = $t->port($name);

    if ($self->{tls}) {
        ($self->{cert}, $self->{key}) = ref $self->{tls} ? @{$self->{tls}}
            : $t->gen_cert("sink-$name");
    }

    return $self;
}


sub port { $_[0]{port} }


sub start {
    my ($self) = @_;

    croak 'sink is running' if $self->{pid};

    # the socket listens before start() returns
    my $listen = IO::Socket::INET->new(Listen => 1024, Proto => 'tcp',
        LocalAddr => '127.0.0.1', LocalPort => $self->{port}, ReuseAddr => 1)
        or croak "sink: port $self->{port}: $!";

    setsockopt $listen, SOL_SOCKET, SO_RCVBUF, pack 'l', $self->{rcvbuf}
        if $self->{rcvbuf};

    $self->{pid} = $self->{t}->spawn_perl("sink-$self->{name}",
        sub { $self->serve($listen) });

    CORE::close $listen;

    return $self;
}


sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid} or return $self;
    $self->{t}->kill_pid($pid);

    return $self;
}


# a change of behavior: a restart, so connections are cut

sub set {
    my ($self, %opts) = @_;

    $self->stop();
    @$self{keys %opts} = values %opts;

    return $self->start();
}


# ---------------------------------------------------------------------------
# the test's side


sub transactions {
    my ($self) = @_;

    my @all;

    for my $path (sort glob "$self->{dir}/*.json") {
        open my $f, '<:raw', $path or next;
        my $record = JSON::PP->new->utf8->decode(do { local $/; <$f> });

        (my $body = $path) =~ s/json$/body/;
        open $f, '<:raw', $body or croak "$body: $!";
        $record->{body} = do { local $/; <$f> } // '';

        push @all, $record;
    }

    return @all;
}


sub messages { grep { $_->{reply} =~ /^2/ } $_[0]->transactions() }


sub received {
    my ($self, $rcpt) = @_;

    my @found = grep { grep { $_ eq $rcpt } @{$_->{rcpts}} }
        $self->messages();

    return @found;
}


# how many transactions ended, with a 2xx; cheap, for polling

sub count_messages {
    my ($self) = @_;

    opendir my $d, $self->{dir} or croak "$self->{dir}: $!";

    return scalar grep { /-2\d\d\.json$/ } readdir $d;
}


sub wait_messages {
    my ($self, $n, $timeout) = @_;

    Test::SMTPRelay::wait_for(sub { $self->count_messages() >= $n },
        $timeout || 10, "$n messages at $self->{name}");

    return $self->messages();
}


sub commands {
    my ($self) = @_;

    my @lines;

    if (open my $f, '<:raw', "$self->{dir}/commands") {
        @lines = <$f>;
        chomp @lines;
    }

    return @lines;
}


sub connections {
    my ($self) = @_;

    open my $f, '<', "$self->{dir}/count-connections" or return 0;

    return <$f> + 0;
}


# ---------------------------------------------------------------------------
# the server's side: one process accepts, one serves each connection


sub serve {
    my ($self, $listen) = @_;

    my %children;

    $SIG{CHLD} = sub {
        while ((my $pid = waitpid -1, WNOHANG) > 0) {
            delete $children{$pid};
        }
    };

    $SIG{TERM} = $SIG{INT} = sub {
        kill 'KILL', keys %children;
        _exit(0);
    };

    for ( ;; ) {
        my $socket = $listen->accept() or next;
        my $n = $self->count('connections');

        POSIX::sigprocmask(POSIX::SIG_BLOCK(),
            my $set = POSIX::SigSet->new(POSIX::SIGCHLD(),
                POSIX::SIGTERM()));

        my $pid = fork() // die "fork: $!";

        if ($pid == 0) {
            $SIG{$_} = 'DEFAULT' for qw/ CHLD TERM INT /;
            $SIG{PIPE} = 'IGNORE';
            POSIX::sigprocmask(POSIX::SIG_UNBLOCK(), $set);

            CORE::close $listen;
            eval { $self->session($socket, $n) };
            print "connection $n: $@" if $@;
            _exit(0);
        }

        $children{$pid} = 1;
        CORE::close $socket;
        POSIX::sigprocmask(POSIX::SIG_UNBLOCK(), $set);
    }
}


# a counter in a file, over all connections; returns its new value

sub count {
    my ($self, $name) = @_;

    sysopen my $f, "$self->{dir}/count-$name", O_RDWR | O_CREAT
        or die "count-$name: $!";
    flock $f, LOCK_EX;

    my $n = (<$f> // 0) + 1;

    seek $f, 0, 0;
    print $f $n;
    CORE::close $f;

    return $n;
}


sub note {
    my ($self, $text) = @_;

    $text =~ s/[\r\n]+/ /g;
    open my $f, '>>:raw', "$self->{dir}/commands" or return;
    syswrite $f, "$text\n";
}


sub session {
    my ($self, $socket, $n) = @_;

    my $s = bless { %$self, socket => $socket, n => $n, buffer => '',
        txn => 0 }, ref $self;

    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    binmode $socket;
    alarm $self->{timeout};

    $s->clear();

    if (($s->{tls} // '') eq 'implicit') {
        $s->handshake() or return;
    }

    $s->answer('BANNER', '') or return;

    while (defined(my $line = $s->line())) {
        $s->note("$n $line");

        my ($verb, $arg) = $line =~ /^(\S+)\s*(.*)$/s;
        $verb = uc($verb // '');
        $arg //= '';

        my $method = $s->can("do_$verb");

        ($method ? $s->$method($arg) : $s->answer($verb, $arg)) or last;
    }
}


sub clear {
    my ($s) = @_;

    @$s{qw/ from from_params rcpts rcpt_params body chunks /}
        = (undef, '', [], [], '', 0);
}


sub fill {
    my ($s) = @_;
    return sysread $s->{socket}, $s->{buffer}, 65536, length $s->{buffer};
}


sub line {
    my ($s) = @_;

    my $pos;

    while (($pos = index $s->{buffer}, "\r\n") == -1) {
        $s->fill() or return undef;
    }

    my $line = substr $s->{buffer}, 0, $pos + 2, '';

    return substr $line, 0, $pos;
}


sub out {
    my ($s, $data) = @_;

    my $pos = 0;

    while ($pos < length $data) {
        my $n = syswrite $s->{socket}, $data, length($data) - $pos, $pos;
        return 0 unless defined $n;
        $pos += $n;
    }

    return 1;
}


# decides on the answer to a step and gives it.  Returns its code, or 0 when
# the connection is over.

sub answer {
    my ($s, $step, $arg, $usual) = @_;

    my $a = $s->decide($s->{replies}{$step}, $step, $arg);

    $a = { reply => $a } unless ref $a;
    $a->{reply} //= $usual // $REPLIES{$step} // $REPLIES{RAW}
        unless $a->{close} || $a->{reset} || $a->{silent}
            || defined $a->{raw};

    $s->{drop_after} = $a->{drop_after};

    return $s->give($a, $step);
}


sub decide {
    my ($s, $a, $step, $arg) = @_;

    for ( ;; ) {
        if (ref $a eq 'CODE') {
            $a = $a->($s, $arg);

        } elsif (ref $a eq 'ARRAY') {
            my $i = $s->count("step-$step");
            $a = $a->[$i > @$a ? -1 : $i - 1];

        } else {
            return ref $a ? { %$a } : $a;
        }
    }
}


sub give {
    my ($s, $a, $step) = @_;

    sleep $a->{delay} if $a->{delay};

    my $code = 0;

    if (defined $a->{raw}) {
        $s->out($a->{raw}) or return 0;
        $code = 1;

    } elsif (defined $a->{reply}) {
        my @lines = split /\n/, $a->{reply};
        ($code) = $lines[-1] =~ /^(\d+)/;

        for (@lines[0 .. $#lines - 1]) {
            s/^(\d{3}) /$1-/;
        }

        my $text = join '', map { "$_\r\n" } @lines;

        for ($a->{bytewise} ? split //, $text : $text) {
            $s->out($_) or return 0;
            sleep($a->{pace} || 0.002) if $a->{bytewise};
        }
    }

    if ($a->{reset}) {
        setsockopt $s->{socket}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
        return 0;
    }

    return 0 if $a->{close};
    return $a->{silent} ? 1 : $code || 1;
}


sub handshake {
    my ($s) = @_;

    my $tls = IO::Socket::SSL->start_SSL($s->{socket}, SSL_server => 1,
        SSL_cert_file => $s->{cert}, SSL_key_file => $s->{key},
        Timeout => 30);

    unless ($tls) {
        $s->note("$s->{n} TLS failed: $IO::Socket::SSL::SSL_ERROR");
        return 0;
    }

    $s->{socket} = $tls;
    $s->{secure} = 1;
    $s->{buffer} = '';

    return 1;
}


# ---------------------------------------------------------------------------
# commands


sub do_EHLO {
    my ($s, $arg) = @_;

    $s->{helo} = $arg;
    $s->clear();

    my @keywords = @{$s->{ehlo} || \@KEYWORDS};

    push @keywords, 'STARTTLS'
        if $s->{tls} && !$s->{secure} && $s->{tls} ne 'implicit';

    return $s->answer('EHLO', $arg,
        join "\n", map { "250 $_" } 'sink.test', @keywords);
}


sub do_HELO {
    my ($s, $arg) = @_;

    $s->{helo} = $arg;
    $s->clear();

    return $s->answer('HELO', $arg);
}


sub do_MAIL {
    my ($s, $arg) = @_;

    my ($from, $params) = $arg =~ /^FROM:\s*<(.*?)>\s*(.*)$/i
        or return $s->answer('SYNTAX', $arg, '501 5.5.4 syntax');

    my $code = $s->answer('MAIL', $arg) or return 0;

    if ($code == 250) {
        $s->clear();
        @$s{qw/ from from_params /} = ($from, $params);
        $s->{txn}++;
    }

    return $code;
}


sub do_RCPT {
    my ($s, $arg) = @_;

    my ($to, $params) = $arg =~ /^TO:\s*<(.*?)>\s*(.*)$/i
        or return $s->answer('SYNTAX', $arg, '501 5.5.4 syntax');

    return $s->answer('SEQUENCE', $arg, '503 5.5.1 MAIL first')
        unless defined $s->{from};

    my $code = $s->answer('RCPT', $arg) or return 0;

    if ($code =~ /^25/) {
        push @{$s->{rcpts}}, $to;
        push @{$s->{rcpt_params}}, $params;
    }

    return $code;
}


sub do_RSET {
    my ($s, $arg) = @_;

    $s->clear();

    return $s->answer('RSET', $arg);
}


sub do_DATA {
    my ($s, $arg) = @_;

    return $s->answer('SEQUENCE', $arg, '503 5.5.1 RCPT first')
        unless @{$s->{rcpts}};

    my $code = $s->answer('DATA', $arg) or return 0;
    return $code unless $code == 354 || $code == 1;

    # the buffer may hold the message and commands behind it

    my $seen = 0;

    for ( ;; ) {
        if (defined $s->{drop_after} && length $s->{buffer}
            >= $s->{drop_after})
        {
            return 0;
        }

        my $from = $seen > 5 ? $seen - 5 : 0;
        my $pos = $s->{buffer} =~ /^\.\r\n/ ? -2
            : index $s->{buffer}, "\r\n.\r\n", $from;

        if ($pos != -1) {
            $s->{body} = substr $s->{buffer}, 0, $pos + 2;
            substr($s->{buffer}, 0, $pos + 5) = '';
            last;
        }

        $seen = length $s->{buffer};
        $s->fill() or return 0;
    }

    $s->{body} =~ s/(^|\r\n)\./$1/g;

    return $s->finish();
}


sub do_BDAT {
    my ($s, $arg) = @_;

    my ($size, $last) = $arg =~ /^(\d+)(?:\s+(LAST))?\s*$/i
        or return $s->answer('SYNTAX', $arg, '501 5.5.4 syntax');

    while (length $s->{buffer} < $size) {
        return 0 if defined $s->{drop_after}
            && length $s->{buffer} >= $s->{drop_after};
        $s->fill() or return 0;
    }

    my $chunk = substr $s->{buffer}, 0, $size, '';

    return $s->answer('SEQUENCE', $arg, '503 5.5.1 RCPT first')
        unless @{$s->{rcpts}};

    $s->{body} .= $chunk;
    $s->{chunks}++;

    return $last ? $s->finish() : $s->answer('BDAT', $arg);
}


# The end of the message.  It is recorded before the reply, so that a test
# sees what was taken even when the reply is late or lost.

sub finish {
    my ($s) = @_;

    my %record = map { $_ => $s->{$_} } qw/ helo from from_params rcpts
        rcpt_params chunks txn /;

    $record{conn} = $s->{n};
    $record{tls} = $s->{secure} ? 1 : 0;
    $record{time} = time();

    my $a = $s->decide($s->{replies}{DOT}, 'DOT',
        { %record, body => $s->{body} });

    $a = { reply => $a } unless ref $a;
    $a->{reply} //= $REPLIES{DOT}
        unless $a->{close} || $a->{reset} || $a->{silent}
            || defined $a->{raw};

    $record{reply} = $a->{reply} // '000 none';

    $s->record(\%record, $s->{body});
    $s->clear();

    return $s->give($a, 'DOT');
}


sub record {
    my ($s, $record, $body) = @_;

    my ($code) = $record->{reply} =~ /^(\d{3})/;
    my $name = sprintf '%08d-%s', $s->count('transactions'), $code // '000';

    my $put = sub {
        my ($file, $data) = @_;
        open my $f, '>:raw', "$s->{dir}/$file" or die "$file: $!";
        print $f $data;
        CORE::close $f or die "$file: $!";
    };

    $put->("$name.body", $body);
    $put->("$name.tmp", JSON::PP->new->utf8->encode($record));

    rename "$s->{dir}/$name.tmp", "$s->{dir}/$name.json"
        or die "$name: $!";
}


sub do_QUIT {
    my ($s, $arg) = @_;

    $s->answer('QUIT', $arg);

    return 0;
}


sub do_STARTTLS {
    my ($s, $arg) = @_;

    return $s->answer('SYNTAX', $arg, '502 5.5.1 no TLS here')
        if !$s->{tls} || $s->{secure};

    my $code = $s->answer('STARTTLS', $arg) or return 0;
    return $code unless $code == 220;

    # TLS => { close => 1 } and the like break the handshake
    if ($s->{replies}{TLS}) {
        my $a = $s->decide($s->{replies}{TLS}, 'TLS', '');
        if (ref $a) {
            return $s->give($a, 'TLS');
        }
    }

    $s->{helo} = undef;
    $s->clear();

    return $s->handshake();
}


1;
