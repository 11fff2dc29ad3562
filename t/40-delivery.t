#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Delivery to a next hop that behaves: what arrives, on how many connections,
# in which transactions, and what the log says of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $mx = $t->sink('mx');
my $plain = $t->sink('plain', ehlo => [ 'LIMITS RCPTMAX=2 MAILMAX=3' ]);
my $backup = $t->sink('backup');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

    upstream mta {
        server 127.0.0.1:%%PORT_dead%%;
        server 127.0.0.1:%%PORT_backup%% backup;
    }

    smtp_queue mx {
        spool     %%DIR%%/spool;
        hostname  relay.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1s;
    }

    smtp_queue plain {
        spool     %%DIR%%/spool;
        hostname  relay.test;
        next_hop  127.0.0.1:%%PORT_plain%%;
        tls       off;
        retry     1s;
    }

    smtp_queue mta {
        spool     %%DIR%%/spool;
        hostname  relay.test;
        next_hop  mta;
        tls       off;
        retry     1s;
    }

    server {
        listen  127.0.0.1:%%PORT_smtp%%;

        smtp_hostname       in.test;
        smtp_trust          127.0.0.0/8;
        smtp_max_recipients 1000;
        smtp_enqueue        mx;
    }

    server {
        listen  127.0.0.1:%%PORT_smtp2%%;

        smtp_hostname       in.test;
        smtp_trust          127.0.0.0/8;
        smtp_enqueue        plain;
    }

    server {
        listen  127.0.0.1:%%PORT_smtp3%%;

        smtp_hostname       in.test;
        smtp_trust          127.0.0.0/8;
        smtp_enqueue        mta;
    }
}
EOC

# what was received, less the fields that were added

sub content {
    my ($m) = @_;
    (my $body = $m->{body}) =~ s/\AReceived: .*\r\n(?:[ \t].*\r\n)*//;
    return $body;
}

