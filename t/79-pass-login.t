#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Logins at backends: the client's own, passed on, and services of ours by
# variable, with passwords and with tokens; whose connections are whose, and
# that no password stays anywhere.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my %password = (alice => "wonder land 4711", bob => "bu\xc3\xbclder",
    long => 'x' x 400);

$t->write_file('accounts', join('', map { "$_\@in.test "
    . crypt($password{$_}, '$6$rounds=1000$saltsalt$') . "\n" }
    sort keys %password), 0600);

my $long = encode_base64("user=service-one\x01auth=Bearer " . 't' x 2000
    . "\x01\x01", '');

my @tls = $t->gen_cert('backend');

sub backend {
    my ($name, $keywords, %opts) = @_;
    return $t->sink($name, ehlo => $keywords, tls => [ @tls ], %opts);
}

my $plain = backend('plain', [ 'PIPELINING', 'AUTH PLAIN LOGIN' ],
    replies => { AUTH => sub {
        my ($s, $arg) = @_;
        return $arg eq 'PLAIN' ? '334 ' : undef },
        uc plain_of('long@in.test', $password{long}) => '235 2.7.0 yes' });
my $token = backend('token', [ 'AUTH LOGIN XOAUTH2' ],
    replies => { AUTH => sub {
        my ($s, $arg) = @_;
        return $arg eq 'XOAUTH2' ? '334 '
            : decode_base64((split / /, $arg)[1]) =~ /Bearer stale\x01\x01$/
            ? '334 eyJzdGF0dXMiOiI0MDEiLCJzY29wZSI6InNtdHAifQ=='
            : undef }, '' => '535 5.7.3 Authentication unsuccessful',
        uc $long => '235 2.7.0 yes' });
my $tenants = backend('tenants', [ 'AUTH PLAIN' ], replies => { RCPT => sub {
    $_[1] =~ /<no/ ? '550 5.1.1 nobody' : undef } });
my $picky = backend('picky', [ 'AUTH PLAIN' ],
    replies => { AUTH => '535 5.7.8 who are you' });

my $tls = "smtp_pass_ssl starttls; smtp_pass_ssl_name localhost;\n"
    . "        smtp_pass_ssl_verify on;\n"
    . "        smtp_pass_ssl_trusted_certificate $tls[0];";

$t->set(TLS => $tls, LONG => 't' x 2000);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;
    smtp_accounts  file=accounts;
    smtp_log       %%DIR%%/smtp.log;

    smtp_auth            plain login;
    smtp_auth_plaintext  on;

    smtp_queue out {
        spool           %%DIR%%/spool;
        spool_min_free  1m;
        next_hop        127.0.0.1:%%PORT_nobody%%;
        retry           1h;
    }

    server {
        listen  127.0.0.1:%%PORT_client%%;
        smtp_pass  127.0.0.1:%%PORT_plain%%;
        smtp_pass_auth  client;
        %%TLS%%
    }

    server {
        listen  127.0.0.1:%%PORT_picky_in%%;
        smtp_pass  127.0.0.1:%%PORT_picky%%;
        smtp_pass_auth  client;
        %%TLS%%
    }

    server {
        listen  127.0.0.1:%%PORT_spooled%%;
        smtp_pass  127.0.0.1:%%PORT_picky%%;
        smtp_pass_auth  client;
        smtp_enqueue  out fallback=error;
        %%TLS%%
    }

    map $smtp_mail_from_domain $user {
        one.test    service-one;
        two.test    service-two;
        stale.test  service-one;
        long.test   service-one;
        default     "";
    }

    map $smtp_mail_from_domain $token {
        one.test    token-one;
        two.test    token-two;
        stale.test  stale;
        long.test   %%LONG%%;
    }

    server {
        listen  127.0.0.1:%%PORT_token_in%%;
        smtp_pass  127.0.0.1:%%PORT_token%%;
        smtp_pass_auth  $user $token xoauth2;
        %%TLS%%
    }

    map $smtp_rcpt_domain $tenant {
        default  service-one;
        two.test  service-two;
    }

    server {
        listen  127.0.0.1:%%PORT_tenant%%;
        smtp_pass  127.0.0.1:%%PORT_tenants%%;
        smtp_pass_auth  $tenant "pass";
        %%TLS%%
    }

    server {
        listen  127.0.0.1:%%PORT_password%%;
        smtp_pass  127.0.0.1:%%PORT_plain%%;
        smtp_pass_auth  $user $token;
        %%TLS%%
    }
}
EOC

my $n = 0;

sub login {
    my ($port, $user, $how) = @_;

    my $c = $t->client($port);
    $c->cmd('EHLO client.test');

    if ($user) {
        my @r = $how ? $c->auth_login("$user\@in.test", $password{$user})
            : $c->auth_plain("$user\@in.test", $password{$user});
        is($r[0], 235, "$user has logged in") || diag("@r");
    }

    return $c;
}

