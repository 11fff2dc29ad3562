#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# worker_shutdown_timeout: what is still under way at backends ends then, and
# nothing new is begun for it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my %silent = map { $_ => { silent => 1 } } qw/ MAIL DATA DOT /;

my $first = $t->sink('first', replies => { DATA => $silent{DATA} });
my $kept = $t->sink('kept', replies => { MAIL => [ '250 ok',
    $silent{MAIL} ] });
my $next = $t->sink('next');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes         1;
worker_shutdown_timeout  1s;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    smtp_pass_timeout  5m;

    upstream first {
        server  127.0.0.1:%%PORT_first%%;
        server  127.0.0.1:%%PORT_next%% backup;
    }

    upstream kept {
        server  127.0.0.1:%%PORT_kept%%;
        server  127.0.0.1:%%PORT_next%% backup;
    }

    server {
        listen  127.0.0.1:%%PORT_first_in%%;
        smtp_pass  first;
    }

    server {
        listen  127.0.0.1:%%PORT_kept_in%%;
        smtp_pass  kept;
    }
}
EOC

# a client that is gone after its end of data: the backend does not say 354

my $c = $t->client('first_in');
$c->cmd('EHLO client.test');
$c->cmd('MAIL FROM:<first@from.test>');
$c->check('RCPT TO:<x@to.test>', 250, 'a recipient');
$c->cmd('DATA');
$c->send_raw("x\r\n.\r\n");
wait_for(sub { grep { /DATA/ } $first->commands() }, 10, 'DATA');
$c->close();

# one on a kept connection

my $k = $t->client('kept_in');
$k->cmd('EHLO client.test');
is(($k->send_message('kept@from.test', 'x@to.test', "x\r\n"))[0], 250,
    'a message');
$k->cmd('MAIL FROM:<kept@from.test>');
$k->send_raw("RCPT TO:<x\@to.test>\r\n");
wait_for(sub { 2 == grep { /MAIL/ } $kept->commands() }, 10, 'MAIL');

my $log = $t->log();
my ($old) = $log =~ /start worker process (\d+)/;

$t->signal('HUP');
wait_for(sub { $t->log() =~ /worker process $old exited with code 0/ }, 30,
    'the end of the old worker');

pass('the worker leaves in time');
is($next->connections(), 0, 'and asks no other server any more');
is($kept->connections(), 1, 'nor the same one again');

$k->close();
$t->done();