sub queue_id { ($_[1] // '') =~ /queued as (\S+)/ ? $1 : 'none' }

my $seen = 0;

sub arrives {
    my ($message, $name, %opts) = @_;

    my $c = $t->client('smtp');
    $c->cmd('EHLO client.test');

    my @reply = $c->send_message('a@from.test', 'b@to.test', $message,
        timeout => 30, %opts);
    is($reply[0], 250, "$name: taken");
    $c->quit();

    my @m = $mx->wait_messages(++$seen, 20);
    my $body = content($m[$seen - 1]);

    $message .= "\r\n" unless $message eq ''
        || $message =~ /\r\n\z/;
    ok($body eq $message, "$name: arrives as it is")
        or diag(length($body) . ' bytes, not ' . length($message));

    return $m[$seen - 1];
}

# one message

my $c = $t->client('smtp');
$c->cmd('EHLO client.test');
my @reply = $c->send_message('a@from.test', [ 'b@to.test', 'c@to.test' ],
    "Subject: one\r\n\r\nhello\r\n");
my $id = queue_id(@reply);

my ($m) = $mx->wait_messages(1);
$seen = 1;

is($m->{helo}, 'relay.test', 'our name');
is($m->{from}, 'a@from.test', 'sender');
is_deeply($m->{rcpts}, [ 'b@to.test', 'c@to.test' ], 'recipients');
like($m->{from_params}, qr/\bSIZE=(\d+)/, 'size is announced');
$m->{from_params} =~ /SIZE=(\d+)/;
is($1, length $m->{body}, 'the size is right');
like($m->{body}, qr/\AReceived: from client\.test /, 'a trace field is added');
is(content($m), "Subject: one\r\n\r\nhello\r\n", 'content');

my ($line) = $t->json_log('smtp.log',
    sub { $_->{event} eq 'delivery' && $_->{queue_id} eq $id });

is($line->{status}, 'delivered', 'log: status');
is($line->{code}, 250, 'log: code');
is($line->{reply}, '2.0.0 taken', 'log: reply');
is($line->{from}, 'a@from.test', 'log: sender');
is_deeply($line->{to}, [ 'b@to.test', 'c@to.test' ], 'log: recipients');
is($line->{size}, length $m->{body}, 'log: size');
is($line->{next_hop}, '127.0.0.1:' . $t->port('mx'), 'log: next hop');
is($line->{peer}, '127.0.0.1:' . $t->port('mx'), 'log: peer');
is($line->{attempt}, 1, 'log: attempt');

# contents

arrives("", 'empty');
arrives(".\r\n", 'a dot');
arrives("..\r\n.x\r\n\r\n.\r\n...\r\n", 'dots');
arrives("Subject: x\r\n\r\nno end of line", 'by BDAT, no end of line',
    bdat => 7);
arrives(".\r\n.\r\n", 'dots by BDAT', bdat => 1);
arrives("Subject: \xe4\r\n\r\n\x80\xff\x00\x01\r\n", '8 bit');
arrives('x' x 70000 . "\r\n", 'a line of 70,000');
arrives(join('', map { "line $_ .\r\n.$_\r\n" } 1 .. 12000), '300 KB');
arrives(join('', map { ".$_ " . 'y' x 60 . "\r\n" } 1 .. 50000), '3 MB');
arrives(join('', map { "$_ " . 'z' x 990 . "\r\n" } 1 .. 3000),
    '3 MB by BDAT', bdat => 200000);

# messages share connections

my $before = $mx->connections();

for my $i (1 .. 30) {
    $c->send_message('a@from.test', 'b@to.test',
        "Subject: $i\r\n\r\nmessage $i\r\n");
}

$seen += 30;
my @all = $mx->wait_messages($seen);
my %subjects = map { $_ => 1 }
    map { $_->{body} =~ /^Subject: (\d+)/m ? $1 : () } @all;
is(scalar keys %subjects, 30, 'each of 30 messages arrived');
is(scalar @all, $seen, 'and none twice');
cmp_ok($mx->connections() - $before, '<', 10, 'connections were kept');

# more recipients than a transaction takes

$before = @{[ $mx->messages() ]};
@reply = $c->send_message('a@from.test', [ map { "r$_\@to.test" } 1 .. 250 ],
    "Subject: many\r\n\r\nx\r\n");
$id = queue_id(@reply);

my @many = grep { $_->{body} =~ /^Subject: many/m }
    $mx->wait_messages($before + 3);

is_deeply([ map { scalar @{$_->{rcpts}} } @many ], [ 100, 100, 50 ],
    'three transactions');
is(scalar(keys %{{ map { $_ => 1 } map { @{$_->{rcpts}} } @many }}), 250,
    'each recipient once');
$t->json_log('smtp.log', sub { $_->{event} eq 'delivery'
    && $_->{queue_id} eq $id && @{$_->{to}} == 50 });
is(join(' ', map { "$_->{attempt}" } grep { $_->{event} eq 'delivery'
    && $_->{queue_id} eq $id } $t->json_log('smtp.log')), '1 1 1',
    'three lines in the log, of one attempt');

# a peer without any extension, but with limits

my $c2 = $t->client('smtp2');
$c2->cmd('EHLO client.test');
$c2->send_message('a@from.test', [ map { "p$_\@to.test" } 1 .. 5 ],
    "Subject: p\r\n\r\nx\r\n", mail => 'BODY=8BITMIME');
my @p = $plain->wait_messages(3);
is_deeply([ map { scalar @{$_->{rcpts}} } @p ], [ 2, 2, 1 ], 'RCPTMAX');
is($p[0]{from_params}, '', 'no parameter that was not offered');

$c2->send_message('a@from.test', 'q@to.test', "Subject: q\r\n\r\nx\r\n");
@p = $plain->wait_messages(4);
isnt($p[3]{conn}, $p[2]{conn}, 'MAILMAX');

# a dead server and a backup

my $c3 = $t->client('smtp3');
$c3->cmd('EHLO client.test');
@reply = $c3->send_message('a@from.test', 'b@to.test',
    "Subject: b\r\n\r\nx\r\n");
$id = queue_id(@reply);
is(scalar $backup->wait_messages(1), 1, 'the backup server takes over');

($line) = $t->json_log('smtp.log',
    sub { $_->{event} eq 'delivery' && $_->{queue_id} eq $id });
is($line->{peer}, '127.0.0.1:' . $t->port('backup'), 'log: the server');
is($line->{next_hop}, 'mta', 'log: the upstream');
is($line->{attempt}, 1, 'in one attempt');

# idle connections end politely

wait_for(sub { grep { /^\d+ QUIT/ } $mx->commands() }, 15, 'QUIT');
pass('QUIT');

$t->done();