sub mail {
    my ($c, $name, $from, $code) = @_;

    my @r = $c->send_message('m' . ++$n . '@' . ($from // 'from.test'),
        'x@to.test', "$n\r\n");
    return is($r[0], $code // 250, $name) || diag("@r");
}

sub plain_of {
    my ($user, $password) = @_;
    return encode_base64("\0$user\0$password", '');
}

sub auths { return grep { / AUTH / } $_[0]->commands() }

# the client's own

my $alice = login('client', 'alice');
mail($alice, 'alice') for 1 .. 2;
my $bob = login('client', 'bob', 1);
mail($bob, 'bob');
mail($alice, 'alice again');
mail(login('client', 'alice'), 'alice, from elsewhere');
mail(login('client'), 'a client without a login');

my @auth = auths($plain);

is(scalar @auth, 2, 'a login for each user');
is($auth[0], '1 AUTH PLAIN ' . plain_of('alice@in.test', $password{alice}),
    'that of alice');
is($auth[1], '2 AUTH PLAIN ' . plain_of('bob@in.test', $password{bob}),
    'that of bob');
is(join(' ', map { $_->{conn} } $plain->messages()), '1 1 2 1 1 3',
    'connections are of a user');

mail(login('client', 'long'), 'a long password');
is((auths($plain))[-1], '4 AUTH PLAIN', 'AUTH stays below 512 octets');
ok((grep { $_ eq '4 ' . plain_of('long@in.test', $password{long}) }
    $plain->commands()), 'and the response follows');

# a backend that knows them not

my $c = login('picky_in', 'alice');
$c->cmd('MAIL FROM:<x@from.test>');
$c->check('RCPT TO:<x@to.test>', qr/^451 4\.4\.1 /, 'a refused login');
$c->cmd('RSET');

mail(login('spooled', 'alice'), 'with a queue behind: spooled');
is(scalar($picky->messages()), 0, 'and not passed');

# services by variable

$c = login('token_in');
mail($c, 'a token', 'one.test') for 1 .. 2;
mail($c, 'another one', 'two.test');
mail($c, 'none', 'none.test');

is(join("\n", auths($token)), "1 AUTH XOAUTH2 "
    . encode_base64("user=service-one\x01auth=Bearer token-one\x01\x01", '')
    . "\n2 AUTH XOAUTH2 "
    . encode_base64("user=service-two\x01auth=Bearer token-two\x01\x01", ''),
    'by AUTH XOAUTH2, never by LOGIN');
is(join(' ', map { $_->{conn} } $token->messages()), '1 1 2 3',
    'connections are of a service');

mail($c, 'a stale token', 'stale.test', 451);
is(join('|', map { /^4 (AUTH XOAUTH2|(?!EHLO|STARTTLS).*)/ ? $1 : () }
    $token->commands()), 'AUTH XOAUTH2|', 'the challenge has an empty answer');
like($t->log(), qr/no session with upstream: 535 Authentication unsuccessful/,
    'the reason is logged');

mail($c, 'a long token', 'long.test');
ok((grep { $_ eq "5 $long" } $token->commands()), 'in a line of its own');

$c = login('password');
mail($c, 'a password by variable', 'one.test');
is((auths($plain))[-1], '5 AUTH PLAIN ' . plain_of('service-one', 'token-one'),
    'by AUTH PLAIN');

# a transaction is of one login

$c = login('tenant');
$c->cmd('MAIL FROM:<x@from.test>');
$c->check('RCPT TO:<a@one.test>', 250, 'a recipient of one login');
$c->check('RCPT TO:<a@two.test>', qr/^452 4\.5\.3/, 'not with one of another');
$c->check('RCPT TO:<b@one.test>', 250, 'but with another of the same');
$c->cmd('RSET');

# nobody was promised anything: the login changes

$c->cmd('MAIL FROM:<y@from.test>');
$c->check('RCPT TO:<no@one.test>', 550, 'a refused one');
$c->check('RCPT TO:<a@two.test>', 250, 'then one of another login');
$c->cmd('DATA');
$c->check("y\r\n.", 250, 'sent');

my ($y) = $tenants->messages();

is((grep { /^$y->{conn} AUTH/ } $tenants->commands())[0], "$y->{conn} AUTH "
    . 'PLAIN ' . plain_of('service-two', 'pass'), 'by that login');

# nothing stays

for my $file ($t->dir() . '/smtp.log', glob $t->dir() . '/spool/*/*') {
    open my $f, '<:raw', $file or next;
    my $text = do { local $/; <$f> };
    unlike($text, qr/wonder land|d29uZGVyIGxhbm/, 'no password in '
        . ($file =~ s!.*/!!r));
}

unlike($t->log(), qr/wonder land|d29uZGVyIGxhbm|token-one|x{100}/,
    'no password in the error log');

$t->done();
