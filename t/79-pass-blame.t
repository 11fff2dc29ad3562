#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What is no fault of a backend does not count for max_fails, or one client
# would take all backends away from all others: a refused login of his, a
# refusal of his address or name, a 421 after too many of his errors, an address
# of ours that this machine does not have.  Each upstream{} has two servers that
# are out for long after one failure.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->write_file('accounts', join('', map { "$_\@in.test "
    . crypt('secret', '$6$rounds=1000$saltsalt$') . "\n" } qw/ alice bob /),
    0600);

my @tls = $t->gen_cert('backend');

# a client is known by his login, his name, or his port

my %sinks = (
    auth => { tls => [ @tls ], ehlo => [ 'AUTH PLAIN' ], replies => {
        AUTH => sub { decode_base64((split / /, $_[1])[1]) =~ /bob/
            ? '535 5.7.8 not you' : undef } } },
    xclient => { ehlo => [ 'PIPELINING', 'XCLIENT HELO' ], replies => {
        XCLIENT => sub { $_[1] =~ /bob/ ? '554 5.7.1 not you' : '220 go' } } },
    ehlo => { ehlo => [ 'PIPELINING', 'XCLIENT HELO' ], replies => {
        XCLIENT => '220 go',
        EHLO => sub { $_[1] =~ /bob/ ? '421 4.7.0 not you' : undef } } },
    proxy => { replies => { BANNER => sub {
        my ($s) = @_;
        return $s->line() =~ / 127\.0\.0\.2 / ? '554 5.7.1 not you'
            : undef; } } },
    errors => { replies => { RCPT => sub {
        my ($s, $arg) = @_;
        return undef unless $arg =~ /<bob/;
        return ++$s->{errors} > 10 ? '421 4.7.0 too many errors'
            : '550 5.1.1 no such user'; } } },
    bound => {},
    down => { replies => { MAIL => sub {
        $_[1] =~ /<bob/ ? { close => 1 } : undef } } },
);

my %conf = (
    auth => "smtp_auth plain; smtp_auth_plaintext on;\n"
        . "        smtp_pass_auth client; smtp_pass_ssl starttls;\n"
        . "        smtp_pass_ssl_name localhost; smtp_pass_ssl_verify on;\n"
        . "        smtp_pass_ssl_trusted_certificate $tls[0];",
    xclient => 'smtp_pass_xclient on;',
    ehlo => 'smtp_pass_xclient on;',
    proxy => 'smtp_pass_proxy_protocol v1;',
    errors => 'smtp_max_errors 1000;',
    bound => 'smtp_pass_bind $source;',
    down => '',
);

my $servers = '';

for my $name (sort keys %sinks) {
    my @ports = map { $t->sink("$name$_", %{$sinks{$name}})->port() } 1, 2;

    $servers .= "    upstream $name {\n"
        . join('', map { "        server  127.0.0.1:$_ max_fails=1 "
            . "fail_timeout=10m;\n" } @ports)
        . "    }\n\n    server {\n"
        . '        listen  127.0.0.1:' . $t->port($name) . ";\n"
        . "        smtp_pass  $name;\n        $conf{$name}\n    }\n\n";
}

$t->set(SERVERS => $servers);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;
    smtp_accounts  file=accounts;

    # no address of this machine, ever (RFC 5737)

    map $smtp_helo $source {
        bob.test  203.0.113.7;
        default   "";
    }

%%SERVERS%%
}
EOC

sub session {
    my ($name, $who) = @_;

    my $c = $t->client($name, timeout => 30,
        $who eq 'bob' ? (from => '127.0.0.2') : ());

    $c->cmd("EHLO $who.test");
    $c->check('AUTH PLAIN ' . encode_base64("\0$who\@in.test\0secret", ''),
        235, "$name: $who has logged in") if $name eq 'auth';
    $c->cmd("MAIL FROM:<$who\@from.test>");

    return $c;
}

for my $name (qw/ auth xclient ehlo proxy bound /) {
    my $bob = session($name, 'bob');
    $bob->check('RCPT TO:<x@to.test>', qr/^451 4\.4\.1 /, "$name: refused");
    $bob->close();

    my $alice = session($name, 'alice');
    $alice->check('RCPT TO:<x@to.test>', 250, "$name: but not everybody");
    $alice->close();
}

# on kept connections errors of one are those of all: from a number on that no
# server minds they are not kept

for my $round (1 .. 10) {
    my $bob = session('errors', 'bob');
    my @codes = map { ($bob->cmd("RCPT TO:<bob$_\@to.test>"))[0] } 1 .. 4;
    is("@codes", '550 550 550 550', "errors: what is wrong, round $round")
        if $round == 10 || "@codes" ne '550 550 550 550';
    $bob->close();
}

# within a transaction they are his own

my $bob = session('errors', 'bob');
my %codes;
$codes{($bob->cmd("RCPT TO:<bob$_\@to.test>"))[0]}++ for 1 .. 50;
is(join(' ', sort keys %codes), '451 550', 'errors: in one transaction');
$bob->close();

my $alice = session('errors', 'alice');
$alice->check('RCPT TO:<x@to.test>', 250, 'errors: another one');
$alice->close();

# and what is a fault counts

session('down', 'bob')->check('RCPT TO:<x@to.test>', qr/^451 4\.4\.1 /,
    'down: closed by both');
session('down', 'alice')->check('RCPT TO:<x@to.test>', qr/^451 4\.4\.1 /,
    'down: for everybody');

$t->expect_log(qr/\[crit\] .*bind\(203\.0\.113\.7\b.* failed/);
$t->done();
