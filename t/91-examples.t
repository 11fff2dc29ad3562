#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The examples in conf-examples: each passes "nginx -t" and runs, with paths,
# addresses and ports of this test in place of those it names, and does what
# its comments say; none is an open relay.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64;
use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;

my $root = $Test::SMTPRelay::REPO;

my %tests = ('quickstart' => sub { quickstart(@_) },
    'submission-redis' => sub { submission(@_) },
    'inbound-domains' => sub { inbound(@_) },
    'pass-submission' => sub { pass_submission(@_) },
    'pass-tenants' => sub { pass_tenants(@_) },
    'pass-exchange' => sub { pass_exchange(@_) },
    'pass-fallback' => sub { pass_fallback(@_) },
    'status' => sub { status(@_) });

my @names = sort map { m!([^/]+)\.conf$! } glob "$root/conf-examples/*.conf";

is("@names", join(' ', sort keys %tests), 'every example has its test');

# the documentation shows one more

my $t = Test::SMTPRelay->new();
certificates($t);

for my $doc (qw( README.md docs/directives.md )) {
    my ($text) = slurp("$root/$doc") =~ /```nginx\n(load_module.*?)```/s;

    ok($text, "$doc has a complete example");
    $t->accepted(localize($t, $text), "the example of $doc");
}

finish($t);

for my $name (@names) {
    my $t = Test::SMTPRelay->new();

    certificates($t);
    $t->write_file('domains.map', "example.com 1;\n");
    $t->write_file('recipients.map', "info\@example.org 1;\n");
    $t->write_file('redis-password.conf', "password \"secret\";\n");
    $t->write_file('exchange-ca.pem', slurp($t->dir() . '/test.crt'));

    $t->write_file('exchange-users.map',
        "example.com relay\@example.com; default '';\n");
    $t->write_file('exchange-passwords.map', "example.com 'sec ret';\n");

    mkdir $t->dir() . '/nginx-status', 0700 or die "nginx-status: $!";

    my $conf = localize($t, slurp("$root/conf-examples/$name.conf"));

    $t->accepted($conf, "$name: nginx -t");
    $t->write_conf($conf);

    $tests{$name}->($t);

    finish($t);
}

done_testing();


sub quickstart {
    my ($t) = @_;

    # what it does is in t/90-quickstart.t; here: who may do it

    $t->run();

    refused($t, 'p2587', 530, 'quickstart: submission before TLS');
    refused($t, 'p2465', 530, 'quickstart: submission without login', tls => 1);
}


sub submission {
    my ($t) = @_;

    my $sink = $t->sink('198_51_100_10_25', tls => 1);
    my $redis = $t->redis('10_0_0_22_6379', password => 'secret');

    $redis->account('alice@example.com', 'wonderland',
        senders => 'alice@example.com');

    $t->run();

    refused($t, 'p587', 530, 'submission: before TLS');
    refused($t, 'p465', 530, 'submission: without login', tls => 1);
    refused($t, '10_0_0_5_2525', 550, 'submission: not one of our machines');

    # the first Redis does not answer, the first relay host does

    my $c = $t->client('p587');

    $c->cmd('EHLO client.example');
    is($c->starttls(), 220, 'submission: STARTTLS');
    $c->cmd('EHLO client.example');
    is(($c->auth_plain('alice@example.com', 'wonderland'))[0], 235,
        'submission: login, by the second Redis');
    $c->check('MAIL FROM:<bob@example.com>', 553, 'submission: sender');
    is(($c->send_message('alice@example.com', 'carol@example.net',
        "Subject: example\r\n\r\ntext\r\n"))[0], 250, 'submission: taken');

    $sink->wait_messages(1);
    ok(($sink->messages())[0]{tls}, 'submission: delivered under TLS');
}


