#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Kept connections to backends: who may have which, what ends them, and that
# one which is gone is replaced without anybody noticing.  XCLIENT and logins.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep /;

my $t = Test::SMTPRelay->new();

my @xclient = ('PIPELINING', '8BITMIME', 'SIZE 1000000',
    'XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT');

my $a = $t->sink('a');
my $b = $t->sink('b');
my $brief = $t->sink('brief', replies => { DOT => sub {
    my ($s) = @_;
    return { reply => '250 2.0.0 taken, and bye', close => 1 }; } });
my $late = $t->sink('late', replies => { DOT =>
    { raw => "250 2.0.0 taken\r\n250 2.0.0 and once more\r\n" } });
my $tired = $t->sink('tired', replies => { MAIL => sub {
    my ($s) = @_;
    return ++$s->{mails} == 2 ? '421 4.7.0 one is enough' : undef } });
my $x = $t->sink('x', ehlo => \@xclient,
    replies => { XCLIENT => '220 x.test again' });
my $nox = $t->sink('nox');
my $old = $t->sink('old');
my $twice = $t->sink('twice', ehlo => [ 'LIMITS MAILMAX=2' ]);
my $xf = $t->sink('xf', ehlo => [ 'PIPELINING', 'XFORWARD NAME ADDR PORT '
    . 'PROTO HELO IDENT SOURCE' ], replies => { XFORWARD => '250 ok' });

my ($crt) = $t->gen_cert('auth');
my $plain = $t->sink('plain', ehlo => [ 'AUTH PLAIN LOGIN' ],
    tls => [ $crt, $crt =~ s/crt$/key/r ]);
my $login = $t->sink('login', ehlo => [ 'AUTH LOGIN' ],
    tls => [ $crt, $crt =~ s/crt$/key/r ], replies => {
        AUTH => '334 VXNlcm5hbWU6', encode_base64('service', '') =>
        '334 UGFzc3dvcmQ6' });
my $nologin = $t->sink('nologin', ehlo => [ 'AUTH PLAIN' ],
    tls => [ $crt, $crt =~ s/crt$/key/r ],
    replies => { AUTH => '535 5.7.8 who are you' });

my $auth = '';

for my $name (qw/ plain login nologin /) {
    $auth .= <<"EOC";
    server {
        listen  127.0.0.1:@{[ $t->port("${name}_in") ]};
        smtp_pass  127.0.0.1:@{[ $t->port($name) ]};
        smtp_pass_ssl  starttls;
        smtp_pass_ssl_name  localhost;
        smtp_pass_ssl_verify  on;
        smtp_pass_ssl_trusted_certificate  $crt;
        smtp_pass_auth  service "pass word";
    }

EOC
}

$t->set(AUTH => $auth);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    smtp_pass_timeout  2s;

    upstream ab {
        server  127.0.0.1:%%PORT_a%%;
        server  127.0.0.1:%%PORT_b%%;
    }

    server {
        listen  127.0.0.1:%%PORT_pool%%;
        smtp_pass  127.0.0.1:%%PORT_a%%;
        smtp_pass_keepalive  2;
        smtp_pass_keepalive_messages  4;
        smtp_pass_keepalive_timeout  700ms;
    }

    server {
        listen  127.0.0.1:%%PORT_off%%;
        smtp_pass  127.0.0.1:%%PORT_a%%;
        smtp_pass_keepalive  0;
    }

    server {
        listen  127.0.0.1:%%PORT_old_in%%;
        smtp_pass  127.0.0.1:%%PORT_old%%;
        smtp_pass_keepalive_time  300ms;
    }

    server {
        listen  127.0.0.1:%%PORT_twice_in%%;
        smtp_pass  127.0.0.1:%%PORT_twice%%;
    }

    server {
        listen  127.0.0.1:%%PORT_ab%%;
        smtp_pass  ab;
    }

    server {
        listen  127.0.0.1:%%PORT_brief_in%%;
        smtp_pass  127.0.0.1:%%PORT_brief%%;
        smtp_pass_next_upstream  off;
    }

    server {
        listen  127.0.0.1:%%PORT_late_in%%;
        smtp_pass  127.0.0.1:%%PORT_late%%;
    }

    server {
        listen  127.0.0.1:%%PORT_tired_in%%;
        smtp_pass  127.0.0.1:%%PORT_tired%%;
        smtp_pass_next_upstream  off;
    }

    server {
        listen  127.0.0.1:%%PORT_x_in%%;
        smtp_pass  127.0.0.1:%%PORT_x%%;
        smtp_pass_xclient  on;
    }

    server {
        listen  127.0.0.1:%%PORT_nox_in%%;
        smtp_pass  127.0.0.1:%%PORT_nox%%;
        smtp_pass_xclient  on;
        smtp_pass_xforward  on;
    }

    server {
        listen  127.0.0.1:%%PORT_xf_in%%;
        smtp_pass  127.0.0.1:%%PORT_xf%%;
        smtp_pass_xclient  on;
        smtp_pass_xforward  on;
    }

