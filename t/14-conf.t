#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# What nginx -t refuses, warns of, and takes: the open relays first.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->gen_cert('server', 'mx.example.org');
$t->write_file('accounts', "user \$6\$salt\$abc\n");
$t->write_file('good', 'user@example.org ' . crypt('x', '$6$salt$') . "\n");

my $ssl = 'ssl_certificate %%DIR%%/server.crt; '
    . 'ssl_certificate_key %%DIR%%/server.key;';

my $queue = 'smtp_queue out { spool %%DIR%%/spool; spool_min_free 1m; '
    . 'next_hop 127.0.0.1:%%PORT_mx%%; }';

sub conf {
    my ($server, $stream, $main) = @_;

    $stream //= $queue;
    $main //= '';

    return <<"EOC";
%%GLOBALS%%
events { }
$main
stream {
    $stream
    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        $server
        smtp_enqueue out;
    }
}
EOC
}

sub refused {
    my ($server, $re, $name, $stream) = @_;
    $t->refused(conf($server, $stream), $re, $name);
}

sub accepted {
    my ($server, $name, $stream) = @_;
    $t->accepted(conf($server, $stream), $name);
}

accepted('', 'nobody may relay');

# "max_messages" had another meaning

sub queue_with { my $q = $queue; $q =~ s/\}$/$_[0] }/; return $q }

$t->accepted(conf('', queue_with('max_messages 100;')),
    'max_messages that may be meant for a connection',
    qr/\[warn\] .*"max_messages 100" .*"max_connection_messages": .*:\d+$/m);
accepted('', "without doubt: $_", queue_with($_)) for 'max_messages 1000;',
    'max_messages 0;', 'max_messages 100; max_connection_messages 100;',
    'max_connection_messages 100;';

# trust

accepted('smtp_trust 10.0.0.0/8 192.168.1.1 unix:;', 'trust of networks');
accepted('smtp_trust ::1 fd00::/8;', 'trust of ipv6 networks');
accepted('smtp_trust $remote_user_is_trusted;', 'trust by variable',
    "map \$remote_addr \$remote_user_is_trusted { 127.0.0.1 1; } $queue");

refused("smtp_trust $_;", qr/open relay; .* in .*nginx|open relay.*:\d+$/m,
    "trust of $_") for '0.0.0.0/0', '::/0', '0.0.0.0/1', '128.0.0.0/1',
    '2000::/3', '10.0.0.0/8 0.0.0.0/0';
accepted("smtp_trust $_ open;", "trust of $_ open") for '0.0.0.0/0', '::/0';
refused('smtp_trust 10.0.0.0/8; smtp_trust all;', qr/invalid address "all"/,
    'not an address');

$t->refused(<<"EOC", qr/proxy_protocol/, 'trust behind proxy_protocol');
%%GLOBALS%%
events { }
stream {
    $queue
    server {
        listen 127.0.0.1:%%PORT_smtp%% proxy_protocol;
        smtp_trust 10.0.0.0/8;
        smtp_enqueue out;
    }
}
EOC

$t->accepted(<<"EOC", 'trust behind proxy_protocol with set_real_ip_from');
%%GLOBALS%%
events { }
stream {
    $queue
    server {
        listen 127.0.0.1:%%PORT_smtp%% proxy_protocol;
        set_real_ip_from 127.0.0.1;
        smtp_trust 10.0.0.0/8;
        smtp_enqueue out;
    }
    server {
        listen 127.0.0.1:%%PORT_other%%;
        smtp_trust 10.0.0.0/8;
        smtp_enqueue out;
    }
}
EOC

$t->accepted(<<"EOC", 'trust behind proxy_protocol, open');
%%GLOBALS%%
events { }
stream {
    $queue
    server {
        listen 127.0.0.1:%%PORT_smtp%% proxy_protocol;
        smtp_trust 10.0.0.0/8 open;
        smtp_enqueue out;
    }
}
EOC

# domains