sub status {
    my ($t) = @_;

    # the next hop is not there: the message waits

    $t->run();

    my $c = $t->client('10_0_0_1_2525');

    $c->cmd('EHLO client.example');
    is(($c->send_message('alice@example.com', 'carol@example.net',
        "Subject: example\r\n\r\ntext\r\n"))[0], 250, 'status: taken');

    my $h = Test::SMTPRelay::Status->new($t, 'p8025');

    $h->wait_list('state=deferred', 1);

    my $smtpq = "$root/ngx_smtp_relay_module/tools/smtpq";
    my $socket = $t->dir() . '/nginx-status/smtp.sock';
    my $url = "unix:$socket:/smtp/";

    my ($id) = map { $_->{id} } $h->list();

    is(($h->post("message/$id/delete"))[0], 403,
        'status: only shown on the port');
    is(($h->request('GET', '', Host => 'mail.example.com'))[0], 200,
        'status: the name');
    is(($h->request('GET', '', Host => 'example.net'))[0], 403,
        'status: no other');

    SKIP: {
        skip 'not root', 1 if $> != 0;

        my ($s, $said) = $t->command($^X, '-MPOSIX', '-MIO::Socket::UNIX',
            '-e', 'POSIX::setuid((getpwnam "nobody")[2]);'
                . ' print IO::Socket::UNIX->new(Peer => shift) ? "in" : $!',
            $socket);
        is($said, 'Permission denied', 'status: the socket is for root only');
    }

    my ($status, $out) = $t->command($^X, $smtpq, '--url', $url, 'delete',
        $id);

    is("$status $out", "0 $id: delete: done\n",
        'status: everything on the socket');
}


sub inbound {
    my ($t) = @_;

    my $sink = $t->sink('10_0_0_12_25');

    $t->run();

    refused($t, 'p25', 550, 'inbound');

    my $c = $t->client('p25');

    $c->cmd('EHLO client.example');
    $c->cmd('MAIL FROM:<carol@example.edu>');
    $c->check('RCPT TO:<anyone@example.com>', 250, 'inbound: a domain');
    $c->check('RCPT TO:<info@example.org>', 250, 'inbound: an address');
    $c->check('RCPT TO:<other@example.org>', 550, 'inbound: no address');
    $c->check('RCPT TO:<x@deep.example.net>', 250, 'inbound: a subdomain');
    $c->cmd('RSET');

    is(($c->send_message('carol@example.edu', 'info@example.org',
        "Subject: example\r\n\r\ntext\r\n"))[0], 250, 'inbound: taken');

    # of the cluster only this server is up

    $sink->wait_messages(1);
    is("@{($sink->messages())[0]{rcpts}}", 'info@example.org',
        'inbound: delivered to the cluster');

    # behind the load balancer: its header comes before the greeting

    $c = $t->client('10_0_0_5_2525', greeting => 0);
    $c->send_raw("PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\n");
    is(($c->read_reply())[0], 220, 'inbound: PROXY protocol');
    $c->cmd('EHLO client.example');
    $c->cmd('MAIL FROM:<>');
    $c->check('RCPT TO:<x@example.info>', 550, 'inbound: not ours either');
}


sub pass_submission {
    my ($t) = @_;

    my $redis = $t->redis('10_0_0_21_6379');
    $redis->account('alice@example.com', 'wonderland',
        senders => 'alice@example.com');

    # of the cluster the backup is up, and offers XCLIENT

    my $sink = $t->sink('10_0_0_13_25', ehlo => [ 'XCLIENT ADDR LOGIN' ],
        replies => { XCLIENT => '220 again' });

    $t->run();

    refused($t, 'p587', 530, 'pass-submission: before TLS');
    refused($t, 'p465', 530, 'pass-submission: without login', tls => 1);

    my $c = $t->client('p465', tls => 1);

    $c->cmd('EHLO client.example');
    is(($c->auth_plain('alice@example.com', 'wonderland'))[0], 235,
        'pass-submission: login');
    is(($c->send_message('alice@example.com', 'carol@example.net',
        "Subject: example\r\n\r\ntext\r\n"))[1], '2.0.0 taken',
        'pass-submission: passed');
    is(join(' ', grep { /XCLIENT/ } $sink->commands()),
        '1 XCLIENT ADDR=127.0.0.1 LOGIN=alice@example.com',
        'pass-submission: XCLIENT');

    # none is up

    $sink->stop();

    like(($c->send_message('alice@example.com', 'carol@example.net',
        "Subject: example\r\n\r\ntext\r\n"))[1], qr/^2\.0\.0 Ok: queued as/,
        'pass-submission: spooled');
}


