#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A real Postfix as next hop: many messages, with TLS, some it refuses.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $postfix = $t->postfix('mta', tls => 1, main => <<'EOF');
smtpd_recipient_restrictions = check_recipient_access
    inline:{ { nobody@to.test = 550 5.1.1 not here } },
    permit_mynetworks, reject
EOF

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

    smtp_queue mta {
        spool     %%DIR%%/spool;
        hostname  relay.test;
        next_hop  127.0.0.1:%%PORT_mta%%;
        tls       require;
        retry     1s;
    }

    server {
        listen        127.0.0.1:%%PORT_smtp%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  mta;
    }
}
EOC

my $n = 40;
my $c = $t->client('smtp');
$c->cmd('EHLO client.test');

for my $i (1 .. $n) {
    my $body = $i == $n ? ('big ' x 15 . "\r\n") x 40000 : ".$i\r\n..\r\n";
    my @reply = $c->send_message("a$i\@from.test", "b$i\@to.test",
        "Subject: number $i\r\n\r\n$body", timeout => 30);
    is($reply[0], 250, "message $i") if $reply[0] != 250 || $i == $n;
}

my @reply = $c->send_message('sender@from.test', 'nobody@to.test',
    "Subject: refused\r\n\r\nx\r\n");
is($reply[0], 250, 'the one for nobody');
$c->quit();

# and the report, which comes back to Postfix

my @files = $postfix->wait_messages($n + 1, 60);
is(scalar @files, $n + 1, 'all arrived, none twice');

my %number;

for (@files) {
    $number{$1}++ if /^Subject: number (\d+)/m;
}

is(scalar keys %number, $n, 'each number once');

my ($small) = grep { /^Subject: number 7\r?$/m } @files;
like($small, qr/\r?\n\r?\n\.7\r?\n\.\.\r?\n\z/, 'dots');

my ($big) = grep { /^Subject: number $n\r?$/m } @files;
is(scalar(() = $big =~ /^(?:big ){15}\r?$/mg), 40000, 'the big one');

my ($report) = grep { m{multipart/report} } @files;
like($report, qr/^Final-Recipient: rfc822; nobody\@to\.test\r?$/m, 'report');
like($report, qr/^Status: 5\.1\.1\r?$/m, 'status');

my @lines = grep { $_->{event} eq 'delivery' } $t->json_log('smtp.log');
is(scalar(grep { $_->{tls} !~ /^TLSv1\.[23]$/ } @lines), 0, 'all in TLS');

$t->done();
