#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_health_check: who is found down gets no mail, for all workers, over a
# reload and the death of a worker; who is up again gets mail again; one worker
# checks at a time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

# how a backend fails is in a file of its name

sub fails {
    my ($name) = @_;

    my $control = $t->dir() . "/fail-$name";
    $t->write_file("fail-$name", '');

    return sub {
        open my $f, '<', $control or return undef;
        my $how = <$f> // '';

        return $how eq 'silent' ? { silent => 1 }
            : $how eq 'refuse' ? '554 5.3.2 maintenance' : undef;
    };
}

sub set_fail { $t->write_file("fail-$_[0]", $_[1]) }

my %sink = map { $_ => $t->sink($_, replies => { BANNER => fails($_) }) }
    qw/ a b only /;
my $mx = $t->sink('mx');
my $tls = $t->sink('tls', tls => 1);
my $clear = $t->sink('clear');
my $far = $t->sink('far');

my $started = time();

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    smtp_pass_connect_timeout  5s;
    smtp_pass_timeout          30s;

    smtp_queue q {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        spool_min_free  1m;
    }

    smtp_health_check  interval=200ms fails=2 passes=2 timeout=20s;

    upstream two {
        server  127.0.0.1:%%PORT_a%% max_fails=0;
        server  127.0.0.1:%%PORT_b%% max_fails=0;
        server  127.0.0.1:%%PORT_gone%% down;
    }

    upstream alone {
        server  127.0.0.1:%%PORT_only%%;
    }

    upstream secure {
        server  127.0.0.1:%%PORT_tls%%;
        server  127.0.0.1:%%PORT_clear%% backup;
    }

    server {
        listen  127.0.0.1:%%PORT_two%%;
        smtp_pass  two;
        smtp_pass_next_upstream  off;
    }

    server {
        listen  127.0.0.1:%%PORT_alone%%;
        smtp_pass  alone;
        smtp_health_check  interval=200ms fails=2 passes=2 timeout=1s;
    }

    server {
        listen  127.0.0.1:%%PORT_queue%%;
        smtp_pass  alone;
        smtp_health_check  interval=200ms fails=2 passes=2 timeout=1s;
        smtp_enqueue  q;
    }

    server {
        listen  127.0.0.1:%%PORT_secure%%;
        smtp_pass  secure;
        smtp_pass_ssl  starttls;
        smtp_health_check  interval=300ms timeout=20s;
    }

    # no address of this machine, ever (RFC 5737)

    server {
        listen  127.0.0.1:%%PORT_bound%%;
        smtp_pass  127.0.0.1:%%PORT_far%%;
        smtp_pass_bind  203.0.113.7;
    }

    server {
        listen  127.0.0.1:%%PORT_unchecked%%;
        smtp_pass  127.0.0.1:%%PORT_b%%;
        smtp_health_check  off;
    }
}

http {
    access_log  off;

    server {
        listen  127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status; }
    }
}
EOC

my $h = Test::SMTPRelay::Status->new($t, 'http');

sub backend {
    my ($pass, $name) = @_;

    my (undef, $answer) = $h->get('');
    my $server = '127.0.0.1:' . $t->port($name);

    my ($b) = grep { $_->{pass} eq $pass && $_->{server} eq $server }
        @{$answer->{backends} || []};

    return $b || {};
}