sub pass_tenants {
    my ($t) = @_;

    my $one = $t->sink('10_0_1_2_25');
    my $two = $t->sink('10_0_2_1_25');
    my $exchange = $t->sink('10_0_3_1_587', ehlo => [ 'AUTH LOGIN PLAIN' ],
        tls => [ $t->gen_cert('exchange-ca', 'exchange.example.com') ]);

    $t->run();

    refused($t, 'p25', 550, 'pass-tenants');

    my $c = $t->client('p25');

    $c->cmd('EHLO client.example');
    $c->cmd('MAIL FROM:<carol@example.edu>');
    $c->check('RCPT TO:<a@one.example>', 250, 'pass-tenants: the first');
    $c->check('RCPT TO:<a@two.example>', 452, 'pass-tenants: not both');
    $c->cmd('DATA');
    $c->check("x\r\n.", 250, 'pass-tenants: passed');
    is(($c->send_message('carol@example.edu', 'a@two.example',
        "x\r\n"))[0], 250, 'pass-tenants: the second');
    is($one->messages() . ' ' . $two->messages(), '1 1',
        'pass-tenants: each his own');
    $c->quit();

    refused($t, '10_0_0_5_2525', 550, 'pass-tenants: not one of ours');
}


sub pass_exchange {
    my ($t) = @_;

    my @tls = $t->gen_cert('exchange', 'exchange.example.com');
    $t->write_file('exchange-ca.pem', slurp($tls[0]));

    my ($user, $password) = map { encode_base64($_, '') }
        'relay@example.com', 'sec ret';

    # what such a server says, and that it knows nothing else

    my %replies = (
        BANNER => "220 exchange.example.com Microsoft ESMTP MAIL Service "
            . "ready at Mon, 2 Nov 2026 10:00:00 +0000",
        AUTH => sub { $_[1] eq 'LOGIN' ? '334 VXNlcm5hbWU6'
            : '504 5.7.4 Unrecognized authentication type' },
        uc $user => '334 UGFzc3dvcmQ6',
        uc $password => '235 2.7.0 Authentication successful',
        MAIL => sub { (grep { /AUTH LOGIN/ } $_[0]->commands()) ? undef
            : '530 5.7.57 Client not authenticated to send mail' },
        DOT => '250 2.6.0 <a@b> [InternalId=1, Hostname=exchange] 1234 bytes '
            . 'in 0.1, 12.3 KB/sec Queued mail for delivery',
        XCLIENT => '500 5.3.3 Unrecognized command',
    );

    my $exchange = $t->sink('10_0_3_2_587', tls => [ @tls ],
        ehlo => [ 'SIZE 37748736', 'PIPELINING', 'DSN', 'ENHANCEDSTATUSCODES',
            'AUTH LOGIN', '8BITMIME', 'BINARYMIME', 'CHUNKING', 'SMTPUTF8' ],
        replies => \%replies);

    # for once we are one of the hosts that may send

    $t->write_conf(localize($t,
        slurp("$root/conf-examples/pass-exchange.conf"))
        =~ s{10\.0\.0\.(?:0/8|5/32)}{127.0.0.1}gr);
    $t->run();

    refused($t, '10_0_0_5_25', 550, 'pass-exchange: not one of ours',
        from => '127.0.0.2');
    refused($t, '10_0_0_5_2525', 550, 'pass-exchange: nor this',
        from => '127.0.0.2');

    my $c = $t->client('10_0_0_5_25');

    $c->cmd('EHLO client.example');
    like(($c->send_message('alice@example.com', 'carol@example.net',
        "Subject: example\r\n\r\ntext\r\n"))[1], qr/InternalId=1/,
        'pass-exchange: passed, by the second server');

    my @said = $exchange->commands();

    is(join(' ', map { /^1 (\S+)/ } @said), "EHLO STARTTLS EHLO AUTH $user "
        . "$password MAIL RCPT DATA", 'pass-exchange: LOGIN, under TLS');
    is(($exchange->messages())[0]{tls}, 1, 'pass-exchange: TLS');

    # away: the spool has it, and brings it once the server is back

    $exchange->stop();
    like(($c->send_message('alice@example.com', 'carol@example.net',
        "Subject: later\r\n\r\ntext\r\n"))[1], qr/^2\.0\.0 Ok: queued as/,
        'pass-exchange: spooled');
    unlike($t->log(), qr/sec ret|$password/, 'pass-exchange: no password');
}


