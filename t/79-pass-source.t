#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What a backend sees of the client and of us: the PROXY protocol, as a real
# Postfix and nginx's stream module read it, and smtp_pass_bind.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();
my $dir = $t->dir();

my $sink = $t->sink('sink');
my $postfix = $t->postfix('mta', main =>
    "smtpd_upstream_proxy_protocol = haproxy\ninet_protocols = all\n");

$t->gen_cert('tls');

my $servers = '';

for my $v (1, 2) {
    for my $backend (qw/ mta seen secured /) {
        my $in = $t->port("${backend}$v");

        $servers .= "    server {\n"
            . "        listen  127.0.0.1:$in;\n"
            . "        listen  unix:$dir/$backend$v;\n"
            . '        listen  127.0.0.1:' . $t->port("${backend}${v}_pp")
            . " proxy_protocol;\n"
            . "        set_real_ip_from  127.0.0.1;\n"
            . '        smtp_pass  127.0.0.1:' . $t->port($backend) . ";\n"
            . "        smtp_pass_proxy_protocol  v$v;\n"
            . ($backend eq 'secured' ? "        smtp_pass_ssl  on;\n" : '')
            . "    }\n\n";
    }
}

$t->set(SERVERS => $servers);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_trust     192.0.2.0/24;
    smtp_trust     2001:db8::/32;
    smtp_trust     unix:;
    smtp_hostname  proxy.test;

    log_format  seen  '[$proxy_protocol_addr]:$proxy_protocol_port '
                      '[$proxy_protocol_server_addr]:'
                      '$proxy_protocol_server_port';

    log_format  addr  '$remote_addr $session_time';

    server {
        listen      127.0.0.1:%%PORT_seen%% proxy_protocol;
        access_log  %%DIR%%/seen.log  seen;
        proxy_pass  127.0.0.1:%%PORT_sink%%;
    }

    server {
        listen      127.0.0.1:%%PORT_secured%% proxy_protocol ssl;
        access_log  %%DIR%%/seen.log  seen;
        proxy_pass  127.0.0.1:%%PORT_sink%%;

        ssl_certificate      %%DIR%%/tls.crt;
        ssl_certificate_key  %%DIR%%/tls.key;
    }

    server {
        listen      127.0.0.1:%%PORT_bound%%;
        access_log  %%DIR%%/bound.log  addr;
        proxy_pass  127.0.0.1:%%PORT_sink%%;
    }

%%SERVERS%%

    # checks speak PROXY as well: the one on "mta" passes by it alone

    server {
        listen  127.0.0.1:%%PORT_checked%%;
        smtp_pass  127.0.0.1:%%PORT_mta%%;
        smtp_pass_proxy_protocol  v1;
        smtp_health_check  interval=100ms fails=1 passes=1;
    }

    smtp_pass_bind  127.0.0.9;

    server {
        listen     127.0.0.1:%%PORT_inherit%%;
        smtp_pass  127.0.0.1:%%PORT_bound%%;
    }

    server {
        listen          127.0.0.1:%%PORT_off%%;
        smtp_pass       127.0.0.1:%%PORT_bound%%;
        smtp_pass_bind  off;
    }

    map $smtp_mail_from_domain $source {
        one.test  127.0.0.11;
        two.test  127.0.0.12;
        bad.test  nonsense;
        default   "";
    }

    server {
        listen          127.0.0.1:%%PORT_variable%%;
        smtp_pass       127.0.0.1:%%PORT_bound%%;
        smtp_pass_bind  $source;
    }
}
EOC

my $n = 0;

sub mail {
    my ($c, $name, $from) = @_;

    $from //= 'from.test';
    $c->cmd('EHLO laptop.test');
    my @r = $c->send_message('m' . ++$n . "\@$from", 'x@to.test',
        "Subject: $n\r\n\r\n$n\r\n", timeout => 30);
    is($r[0], 250, "$name: taken") || diag("@r");
}

sub lines {
    my ($file) = @_;
    open my $f, '<', "$dir/$file" or return ();
    my @lines = <$f>;
    chomp @lines;
    return @lines;
}

# one line by itself: the client is too simple for a Unix socket

