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

# what has to time out has servers of its own, so that nothing else does; a kept
# connection that has refused XFORWARD does not hear it again

my %servers = (
    xclient => 'smtp_pass_xclient on;',
    xforward => 'smtp_pass_xforward on; smtp_pass_keepalive 0;',
    auth => 'smtp_pass_auth $smtp_helo secret1234; smtp_pass_ssl starttls; '
        . 'smtp_pass_ssl_name localhost; smtp_pass_ssl_verify on; '
        . "smtp_pass_ssl_trusted_certificate $crt;",
    starttls => 'smtp_pass_ssl starttls;',
);

my $servers = '';

for my $name (sort keys %servers) {
    for my $timeout (qw/ 500ms 60s /) {
        $servers .= "    server {\n"
            . '        listen  127.0.0.1:' . $t->port("$name$timeout") . ";\n"
            . '        smtp_pass  127.0.0.1:' . $t->port($name) . ";\n"
            . "        smtp_pass_timeout  $timeout;\n"
            . "        $servers{$name}\n    }\n\n";
    }
}

$t->set(SERVERS => $servers);

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

%%SERVERS%%
}
EOC

sub attempt {
    my ($step, $helo) = @_;

    my $port = $step . ($helo =~ /^no/ ? '500ms' : '60s');
    my $c = $t->client($port, timeout => 30);
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
