#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# TLS to backends: what smtp_pass_ssl_* make of a connection, and which
# sessions are resumed.  The other side is nginx's stream module, which tells
# in its log what it saw, with a sink behind it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();
my $dir = $t->dir();

my $sink = $t->sink('sink');
my ($crt, $key) = $t->gen_cert('a', 'a.test');
$t->gen_cert('b', 'b.test');
$t->gen_cert($_, $_) for qw/ one.test two.test /;

# a key with a password, and lists that revoke nobody and a.test

run('openssl', 'ec', '-in', "$dir/one.test.key", '-aes256', '-passout',
    'pass:open sesame', '-out', "$dir/locked.key");
$t->write_file('passwords', "wrong\nopen sesame\n");

$t->write_file('ca.cnf', <<"EOF");
[ca]
default_ca = ca1
[ca1]
database = $dir/index
certificate = $crt
private_key = $key
default_md = sha256
default_crl_days = 2
EOF

my @ca = ('openssl', 'ca', '-batch', '-config', "$dir/ca.cnf");

$t->write_file('index', '');
run(@ca, '-gencrl', '-out', "$dir/none.crl");
run(@ca, '-revoke', $crt);
run(@ca, '-gencrl', '-out', "$dir/a.crl");

my $trust = 'smtp_pass_ssl_verify on; '
    . "smtp_pass_ssl_trusted_certificate $crt;";

my %servers = (
    reuse => '',
    noreuse => 'smtp_pass_ssl_session_reuse off;',
    old => 'smtp_pass_ssl_protocols TLSv1.2; '
        . 'smtp_pass_ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305;',
    command => 'smtp_pass_ssl_conf_command Ciphersuites '
        . 'TLS_CHACHA20_POLY1305_SHA256;',
    sni => 'smtp_pass_ssl_name a.test; smtp_pass_ssl_server_name on;',
    name => "smtp_pass_ssl_name \$smtp_rcpt_domain; $trust",
    crl => "smtp_pass_ssl_name a.test; $trust smtp_pass_ssl_crl $dir/a.crl;",
    nocrl => "smtp_pass_ssl_name a.test; $trust "
        . "smtp_pass_ssl_crl $dir/none.crl;",
    locked => "smtp_pass_ssl_certificate $dir/one.test.crt; "
        . "smtp_pass_ssl_certificate_key $dir/locked.key; "
        . "smtp_pass_ssl_password_file $dir/passwords;",
    client => "smtp_pass_ssl_certificate $dir/\$smtp_mail_from_domain.crt; "
        . "smtp_pass_ssl_certificate_key $dir/\$smtp_mail_from_domain.key;",
);

$t->set(SERVERS => join '', map {
    my $port = $t->port("${_}_in");

    "    server {\n        listen  127.0.0.1:$port;\n"
        . '        smtp_pass  ' . ($_ eq 'client' ? 'two' : 'tls') . ";\n"
        . "        $servers{$_}\n    }\n\n" } sort keys %servers);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    smtp_pass_ssl        on;
    smtp_pass_keepalive  0;

    log_format  tls  '$ssl_session_reused $ssl_protocol $ssl_cipher '
                     'sni=$ssl_server_name dn=$ssl_client_s_dn';

    upstream tls {
        server  127.0.0.1:%%PORT_tls%%;
    }

    upstream two {
        server  127.0.0.1:%%PORT_tls%% fail_timeout=1m;
        server  127.0.0.1:%%PORT_tls%% fail_timeout=1m;
    }

    server {
        listen  127.0.0.1:%%PORT_tls%% ssl;

        ssl_certificate      %%DIR%%/a.crt;
        ssl_certificate_key  %%DIR%%/a.key;
        ssl_protocols        TLSv1.2 TLSv1.3;
        ssl_verify_client    optional_no_ca;

        access_log  %%DIR%%/tls.log  tls;
        proxy_pass  127.0.0.1:%%PORT_sink%%;
    }

%%SERVERS%%
}
EOC

my $n = 0;