accepted('smtp_domains example.com .example.org;', 'domains');
accepted('smtp_domains $ours;', 'domains by variable',
    "map \$smtp_rcpt_domain \$ours { example.com 1; } $queue");
refused('smtp_domains *;', qr/all domains.*:\d+$/m, 'all domains');
refused('smtp_domains example.com .;', qr/all domains/, 'all domains by dot');
refused('smtp_domains open;', qr/\* open/, 'open alone');
accepted('smtp_domains * open;', 'all domains, open');
refused('smtp_domains example.*;', qr/wildcard/, 'wildcard at the end');
refused('smtp_domains ex..ample;', qr/invalid domain/, 'bad domain');

# login

refused('smtp_auth plain;', qr/"smtp_auth" needs "smtp_accounts/,
    'auth without accounts');
refused('smtp_auth plain; smtp_accounts redis=none;', qr/no "smtp_redis"/,
    'unknown redis');
refused('smtp_auth plain; smtp_accounts none;', qr/must be "redis=NAME"/,
    'accounts of no kind');
refused('smtp_auth plain; smtp_accounts file=%%DIR%%/nothing;',
    qr/nothing.*No such file/, 'no accounts file');
refused('smtp_auth plain; smtp_accounts file=%%DIR%%/accounts;',
    qr/accounts:1/, 'accounts file with a bad line: file and line');
refused('smtp_auth cram-md5;', qr/invalid value "cram-md5"/, 'mechanism');
accepted('smtp_auth plain login; smtp_accounts file=%%DIR%%/good; '
    . 'smtp_auth_plaintext on;', 'accounts file');
accepted('smtp_auth plain; smtp_accounts redis=main; smtp_auth_plaintext on;',
    'accounts in redis',
    "smtp_redis main { server 127.0.0.1:%%PORT_redis%%; timeout 1s; } $queue");
refused('', qr/has no "?server|server/, 'redis without server',
    "smtp_redis main { timeout 1s; } $queue");
refused('', qr/unknown directive "frop".*:\d+$/m, 'redis with unknown',
    "smtp_redis main { frop 1s; } $queue");
refused('', qr/duplicate smtp_redis/, 'redis twice',
    'smtp_redis a { server 127.0.0.1; } smtp_redis a { server 127.0.0.1; }'
    . $queue);

# tls

refused('smtp_starttls on;', qr/"smtp_starttls" needs "ssl_certificate".*:\d+/,
    'starttls without certificate');
accepted("smtp_starttls required; $ssl", 'starttls in the server');
accepted('smtp_starttls on;', 'certificate in stream', "$ssl $queue");
refused('', qr/"smtp_starttls" needs/, 'starttls in stream, no certificate',
    "smtp_starttls on; $queue");
refused('smtp_starttls maybe;', qr/invalid value "maybe"/, 'starttls value');
refused("smtp_starttls on; ssl_preread on; $ssl", qr/ssl_preread/,
    'ssl_preread with starttls');

# queues

refused('', qr/names a queue/, 'unknown queue', '');
refused('', qr/has no "spool"/, 'queue without spool',
    'smtp_queue out { next_hop 127.0.0.1:25; }');
refused('', qr/has no "next_hop"/, 'queue without next hop',
    'smtp_queue out { spool %%DIR%%/spool; }');
refused('', qr/no port|"host:port"/, 'next hop without port',
    'smtp_queue out { spool %%DIR%%/spool; next_hop localhost; }');
refused('', qr/next_hop mx.*not supported/, 'next hop mx',
    'smtp_queue out { spool %%DIR%%/spool; next_hop mx; }');
refused('', qr/invalid time "soon"/, 'retry',
    'smtp_queue out { spool %%DIR%%/spool; next_hop 127.0.0.1:25; '
    . 'retry 1m soon; }');
refused('', qr/invalid value "dane"/, 'tls',
    'smtp_queue out { spool %%DIR%%/spool; next_hop 127.0.0.1:25; '
    . 'tls dane; }');
