#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Odd values in a configuration: each directive with empty, huge and wrong
# ones.  nginx -t may refuse, with file and line; it may never crash, and what
# it takes must start.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->gen_cert('server', 'mx.example.org');

my $queue = 'smtp_queue out { spool %%DIR%%/spool; spool_min_free 1m; '
    . 'next_hop 127.0.0.1:%%PORT_mx%%; }';

sub conf {
    my ($server, $stream, $enqueue) = @_;

    $stream //= $queue;
    $enqueue //= 'smtp_enqueue out;';

    return <<"EOC";
%%GLOBALS%%
events { }
stream {
    $stream
    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        $server
        $enqueue
    }
}
EOC
}

# What nginx -t says: taken, or refused with file and line.  What nginx itself
# says of files and variables has none.

sub verdict {
    my ($conf) = @_;

    my ($status, $out) = $t->test_conf($conf);

    return "status $status: $out" if $status & 127 or $out =~ /\[(alert|crit)\]
        |Sanitizer/x;
    return '' if $status == 0 && $out !~ /\[emerg\]/;
    return '' if $out =~ /\[emerg\] .*:\d+$/ms
        || $out =~ /unknown "\w+" variable|\[emerg\] \S+ open\(\)/;

    return "status $status: $out";
}

# for each directive, what is said of values that are neither taken nor
# refused as they should be

sub try_values {
    my ($name, $conf, @values) = @_;

    my @bad = grep { $_ } map {
        my $bad = verdict($conf->($_));
        $bad ? substr("$_: $bad", 0, 300) : '';
    } @values;

    is("@bad", '', $name);
}

my @values = ('""', '-1', '0', '99999999999999999999', '9223372036854775807',
    '1k', '$', '$unknown', 'a$remote_addr', '"a\r\nb"', 'off', '*', '"*."',
    'x' x 300, "\xff", '::', '/', '10000000000y');

for my $directive (qw/ smtp_hostname smtp_starttls smtp_auth
    smtp_auth_plaintext smtp_accounts smtp_trust smtp_domains
    smtp_bare_newline smtp_max_message_size smtp_max_recipients
    smtp_max_line_size smtp_max_errors smtp_max_idle_commands smtp_max_hops
    smtp_client_timeout smtp_data_timeout smtp_send_timeout
    smtp_min_data_rate smtp_log /)
{
    try_values($directive, sub { conf("$directive $_[0];") }, @values);
}

for my $directive (qw/ spool spool_segment_size spool_min_free spool_memory
    hostname next_hop bind tls tls_name retry expire report_queue bounce_size
    connect_timeout max_connections max_messages max_size /)
{
    try_values("queue: $directive", sub {
        my %lines = (spool => '%%DIR%%/spool', next_hop => '127.0.0.1:25',
            spool_min_free => '1m', $directive => $_[0]);

        conf('', 'smtp_queue out { '
            . join(' ', map { "$_ $lines{$_};" } sort keys %lines) . ' }');
    }, @values);
}

for my $directive (qw/ server username password database prefix timeout tls
    tls_verify tls_name tls_trusted_certificate /)
{
    try_values("redis: $directive", sub {
        conf('', "$queue smtp_redis main { "
            . ($directive eq 'server' ? '' : 'server 127.0.0.1; ')
            . "$directive $_[0]; }");
    }, @values);
}

try_values($_, sub { conf('', "$_ $_[0]; $queue") }, @values, 'x:', ':1m',
    'x:0', 'x:-1', 'x:99999999999999g', 'commit=', 'auth=')
    for qw/ smtp_zone smtp_thread_pool smtp_auth_cache /;

# names of blocks

try_values('name of a queue', sub {
    conf('', "smtp_queue $_[0] { spool %%DIR%%/spool; next_hop 127.0.0.1:1; "
        . "spool_min_free 1m; }", "smtp_enqueue $_[0];");
}, '""', '" "', '$x', 'x' x 300, "\xff");
try_values('name of a redis', sub {
    conf('', "$queue smtp_redis $_[0] { server 127.0.0.1; }");
}, '""', '"a b"', '$x');