sub mail_unix {
    my ($path, $name) = @_;

    my $s = IO::Socket::UNIX->new(Peer => "$dir/$path") or die "$path: $!";
    my $got = '';

    for ('', 'HELO laptop.test', 'MAIL FROM:<unix@from.test>',
        'RCPT TO:<x@to.test>', 'DATA', "x\r\n.", 'QUIT')
    {
        print $s "$_\r\n" if length;
        $got .= substr(<$s> // '', 0, 3) . ' ';
    }

    is($got, '220 250 250 250 354 250 221 ', "$name: taken");
}

sub from_proxy {
    my ($port, $header) = @_;

    my $c = $t->client("${port}_pp", greeting => 0);
    $c->send_raw("PROXY $header\r\n");
    $c->read_reply();
    return $c;
}

# as nginx reads it

for my $v (1, 2) {
    for my $backend (qw/ seen secured /) {
        my $name = "$backend v$v";
        my $port = $t->port("$backend$v");

        my $c = $t->client("$backend$v", from => '127.0.0.2');
        mail($c, "$name, IPv4") for 1 .. 2;
        my $tcp4 = '[127.0.0.2]:' . $c->local_port() . " [127.0.0.1]:$port";

        my $c2 = $t->client("$backend$v");
        mail($c2, "$name, another client");
        my $other = '[127.0.0.1]:' . $c2->local_port() . " [127.0.0.1]:$port";

        my $c3 = from_proxy("$backend$v", 'TCP6 2001:db8::7 2001:db8::8 9 25');
        mail($c3, "$name, IPv6");

        my $c4 = from_proxy("$backend$v", 'TCP4 192.0.2.7 192.0.2.8 10 465');
        mail($c4, "$name, behind another proxy");

        mail_unix("$backend$v", "$name, Unix socket");

        $_->close() for $c, $c2, $c3, $c4;

        $t->reload();   # ends kept connections, and so writes their lines

        wait_for(sub { 5 == (() = lines('seen.log')) }, 20, 'five lines');

        is(join("\n", sort(lines('seen.log'))), join("\n", sort($tcp4, $other,
            '[2001:db8::7]:9 [2001:db8::8]:25',
            '[192.0.2.7]:10 [192.0.2.8]:465', '[-]:- [-]:-')),
            "$name: a connection for each client, with its addresses");

        truncate "$dir/seen.log", 0 or die "seen.log: $!";
    }
}

# as Postfix reads it

for my $v (1, 2) {
    my $c = $t->client("mta$v", from => '127.0.0.2');
    mail($c, "Postfix v$v, IPv4");
    my $c2 = from_proxy("mta$v", 'TCP6 2001:db8::7 2001:db8::8 9 25');
    mail($c2, "Postfix v$v, IPv6");
    $_->close() for $c, $c2;

    # UNKNOWN, of v1, is nothing to Postfix 3.7

    mail_unix("mta$v", "Postfix v$v, Unix socket") if $v == 2;
}

my @files = $postfix->wait_messages(5, 60);

is(scalar(grep { /^Received: from \S+ \(\S+ \[127\.0\.0\.2\]\)/m } @files), 2,
    'Postfix knows the IPv4 client');
is(scalar(grep { /^Received: from \S+ \(\S+ \[IPv6:2001:db8::7\]\)/m }
    @files), 2, 'and the IPv6 client');
is(scalar(grep { /^Received: from \S+ \(\S+ \[127\.0\.0\.9\]\)/m } @files), 1,
    'and takes one without address for us');

wait_for(sub { $postfix->log() =~ /ehlo=1 quit=1/ }, 20, 'a health check');
unlike($t->log(), qr/is down/, 'smtp_health_check speaks PROXY, too');

# our address

for (['inherit', '127.0.0.9'], ['off', '127.0.0.1'],
    ['variable', '127.0.0.1', 'no.test'],
    ['variable', '127.0.0.11', 'one.test'],
    ['variable', '127.0.0.12', 'two.test'],
    ['variable', '127.0.0.11', 'one.test'],
    ['variable', '127.0.0.1', 'bad.test'])
{
    my ($port, $addr, $from) = @$_;
    my $c = $t->client($port);
    mail($c, "smtp_pass_bind, $port", $from);
    $c->close();
}

$t->reload();
wait_for(sub { 5 == (() = lines('bound.log')) }, 20, 'lines');

is(join(' ', sort map { (split)[0] } lines('bound.log')),
    '127.0.0.1 127.0.0.1 127.0.0.11 127.0.0.12 127.0.0.9',
    'a connection for each of our addresses');
like($t->log(), qr/"nonsense" of "smtp_pass_bind" is no address/, 'logged');

$t->done();
