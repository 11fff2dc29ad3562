#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# AUTH with the accounts file: mechanisms, TLS, what a client must not do,
# stored passwords of all schemes, bounds on hashing, reload.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64 qw/ encode_base64 /;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ time /;

my $t = Test::SMTPRelay->new();

my ($cert, $key) = $t->gen_cert('server');
$t->set(CERT => $cert, KEY => $key);

my %hash = (
    sha512 => crypt('secret', '$6$rounds=1000$saltsalt$'),
    sha256 => crypt('secret', '$5$saltsalt$'),
    bcrypt => crypt('secret', '$2b$04$abcdefghijklmnopqrstuu'),
    yescrypt => crypt('secret', '$y$j75$k2XAnEHBqQ1Ct2aMXFKNa/$'),
    scram => 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$'
        . 'WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:'
        . 'wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
);

my $accounts = "# accounts\n\n"
    . "alice\@Example.com $hash{sha512}\n"
    . "disabled $hash{sha512} enabled=0\n"
    . "limited $hash{sha512} senders=limited\@example.org,\@example.net\n"
    . "all $hash{sha512} senders=\n"
    . join '', map { "$_ $hash{$_}\n" } sort keys %hash;

$t->write_file('accounts', $accounts, 0600);

# slow enough to be seen, and to be waited for

$t->write_file('slow', 'slow ' . crypt('secret',
    '$2b$11$abcdefghijklmnopqrstuu') . "\n");

my $head = <<'EOC';
%%GLOBALS%%
events { worker_connections 256; }
worker_processes 1;
thread_pool auth threads=2;
EOC

my $conf = $head . <<'EOC';
stream {
    smtp_thread_pool auth=auth;
    smtp_queue out {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_none%%;
        spool_min_free 1m;
        retry     1h;
    }

    smtp_hostname        mx.example.org;
    ssl_certificate      %%CERT%%;
    ssl_certificate_key  %%KEY%%;
    smtp_max_errors      50;
    smtp_auth            plain login;
    smtp_accounts        file=accounts;

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_enqueue out;
        smtp_starttls on;
    }

    server {
        listen 127.0.0.1:%%PORT_smtps%% ssl;
        smtp_enqueue out;
        smtp_auth login;
    }

    server {
        listen 127.0.0.1:%%PORT_plain%%;
        smtp_enqueue out;
        smtp_auth_plaintext on;
    }

    server {
        listen 127.0.0.1:%%PORT_slow%%;
        smtp_enqueue out;
        smtp_auth_plaintext on;
        smtp_accounts file=slow;
    }
}
EOC

$t->write_conf($conf)->run();

sub b64 { encode_base64($_[0], '') }

my ($c, @r);

# not without TLS

$c = $t->client('smtp');
my $ehlo = $c->ehlo();
ok(!exists $ehlo->{AUTH}, 'not offered without TLS');
$c->check('AUTH PLAIN ' . b64("\0alice\@example.com\0secret"),
    qr/^538 5\.7\.11 /, 'not accepted without TLS');
$c->check('AUTH LOGIN', qr/^538 5\.7\.11 /, 'no exchange without TLS');
$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->check('RCPT TO:<b@example.net>', qr/^530 5\.7\.0 /, 'no relaying');
$c->check('RSET', 250, 'rset');

is($c->starttls(), 220, 'starttls');
$ehlo = $c->ehlo();
is($ehlo->{AUTH}, 'PLAIN LOGIN', 'offered with TLS');

@r = $c->auth_plain('alice@example.com', 'secret');
is($r[0], 235, 'plain with initial response');
like($r[1], qr/^2\.7\.0 /, 'enhanced code');
$c->check('AUTH PLAIN ' . b64("\0alice\@example.com\0secret"),
    qr/^503 5\.5\.1 /, 'not twice');
$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->check('RCPT TO:<b@example.net>', 250, 'relaying');
$c->check('RSET', 250, 'rset');
is(($c->send_message('a@example.org', 'b@example.net', "Subject: x\r\n\r\n"))
    [0], 250, 'message');
$c->quit();

# all ways of saying it

sub tls_client {
    my $c = $t->client('smtp');
    $c->ehlo();
    $c->starttls() == 220 or die 'starttls';
    $c->ehlo();
    return $c;
}

