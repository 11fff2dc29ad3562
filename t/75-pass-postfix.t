#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A real Postfix behind smtp_pass, which trusts our XCLIENT.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $postfix = $t->postfix('mta', tls => 1, main => <<'EOF');
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_authorized_xforward_hosts = 127.0.0.1
smtpd_recipient_restrictions =
    check_client_access inline:{ { 127.0.0.3 = 550 5.7.1 not from there } },
    check_recipient_access inline:{ { nobody@to.test = 550 5.1.1 not here } },
    permit_mynetworks, reject
EOF

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_log       %%DIR%%/smtp.log;
    smtp_trust     127.0.0.0/8;
    smtp_hostname  proxy.test;

    server {
        listen         127.0.0.1:%%PORT_smtp%%;
        smtp_pass      127.0.0.1:%%PORT_mta%%;
        smtp_pass_ssl  starttls;
    }

    server {
        listen             127.0.0.1:%%PORT_xclient%%;
        smtp_pass          127.0.0.1:%%PORT_mta%%;
        smtp_pass_xclient  on;
    }

    server {
        listen              127.0.0.1:%%PORT_xforward%%;
        smtp_pass           127.0.0.1:%%PORT_mta%%;
        smtp_pass_xforward  on;
    }
}
EOC

my $c = $t->client('smtp');
$c->cmd('EHLO client.test');

for my $i (1 .. 10) {
    my @r = $c->send_message("a$i\@from.test", "b$i\@to.test",
        "Subject: number $i\r\n\r\n.$i\r\n..\r\n", timeout => 20);
    like("$r[0] $r[1]", qr/^250 2\.0\.0 Ok: queued as \w+$/, "message $i");
}

my @r = $c->send_message('a@from.test', 'b@to.test', "Subject: big\r\n\r\n"
    . ('big ' x 15 . "\r\n") x 40000, timeout => 30);
is($r[0], 250, 'a streamed one');

$c->cmd('MAIL FROM:<a@from.test>');
$c->check('RCPT TO:<nobody@to.test>', qr/^550 5\.1\.1 .*not here/,
    'refused by Postfix');
$c->cmd('RSET');

# by XCLIENT Postfix knows the client's name and address

my $x = $t->client('xclient', from => '127.0.0.2');
$x->cmd('EHLO laptop.test');
@r = $x->send_message('x@from.test', 'x@to.test', "Subject: x\r\n\r\nx\r\n",
    timeout => 20);
is($r[0], 250, 'XCLIENT');

my $y = $t->client('xclient', from => '127.0.0.3');
$y->cmd('EHLO other.test');
$y->cmd('MAIL FROM:<y@from.test>');
$y->check('RCPT TO:<y@to.test>', qr/^55\d 5\.7\.1 .*not from there/,
    'its address counts');

# XFORWARD is for the log, and for one message; the connection is shared

for my $addr (qw/ 127.0.0.4 127.0.0.5 /) {
    my $z = $t->client('xforward', from => $addr);
    $z->cmd('EHLO desk.test');
    @r = $z->send_message('z@from.test', 'z@to.test',
        "Subject: z\r\n\r\nz\r\n", timeout => 20);
    is($r[0], 250, "XFORWARD of $addr");
    $z->close();
}

my @files = $postfix->wait_messages(14, 60);
is(scalar @files, 14, 'all arrived, none twice');

my ($small) = grep { /^Subject: number 7\r?$/m } @files;
like($small, qr/\r?\n\r?\n\.7\r?\n\.\.\r?\n\z/, 'dots');
like($small, qr/^Received: from proxy\.test .*\r?\n.* with ESMTPS id /m, 'under TLS');

my ($big) = grep { /^Subject: big\r?$/m } @files;
is(scalar(() = $big =~ /^(?:big ){15}\r?$/mg), 40000, 'the big one');

my ($seen) = grep { /^Subject: x\r?$/m } @files;
like($seen, qr/^Received: from laptop\.test \(.*\[127\.0\.0\.2\]\)/m,
    'Received of Postfix names the client');

like($postfix->log(), qr/orig_client=unknown\[127\.0\.0\.$_\]/,
    "127.0.0.$_ is in its log") for 4, 5;
like($postfix->log(), qr/orig_queue_id=\S+, orig_client=unknown/,
    'and our id');

my $n = () = $postfix->log() =~ / connect from \S+\[127\.0\.0\.1\]/g;
cmp_ok($n, '<=', 4, 'on few connections') or diag($postfix->log());

$_->close() for $c, $x, $y;

$t->done();
