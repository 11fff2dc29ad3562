#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_pass with variables: upstream{} names, addresses, Unix sockets, and
# names of hosts, which the resolver of stream{} is asked for.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

my $mta = $t->sink('mta');
my $mx = $t->sink('mx');

# A name server: the first label says what is answered.  Names of dead.test
# have two addresses, and nobody listens on the first one.  What was asked is
# in a file.

my $dns = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1')
    or die $!;
my $asked = $t->dir() . '/asked';

$t->set(DNS => $dns->sockport());
$t->spawn_perl('dns', sub {
    my @later;

    for ( ;; ) {
        if (IO::Select->new($dns)->can_read(0.05)) {
            my $peer = $dns->recv(my $q, 512);
            my ($at, $from) = (time(), $peer);
            my ($name, $type) = question($q);

            open my $f, '>>', $asked or die $!;
            print $f "$name $type\n";
            close $f;

            $at += 0.7 if $name =~ /^slow/;
            push @later, [ $at, $from, answer($q, $name, $type) ]
                unless $name =~ /^silent/;
        }

        for (splice @later) {
            $_->[0] <= time() ? $dns->send($_->[2], 0, $_->[1])
                : push @later, $_;
        }
    }
});

sub question {
    my ($q) = @_;
    my ($pos, @labels) = (12);

    while (my $n = ord substr $q, $pos, 1) {
        push @labels, substr $q, $pos + 1, $n;
        $pos += $n + 1;
    }

    return (lc join('.', @labels), unpack 'n', substr $q, $pos + 1, 2);
}

sub answer {
    my ($q, $name, $type) = @_;

    my $end = 12 + length($name) + 2 + 4;
    my @ips = $type != 1 || $name =~ /^none/ ? ()
        : $name =~ /^dead/ ? qw/ 127.0.0.9 127.0.0.1 /
        : '127.0.0.1';

    return substr($q, 0, 2) . pack('n5', $name =~ /^none/ ? 0x8183 : 0x8180,
            1, scalar @ips, 0, 0) . substr($q, 12, $end - 12)
        . join '', map { pack 'nnnNna4', 0xc00c, 1, 1, 60, 4,
            pack 'C4', split /\./ } @ips;
}

# a Unix socket in front of the sink

my $path = $t->dir() . '/mta.sock';
my $unix = IO::Socket::UNIX->new(Listen => 5, Local => $path) or die $!;
chmod 0777, $path;
chmod 0711, $t->dir();

$t->spawn_perl('unix', sub {
    while (my $c = $unix->accept()) {
        next if fork();

        my $s = IO::Socket::INET->new('127.0.0.1:' . $mta->port()) or die $!;

        for ( ;; ) {
            for my $from (IO::Select->new($c, $s)->can_read()) {
                sysread($from, my $buf, 65536) or POSIX::_exit(0);
                syswrite $from == $c ? $s : $c, $buf;
            }
        }
    }
});

my $port = $mta->port();

$t->set(MAP => <<"EOC");
    map \$smtp_rcpt_domain \$backend {
        group.test    Group;
        addr.test     127.0.0.1:$port;
        unix.test     unix:$path;
        noport.test   mta.test;
        empty.test    "";
        odd.test      "http://mta.test:1";
        default       \$smtp_rcpt_domain:$port;
    }
EOC

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;
    smtp_log       %%DIR%%/smtp.log;

    smtp_pass_connect_timeout  2s;

    resolver  127.0.0.1:%%DNS%% ipv6=off valid=1s;
    resolver_timeout  2s;

%%MAP%%

    smtp_queue q {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        spool_min_free  1m;
    }

    upstream group {
        server  127.0.0.1:%%PORT_mta%%;
    }

    server {
        listen     127.0.0.1:%%PORT_pass%%;
        smtp_pass  $backend;
    }

    server {
        listen     127.0.0.1:%%PORT_queue%%;
        smtp_pass  $backend;
        smtp_enqueue  q;
    }

    server {
        listen     127.0.0.1:%%PORT_once%%;
        smtp_pass  $backend;
        smtp_pass_next_upstream_tries  1;
    }
}
EOC

sub session {
    my ($port, $from) = @_;
    my $c = $t->client($port, timeout => 20);
    $c->cmd('EHLO client.test');
    $c->cmd("MAIL FROM:<$from\@from.test>");
    return $c;
}