is((tls_client()->auth_plain('alice@example.com', 'secret', separate => 1))
    [0], 235, 'plain in two steps');
is((tls_client()->auth_login('alice@example.com', 'secret'))[0], 235,
    'login');
is((tls_client()->auth_login('ALICE@example.COM', 'secret', initial => 1))
    [0], 235, 'login with initial response, without case');

$c = $t->client('smtps', tls => 1);
is($c->ehlo()->{AUTH}, 'LOGIN', 'mechanisms of another server');
$c->check('AUTH PLAIN ' . b64("\0alice\@example.com\0secret"),
    qr/^504 5\.5\.4 /, 'a mechanism that is off');
is(($c->auth_login('alice@example.com', 'secret'))[0], 235, 'login on 465');

$c = tls_client();
$c->check('auth plain ' . b64("alice\@example.com\0alice\@example.com\0secret"),
    235, 'authorization identity that is the login');

# all ends in the same words

my %said;

for ([ 'alice@example.com', 'wrong' ], [ 'nobody@example.com', 'secret' ],
    [ 'disabled', 'secret' ], [ 'disabled', 'wrong' ],
    [ "tab\tbed", 'secret' ], [ 'x' x 255, 'secret' ])
{
    my $c = $t->client('plain');
    $c->ehlo();
    my ($code, $text, $lines) = $c->auth_plain(@$_);
    $said{"@$lines"}++;
    $c->check('NOOP', 250, 'the session goes on');
    $c->check('MAIL FROM:<a@example.org>', 250, 'mail');
    $c->check('RCPT TO:<b@example.net>', 530, 'not logged in');
}

is(join('|', keys %said) =~ /^535 5\.7\.8 [^|]*$/, 1, 'one reply for all')
    or diag(join '|', keys %said);

# schemes of stored passwords

for my $scheme (sort keys %hash) {
    my $password = $scheme eq 'scram' ? 'pencil' : 'secret';

    $c = $t->client('plain');
    $c->ehlo();
    is(($c->auth_plain($scheme, "$password "))[0], 535, "$scheme, wrong");
    is(($c->auth_plain($scheme, $password))[0], 235, "$scheme, right");

    # from the cache
    $c = $t->client('plain');
    $c->ehlo();
    is(($c->auth_plain($scheme, $password))[0], 235, "$scheme, again");
    $c->quit();
}

# what is malformed, canceled, refused

$c = $t->client('plain');
$c->ehlo();

for ([ 'AUTH', qr/^501 5\.5\.[24] /, 'no mechanism' ],
    [ 'AUTH CRAM-MD5', qr/^504 5\.5\.4 /, 'unknown mechanism' ],
    [ 'AUTH PLAIN *', qr/^501 5\.5\.2 /, 'star as initial response' ],
    [ 'AUTH PLAIN =', qr/^501 5\.5\.2 /, 'empty initial response' ],
    [ 'AUTH PLAIN !!!!', qr/^501 5\.5\.2 /, 'not base64' ],
    [ 'AUTH PLAIN AAA', qr/^501 5\.5\.2 /, 'base64 cut off' ],
    [ 'AUTH PLAIN AA==AAAA', qr/^501 5\.5\.2 /, 'base64 goes on' ],
    [ 'AUTH PLAIN ' . b64('alice'), qr/^501 5\.5\.2 /, 'no NUL' ],
    [ 'AUTH PLAIN ' . b64("\0a\0b\0c"), qr/^501 5\.5\.2 /, 'three NULs' ],
    [ 'AUTH PLAIN ' . b64("root\0all\0secret"), qr/^535 5\.7\.8 /,
        'another identity' ],
    [ 'AUTH PLAIN ' . b64("\0all\0"), qr/^535 5\.7\.8 /, 'empty password' ],
    [ 'AUTH PLAIN ' . b64("\0\0secret"), qr/^535 5\.7\.8 /, 'empty login' ],
    [ 'AUTH PLAIN ' . b64("\0all\0" . 'x' x 1025), qr/^500 5\.5\.6 /,
        'long password' ])
{
    $c->check(@$_);
}

$c->check('AUTH LOGIN', qr/^334 VXNlcm5hbWU6$/, 'asks for the login');
$c->check('*', qr/^501 5\.7\.0 /, 'canceled');
$c->check('AUTH LOGIN ' . b64('all'), qr/^334 UGFzc3dvcmQ6$/,
    'asks for the password');
