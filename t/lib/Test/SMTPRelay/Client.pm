package Test::SMTPRelay::Client;

# Copyright (C) ngx_smtp_relay_module authors

# A raw SMTP client that does what it is told, also what no client should.
#
#     my $c = $t->client('smtp');                  # reads the greeting
#     my $c = $t->client('smtps', tls => 1);       # TLS from the start
#     my $c = $t->client('smtp', greeting => 0);
#
# Options: tls => 1 or { IO::Socket::SSL options }, timeout => seconds to
# wait for a reply (10), from => local address, such as 127.0.0.2.
#
# A reply is a list: code, text, lines.  text is that of the last line,
# enhanced code included, lines is an array of all lines as received, less
# CRLF.  Code 0 means there was no reply; text then says why: "closed",
# "timeout", "reset", or shows what is not SMTP.
#
#     ($code, $text, $lines) = $c->cmd('NOOP');
#     $c->check('NOOP', 250, 'name');              # as a test; or a regexp
#     $c->check('NOOP', qr/^250 2\.0\.0 /, 'name');

use strict;
use warnings;

use Carp qw/ croak /;
use Errno qw/ EAGAIN EINTR EWOULDBLOCK /;
use IO::Socket::INET;
use IO::Socket::SSL ();
use MIME::Base64 qw/ encode_base64 /;
use Socket qw/ IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_LINGER SO_RCVBUF /;
use Test::More ();
use Time::HiRes qw/ sleep time /;


sub new {
    my ($class, %opts) = @_;

    my $self = bless { timeout => 10, greeting => 1, buffer => '', %opts },
        $class;

    $self->{timeout} *= $Test::SMTPRelay::PATIENCE || 1;

    $self->{socket} = IO::Socket::INET->new(Proto => 'tcp',
        PeerAddr => $self->{addr} || '127.0.0.1', PeerPort => $self->{port},
        $self->{from} ? (LocalAddr => $self->{from}) : (),
        $self->{rcvbuf} ? (Sockopts => [ [ SO_RCVBUF, $self->{rcvbuf} ] ])
            : ())
        or croak "connect to $self->{port}: $!";

    setsockopt $self->{socket}, IPPROTO_TCP, TCP_NODELAY, 1;
    binmode $self->{socket};
    $self->{socket}->blocking(0);

    $self->start_tls(ref $self->{tls} ? %{$self->{tls}} : ())
        if $self->{tls};

    if ($self->{greeting}) {
        $self->{banner} = [ $self->read_reply() ];
    }

    return $self;
}


# the greeting, as a reply

sub banner { @{$_[0]{banner} || []} }
sub socket { $_[0]{socket} }
sub local_port { $_[0]{socket}->sockport() }


# ---------------------------------------------------------------------------
# bytes


sub wait_io {
    my ($self, $write, $end) = @_;

    vec(my $bits = '', fileno $self->{socket}, 1) = 1;
    my $left = $end - time();

    return 0 if $left <= 0;

    my $n = $write ? select(undef, $bits, undef, $left)
        : select($bits, undef, undef, $left);

    return $n != 0;
}


# sends bytes as they are; 1, or 0 when the peer is gone

sub send_raw {
    my ($self, $data) = @_;

    print map { "# > $_\n" } split /\r?\n/, substr $data, 0, 2000
        if $ENV{TEST_TRACE};

    my $end = time() + $self->{timeout};
    my $pos = 0;

    local $SIG{PIPE} = 'IGNORE';

    while ($pos < length $data) {
        my $n = syswrite $self->{socket}, $data, 16384, $pos;

        if (defined $n) {
            $pos += $n;
            next;
        }

        if ($self->again()) {
            my $read = $self->{socket}->isa('IO::Socket::SSL')
                && $IO::Socket::SSL::SSL_ERROR
                    == IO::Socket::SSL::SSL_WANT_READ();

            $self->wait_io(!$read, $end)
                or croak "timed out sending $pos of " . length $data;
            next;
        }

        return 0;
    }

    return 1;
}


sub again {
    my ($self) = @_;

    if ($self->{socket}->isa('IO::Socket::SSL')) {
        return $IO::Socket::SSL::SSL_ERROR
                == IO::Socket::SSL::SSL_WANT_READ()
            || $IO::Socket::SSL::SSL_ERROR
                == IO::Socket::SSL::SSL_WANT_WRITE();
    }

    return $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
}


# one packet per byte; the pause lets the peer really see single bytes