sub pass_fallback {
    my ($t) = @_;

    my $sink = $t->sink('10_0_0_12_25', ehlo => [ 'XFORWARD ADDR' ],
        replies => { XFORWARD => '250 ok', RCPT => sub {
            $_[1] =~ /later/ ? '450 4.2.0 greylisted' : undef } });

    $t->run();

    refused($t, 'p25', 550, 'pass-fallback');

    my $c = $t->client('p25');

    $c->cmd('EHLO client.example');
    is(($c->send_message('carol@example.edu', 'info@example.com',
        "Subject: example\r\n\r\ntext\r\n"))[1], '2.0.0 taken',
        'pass-fallback: passed, by the server that is up');
    ok((grep { $_ eq '1 XFORWARD ADDR=127.0.0.1' } $sink->commands()),
        'pass-fallback: XFORWARD');
    $c->cmd('MAIL FROM:<carol@example.edu>');
    $c->check('RCPT TO:<later@example.com>', qr/^450 4\.2\.0 greylisted/,
        'pass-fallback: their 4xx');
    $c->cmd('RSET');

    $sink->stop();

    like(($c->send_message('carol@example.edu', 'info@example.com',
        "Subject: example\r\n\r\ntext\r\n"))[1],
        qr/^2\.0\.0 Ok: queued as/, 'pass-fallback: spooled');
}


# a stranger's mail to a stranger

sub refused {
    my ($t, $port, $code, $name, %opts) = @_;

    my $c = $t->client($port, %opts);

    $c->cmd('EHLO client.example');
    my ($mail) = $c->cmd('MAIL FROM:<eve@example.edu>');

    return is($mail, $code, "$name: refused") if $mail != 250;

    $c->check('RCPT TO:<victim@example.info>', $code, "$name: refused");
}


# Names of this test: %%PORT_p587%% for "listen 587" and "listen [::]:587", and
# %%PORT_10_0_0_11_25%% for any other address.  Every listener is made one of
# 127.0.0.1.

sub localize {
    my ($t, $conf) = @_;

    $conf =~ s/^load_module.*\n//mg;
    $conf =~ s/^(?:user|error_log|pid)\s.*\n//mg;

    # the same port of IPv6 would be the same listener
    $conf =~ s/^\s*listen\s+\[::\]:.*\n//mg;

    $conf =~ s{^(\s*listen\s+)(?:127\.0\.0\.1:)?(\d+)(?=[\s;])}
              {${1}127.0.0.1:%%PORT_p$2%%}mg;

    $conf =~ s{^(\s*(?:listen|server|next_hop|smtp_pass)\s+)(\d+\.\d+\.\d+\.\d+):(\d+)}
              { my ($head, $name) = ($1, "$2_$3");
                $name =~ tr/./_/;
                "${head}127.0.0.1:%%PORT_$name%%" }mge;

    $conf =~ s{(next_hop\s+)mx\.example\.com:25}{${1}127.0.0.1:25}g;

    $conf =~ s{/var/log/nginx/|/var/spool/|/etc/nginx/|/run/}{%%DIR%%/}g;
    $conf =~ s{(ssl_certificate\s+)\S+;}{${1}%%DIR%%/test.crt;}g;
    $conf =~ s{(ssl_certificate_key\s+)\S+;}{${1}%%DIR%%/test.key;}g;
    $conf =~ s{(smtp_log\s+)logs/}{${1}}g;

    # the disk of a test machine may be small, and its patience too
    $conf =~ s{spool_min_free\s+\S+;}{spool_min_free 1m;}g;
    $conf =~ s{^(\s*smtp_queue .*\{)}{$1 spool_min_free 1m;}mg
        unless $conf =~ /spool_min_free/;

    return "%%GLOBALS%%\n$conf";
}


sub certificates {
    my ($t) = @_;
    $t->gen_cert('test', 'localhost');
}


# as done(), for one of several

sub finish {
    my ($t) = @_;

    $t->stop();
    $t->cleanup_processes();
    $t->final_checks();
    $t->{finished} = 1;
}


sub slurp {
    my ($path) = @_;
    open my $f, '<', $path or die "$path: $!";
    local $/;
    return <$f>;
}