$c->check('*', qr/^501 5\.7\.0 /, 'canceled at the password');
$c->check('AUTH LOGIN =', 334, 'empty login is asked its password');
$c->check(b64('secret'), qr/^535 5\.7\.8 /, 'and refused');
$c->check('AUTH LOGIN ' . b64('all'), 334, 'login');
$c->check(b64("secret\0"), qr/^535 5\.7\.8 /, 'NUL in the password');
$c->check('AUTH PLAIN', qr/^334 ?$/, 'empty challenge');
$c->check('A' x 12292, qr/^500 5\.5\.6 /, 'long line');
$c->check('AUTH PLAIN', 334, 'plain');
$c->check('', qr/^501 5\.5\.2 /, 'empty line');

$c->check('MAIL FROM:<a@example.org>', 250, 'mail');
$c->check('AUTH PLAIN ' . b64("\0all\0secret"), qr/^503 5\.5\.1 /,
    'not in a transaction');
$c->check('RSET', 250, 'rset');

# byte by byte, and with the next command on its heels

$c->send_bytes('AUTH LOGIN ' . b64('all') . "\r\n");
is(($c->read_reply())[0], 334, 'byte by byte');
$c->send_bytes(b64('secret') . "\r\n");
is(($c->read_reply())[0], 235, 'byte by byte, logged in');

$c = $t->client('plain');
$c->ehlo();
@r = $c->pipeline('AUTH PLAIN ' . b64("\0all\0wrong"), 'NOOP',
    'AUTH PLAIN ' . b64("\0all\0secret"), 'MAIL FROM:<>', 'NOOP');
is(join(' ', map { $_->[0] } @r), '535 250 235 250 250', 'pipelined');

# nobody is logged in after a failed second try, nor by EHLO

$c = $t->client('plain');
$c->ehlo();
$c->check('AUTH PLAIN ' . b64("\0all\0secret"), 235, 'logged in');
$c->check('RSET', 250, 'rset keeps it');
$c->check('MAIL FROM:<>', 250, 'mail');
$c->check('RCPT TO:<b@example.net>', 250, 'rcpt');

# senders

$c = $t->client('plain');
$c->ehlo();
is(($c->auth_plain('limited', 'secret'))[0], 235, 'login with senders');

for ([ 'limited@example.org', 250 ], [ 'LIMITED@EXAMPLE.ORG', 250 ],
    [ 'any@example.net', 250 ], [ '', 250 ], [ 'other@example.org', 553 ],
    [ 'any@sub.example.net', 553 ])
{
    my ($from, $want) = @$_;
    $c->check("MAIL FROM:<$from>", $want, "sender <$from>");
    $c->cmd('RSET');
}

# an unknown login takes as long as a wrong password

sub seconds {
    my ($login) = @_;
    my $best;

    for (1 .. 3) {
        my $c = $t->client('slow');
        $c->ehlo();
        my $start = time();
        is(($c->auth_plain($login, 'wrong'))[0], 535, "$login refused");
        my $took = time() - $start;
        $best = $took if !defined $best || $took < $best;
        $c->quit();
    }

    return $best;
}

my ($wrong, $unknown) = (seconds('slow'), seconds('nobody'));

# a busy machine makes both longer, nothing makes a hash shorter than it is

cmp_ok($wrong, '>', 0.02, 'the hash takes its time');
cmp_ok($unknown, '>', 0.02, 'no shortcut for unknown logins');
cmp_ok($unknown, '<', $wrong * 2, 'no detour for unknown logins');

# one address: one hash at a time, eight wait, the others are told so

my @c = map { my $c = $t->client('slow', timeout => 30); $c->ehlo(); $c }
    1 .. 12;
$_->send_raw('AUTH PLAIN ' . b64("\0slow\0secret") . "\r\n") for @c;
@r = map { join ' ', ($_->read_reply())[0, 1] } @c;
is(scalar(grep { /^235 2\.7\.0 / } @r), 9, 'nine of twelve got in');
is(scalar(grep { /^454 4\.7\.0 / } @r), 3, 'three are to come again')
    or diag(join "\n", @r);

