#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What nginx -t says about smtp_pass.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->gen_cert('ca');

my $queue = 'smtp_queue out { spool %%DIR%%/spool; spool_min_free 1m; '
    . 'next_hop 127.0.0.1:25; }';
my $crt = '%%DIR%%/ca.crt';

sub conf {
    my ($server, $stream) = @_;

    $stream //= '';

    return "%%GLOBALS%%\nevents { }\nstream {\n$stream\n"
        . "server {\nlisten 127.0.0.1:%%PORT_smtp%%;\n$server\n}\n}\n";
}

sub accepted { $t->accepted(conf($_[0], $_[2]), $_[1]) }
sub refused { $t->refused(conf($_[0], $_[3]), $_[1], $_[2]) }

accepted('smtp_pass 127.0.0.1:25;', 'an address');
accepted('smtp_pass [::1]:25;', 'an IPv6 address');
accepted('smtp_pass unix:/tmp/mta;', 'a Unix socket');
accepted('smtp_pass mta;', 'an upstream',
    'upstream mta { server 127.0.0.1:25; }');
accepted('smtp_pass $to;', 'a variable',
    'map $smtp_rcpt_domain $to { default 127.0.0.1:25; }');
accepted('smtp_pass 127.0.0.1:25; smtp_enqueue out;', 'with a queue', $queue);
accepted('smtp_enqueue out fallback=error,4xx; smtp_pass 127.0.0.1:25;',
    'and fallback', $queue);

refused('smtp_pass mta;', qr/no port in upstream "mta".*:\d+$/m,
    'no such upstream');
refused('smtp_pass no-such-host.invalid:25;',
    qr/host not found in upstream .*:\d+$/m, 'no such host');
refused('smtp_pass $nothing_at_all;', qr/unknown "nothing_at_all" variable/,
    'no such variable');
refused('smtp_pass a:25; smtp_pass b:25;', qr/duplicate.*:\d+$/m, 'twice');
refused('proxy_pass 127.0.0.1:25; smtp_pass 127.0.0.1:25;',
    qr/another content directive.*:\d+$/m, 'behind proxy_pass');
refused('smtp_pass;', qr/invalid number of arguments/, 'nothing');

refused('smtp_enqueue out fallback=error;',
    qr/"fallback=" of "smtp_enqueue" needs "smtp_pass" in .*:\d+$/m,
    'fallback without smtp_pass', $queue);
refused('smtp_pass 127.0.0.1:25; smtp_enqueue out fallback=5xx;',
    qr/invalid value "5xx".*:\d+$/m, 'fallback=5xx', $queue);
refused('smtp_pass 127.0.0.1:25; smtp_enqueue out fallback=error,;',
    qr/invalid value ""/, 'fallback=error,', $queue);
refused('smtp_pass 127.0.0.1:25; smtp_enqueue out spare;',
    qr/invalid parameter "spare"/, 'another parameter', $queue);
refused('smtp_pass 127.0.0.1:25; smtp_enqueue none;',
    qr/names a queue .*:\d+$/m, 'no such queue', $queue);

refused('smtp_pass 127.0.0.1:25; smtp_trust 0.0.0.0/0;', qr/open relay/,
    'an open relay');
refused('smtp_pass 127.0.0.1:25; smtp_auth plain;', qr/needs "smtp_accounts/,
    'login without accounts');

my $pass = 'smtp_pass 127.0.0.1:25;';

refused("$pass smtp_pass_ssl_verify on;", qr/needs "smtp_pass_ssl.*:\d+$/m,
    'verify without TLS');
refused("$pass smtp_pass_ssl on; smtp_pass_ssl_verify on;",
    qr/needs "smtp_pass_ssl_trusted_certificate" in .*:\d+$/m,
    'verify without certificates');
refused("$pass smtp_pass_ssl on; smtp_pass_ssl_trusted_certificate none;",
    qr/none/, 'no such file');
refused("$pass smtp_pass_ssl on; smtp_pass_ssl_certificate $crt;",
    qr/go together/, 'certificate without key');
accepted("$pass smtp_pass_ssl on; smtp_pass_ssl_certificate $crt; "
    . 'smtp_pass_ssl_certificate_key %%DIR%%/ca.key;', 'with key');
