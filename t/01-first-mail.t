#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The whole path: a mail goes in with TLS and login, is kept, and arrives.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->gen_cert('server', 'mail.example.org');

my $sink = $t->sink('mx');

$t->write_file('accounts', 'user@example.org '
    . crypt('secret', '$6$rounds=1000$salt$') . "\n");

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
worker_processes 2;
events { worker_connections 256; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        hostname  mail.example.org;
        next_hop  127.0.0.1:%%PORT_mx%%;
    }

    smtp_log %%DIR%%/smtp.log json;

    server {
        listen 127.0.0.1:%%PORT_submission%%;
        smtp_hostname        mail.example.org;
        ssl_certificate      %%DIR%%/server.crt;
        ssl_certificate_key  %%DIR%%/server.key;
        smtp_starttls  required;
        smtp_auth      plain login;
        smtp_accounts  file=%%DIR%%/accounts;
        smtp_enqueue   out;
    }
}
EOC

my $c = $t->client('submission');
$c->ehlo();
is($c->starttls(), 220, 'starttls');
$c->ehlo();

$c->check('MAIL FROM:<user@example.org>', 250, 'mail');
$c->check('RCPT TO:<friend@example.net>', qr/^530 5\.7\.0/, 'login needed');
$c->check('RSET', 250, 'rset');

is(($c->auth_plain('user@example.org', 'wrong'))[0], 535, 'wrong password');
is(($c->auth_plain('User@example.org', 'secret'))[0], 235, 'login');

my $mail = "Subject: first\r\n\r\n.dot\r\n..two\r\nlast\r\n";

my ($code, $text) = $c->send_message('user@example.org',
    ['friend@example.net', 'other@example.net'], $mail);
is($code, 250, 'accepted');

my ($id) = $text =~ /queued as (\S+)/;
ok($id, 'queue id');
$c->quit();

$sink->wait_messages(1);
my ($tr) = $sink->messages();

is($tr->{from}, 'user@example.org', 'sender');
is_deeply($tr->{rcpts}, ['friend@example.net', 'other@example.net'],
    'recipients');

my ($fields, $rest) = $tr->{body} =~ /^(.*?)(Subject: first\r\n.*)$/s;

is($rest, $mail, 'message as it was sent');
like($fields, qr/^Received: from test\.local \(.*127\.0\.0\.1.*with ESMTPSA/s,
    'received field');
like($fields, qr/^Date: /m, 'date was added');
like($fields, qr/^Message-ID: <.+\@mail\.example\.org>\r$/m,
    'message-id was added');

my ($in) = $t->json_log('smtp.log',
    sub { $_->{event} eq 'transaction' && $_->{code} == 250 });
is($in->{queue_id}, $id, 'log of the transaction');
is($in->{login}, 'user@example.org', 'log has the login');

my ($out) = $t->json_log('smtp.log', sub { $_->{event} eq 'delivery' });
is($out->{queue_id}, $id, 'log of the delivery');
is($out->{status}, 'delivered', 'delivered');

$t->done();
