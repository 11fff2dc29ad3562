#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# No password stays in the memory of a worker when its session, or what was
# done with it, is over, however that ended.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64 qw/ encode_base64 /;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

# the sanitizer keeps what is freed, in terabytes of addresses

$t->skip_all('memory is not looked through under a sanitizer')
    if $ENV{TEST_SANITIZE};

my $password = 'wonder-land-4711';
my $login = 'alice@in.test';
my ($cert, $key) = $t->gen_cert('server');

my $slow = crypt($password, '$2b$11$abcdefghijklmnopqrstuu');

$t->set(CERT => $cert, KEY => $key);
$t->write_file('accounts', "$login "
    . crypt($password, '$6$rounds=1000$saltsalt$') . "\nslow $slow\n", 0600);

my $sink = $t->sink('mx', ehlo => [ 'AUTH PLAIN' ], tls => [ $cert, $key ]);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
worker_processes 1;
thread_pool auth threads=1;
events { worker_connections 256; }
stream {
    smtp_thread_pool     auth=auth;
    smtp_hostname        mx.test;
    smtp_accounts        file=accounts;
    smtp_auth            plain login;
    smtp_auth_plaintext  on;
    smtp_starttls        on;
    smtp_max_errors      50;
    ssl_certificate      %%CERT%%;
    ssl_certificate_key  %%KEY%%;

    server {
        listen 127.0.0.1:%%PORT_client%%;
        smtp_pass            127.0.0.1:%%PORT_mx%%;
        smtp_pass_auth       client;
        smtp_pass_ssl        starttls;
        smtp_pass_ssl_name   localhost;
        smtp_pass_ssl_verify on;
        smtp_pass_ssl_trusted_certificate %%CERT%%;
    }
}
EOC

# how often they are in the worker's memory; undef: that cannot be read

sub found {
    my ($strings) = @_;
    my ($pid) = $t->workers();
    my $n = 0;

    open my $maps, '<', "/proc/$pid/maps" or return undef;
    open my $mem, '<:raw', "/proc/$pid/mem" or return undef;

    no warnings 'portable';     # addresses have 64 bits

    while (<$maps>) {
        my ($from, $to) = /^(\w+)-(\w+) rw/ or next;
        my ($pos, $end) = (hex $from, hex $to);

        next if $end - $pos > 64 * 1024 * 1024;
        next unless sysseek $mem, $pos, 0;
        next unless sysread $mem, my $bytes, $end - $pos;

        for my $string (@$strings) {
            my $at = -1;
            $n++ while ($at = index $bytes, $string, $at + 1) >= 0;
        }
    }

    return $n;
}

# a login as it is sent by PLAIN and by LOGIN, a piece of it from the middle,
# since the first octets of freed memory are the allocator's

my $plain = encode_base64("\0$login\0$password", '');
my $sent = encode_base64($password, '');
my $any = [ $password, substr($plain, 24, 16), substr($sent, 8, 12) ];
my $kept = [ "$login$password" ];

defined found($any) or $t->skip_all('the memory of a worker cannot be read');

sub gone {
    my ($strings, $name) = @_;
    my $n;

    eval { wait_for(sub { !($n = found($strings)) }, 5, $name) };
    is($n, 0, $name);
}

sub session {
    my $c = $t->client('client', timeout => 30);
    $c->ehlo();
    return $c;
}

is(found($any), 0, 'not there yet');

# it is kept for the backend, which shows that it would be found

my $c = session();
is(($c->auth_plain($login, $password))[0], 235, 'logged in');
cmp_ok(found($kept), '==', 1, 'kept as long as the session');
$c->quit();
gone($any, 'gone with it');

# by each way it can come

$c = session();
is(($c->auth_plain($login, $password, separate => 1))[0], 235, 'in two steps');
$c->quit();
gone($any, 'PLAIN in two steps');

$c = session();
is(($c->auth_login($login, $password))[0], 235, 'LOGIN');
$c->quit();
gone($any, 'LOGIN');

$c = session();
$c->send_bytes("AUTH PLAIN $plain\r\n");
is(($c->read_reply())[0], 235, 'byte by byte');
$c->quit();
gone($any, 'byte by byte');

$c = session();
$c->send_raw("NOOP\r\nNOOP\r\nAUTH PLAIN " . substr $plain, 0, -1);
$c->read_reply() for 1 .. 2;
$c->send_raw(substr($plain, -1) . "\r\n");
is(($c->read_reply())[0], 235, 'behind other commands, in pieces');
$c->quit();
gone($any, 'in pieces');

# refused, cut off, canceled, and who leaves while it is checked

$c = session();
is(($c->auth_plain($login, "$password "))[0], 535, 'refused');
is(($c->auth_plain('nobody', $password))[0], 535, 'unknown');
$c->check("AUTH PLAIN !$plain", 501, 'malformed');
$c->check("AUTH CRAM-MD5 $plain", 504, 'another mechanism');
$c->check("AUTH PLAIN $plain\x7f", 501, 'not even that');
$c->cmd('MAIL FROM:<>');
$c->check("AUTH PLAIN $plain", 503, 'out of order');
$c->cmd('RSET');
gone($any, 'what was refused');
$c->send_raw("MAIL FROM:<>\r\nAUTH LOGIN\r\n"
    . encode_base64($login, '') . "\r\n$sent\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 4), '250 503 500 500',
    'sent in advance, and out of order');
$c->cmd('RSET');
gone($any, 'what was sent in advance');
$c->check('AUTH LOGIN ' . encode_base64($login, ''), 334, 'begun');
$c->check("*", 501, 'and canceled');
$c->send_raw('AUTH PLAIN ' . substr $plain, 0, -1);
$c->close();
gone($any, 'what was begun');

$c = session();
$c->send_raw('AUTH PLAIN ' . encode_base64("\0slow\0$password", '') . "\r\n");
$c->close(reset => 1);
gone($any, 'who left while it was checked');

# a login in clear does not survive STARTTLS, nor a handshake that fails

for (1 .. 3) {
    $c = session();
    is(($c->auth_plain($login, $password))[0], 235, 'logged in');
    $c->check('STARTTLS', 220, 'starttls');
    $c->send_raw("EHLO again\r\n");
    $c->closed();
}

gone($any, 'a handshake that fails');

$c = session();
is(($c->auth_plain($login, $password))[0], 235, 'logged in');
is($c->starttls(), 220, 'starttls');
$c->ehlo();
gone($any, 'a handshake');

# used for a backend

is(($c->auth_plain($login, $password))[0], 235, 'logged in under TLS');
is(($c->send_message('a@from.test', 'b@to.test', "Subject: x\r\n\r\n"))[0],
    250, 'message');
ok(scalar(grep { /AUTH PLAIN \Q$plain/ } $sink->commands()), 'the backend has '
    . 'got the login');
$c->quit();
gone($kept, 'used, and gone with the session');

$t->done();
