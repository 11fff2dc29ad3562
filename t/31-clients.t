#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Real clients send, each in its own way: curl, swaks, Python's smtplib,
# nodemailer, openssl s_client.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $sink = $t->sink('mx');

$t->gen_cert('server', 'localhost');
$t->write_file('accounts', 'user@example.org '
    . crypt('pass word', '$6$rounds=1000$salt$') . "\n");

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
worker_processes 2;
events { worker_connections 256; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_mx%%;
    }

    ssl_certificate      %%DIR%%/server.crt;
    ssl_certificate_key  %%DIR%%/server.key;
    ssl_protocols        TLSv1.2 TLSv1.3;
    ssl_alpn             smtp;

    smtp_hostname  mail.example.org;
    smtp_starttls  required;
    smtp_auth      plain login;
    smtp_accounts  file=%%DIR%%/accounts;

    server {
        listen 127.0.0.1:%%PORT_submission%%;
        listen 127.0.0.1:%%PORT_smtps%% ssl;
        smtp_enqueue   out;
    }
}
EOC

my $port = $t->port('submission');
my $smtps = $t->port('smtps');
my $dir = $t->dir();

my $body = "line one\r\n.a dot\r\n..\r\n\xc3\xa4 and more\r\n";


# the message a client sent, found by its subject

sub arrived {
    my ($subject) = @_;
    my $m;

    wait_for(sub {
        ($m) = grep { $_->{body} =~ /^Subject: \Q$subject\E\r$/m }
            $sink->messages();
    }, 10, "message $subject");

    return $m;
}


sub client {
    my ($name, @command) = @_;
    my %opts = ref $command[0] ? %{shift @command} : ();

    SKIP: {
        skip "no $command[0]", 3 unless $t->which($command[0]);

        my ($status, $out) = $t->command({ timeout => 60, %opts }, @command);

        is($status, 0, "$name sends") or diag($out);

        my $m = eval { arrived($name) };
        ok($m, "$name: arrived") or diag($out);
        like($m ? $m->{body} : '', qr/\r\n\r\n\Q$body\E\z/,
            "$name: as it was sent");
    }
}


sub message {
    my ($name) = @_;

    return "From: user\@example.org\r\nTo: b\@example.net\r\n"
        . "Subject: $name\r\n\r\n$body";
}


# curl

for ([ 'curl-starttls', "smtp://127.0.0.1:$port" ],
    [ 'curl-smtps', "smtps://127.0.0.1:$smtps" ])
{
    my ($name, $url) = @$_;

    $t->write_file("$name.eml", message($name));

    client($name, 'curl', '-sS', '-k', '--ssl-reqd', '--url', $url,
        '--user', 'user@example.org:pass word',
        '--mail-from', 'user@example.org', '--mail-rcpt', 'b@example.net',
        '--mail-rcpt', 'c@example.net', '--upload-file', "$dir/$name.eml");
}

# swaks

for ([ 'swaks-plain', '-tls', '-p', $port, '-a', 'PLAIN' ],
    [ 'swaks-login', '-tlsc', '-p', $smtps, '-a', 'LOGIN' ],
    [ 'swaks-pipeline', '-tls', '-p', $port, '-a', 'PLAIN', '--pipeline' ])
{
    my ($name, @args) = @$_;

    client($name, { stdin => message($name) =~ s/\r\n/\n/gr }, 'swaks',
        '--silent', '1', '-s', '127.0.0.1', '-f', 'user@example.org',
        '-t', 'b@example.net', '-au', 'user@example.org', '-ap', 'pass word',
        '-d', '-', @args);
}

# Python's smtplib

$t->write_file('client.py', <<'EOF');
import smtplib, ssl, sys
port, way, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl._create_unverified_context()
if way == 'ssl':
    s = smtplib.SMTP_SSL('127.0.0.1', port, context=context)
else:
    s = smtplib.SMTP('127.0.0.1', port)
    s.starttls(context=context)
s.login('user@example.org', 'pass word')
refused = s.sendmail('user@example.org', ['b@example.net', 'c@example.net'],
                     open(name, 'rb').read(), mail_options=['BODY=8BITMIME'])
assert not refused
s.quit()
EOF

for ([ 'smtplib-starttls', $port, 'starttls' ],
    [ 'smtplib-ssl', $smtps, 'ssl' ])
{
    my ($name, @args) = @$_;

    $t->write_file("$name.eml", message($name));

    client($name, 'python3', "$dir/client.py", @args, "$dir/$name.eml");
}

# nodemailer

my ($modules) = grep { -d "$_/nodemailer" }
    map { "$_/npm/node_modules" } grep { defined } $ENV{TEST_BUILD},
    "$FindBin::Bin/../build";

$t->write_file('client.js', <<'EOF');
const nodemailer = require('nodemailer');
const fs = require('fs');
const [port, way, file] = process.argv.slice(2);
const transport = nodemailer.createTransport({
    host: '127.0.0.1', port: +port, secure: way === 'ssl',
    requireTLS: true, tls: { rejectUnauthorized: false },
    auth: { user: 'user@example.org', pass: 'pass word' } });
transport.sendMail({
    envelope: { from: 'user@example.org', to: ['b@example.net'] },
    raw: fs.readFileSync(file) })
    .then(() => transport.close(), (e) => { console.log(e); process.exit(1); });
EOF

SKIP: {
    skip 'no nodemailer: make test-deps', 6 unless $modules;

    for ([ 'nodemailer-starttls', $port, 'starttls' ],
        [ 'nodemailer-ssl', $smtps, 'ssl' ])
    {
        my ($name, @args) = @$_;

        $t->write_file("$name.eml", message($name));

        client($name, { env => { NODE_PATH => $modules } }, 'node',
            "$dir/client.js", @args, "$dir/$name.eml");
    }
}

# openssl s_client: typed by hand; lower case, for a line that starts with R
# or Q is a command of its own

for ([ 'openssl-starttls', '-starttls', 'smtp', '-connect',
    "127.0.0.1:$port" ], [ 'openssl-alpn', '-alpn', 'smtp', '-connect',
    "127.0.0.1:$smtps" ])
{
    my ($name, @args) = @$_;

    my $typed = join "\r\n", 'ehlo client.example', 'auth plain '
        . encode_base64("\0user\@example.org\0pass word", ''),
        'mail from:<user@example.org>', 'rcpt to:<b@example.net>', 'data',
        message($name) =~ s/^\./../gmr . '.', 'quit', '';

    client($name, { stdin => $typed }, 'openssl', 's_client', '-quiet',
        '-ign_eof', @args);
}

$t->done();
