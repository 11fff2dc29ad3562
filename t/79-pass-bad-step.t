#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A hostile backend in the steps between EHLO and MAIL: STARTTLS, XCLIENT, AUTH
# and XFORWARD.  Whatever it says costs that transaction a 451, never a 5xx,
# never a password in a log, and never the next transaction.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my %bad = (
    garbage => { raw => "\x00\x01\xff\r\n" },
    http => { raw => "HTTP/1.1 400 Bad Request\r\n\r\n" },
    mixed => { raw => "250-a\r\n450 b\r\n" },
    code => { raw => "999 x\r\n" },
    half => { raw => "25", close => 1 },
    nocrlf => { raw => "235 ok", silent => 1 },
    endless => { raw => '235-' . ('x' x 70 . "\r\n235-") x 4000 },
    go => { raw => "354 a\r\n354 b\r\n" },
    more => { raw => "334 a\r\n334 b\r\n334 c\r\n" },
    twice => { raw => "235 a\r\n235 b\r\n235 c\r\n250 d\r\n250 e\r\n" },
    refused => '535 5.7.8 no',
    later => '454 4.7.0 later',
    nothing => { silent => 1 },
    gone => { close => 1 },
);

# how it misbehaves is in the name that the client gives itself, or in the user

sub answer {
    my ($text) = @_;
    return $text =~ /(\w+)\.bad\b/ ? ref $bad{$1} ? { %{$bad{$1}} } : $bad{$1}
        : undef;
}

my ($crt, $key) = $t->gen_cert('ca');

my $xclient = $t->sink('xclient', ehlo => [ 'XCLIENT HELO' ],
    replies => { XCLIENT => sub { answer($_[1]) // '220 again' } });
my $xforward = $t->sink('xforward', ehlo => [ 'PIPELINING',
    'XFORWARD HELO ADDR' ],
    replies => { XFORWARD => sub { answer($_[1]) // '250 ok' } });
my $auth = $t->sink('auth', ehlo => [ 'AUTH PLAIN' ], tls => [ $crt, $key ],
    replies => { AUTH => sub {
        answer(decode_base64((split / /, $_[1])[1])) } });
my $starttls = $t->sink('starttls', tls => [ $crt, $key ]);

$t->set(TIMEOUT => $ENV{TEST_SANITIZE} ? '4s' : '1500ms');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    smtp_pass_timeout       %%TIMEOUT%%;
    smtp_pass_data_timeout  10s;

    server {
        listen  127.0.0.1:%%PORT_xclient_in%%;
        smtp_pass  127.0.0.1:%%PORT_xclient%%;
        smtp_pass_xclient  on;
    }

    server {
        listen  127.0.0.1:%%PORT_xforward_in%%;
        smtp_pass  127.0.0.1:%%PORT_xforward%%;
        smtp_pass_xforward  on;

        # on a kept one that has refused it is not said again
        smtp_pass_keepalive  0;
    }

    server {
        listen  127.0.0.1:%%PORT_auth_in%%;
        smtp_pass  127.0.0.1:%%PORT_auth%%;
        smtp_pass_auth  $smtp_helo secret1234;
        smtp_pass_ssl  starttls;
        smtp_pass_ssl_name  localhost;
        smtp_pass_ssl_verify  on;
        smtp_pass_ssl_trusted_certificate  %%DIR%%/ca.crt;
    }

    server {
        listen  127.0.0.1:%%PORT_starttls_in%%;
        smtp_pass  127.0.0.1:%%PORT_starttls%%;
        smtp_pass_ssl  starttls;
    }
}
EOC

sub attempt {
    my ($port, $helo) = @_;

    my $c = $t->client("${port}_in", timeout => 30);
    $c->cmd("EHLO $helo");
    my @r = $c->send_message('a@from.test', 'x@to.test', "x\r\n",
        timeout => 30);
    $c->close();

    return "$r[0] $r[1]";
}

my %steps = (xclient => $xclient, xforward => $xforward, auth => $auth,
    starttls => $starttls);

for my $step (qw/ xclient xforward auth starttls /) {
    for my $how (sort keys %bad) {

        # what has to time out does so once

        next if $how eq 'nocrlf' && $step ne 'auth';

        # to be refused is no crime here

        my $fine = $step eq 'xforward' && $how =~ /refused|later/;

        my $sent = () = $steps{$step}->messages();

        $starttls->set(replies => { STARTTLS => $bad{$how} })
            if $step eq 'starttls';

        like(attempt($step, "$how.bad"), $fine ? qr/^250 /
            : qr/^451 4\.4\.\d /, "$step: $how");

        $starttls->set(replies => {}) if $step eq 'starttls';

        my $now = () = $steps{$step}->messages();
        is($now - $sent, $fine ? 1 : 0, "$step: $how: sent or not")
            if $now - $sent != ($fine ? 1 : 0);

        my $next = attempt($step, 'fine.test');
        is($next, '250 2.0.0 taken', "$step: $how: the next one")
            if $next ne '250 2.0.0 taken';
    }
}

unlike($t->log(), qr/secret1234|c2VjcmV0MTIzN|NlY3JldDEyMz|zZWNyZXQxMjM/,
    'no password in the log');
is(scalar(() = $t->log() =~ /exited on signal/g), 0, 'the worker lives');

$t->done();