# clients that leave while their password is checked

for my $reset (0, 1) {
    @c = map { my $c = $t->client('slow'); $c->ehlo(); $c } 1 .. 6;
    $_->send_raw('AUTH PLAIN ' . b64("\0slow\0wrong") . "\r\n") for @c;
    $_->close(reset => $reset) for @c;
}

wait_for(sub {
    my $c = $t->client('slow');
    $c->ehlo();
    ($c->auth_plain('slow', 'wrong'))[0] == 535
}, 20, 'places of those who left');
pass('no place is lost');

# a reload reads the file again; who is being checked gets the answer

$t->write_file('accounts', $accounts . "new $hash{sha512}\n", 0600);
$c = $t->client('plain');
$c->ehlo();
is(($c->auth_plain('new', 'secret'))[0], 535, 'not yet');

my $slow = $t->client('slow', timeout => 30);
$slow->ehlo();
$slow->send_raw('AUTH PLAIN ' . b64("\0slow\0wrong") . "\r\n");

$t->reload();
is(($slow->read_reply())[0], 535, 'answered by the worker that leaves');
wait_for(sub {
    my $c = $t->client('plain');
    $c->ehlo();
    ($c->auth_plain('new', 'secret'))[0] == 235
}, 5, 'the new account');
pass('new account after reload');

$slow->quit();
wait_for(sub { $t->workers(all => 1) == 1 }, 5, 'the old worker to be gone');

# leaving with passwords in the threads

@c = map { my $c = $t->client('slow', timeout => 30); $c->ehlo(); $c } 1 .. 3;
$_->send_raw('AUTH PLAIN ' . b64("\0slow\0wrong") . "\r\n") for @c;
$t->term();
pass('ended by TERM while passwords are checked');

# what nginx -t says

my $bad = $head . <<'EOC';
stream {
    smtp_queue out {
        spool     %%DIR%%/spool-test;
        next_hop  127.0.0.1:%%PORT_none%%;
    }
    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_auth_plaintext on;
        smtp_enqueue out;
        %%LINES%%
    }
}
EOC

sub bad {
    my ($lines, $re, $name, $file) = @_;
    $t->write_file('bad-accounts', $file) if defined $file;
    $t->set(LINES => $lines)->refused($bad, $re, $name);
}

my $use = 'smtp_auth plain; smtp_accounts file=bad-accounts;';

bad('smtp_auth plain;', qr/smtp_accounts/, 'auth without accounts');
bad('smtp_auth gssapi; smtp_accounts file=accounts;', qr/gssapi/,
    'unknown mechanism');
bad('smtp_auth plain; smtp_accounts file=missing;',
    qr/open\(\) ".*missing" failed.*No such file.* in .*:\d+/,
    'no accounts file');
bad('smtp_auth plain; smtp_accounts redis=nobody;', qr/smtp_redis/,
    'unknown redis');
bad('smtp_auth plain; smtp_accounts what;', qr/smtp_accounts/,
    'unknown source');
bad($use, qr/no stored password, .* in .*bad-accounts:3/, 'no password',
    "# x\n\nalice\n");
bad($use, qr/no supported scheme or cost, .* in .*bad-accounts:1/,
    'password in the clear', "alice secret\n");
bad($use, qr/duplicate account in .*bad-accounts:2/, 'duplicate',
    "a $hash{sha512}\nA $hash{sha512}\n");
bad($use, qr/unknown option, .* in .*bad-accounts:1/, 'unknown option',
    "a $hash{sha512} quota=1\n");
bad($use, qr/enabled is neither 0 nor 1 in .*bad-accounts:1/, 'bad option',
    "a $hash{sha512} enabled=off\n");
bad($use, qr/enabled is there twice in .*bad-accounts:1/, 'option twice',
    "a $hash{sha512} enabled=0 senders=a\@b.example enabled=1\n");
bad($use, qr/senders are there twice.* in .*bad-accounts:1/, 'senders twice',
    "a $hash{sha512} senders=a\@b.example senders=\@c.example\n");

# never in a log

unlike($t->log(), qr/secret|\Q$hash{sha512}\E/, 'no password in the log');
unlike($t->log(), qr/\Q@{[ b64("\0all\0secret") ]}\E/, 'nor encoded');

$t->done();