# an empty name of a queue is no queue

$t->refused(conf('', $queue, 'smtp_enqueue "";'), qr/queue.*:\d+/,
    'smtp_enqueue of nothing');

# long names of domains are names of domains

$t->accepted(conf('smtp_domains ' . join(' ', map { "$_." . 'x' x 60 . '.'
    . 'y' x 60 . '.' . 'z' x 60 . '.example' } 'a' .. 'z') . ';'),
    'long domains');
$t->refused(conf('smtp_domains ' . 'x' x 256 . ';'),
    qr/invalid domain ".*:\d+$/m, 'too long for a domain');

# a name that would break the lines it stands in

for my $name ('"a b"', '"a\r\nX: b"', 'a$remote_addr', "\xc3\xa4.de") {
    $t->refused(conf("smtp_hostname $name;"), qr/smtp_hostname.*:\d+$/ms,
        "smtp_hostname $name");
    $t->refused(conf('', 'smtp_queue out { spool %%DIR%%/spool; '
        . "next_hop 127.0.0.1:1; hostname $name; }"),
        qr/smtp_queue "out" needs a "hostname".*:\d+$/ms, "hostname $name");
}

$t->accepted(conf("smtp_hostname $_;"), "hostname $_")
    for 'mx.example.org', 'MX-1', '"[192.0.2.1]"';

# what is in a block says what it is about

$t->refused(conf('', 'smtp_queue out { spool %%DIR%%/spool; '
    . 'spool %%DIR%%/spool; next_hop 127.0.0.1:1; }'),
    qr/"spool" directive is duplicate in .*:\d+$/m, 'twice in a block');

# trust by a variable sees the proxy's address, too

sub proxied {
    my ($trust, $more) = @_;

    return <<"EOC";
%%GLOBALS%%
events { }
stream {
    $queue
    geo \$lan { default 0; 10.0.0.0/8 1; }
    server {
        listen 127.0.0.1:%%PORT_smtp%% proxy_protocol;
        smtp_trust $trust;
        $more
        smtp_enqueue out;
    }
}
EOC
}

$t->refused(proxied('$lan', ''), qr/proxy_protocol/,
    'trust by variable behind proxy_protocol');
$t->accepted(proxied('$lan', 'set_real_ip_from 127.0.0.1;'),
    'with set_real_ip_from');
$t->accepted(proxied('$lan open', ''), 'or open');
$t->refused(proxied('unix:', ''), qr/proxy_protocol/, 'unix: too');

# "open" is inherited with what it belongs to, and only with it

sub inherited {
    my ($stream, $server) = @_;

    return conf($server, "$queue $stream");
}

$t->accepted(inherited('smtp_trust 0.0.0.0/0 open;', ''), 'open inherited');
$t->refused(inherited('smtp_trust 0.0.0.0/0;', ''), qr/open relay/,
    'trust of all inherited');
$t->refused(inherited('smtp_trust 10.0.0.0/8 open;', 'smtp_trust 0.0.0.0/0;'),
    qr/open relay/, 'open of stream is not for what the server says');
$t->refused(inherited('smtp_trust open;', 'smtp_trust 0.0.0.0/0;'),
    qr/open/, 'open alone in stream');
$t->refused(inherited('', 'smtp_trust open;'), qr/open/, 'open alone');

# nothing to do: no queue, no server; no stream at all

$t->accepted("%%GLOBALS%%\nevents { }\nstream { }\n", 'empty stream');
$t->accepted("%%GLOBALS%%\nevents { }\n", 'no stream');
$t->accepted("%%GLOBALS%%\nevents { }\nstream { $queue }\n",
    'a queue without a server');
$t->accepted("%%GLOBALS%%\nevents { }\nstream { $queue server { "
    . "listen 127.0.0.1:%%PORT_smtp%%; return x; } }\n",
    'a server that is none of ours');

$t->done();