accepted("$pass smtp_pass_ssl on; smtp_pass_ssl_certificate %%DIR%%/\$a; "
    . 'smtp_pass_ssl_certificate_key %%DIR%%/$b;', 'by variable', '
    map $smtp_mail_from_domain $a { default ca.crt; }
    map $smtp_mail_from_domain $b { default ca.key; }');
accepted("$pass smtp_pass_ssl on; $_;", $_) for
    'smtp_pass_ssl_protocols TLSv1.3', 'smtp_pass_ssl_ciphers HIGH',
    'smtp_pass_ssl_conf_command MinProtocol TLSv1.3',
    'smtp_pass_ssl_name $smtp_rcpt_domain', 'smtp_pass_ssl_session_reuse off',
    'smtp_pass_ssl_certificate ""; smtp_pass_ssl_certificate_key ""';
refused("$pass smtp_pass_ssl on; smtp_pass_ssl_crl $crt;",
    qr/"smtp_pass_ssl_crl" needs.*:\d+$/m, 'a list of nobody');
refused("$pass smtp_pass_ssl on; $_;", qr/nonsense|SSLv9|none"/i,
    $_) for
    'smtp_pass_ssl_ciphers nonsense', 'smtp_pass_ssl_protocols SSLv9',
    'smtp_pass_ssl_conf_command Nonsense on',
    'smtp_pass_ssl_password_file %%DIR%%/none';
accepted("$pass smtp_pass_bind $_;", "smtp_pass_bind $_") for
    '127.0.0.1', '127.0.0.1:2000', 'off', '$remote_addr transparent';
refused("$pass smtp_pass_bind here;", qr/invalid address "here".*:\d+$/m,
    'smtp_pass_bind here');
refused("$pass smtp_pass_bind 127.0.0.1 twice;",
    qr/invalid parameter "twice", must be "transparent"/, 'bind twice');
refused("$pass smtp_pass_proxy_protocol on;", qr/invalid value "on"/,
    'smtp_pass_proxy_protocol on');
refused("$pass smtp_pass_auth a b;",
    qr/not verified.*needs "smtp_pass_ssl_verify" in .*:\d+$/m,
    'a password in clear');
refused("$pass smtp_pass_auth a b; smtp_pass_ssl starttls;",
    qr/not verified/, 'a password for anybody');
refused("$pass smtp_pass_auth a;", qr/must be "off"/, 'a user alone');
refused("$pass smtp_pass_auth client;", qr/not verified/,
    'those of clients for anybody');

my $verified = "smtp_pass_ssl on; smtp_pass_ssl_verify on; "
    . "smtp_pass_ssl_trusted_certificate $crt;";

$t->write_file('accounts', 'a ' . crypt('a', '$6$rounds=1000$saltsalt$')
    . "\n", 0600);

refused("$pass $verified smtp_pass_auth client;",
    qr/"smtp_pass_auth client" .* needs "smtp_auth" in .*:\d+$/m,
    'logins of clients that have none');
accepted("$pass $verified smtp_pass_auth client; smtp_auth plain; "
    . 'smtp_accounts file=%%DIR%%/accounts; smtp_auth_plaintext on;',
    'logins of clients');
refused("$pass $verified smtp_pass_auth a b c;", qr/"c", must be "xoauth2"/,
    'another mechanism');
refused("$pass $verified smtp_pass_auth '' b;", qr/needs a user/, 'no user');
accepted("$pass $verified smtp_pass_auth \$u \$p xoauth2;", 'by variable',
    'map $smtp_mail_from $u { default a; } map $smtp_mail_from $p { }');
accepted("$pass smtp_pass_auth a b; smtp_pass_ssl starttls; "
    . "smtp_pass_ssl_verify on; smtp_pass_ssl_trusted_certificate $crt;",
    'a password for one that is verified');
accepted("$pass smtp_pass_auth off;", 'none in this server',
    "smtp_pass_auth a b; smtp_pass_ssl on; smtp_pass_ssl_verify on; "
    . "smtp_pass_ssl_trusted_certificate $crt;");

accepted("$pass smtp_pass_temp_path $_;", "smtp_pass_temp_path $_")
    for 'off', '%%DIR%%/temp', 'relative';
ok(-d $t->dir() . "/$_", "$_ is made") for 'temp', 'relative';
refused("$pass smtp_pass_temp_path off; smtp_pass_temp_path a;",
    qr/"smtp_pass_temp_path" directive is duplicate in .*:\d+$/m,
    'two folders');
refused("$pass smtp_pass_temp_path '';", qr/needs a path, or "off"/,
    'no folder');
refused("$pass smtp_pass_temp_path %%DIR%%/no/such/folder;",
    qr/mkdir\(\) .*failed/, 'a folder that cannot be made');

refused("$pass $_;", qr/smtp_pass|value/, $_) for
    'smtp_pass_next_upstream 5xx', 'smtp_pass_keepalive x',
    'smtp_pass_keepalive_messages 0', 'smtp_pass_buffer_size x',
    'smtp_pass_ssl maybe', 'smtp_pass_timeout x', 'smtp_pass_extensions x';

refused("$pass $_ 0;", qr/"$_" must not be 0, write a time.*:\d+$/m, "$_ 0")
    for map { "smtp_pass_$_" } qw/ connect_timeout timeout
    send_timeout data_timeout keepalive_timeout /;

$t->done();