%%AUTH%%
}
EOC

my $n = 0;

sub hello {
    my ($port, %opts) = @_;
    my $c = $t->client($port, %opts);
    $c->cmd('EHLO ' . ($opts{helo} || 'client.test'));
    return $c;
}

sub mail {
    my ($c, $name) = @_;
    my @r = $c->send_message('m' . ++$n . '@from.test', 'a@to.test', "$n\r\n");
    return is($r[0], 250, "$name: taken") || diag($r[1]);
}

sub verbs {
    my ($sink, $conn) = @_;
    return join ' ', map { /^$conn (\S+)/ ? $1 : () } $sink->commands();
}

# one connection for several clients, until it is worn

mail(hello('pool'), "client $_") for 1 .. 5;

is(verbs($a, 1), 'EHLO MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT '
    . 'DATA QUIT', 'smtp_pass_keepalive_messages');
is($a->connections(), 2, 'then another one');

# given up transactions are RSET

my $c = hello('pool');
$c->cmd('MAIL FROM:<x@from.test>');
$c->cmd('RCPT TO:<a@to.test>');
$c->close();
wait_for(sub { verbs($a, 2) =~ /RSET$/ }, 5, 'RSET');
mail(hello('pool'), 'after RSET');
is(verbs($a, 2), 'EHLO MAIL RCPT DATA MAIL RCPT RSET MAIL RCPT DATA',
    'the connection is used on');

# not more than two idle ones; idle ones get QUIT

my @c = map { hello('pool') } 1 .. 4;

for (@c) {
    $_->cmd('MAIL FROM:<y@from.test>');
    $_->check('RCPT TO:<a@to.test>', 250, 'at the same time');
}

is($a->connections(), 5, 'four at once');
$_->cmd('RSET') for @c;

wait_for(sub { 2 <= grep { verbs($a, $_) =~ /QUIT$/ } 2 .. 5 }, 5,
    'more than smtp_pass_keepalive');
wait_for(sub { 4 == grep { verbs($a, $_) =~ /QUIT$/ } 2 .. 5 }, 5,
    'smtp_pass_keepalive_timeout');
pass('idle connections are ended by QUIT');

# none is kept

my $before = $a->connections();
$c = hello('off');
mail($c, 'smtp_pass_keepalive 0') for 1 .. 2;
is($a->connections(), $before + 2, 'a connection each');

# as long as it may be used at all, and as often as the backend wants

$c = hello('old_in');
mail($c, 'smtp_pass_keepalive_time');
sleep 0.6;
mail($c, 'later');
is($old->connections(), 2, 'another connection');
is(verbs($old, 1), 'EHLO MAIL RCPT DATA QUIT', 'the old one got QUIT');

$c = hello('twice_in');
mail($c, 'LIMITS MAILMAX=2') for 1 .. 3;
is(verbs($twice, 1), 'EHLO MAIL RCPT DATA MAIL RCPT DATA QUIT',
    'no third one');

# the balancer decides on servers, not the pool

$c = hello('ab');
$before = $a->messages();
mail($c, 'balanced') for 1 .. 6;
is(scalar($b->messages()), 3, 'half of them here');
is($a->messages() - $before, 3, 'half of them there');
is($b->connections(), 1, 'on one connection');

# rule 6: the server closed it, or does so now

$c = hello('brief_in');
mail($c, 'closed after each') for 1 .. 3;
is($brief->connections(), 3, 'three connections');

$c = hello('tired_in');
mail($c, '421 to the second MAIL') for 1 .. 4;
is($tired->connections(), 4, 'a fresh one instead');

# a reply too many: nobody's

$c = hello('late_in');
mail($c, 'with an odd reply behind') for 1 .. 3;
is($late->connections(), 3, 'and never used again');
$c->cmd('MAIL FROM:<z@from.test>');
$c->check('RCPT TO:<a@to.test>', qr/^250 2\.1\.5 recipient ok/,
    'the reply is to this command');
$c->close();

# XCLIENT: all attributes, each time; a connection for each set

$c = hello('x_in', helo => 'one.test');
mail($c, 'XCLIENT') for 1 .. 2;

