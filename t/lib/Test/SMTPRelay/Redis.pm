package Test::SMTPRelay::Redis;

# Copyright (C) ngx_smtp_relay_module authors

# A redis-server of the test's own, and a small client to fill it.
#
#     my $redis = $t->redis('redis');               # on %%PORT_redis%%
#     my $redis = $t->redis('redis',
#         password => 'secret', username => 'smtp', # AUTH
#         unix => 1,                                # also $redis->unix()
#         tls => 1);                                # on %%PORT_redis_tls%%
#
#     $redis->cmd('HSET', "key", 'field', $bytes);  # binary-safe
#     $redis->account('user@example.com', 'password', senders => '...');
#     $redis->kill(); $redis->start();              # kill -9, back and empty
#     $redis->pause(); $redis->resume();            # SIGSTOP: up, but silent
#
# kill() loses the data; account() entries are put back by start().

use strict;
use warnings;

use Carp qw/ croak /;
use IO::Socket::INET;
use IO::Socket::UNIX;


sub new {
    my ($class, $t, $name, %opts) = @_;

    my $self = bless { t => $t, name => $name, accounts => [], %opts },
        $class;

    $self->{port} = $t->port($name);
    $self->{tls_port} = $t->port("${name}_tls") if $self->{tls};
    $self->{socket} = $t->dir() . "/$name.sock";

    if ($self->{tls}) {
        ($self->{cert}, $self->{key}) = $t->gen_cert("redis-$name");
    }

    return $self;
}


sub port { $_[0]{port} }
sub unix { $_[0]{socket} }
sub cert { $_[0]{cert} }


sub start {
    my ($self) = @_;

    my @conf = ('--port', $self->{port}, '--bind', '127.0.0.1',
        '--save', '', '--appendonly', 'no', '--daemonize', 'no',
        '--dir', $self->{t}->dir(), '--loglevel', 'notice',
        '--unixsocket', $self->{socket}, '--unixsocketperm', '777');

    if ($self->{tls}) {
        push @conf, '--tls-port', $self->{tls_port},
            '--tls-cert-file', $self->{cert}, '--tls-key-file', $self->{key},
            '--tls-ca-cert-file', $self->{cert}, '--tls-auth-clients', 'no';
    }

    if ($self->{username}) {
        push @conf, '--user', $self->{username}, 'on',
            ">$self->{password}", '~*', '&*', '+@all',
            '--user', 'default', 'off';

    } elsif ($self->{password}) {
        push @conf, '--requirepass', $self->{password};
    }

    $self->{pid} = $self->{t}->spawn("redis-$self->{name}",
        [ Test::SMTPRelay::which('redis-server'), @conf ]);

    Test::SMTPRelay::wait_for(sub {
        $self->{t}->alive($self->{pid})
            or croak 'redis-server: '
                . $self->{t}->read_file("redis-$self->{name}.out");
        eval { $self->cmd('PING') eq 'PONG' };
    }, 10, 'redis-server');

    $self->put_account($_) for @{$self->{accounts}};

    return $self;
}


sub stop {
    my ($self) = @_;

    $self->end('TERM');
    return $self;
}


sub kill {
    my ($self) = @_;

    $self->end('KILL');
    return $self;
}


sub end {
    my ($self, $signal) = @_;

    my $pid = delete $self->{pid} or return;

    delete $self->{client};
    $self->{t}->kill_pid($pid, $signal);
}


sub pause { CORE::kill 'STOP', $_[0]{pid}; return $_[0] }
sub resume { CORE::kill 'CONT', $_[0]{pid}; return $_[0] }


# account(login, password, fields): the hash smtp:account:<login>, with the
# password as $6$ with few rounds (fields: password => '...' to give the
# stored string itself)

sub account {
    my ($self, $login, $password, %fields) = @_;

    $fields{password} //= Test::SMTPRelay::Redis::hash($password);

    my $entry = [ $login, { %fields } ];
    push @{$self->{accounts}}, $entry;
    $self->put_account($entry);

    return $self;
}


sub put_account {
    my ($self, $entry) = @_;
    my ($login, $fields) = @$entry;
    $self->cmd('HSET', ($self->{prefix} // 'smtp:account:') . lc $login,
        %$fields);
}


# a cheap crypt(3) string

sub hash {
    my ($password, $salt) = @_;

    return crypt $password, $salt || '$6$rounds=1000$saltsalt$';
}


# a command; returns a string, a number, an array reference, or undef; dies
# with the text of an error reply

sub cmd {
    my ($self, @args) = @_;

    my $c = $self->{client} ||= $self->connect();

    print $c '*' . @args . "\r\n",
        map { '$' . length($_) . "\r\n$_\r\n" } @args;
    $c->flush();

    my $reply = eval { read_reply($c) };

    if ($@) {
        delete $self->{client} if $@ =~ /connection/;
        die $@;
    }

    return $reply;
}


sub connect {
    my ($self) = @_;

    my $c = IO::Socket::UNIX->new(Peer => $self->{socket})
        or die "connection to redis: $!\n";

    binmode $c;

    if ($self->{password}) {
        my @auth = ($self->{username} || (), $self->{password});
        print $c '*' . (@auth + 1) . "\r\n",
            map { '$' . length($_) . "\r\n$_\r\n" } 'AUTH', @auth;
        $c->flush();
        read_reply($c);
    }

    return $c;
}


sub read_reply {
    my ($c) = @_;

    my $line = <$c> // die "connection to redis is lost\n";
    $line =~ s/\r\n$//;

    my ($type, $rest) = $line =~ /^(.)(.*)$/;

    return $rest if $type eq '+' || $type eq ':';
    die "redis: $rest\n" if $type eq '-';

    if ($type eq '$') {
        return undef if $rest < 0;
        read $c, my $data, $rest + 2;
        return substr $data, 0, $rest;
    }

    return [ map { read_reply($c) } 1 .. $rest ];
}


1;