sub send_bytes {
    my ($self, $data, $pause) = @_;

    for (split //, $data) {
        $self->send_raw($_) or return 0;
        sleep $pause || 0.0005;
    }

    return 1;
}


# reads into the buffer: bytes got, 0 at the end, undef after the time

sub fill {
    my ($self, $end) = @_;

    for ( ;; ) {
        my $n = sysread $self->{socket}, $self->{buffer}, 65536,
            length $self->{buffer};

        return $n if $n;

        if (!defined $n) {
            if ($self->again()) {
                $self->wait_io(0, $end) or return undef;
                next;
            }

            $self->{error} = "$!" =~ /reset/ ? 'reset' : 'closed';
            return 0;
        }

        $self->{error} = 'closed';
        return 0;
    }
}


# one line less its CRLF (or LF), undef when there is none

sub read_line {
    my ($self, $timeout) = @_;

    my $end = time() + ($timeout || $self->{timeout});

    my $pos;

    while (($pos = index $self->{buffer}, "\n") == -1) {
        my $n = $self->fill($end);

        if (!$n) {
            $self->{error} = 'timeout' unless defined $n;
            return undef;
        }
    }

    my $line = substr $self->{buffer}, 0, $pos + 1, '';
    $line =~ s/\r?\n\z//;

    print "# < $line\n" if $ENV{TEST_TRACE};

    return $line;
}


# a whole reply; see above