my $c2 = hello('x_in', helo => 'two.test', from => '127.0.0.2');
mail($c2, 'XCLIENT of another client');
mail($c, 'the first one again');
$c2->cmd('HELO three.test');
mail($c2, 'the second one, with another name');

my @x = grep { / XCLIENT/ } $x->commands();

is(scalar @x, 3, 'one for each set');
is($x[0], '1 XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.1 PORT='
    . $c->local_port() . ' PROTO=ESMTP HELO=one.test LOGIN=[UNAVAILABLE] '
    . 'DESTADDR=127.0.0.1 DESTPORT=' . $t->port('x_in'), 'its attributes');
is($x[1], '2 XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.2 PORT='
    . $c2->local_port() . ' PROTO=ESMTP HELO=two.test LOGIN=[UNAVAILABLE] '
    . 'DESTADDR=127.0.0.1 DESTPORT=' . $t->port('x_in'),
    'those of the second');
like($x[2], qr/ PROTO=SMTP HELO=three\.test /, 'HELO');
is(join(' ', map { $_->{conn} } $x->messages()), '1 1 2 1 3',
    'nobody speaks as somebody else');
is(verbs($x, 2), 'EHLO XCLIENT EHLO MAIL RCPT DATA', 'EHLO behind XCLIENT');
is(($x->messages())[2]{helo}, 'two.test', 'with the name of the client');

mail(hello('nox_in'), 'XCLIENT not offered');
ok(!(grep { /XCLIENT|XFORWARD/ } $nox->commands()), 'and not sent');

# XFORWARD: each time, on a connection of all; if it is refused, not again.
# XCLIENT is on as well, and not offered: connections are not shared for that

$c = hello('xf_in');
mail($c, 'XFORWARD') for 1 .. 2;
is(verbs($xf, 1), 'EHLO XFORWARD XFORWARD MAIL RCPT DATA '
    . 'XFORWARD XFORWARD MAIL RCPT DATA', 'two commands each time');

my $port = $c->local_port();

my @xf = grep { / XFORWARD/ } $xf->commands();

is($xf[0], "1 XFORWARD NAME=[UNAVAILABLE] ADDR=127.0.0.1 PORT=$port",
    'who it is');
like($xf[1], qr/^1 XFORWARD PROTO=ESMTP HELO=client\.test IDENT=\w+ (?x:
    )SOURCE=REMOTE$/, 'and what');

my @ident = map { /IDENT=(\S+)/ ? $1 : () } @xf;
isnt($ident[0], $ident[1], 'each transaction has its own IDENT');
$c->close();

$xf->set(replies => { XFORWARD => '550 5.7.0 not you' });
$c = hello('xf_in');
mail($c, 'XFORWARD refused') for 1 .. 2;
is(verbs($xf, 2), 'EHLO XFORWARD XFORWARD MAIL RCPT DATA MAIL RCPT DATA',
    'not again');
$c->close();

# the service login

mail(hello('plain_in'), 'AUTH PLAIN');
my ($line) = grep { / AUTH/ } $plain->commands();
is($line, '1 AUTH PLAIN ' . encode_base64("\0service\0pass word", ''),
    'AUTH PLAIN');
is(($plain->messages())[0]{tls}, 1, 'under TLS');

$login->set(replies => { AUTH => '334 VXNlcm5hbWU6',
    uc encode_base64('service', '') => '334 UGFzc3dvcmQ6',
    uc encode_base64('pass word', '') => '235 2.7.0 welcome' });
mail(hello('login_in'), 'AUTH LOGIN');
is(verbs($login, 1), 'EHLO STARTTLS EHLO AUTH ' . encode_base64('service', '')
    . ' ' . encode_base64('pass word', '') . ' MAIL RCPT DATA',
    'AUTH LOGIN');

$c = hello('nologin_in');
$c->cmd('MAIL FROM:<x@from.test>');
$c->check('RCPT TO:<a@to.test>', qr/^451 4\.4\.1/,
    'a refused login is no 5xx of the client');
$c->close();

unlike($t->log(), qr/pass word|cGFzcyB3b3Jk/, 'no password in the log');

# reload: idle connections get QUIT

mail(hello('ab'), 'before reload');
mail(hello('ab'), 'before reload');
$t->reload();
wait_for(sub { verbs($b, 1) =~ /QUIT$/ }, 5, 'QUIT');
pass('reload ends idle connections with QUIT');

# a backend that is gone while connections are kept

mail(hello('ab'), 'after reload') for 1 .. 2;
$b->stop();
mail(hello('ab'), 'with a server less') for 1 .. 4;

$t->done();