sub wait_state {
    my ($pass, $name, $state) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok(wait_for(sub { (backend($pass, $name)->{state} // '') eq $state },
        20, "$name to be $state"), "$name is $state");
}

sub mail {
    my ($port, $from) = @_;

    my $c = $t->client($port, timeout => 20);
    $c->cmd('EHLO client.test');
    my @r = $c->send_message($from, 'x@to.test', "x\r\n");
    $c->close();

    return "$r[0] $r[1]";
}

sub lines {
    my ($re) = @_;
    return scalar(() = $t->log() =~ /$re/g);
}

# all is well

wait_state('two', $_, 'up') for qw/ a b /;
wait_for(sub { backend('two', 'a')->{checks} >= 5 }, 20, 'five checks');

my $n = $sink{a}->connections();
cmp_ok($n, '<=', (time() - $started) / 0.2 + 2, 'one worker checks at a time');

my @all = $sink{a}->commands();
is_deeply([ grep { !/^\d+ (EHLO proxy\.test|QUIT)$/ } @all ], [],
    'EHLO and QUIT is all that is said');
is(backend('two', 'a')->{failed}, 0, 'no failures');
ok(!backend('two', 'a')->{last_failure}, 'nor a reason');
ok(!%{backend('two', 'gone')}, 'one that is "down" is not checked');
is(backend('127.0.0.1:' . $t->port('b'), 'b')->{state}, 'unchecked', 'off');

# what fails on our side says nothing of a backend

$t->wait_log(qr/\[crit\] .*bind\(203\.0\.113\.7\b.* failed/);
$t->expect_log(qr/\[crit\] .*bind\(203\.0\.113\.7\b.* failed/);
ok(!backend('127.0.0.1:' . $t->port('far'), 'far')->{failed},
    'an address that we do not have');

# one refuses

set_fail('a', 'refuse');
wait_state('two', 'a', 'down');
my $a_port = $t->port('a');
$t->wait_log(qr/\[warn\].* upstream "127.0.0.1:$a_port" of "smtp_pass two" is /
    . qr/down, health checks failed: 2, the last one: 554 maintenance/);
is(backend('two', 'a')->{last_failure}, '554 maintenance', 'the reason');

my (undef, $out) = $t->command($^X, "$FindBin::Bin/../ngx_smtp_relay_module/"
    . 'tools/smtpq', '--url', 'http://127.0.0.1:' . $t->port('http')
    . '/smtp/', 'status');
like($out, qr/^backend 127\.0\.0\.1:$a_port +down, smtp_pass two: 554 maint/m,
    'as smtpq has it');

like(mail('two', "one$_\@from.test"), qr/^250 /, "message $_") for 1 .. 6;
is(scalar($sink{a}->messages()), 0, 'none for the one that is down');
is(scalar($sink{b}->messages()), 6, 'all for the other');

# over a reload, and the death of a worker

$t->reload(wait => 1);
is(backend('two', 'a')->{state}, 'down', 'down after a reload');
like(mail('two', "two$_\@from.test"), qr/^250 /, "message $_") for 1 .. 4;

$t->expect_log(qr/\[alert\].*exited on signal 9/);
$t->kill_worker();
my $checks = backend('two', 'b')->{checks};
ok(wait_for(sub { backend('two', 'b')->{checks} > $checks + 2 }, 20,
    'checks'), 'checks go on when a worker died');
like(mail('two', "three$_\@from.test"), qr/^250 /, "message $_") for 1 .. 4;
is(lines(qr/two" is down,/), 1, 'told once');

# and back

set_fail('a', '');
wait_state('two', 'a', 'up');
$t->wait_log(qr/\[notice\].*"smtp_pass two" is up again, /);
like(mail('two', "four$_\@from.test"), qr/^250 /, "message $_") for 1 .. 6;
cmp_ok(scalar($sink{a}->messages()), '>=', 2, 'it gets mail again');

# no server is left: the queue, or 451, at once

set_fail('only', 'silent');
wait_state('alone', 'only', 'down');
is(backend('alone', 'only')->{last_failure},
    'timed out waiting for the host', 'a time-out');

my $began = time();
like(mail('queue', 'spooled@from.test'), qr/^250 .*queued as/,
    'the queue behind');
like(mail('alone', 'none@from.test'), qr/^451 4\.4\.1 /,
    'no queue behind');
cmp_ok(time() - $began, '<', 15, 'nobody was waited for');
is(($mx->wait_messages(1))[0]{from}, 'spooled@from.test', 'delivered');

ok($t->log() =~ /no live upstreams/, 'in the log, too');

# TLS as for mail

wait_state('secure', 'tls', 'up');
wait_state('secure', 'clear', 'down');
is(join(' ', grep { /^1 / } $tls->commands()),
    '1 EHLO proxy.test 1 STARTTLS 1 EHLO proxy.test 1 QUIT', 'with STARTTLS');
like(backend('secure', 'clear')->{last_failure}, qr/TLS is required/,
    'a backend without');

# a connection that is refused, and the same port again

$sink{b}->stop();
wait_state('two', 'b', 'down');
like(backend('two', 'b')->{last_failure}, qr/^no connection/, 'refused');
$sink{b}->start();
wait_state('two', 'b', 'up');

$t->stop();

# nginx -t

sub conf {
    return "%%GLOBALS%%\nevents { }\nstream { $_[1]\n"
        . "server {\nlisten 127.0.0.1:%%PORT_two%%;\n$_[0]\n}\n}\n";
}

my $pass = 'smtp_pass 127.0.0.1:25; smtp_health_check';

$t->accepted(conf("$pass;", ''), 'defaults');
$t->accepted(conf("$pass interval=1m timeout=10s fails=3 passes=2;", ''),
    'all parameters');
$t->accepted(conf("$pass off;", 'smtp_health_check;'), 'off');
$t->refused(conf("$pass $_;", ''), qr/invalid parameter "\Q$_\E".*:\d+$/m, $_)
    for 'interval=0', 'interval=x', 'fails=0', 'fails=', 'passes=-1',
        'every=1s', 'interval';
$t->refused(conf("$pass; smtp_health_check;", ''), qr/is duplicate/, 'twice');
$t->refused(conf('smtp_pass $hostname:25; smtp_health_check;', ''),
    qr/needs "smtp_pass" or "smtp_verify_recipient" with the name of an upstream.*:\d+$/m,
    'with a variable');

my $queue = 'smtp_queue q { spool %%DIR%%/s; next_hop 127.0.0.1:25; '
    . 'spool_min_free 1m; }';

$t->accepted(conf('smtp_pass $hostname:25;', 'smtp_health_check;'),
    'inherited, with a variable',
    qr/\[warn\].* of "smtp_pass \$hostname:25", .* off".*:\d+$/m);
$t->accepted(conf('smtp_pass $hostname:25; smtp_health_check off;',
    'smtp_health_check;'), 'inherited, with a variable: off');
$t->accepted(conf('smtp_enqueue q; smtp_verify_recipient $hostname:25;',
    "$queue smtp_health_check;"), 'verify, with a variable',
    qr/\[warn\].* of "smtp_verify_recipient \$hostname:25", .*:\d+$/m);
$t->accepted(conf('smtp_enqueue q;', "$queue smtp_health_check;"),
    'nobody to be checked');

SKIP: {
    skip 'no "resolve" in upstream{}', 3 unless $t->nginx_version() ge v1.27.3;

    my $upstream = 'resolver 127.0.0.1; upstream mta { zone mta 64k; '
        . 'server host.test:25 resolve; server 127.0.0.1:25; }';

    $t->accepted(conf('smtp_pass mta;', $upstream), 'resolve, no checks');
    $t->accepted(conf('smtp_pass mta; smtp_health_check off;',
        "smtp_health_check; $upstream"), 'resolve, no checks here');
    $t->accepted(conf('smtp_pass mta; smtp_health_check;', $upstream),
        'resolve', qr/\[warn\].* does not check "server host.test:25".*:\d+$/m);
}

$t->done();