sub run {
    my ($status, $out) = $t->command(@_);
    die "@_: $out" if $status;
}

sub seen {
    open my $f, '<', "$dir/tls.log" or return ();
    my @lines = <$f>;
    chomp @lines;
    return @lines;
}

# sends a message; returns what the other side saw, or the refusal

sub mail {
    my ($port, %opts) = @_;

    my ($from, $to) = map { $opts{$_} // "$_.test" } qw/ from to /;
    my $c = $t->client("${port}_in");
    my $lines = () = seen();

    $c->cmd('EHLO client.test');
    $c->cmd('MAIL FROM:<m' . ++$n . "\@$from>");

    my @r = $c->cmd("RCPT TO:<x\@$to>");

    if ($r[0] == 250) {
        $c->cmd('DATA');
        @r = $c->cmd("$n\r\n.");
    }

    $c->close();

    if ($r[0] != 250) {

        # that the handshake came to its end there is told a moment later, if
        # there was one: not as the line of the next message

        eval { wait_for(sub { $lines < (() = seen()) }, 1, 'a line') };

        return "$r[0] $r[1]";
    }

    wait_for(sub { $lines < (() = seen()) }, 10, "a line in the log");

    return (seen())[-1];
}

# resumed, or not

like(mail('reuse'), qr/^\. TLSv1\.3 /, 'a full handshake');
like(mail('reuse'), qr/^r /, "then resumed $_") for 1 .. 3;
like(mail('noreuse'), qr/^\. /, "smtp_pass_ssl_session_reuse off $_")
    for 1 .. 2;

# of TLS 1.2 too

like(mail('old'), qr/^\. TLSv1\.2 ECDHE-ECDSA-CHACHA20-POLY1305 /,
    'smtp_pass_ssl_protocols, smtp_pass_ssl_ciphers');
like(mail('old'), qr/^r TLSv1\.2 /, 'resumed');

like(mail('command'), qr/ TLS_CHACHA20_POLY1305_SHA256 /,
    'smtp_pass_ssl_conf_command');
like(mail('reuse'), qr/ sni=- /, 'no SNI');
like(mail('sni'), qr/ sni=a\.test /, 'smtp_pass_ssl_server_name');

# a session is for the name it was verified for

like(mail('name', to => 'a.test'), qr/^\. /, 'verified by the name');
like(mail('name', to => 'a.test'), qr/^r /, 'and resumed');
like(mail('name', to => 'b.test'), qr/^451 4\.4\.1 /, 'not for another name');
like(mail('name', to => 'a.test'), qr/^r /, 'still for the first');
like($t->log(), qr/certificate does not match "b\.test"/, 'logged');

# revoked

like(mail('nocrl'), qr/^\. /, 'smtp_pass_ssl_crl');
like(mail('crl'), qr/^451 4\.4\.1 /, 'revoked');
like($t->log(), qr/verify error: \(23:certificate revoked\)/, 'logged');

# our certificate, and a session is for one of them

like(mail('reuse'), qr/ dn=-$/, 'none');
like(mail('locked'), qr/ dn=CN=one\.test$/, 'smtp_pass_ssl_password_file');
like(mail('client', from => 'one.test'), qr/^\. .* dn=CN=one\.test$/,
    'by variable');
like(mail('client', from => 'two.test'), qr/^\. .* dn=CN=two\.test$/,
    'another one');
like(mail('client', from => 'one.test'), qr/^r .* dn=CN=one\.test$/,
    'the first one again');
like(mail('client', from => 'two.test'), qr/^r .* dn=CN=two\.test$/,
    'and the second');

my $taken = $sink->messages();

like(mail('client', from => 'three.test'), qr/^451 4\.4\.1 /,
    'a file that is not there');
is(scalar($sink->messages()), $taken, 'and no mail without it');
like($t->log(), qr/cannot load certificate ".*three\.test\.crt"/, 'logged');
like(mail('client', from => 'two.test'), qr/^r /, 'no failure of the servers');

$t->done();
