#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# SMTPUTF8 and DSN are offered when all backends have them: learned from what
# these say in EHLO, shared by workers, kept over a reload.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();

my @plain = ('PIPELINING', 'SIZE 1000000', '8BITMIME');

my $full = $t->sink('full', ehlo => [ @plain, 'SMTPUTF8', 'DSN' ]);
my $half = $t->sink('half', ehlo => [ @plain, 'DSN' ]);
my $none = $t->sink('none', ehlo => [ @plain ]);
my $back = $t->sink('back', ehlo => [ @plain, 'SMTPUTF8' ]);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    upstream backed {
        server  127.0.0.1:%%PORT_full%%;
        server  127.0.0.1:%%PORT_back%% backup;
    }

    upstream mixed {
        server  127.0.0.1:%%PORT_full%%;
        server  127.0.0.1:%%PORT_half%%;
    }

    upstream checked {
        server  127.0.0.1:%%PORT_full%%;
        server  127.0.0.1:%%PORT_half%%;
        server  127.0.0.1:%%PORT_gone%%;
    }

    map $smtp_rcpt_domain $to {
        default  127.0.0.1:%%PORT_full%%;
    }

    server {
        listen  127.0.0.1:%%PORT_one%%;
        smtp_pass  127.0.0.1:%%PORT_full%%;
    }

    server {
        listen  127.0.0.1:%%PORT_backed%%;
        smtp_pass  backed;
    }

    server {
        listen  127.0.0.1:%%PORT_mixed%%;
        smtp_pass  mixed;
    }

    server {
        listen  127.0.0.1:%%PORT_checked%%;
        smtp_pass  checked;
        smtp_health_check  interval=200ms timeout=20s;
    }

    server {
        listen  127.0.0.1:%%PORT_off%%;
        smtp_pass  127.0.0.1:%%PORT_full%%;
        smtp_pass_extensions  off;
    }

    server {
        listen  127.0.0.1:%%PORT_named%%;
        smtp_pass  127.0.0.1:%%PORT_none%%;
        smtp_pass_extensions  smtputf8 dsn;
    }

    server {
        listen  127.0.0.1:%%PORT_variable%%;
        smtp_pass  $to;
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

sub offered {
    my ($port) = @_;

    my $c = $t->client($port);
    my (undef, undef, $lines) = $c->cmd('EHLO client.test');
    $c->close();

    return join ' ', sort grep { /^(SMTPUTF8|DSN)$/ }
        map { substr $_, 4 } @$lines;
}

sub mail {
    my ($port, $from, $params) = @_;

    my $c = $t->client($port);
    $c->cmd('EHLO client.test');
    $c->cmd("MAIL FROM:<$from>" . ($params // ''));
    my @r = $c->cmd('RCPT TO:<x@to.test> NOTIFY=SUCCESS');

    if ($r[0] == 250) {
        $c->cmd('DATA');
        @r = $c->cmd("x\r\n.");
    }

    $c->close();

    return "$r[0] $r[1]";
}

# learned from the checks; one that is down does not count

ok(wait_for(sub { offered('checked') eq 'DSN' }, 20, 'DSN'),
    'what all have that are up');

# learned from mail

$none->stop();

is(offered('one'), 'DSN SMTPUTF8', 'the check of another server{} told');
is(offered('off'), '', 'off');
is(offered('variable'), '', 'a variable');
is(offered('named'), 'DSN SMTPUTF8', 'by name');
is(offered('backed'), 'DSN SMTPUTF8', 'a backup nobody knows');

$none->start();

like(mail('one', 'a@from.test', ' SMTPUTF8 RET=HDRS'), qr/^250 /, 'passed on');
my ($m) = $full->messages();
like("$m->{from_params} @{$m->{rcpt_params}}",
    qr/SMTPUTF8 RET=HDRS NOTIFY=SUCCESS/, 'with its parameters');

# a backend that lacks what was offered

like(mail('named', 'utf8@from.test', ' SMTPUTF8'), qr/^550 5\.6\.7 /,
    'SMTPUTF8 is refused');
like(mail('named', 'dsn@from.test', ' RET=HDRS ENVID=x'), qr/^250 /,
    'DSN is left out');
($m) = $none->messages();
is("$m->{from_params}@{$m->{rcpt_params}}" =~ s/SIZE=\d+//r =~ s/\s//gr, '',
    'all of it');

# the backup is heard of

$full->stop();
like(mail('backed', 'b@from.test'), qr/^250 /, 'by the backup');
is(offered('backed'), 'SMTPUTF8', 'now it counts');

# the backend is another one now: the next connection tells

$full->set(ehlo => [ @plain ]);
like(mail('one', 'c@from.test'), qr/^250 /, 'another version');
is(offered('one'), '', 'offers less');
$full->set(ehlo => [ @plain, 'DSN' ]);
ok(wait_for(sub { offered('one') eq 'DSN' }, 20, 'DSN'), 'and more again');

$t->reload(wait => 1);
is(offered('mixed'), 'DSN', 'known after a reload');

my (undef, $answer) = Test::SMTPRelay::Status->new($t, 'http')->get('');
my ($b) = grep { $_->{pass} eq 'mixed' } @{$answer->{backends}};
ok($b->{dsn} && !$b->{smtputf8}, 'in the status');

$t->done();