sub read_reply {
    my ($self, $timeout) = @_;

    my @lines;

    for ( ;; ) {
        my $line = $self->read_line($timeout);

        return (0, $self->{error}, \@lines) unless defined $line;

        push @lines, $line;

        return (0, "not SMTP: $line", \@lines)
            unless $line =~ /^([2-5]\d\d)([ -])(.*)$/s || $line =~ /^(\d{3})$/;

        my ($code, $sep, $text) = ($1, $2 // ' ', $3 // '');

        return ($code, $text, \@lines) if $sep eq ' ';
    }
}


# does the peer close, within the time? Unread replies are dropped.

sub closed {
    my ($self, $timeout) = @_;

    my $end = time() + ($timeout || $self->{timeout});

    for ( ;; ) {
        my $n = $self->fill($end);
        return 0 unless defined $n;
        return 1 if $n == 0;
    }
}


# is there anything to read within the time? (short, for "says nothing")

sub readable {
    my ($self, $timeout) = @_;

    return 1 if length $self->{buffer};

    return $self->fill(time() + $timeout) ? 1 : 0;
}


# close; reset => 1 sends RST, which drops what was not sent yet

sub close {
    my ($self, %opts) = @_;

    if ($opts{reset}) {
        setsockopt $self->{socket}, SOL_SOCKET, SO_LINGER,
            pack('ii', 1, 0);
        $self->{socket}->isa('IO::Socket::SSL')
            ? $self->{socket}->close(SSL_no_shutdown => 1)
            : CORE::close $self->{socket};
        return;
    }

    $self->{socket}->close() if $self->{socket};
}


# half-close: nothing more will be sent

sub shutdown_write {
    my ($self) = @_;
    CORE::shutdown $self->{socket}, 1;
}


# ---------------------------------------------------------------------------
# commands


sub cmd {
    my ($self, $command, $timeout) = @_;

    $self->send_raw("$command\r\n");

    return $self->read_reply($timeout);
}


# check(command, code or regexp, name): a test of the reply; the regexp sees
# "250 2.1.0 text" of the last line.  An undefined command only reads.
# Returns the reply.

sub check {
    my ($self, $command, $want, $name) = @_;

    my @reply = defined $command ? $self->cmd($command)
        : $self->read_reply();

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $name //= $command;

    if (ref $want) {
        Test::More::like("$reply[0] $reply[1]", $want, $name);

    } else {
        Test::More::is("$reply[0]", $want, $name)
            or Test::More::diag("reply: $reply[0] $reply[1]");
    }

    return @reply;
}


# pipeline(@commands): sent in one write; returns their replies, each a
# reference to (code, text, lines)

sub pipeline {
    my ($self, @commands) = @_;

    $self->send_raw(join '', map { "$_\r\n" } @commands);

    return map { [ $self->read_reply() ] } @commands;
}


# EHLO; the hash of keywords and their parameters, or undef

sub ehlo {
    my ($self, $name) = @_;

    my ($code, $text, $lines) = $self->cmd('EHLO ' . ($name || 'test.local'));

    return undef unless $code == 250;

    my %keywords;

    for (@$lines[1 .. $#$lines]) {
        /^250[ -](\S+)(?: (.*))?$/ and $keywords{uc $1} = $2 // '';
    }

    return $self->{keywords} = \%keywords;
}


# The handshake.  Nothing is verified unless asked for.  Returns 1, or 0 and
# the reason is in $c->{error}.

sub start_tls {
    my ($self, %ssl) = @_;

    $self->{socket}->blocking(1);

    my $socket = IO::Socket::SSL->start_SSL($self->{socket},
        SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_NONE(),
        SSL_hostname => '', Timeout => $self->{timeout}, %ssl);

    unless ($socket) {
        $self->{error} = "$IO::Socket::SSL::SSL_ERROR";
        return 0;
    }

    $self->{socket} = $socket;
    $self->{socket}->blocking(0);

    return 1;
}


# STARTTLS and the handshake; returns the code of STARTTLS, 0 when the
# handshake failed

sub starttls {
    my ($self, %ssl) = @_;

    my ($code) = $self->cmd('STARTTLS');

    return $code unless $code == 220;
    return $self->start_tls(%ssl) ? 220 : 0;
}


sub auth_plain {
    my ($self, $user, $password, %opts) = @_;

    my $token = encode_base64("\0$user\0$password", '');

    return $self->cmd("AUTH PLAIN $token") unless $opts{separate};

    my @reply = $self->cmd('AUTH PLAIN');
    return @reply unless $reply[0] == 334;

    return $self->cmd($token);
}


sub auth_login {
    my ($self, $user, $password, %opts) = @_;

    my @steps = map { encode_base64($_, '') } $user, $password;
    my @reply = $opts{initial} ? $self->cmd('AUTH LOGIN ' . shift @steps)
        : $self->cmd('AUTH LOGIN');

    while ($reply[0] == 334 && @steps) {
        @reply = $self->cmd(shift @steps);
    }

    return @reply;
}


# ---------------------------------------------------------------------------
# messages


# send_message(from, to or [to, ...], message, %opts): a transaction; returns
# the reply to its end, or the first refusal of MAIL, of the last RCPT when
# none was taken, or of DATA.
#
# The message has CRLF line ends; dots are stuffed here.  Options: mail =>
# 'SIZE=10' (parameters), rcpt => 'NOTIFY=NEVER', bdat => chunk size (BDAT
# instead of DATA), bytes => 1 (byte by byte).

sub send_message {
    my ($self, $from, $to, $message, %opts) = @_;

    my @to = ref $to ? @$to : $to;
    my @reply = $self->cmd("MAIL FROM:<$from>"
        . ($opts{mail} ? " $opts{mail}" : ''));

    return @reply unless $reply[0] == 250;

    my $accepted = 0;

    for (@to) {
        @reply = $self->cmd("RCPT TO:<$_>"
            . ($opts{rcpt} ? " $opts{rcpt}" : ''));
        $accepted++ if $reply[0] =~ /^25/;
    }

    unless ($accepted) {
        $self->cmd('RSET');
        return @reply;
    }

    return $opts{bdat} ? $self->send_bdat($message, $opts{bdat})
        : $self->send_data($message, %opts);
}


sub send_data {
    my ($self, $message, %opts) = @_;

    my @reply = $self->cmd('DATA');
    return @reply unless $reply[0] == 354;

    my $wire = stuff($message);

    $opts{bytes} ? $self->send_bytes($wire) : $self->send_raw($wire);

    return $self->read_reply($opts{timeout});
}


# the bytes that follow 354: dots stuffed, end of data included

sub stuff {
    my ($message) = @_;

    $message =~ s/(^|\r\n)\./$1../g;
    $message .= "\r\n" unless $message eq '' || $message =~ /\r\n\z/;

    return "$message.\r\n";
}


sub send_bdat {
    my ($self, $message, $chunk) = @_;

    my $pos = 0;
    my @reply;

    do {
        my $part = substr $message, $pos, $chunk;
        $pos += length $part;

        my $last = $pos >= length $message ? ' LAST' : '';

        $self->send_raw('BDAT ' . length($part) . "$last\r\n$part");
        @reply = $self->read_reply();

        return @reply unless $reply[0] == 250;

    } while ($pos < length $message);

    return @reply;
}


sub quit {
    my ($self) = @_;

    my @reply = $self->cmd('QUIT');
    $self->close();

    return @reply;
}


1;