refused('', qr/duplicate smtp_queue/, 'queue twice', $queue . $queue);
refused('', qr/unknown "report_queue" "none"/, 'report queue',
    'smtp_queue out { spool %%DIR%%/spool; next_hop 127.0.0.1:25; '
    . 'report_queue none; }');
refused('', qr/differently/, 'one spool, two sizes', $queue
    . 'smtp_queue two { spool %%DIR%%/spool/; next_hop 127.0.0.1:25; '
    . 'spool_min_free 2m; }');
refused('', qr/between 1m and 1g/, 'segment size',
    'smtp_queue out { spool %%DIR%%/spool; next_hop 127.0.0.1:25; '
    . 'spool_segment_size 1k; }');
accepted('', 'upstream as next hop, defined later', $queue
    . 'smtp_queue two { spool %%DIR%%/spool; next_hop mta; } '
    . 'upstream mta { server 127.0.0.1:25; }');

# "off": what stream{} says is not for this server

my $all = 'smtp_auth plain login; smtp_accounts file=accounts; '
    . "smtp_trust 10.0.0.0/8; smtp_domains a.example; $queue";

$t->write_file('accounts', "alice \$6\$NUnP5ZOcfnDWoWQz\$" . 'x' x 86 . "\n");

$t->accepted(conf('smtp_auth off; smtp_trust off; smtp_domains off; '
    . 'smtp_xclient off;', $all), 'off', qr/\[warn\] .*refuses all mail/);
refused("$_->[0] off; $_->[0] $_->[1];", qr/"$_->[0]" directive .*dupl.*:\d+/,
    "$_->[0]: off and not off"),
refused("$_->[0] $_->[1]; $_->[0] off;", qr/"$_->[0]" directive .*dupl.*:\d+/,
    "$_->[0]: not off and off"),
refused("$_->[0] $_->[1] off;", qr/invalid.* "off".*:\d+/,
    "$_->[0]: off among others")
    for [ 'smtp_auth', 'plain' ], [ 'smtp_trust', '10.0.0.0/8' ],
        [ 'smtp_domains', 'a.example' ], [ 'smtp_xclient', '10.0.0.0/8' ];
refused("smtp_trust off; smtp_trust \$remote_addr;", qr/duplicate/,
    'smtp_trust: off and a variable');
refused("smtp_trust \$remote_addr; smtp_trust off;", qr/duplicate/,
    'smtp_trust: a variable and off');
refused("smtp_domains * open; smtp_domains off;", qr/duplicate/,
    'smtp_domains: all and off');
accepted('smtp_trust off;', 'no trust behind proxy_protocol',
    "smtp_trust 10.0.0.0/8; server { listen 127.0.0.1:%%PORT_other%% "
    . "proxy_protocol; smtp_trust off; smtp_enqueue out; } $queue");

# values

refused("$_;", qr/smtp_|value|format/, $_) for 'smtp_max_recipients 0',
    'smtp_max_message_size x', 'smtp_max_line_size 100',
    'smtp_max_line_size 1m', 'smtp_bare_newline maybe',
    'smtp_client_timeout x', 'smtp_max_hops -1', 'smtp_log a b',
    'smtp_enqueue out';
refused('', qr/invalid zone|must be "name:size"/, 'zone',
    "smtp_zone smtp; $queue");
refused('', qr/too small|zone/, 'zone too small',
    "smtp_zone smtp:1k; $queue");
refused('', qr/commit=pool/, 'thread pool', "smtp_thread_pool x; $queue");
refused('', qr/unknown thread pool "none"/, 'unknown thread pool',
    "smtp_thread_pool commit=none; $queue");
refused('proxy_pass 127.0.0.1:25;', qr/smtp_enqueue|proxy_pass/,
    'two content handlers');

$t->accepted(conf('', "smtp_zone smtp:1m; smtp_zone two:1m; "
    . "smtp_thread_pool commit=c auth=a; $queue",
    'thread_pool c threads=2; thread_pool a threads=1;'),
    'zones and thread pools');

$t->done();
