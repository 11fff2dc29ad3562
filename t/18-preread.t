#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Modules of nginx's preread phase, which look at the client's first octets:
# those that cannot work are refused, and what others have read is not lost.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Basename qw/ dirname /;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

# njs is none of Debian's packages: a module with its directive takes its place

my $tree = dirname($t->{module}) . '/module-tree';
my $so = $t->dir() . '/preread.so';
my $cc = ($t->version() =~ /clang/) ? 'clang' : 'gcc';

-d $tree or $t->skip_all("no $tree to build a module with");

my ($status, $out) = $t->command($cc, qw( -g -O1 -fPIC -shared -W -Wall
    -Wno-unused-parameter -Werror ), '-o', $so,
    "$FindBin::Bin/lib/preread_module.c", "-I$tree/objs",
    map { "-I$tree/src/$_" } qw( core event event/modules os/unix stream ));
is($status, 0, 'module is built') or diag($out);

$t->gen_cert('server', 'mx.example.org');

my $ssl = 'ssl_certificate %%DIR%%/server.crt; '
    . 'ssl_certificate_key %%DIR%%/server.key;';
my $starttls = "smtp_starttls on; $ssl";

sub conf {
    my ($server, $stream, $load) = @_;

    $stream //= '';
    $load //= "load_module $so;";

    return <<"EOC";
%%GLOBALS%%
$load
events { worker_connections 256; }
stream {
    smtp_queue out { spool %%DIR%%/spool; spool_min_free 1m;
        next_hop 127.0.0.1:%%PORT_none%%; }
    smtp_hostname mx.example.org;
    $stream
    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        $server
        smtp_enqueue out;
    }
    server {
        listen 127.0.0.1:%%PORT_other%%;
        js_preread off.off;
        return "";
    }
}
EOC
}

my $js = qr/"js_preread" cannot .*"smtp_starttls".*"js_access" in .*:\d+$/m;

$t->accepted(conf(''), 'loaded, not used');
$t->accepted(conf($starttls), 'nor with starttls');
$t->accepted(conf('js_preread main.preread;'), 'js_preread without starttls');
$t->refused(conf("js_preread main.preread; $starttls"), $js,
    'js_preread with starttls');
$t->refused(conf($starttls, 'js_preread main.preread;'), $js, 'inherited');
$t->refused(conf('js_preread main.preread;', $starttls), $js,
    'starttls is inherited');
$t->accepted(conf("js_preread main.preread; smtp_starttls off;", $starttls),
    'starttls is off in this server');

# loaded before us it says the same

my $before = conf("js_preread main.preread; $starttls", '', '');
$before =~ s/%%GLOBALS%%/$t->globals('error.log')/e;
$before =~ s/^(load_module \Q$t->{module}\E;)/load_module $so;\n$1/m or die;
$t->refused($before, $js, 'loaded before us');

# ssl_preread waits for a client that waits for us

my $silent = qr/"ssl_preread" waits for the client .* in .*:\d+$/m;

$t->refused(conf("ssl_preread on; $starttls"), $silent,
    'ssl_preread with starttls');
$t->refused(conf('ssl_preread on;'), $silent, 'and without');
$t->refused(conf('', 'ssl_preread on;'), $silent, 'inherited');
$t->accepted(conf("ssl_preread off; $starttls", 'ssl_preread on;'),
    'off in this server');

# what was read by others under TLS is said to us

$t->write_conf(conf("test_preread 20; $starttls"))->run();

my $c = $t->client('smtp', timeout => 30);
$c->ehlo();
is($c->starttls(), 220, 'starttls');
$c->send_raw("EHLO client.example\r\nMAIL FROM:<a\@example.org>\r\nNO");
my ($code, undef, $lines) = $c->read_reply();
is($code, 250, 'reply to what was read before us');
ok(scalar(grep { /PIPELINING/ } @$lines), 'which is that to EHLO');
is(($c->read_reply())[0], 250, 'and the next command');
$c->send_raw("OP\r\n");
is(($c->read_reply())[0], 250, 'and half of one');
$c->quit();

# clear text behind STARTTLS is dropped all the same

$c = $t->client('smtp', timeout => 30);
$c->ehlo();
$c->send_raw("STARTTLS\r\nRSET\r\nMAIL FROM:<evil\@example.org>\r\n");
is(($c->read_reply())[0], 220, 'starttls with clear text behind it');
ok($c->start_tls(), 'handshake');
$c->send_raw("EHLO client.example\r\n");
($code, undef, $lines) = $c->read_reply();
ok(scalar(grep { /PIPELINING/ } @$lines), 'the first reply is that to EHLO');
$c->check('NOOP', 250, 'and no other follows it');
$c->check('RCPT TO:<b@example.org>', 503, 'no injected mail');
$c->quit();

$t->done();
