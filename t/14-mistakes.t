#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Mistakes that operators make: nginx -t refuses each with the file, the line
# it is in, and what to write instead.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->write_file('plain', "# ours\nalice\@example.com sesame\n");
$t->write_file('htpasswd', "alice\@example.com:\$6\$salt\$hash\n");
$t->write_file('option', 'alice@example.com ' . crypt('x', '$6$salt$')
    . " sender=alice\@example.com\n");

# the line with the mistake is the one with "here"

sub queue {
    return "smtp_queue out {\nspool %%DIR%%/spool;\nspool_min_free 1m;\n"
        . "next_hop 127.0.0.1:25;\n" . ($_[0] // '') . "}\n";
}

sub of_queue { return conf(queue("$_[0] # here\n")) }
sub of_stream { return conf("$_[0] # here\n" . queue()) }
sub of_redis {
    return conf(queue() . "smtp_redis main {\n"
        . "server 127.0.0.1;\n$_[0] # here\n}\n");
}
sub of_server {
    return conf(queue(), "$_[0] # here\nsmtp_enqueue out;\n");
}
sub of_enqueue {
    return conf(queue(), "$_[0]\nsmtp_enqueue out; # here\n");
}

sub conf {
    my ($stream, $server) = @_;

    $server //= "smtp_enqueue out;\n";

    return "%%GLOBALS%%\nevents { }\nstream {\nsmtp_trust 127.0.0.0/8;\n"
        . "${stream}server {\nlisten 127.0.0.1:%%PORT_smtp%%;\n$server}\n}\n";
}

# values

mistake(of_server('smtp_client_timeout soon;'),
    qr/"soon" of "smtp_client_timeout", must be a time such as /, 'a time');
mistake(of_server('smtp_client_timeout 5minutes;'),
    qr/"5minutes" .* must be a time/, 'a time in words');
mistake(of_server("$_ 0;"), qr/"$_" must not be 0, write a time/, "$_ 0")
    for 'smtp_client_timeout', 'smtp_data_timeout', 'smtp_send_timeout',
        'smtp_pass_timeout', 'smtp_pass_connect_timeout';
mistake(of_queue("$_ 0;"), qr/"$_" must not be 0, write a time/, "$_ 0")
    for 'connect_timeout', 'command_timeout', 'send_timeout', 'data_timeout';
mistake(of_server('smtp_max_message_size 50MB;'),
    qr/"50MB" of "smtp_max_message_size", must be a size/, 'a size');
mistake(of_server('smtp_max_recipients many;'),
    qr/"many" of "smtp_max_recipients", must be a number/, 'a number');
mistake(of_server('smtp_max_idle_commands 0;'),
    qr/must be equal to or greater than 1/, 'no commands');
mistake(of_server('smtp_starttls require;'),
    qr/"require" .* one of "off", "on", "required"/, 'not one of the words');
mistake(of_server('smtp_auth cram-md5;'),
    qr/"cram-md5" of "smtp_auth", must be one of "plain", "login"/,
    'a mechanism');
mistake(of_server('smtp_pass_next_upstream error 5xx;'),
    qr/"5xx" .* one of "error", "timeout", "421", "4xx", "off"/, 'a reason');
mistake(of_server('smtp_auth_plaintext yes;'),
    qr/"yes" .* must be "on" or "off"/, 'yes');
mistake(of_queue('tls required;'),
    qr/"required" of "tls", must be one of "off", "opportunistic", "require"/,
    'tls in a queue');
mistake(of_queue('expire never;'), qr/"never" of "expire", must be a time/,
    'expire');
mistake(of_queue('retry 1m, 5m;'), qr/"1m,", must be a list such as "1m 5m/,
    'retry with commas');
mistake(of_queue('max_size 1t;'), qr/"1t" of "max_size", must be a size/,
    'size of a queue');
mistake(of_queue('spool_memory lots;'), qr/"lots" .* must be a size/,
    'memory');
mistake(of_queue('bind eth0;'),
    qr/"eth0", must be one of this machine's such as/, 'bind');
mistake(of_queue('postmaster root;'),
    qr/"root", must be one such as "postmaster\@example\.com"/,
    'postmaster without domain');
mistake(of_redis('timeout 2 seconds;'), qr/number of arguments in "timeout"/,
    'two words');
mistake(of_redis('database first;'), qr/"first" .* must be a number/,
    'database');

# names, domains, networks

mistake(of_server("smtp_domains $_;"),
    qr/invalid domain "\S+", must be "example\.com", .* a map of addresses/,
    "smtp_domains $_")
    for 'alice@example.com', '@example.com', 'example.com,example.org',
        '10.0.0.0/8', 'example.com.', 'example.*', '*example.com',
        'http://example.com';
mistake(of_server('smtp_trust mail.example.com;'),
    qr/"mail\.example\.com", must be a network such as "10\.0\.0\.0\/8"/,
    'a name is no network');
mistake(of_server('smtp_trust 10.0.0.0/8, 192.168.0.0/16;'),
    qr/"10\.0\.0\.0\/8,", must be a network/, 'networks with commas');
mistake(of_enqueue('smtp_hostname "mail server";'),
    qr/"smtp_hostname", .* such as "mail\.example\.com", and is "mail server"/,
    'smtp_hostname');
mistake(conf("smtp_queue out { # here\nspool %%DIR%%/spool;\n"
    . "next_hop 127.0.0.1:25;\nhostname \"$_\";\n}\n"),
    qr/smtp_queue "out" needs a "hostname", .* such as "mail\.example\.com", /,
    'hostname of a queue') for 'mail server', 'a;b', '<>';

# what is not there

mistake(conf(queue(), "smtp_enqueue outbound; # here\n"),
    qr/"smtp_enqueue outbound" names a queue that no "smtp_queue" defines/,
    'a queue');
mistake(of_enqueue('smtp_auth plain; smtp_accounts redis=mian;'),
    qr/"smtp_accounts redis=mian" names a Redis that no "smtp_redis" def/,
    'a Redis');
mistake(of_enqueue('smtp_auth plain; smtp_accounts accounts.txt;'),
    qr/"accounts\.txt" .* must be "redis=NAME" or "file=PATH"/, 'a file');
mistake(of_enqueue('smtp_auth plain;'),
    qr/"smtp_auth" needs "smtp_accounts redis=NAME" or "smtp_accounts file=/,
    'accounts');
mistake(of_enqueue('smtp_starttls on;'),
    qr/"smtp_starttls" needs "ssl_certificate" and "ssl_certificate_key"/,
    'a certificate');
mistake(of_stream('smtp_thread_pool commit=comit;'),
    qr/unknown thread pool "comit"/, 'a thread pool');
mistake(of_stream('smtp_thread_pool commit;'),
    qr/"commit", must be "commit=pool" or "auth=pool"/, 'no name of a pool');
mistake(of_stream('smtp_zone 8m;'),
    qr/"8m", must be "name:size" such as "smtp:4m"/, 'zone without a name');
mistake(of_stream('smtp_zone smtp:64k;'), qr/too small, must be at least 512k/,
    'a small zone');
mistake(conf("smtp_queue out { # here\nspool %%DIR%%/spool;\n}\n"),
    qr/smtp_queue "out" has no "next_hop"/, 'next_hop');
mistake(conf(queue() . "smtp_redis main { # here\ntls off;\n}\n"),
    qr/smtp_redis "main" has no "server", add one such as "server 127\./,
    'server');
mistake(of_queue('server 127.0.0.1:25;'),
    qr/unknown directive "server" in smtp_queue\{\}/, 'in the wrong block');
mistake(of_redis('next_hop 127.0.0.1:25;'),
    qr/unknown directive "next_hop" in smtp_redis\{\}/, 'and the other one');
mistake(of_stream('smtp_enqueue out;'),
    qr/"smtp_enqueue" directive is not allowed here/, 'outside of server');

# accounts: the line of their file

for ([ 'plain', 2, qr/no supported scheme or cost, make one by "openssl p/ ],
    [ 'htpasswd', 1, qr/no stored password, it stands behind the login/ ],
    [ 'option', 1, qr/unknown option, there are "enabled=" and "senders="/ ])
{
    my ($file, $line, $re) = @$_;

    $t->refused(of_server("smtp_auth plain; smtp_accounts file=$file;"),
        qr/$re.* in \S+\/$file:$line$/m, "accounts: $file");
}

# what may be meant, but hardly is

doubtful('smtp_trust off;', qr/this server\{\} refuses all mail, .*"smtp_a/,
    'nobody may send');
doubtful('smtp_auth plain; smtp_accounts file=none;', qr/nobody can log in: /,
    'nobody can log in');

$t->write_file('none', '');

$t->accepted(of_server('smtp_auth plain; smtp_accounts file=none; '
    . 'smtp_auth_plaintext on;'), 'login without TLS');
$t->accepted(of_server("smtp_trust off; $_"), "no trust, but $_") for
    'smtp_domains example.com;', 'smtp_domains * open;',
    'smtp_xclient 127.0.0.1;', 'smtp_domains $remote_addr;';
$t->accepted(of_server('smtp_trust $remote_addr;'), 'trust by variable');

$t->done();


# mistake(conf, qr/what is said/, name): refused, and the line is right

sub mistake {
    my ($conf, $re, $name) = @_;

    my $text = $t->expand($conf, 'test.log');
    my $line = 1 + ($text =~ /\A(.*)# here/s ? $1 : '') =~ tr/\n//;

    $t->refused($conf, qr/$re.* in \S+:$line$/m, $name);
}


sub doubtful {
    my ($server, $re, $name) = @_;

    $t->write_file('none', '');
    $t->accepted(of_server($server), $name, qr/\[warn\] .*$re.*:\d+$/m);
}