sub copies {
    my ($from, $sink) = @_;
    return scalar grep { $_->{from} eq "$from\@from.test" } $sink->messages();
}

sub asked {
    my ($name) = @_;
    open my $f, '<', $asked or return 0;
    return scalar grep { /^\Q$name\E / } <$f>;
}

for my $kind (qw/ group addr unix host slow dead /) {
    my $c = session('pass', $kind);
    $c->check("RCPT TO:<a\@$kind.test>", 250, "$kind: recipient");
    $c->check("RCPT TO:<b\@$kind.test>", 250, "$kind: another one");
    $c->check('RCPT TO:<b@other.test>', qr/^452 4\.5\.3/, "$kind: not both");
    $c->cmd('DATA');
    $c->check("x\r\n.", 250, "$kind: message");
    is(copies($kind, $mta), 1, "$kind: arrived");
}

is(asked('host.test'), 1, 'asked for once in a transaction');
is(asked('addr.test') + asked('group.test'), 0, 'addresses are not asked for');

my %log = map { $_->{from} => $_ } $t->json_log('smtp.log');
is($log{'unix@from.test'}{upstream}, "unix:$path", 'log: Unix socket');
is($log{'host@from.test'}{upstream}, "127.0.0.1:$port", 'log: address');
cmp_ok($log{'dead@from.test'}{upstream_tries}, '<=', 2, 'log: tries');

# an answer that takes its time holds up this client alone

my $c = session('pass', 'waits');
$c->send_raw("RCPT TO:<a\@slow2.test>\r\n");
my $other = session('pass', 'meanwhile');
$other->check('RCPT TO:<a@addr.test>', 250, 'another client meanwhile');
$other->close();
is(($c->read_reply())[0], 250, 'and then the first one');

# a client that does not wait

$c = session('pass', 'gone');
$c->send_raw("RCPT TO:<a\@slow3.test>\r\n");
sleep 0.2;
$c->close();

$c = session('pass', 'reset');
$c->send_raw("RCPT TO:<a\@slow4.test>\r\nRSET\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1, 2), '250 250',
    'RSET behind it');

# names that have no address, and values that are no names

for my $kind (qw/ none silent noport empty odd /) {
    $c = session('pass', $kind);
    $c->check("RCPT TO:<a\@$kind.test>", qr/^451 4\.4\.1/, "$kind: 451");
    $c->check("RCPT TO:<b\@$kind.test>", qr/^451 4\.4\.1/, "$kind: again");
    $c->check('RCPT TO:<a@addr.test>', 250, "$kind: another backend");

    $c = session('queue', $kind);
    $c->check("RCPT TO:<a\@$kind.test>", 250, "$kind: the spool");
    $c->cmd('DATA');
    $c->check("x\r\n.", qr/^250 .*queued/, "$kind: message");
}

# one of the two addresses is dead: with one try it is luck

my %codes;

for (1 .. 8) {
    $c = session('once', "once$_");
    my ($code) = $c->cmd('RCPT TO:<a@dead2.test>');
    $codes{$code}++;
    sleep 0.3;
}

is(join(' ', grep { !/250|451/ } keys %codes), '', 'one try: 250 or 451');

for my $line ('host "none.test" of "smtp_pass $backend" could not be resolved '
    . '(3: Host not found)', 'host "silent.test" of "smtp_pass $backend" could '
    . 'not be resolved (110: ', '"mta.test" of "smtp_pass $backend" is neither '
    . 'the name of an upstream{}, nor an address or host with a port')
{
    like($t->log(), qr/\Q$line/, "log: $line");
}

$mx->wait_messages(5, 30);
is(scalar($mx->messages()), 5, 'what was spooled arrives');

# without a resolver

my $conf = $t->read_file('nginx.conf');
$conf =~ s/^\s+resolver.*\n//mg;
$c->close();
$t->write_conf($conf)->reload(wait => 1);

$c = session('pass', 'noresolver');
$c->check('RCPT TO:<a@host.test>', qr/^451 4\.4\.1/, 'no resolver: 451');
$c->check('RCPT TO:<a@addr.test>', 250, 'no resolver: addresses');
$t->wait_log(qr/there is no "resolver" in stream/);
$c->close();

$t->done();
