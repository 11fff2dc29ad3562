#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Mail of a queue that is not configured any more: it waits without an event in
# its log, is told of in one line, with what to do, and in the listing, and
# goes out when the queue is there again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();

my $up = "$t->{dir}/up";        # exists: the next hop takes mail

my $sink = $t->sink('mx', replies => {
    MAIL => sub { -e $up ? undef : '451 4.3.0 later' },
});

my $conf = <<'EOC';
%%GLOBALS%%

worker_processes 1;

events { }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status control=on; }
    }
}

stream {
    smtp_queue %%NAME%% {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        hostname  out.test;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        retry     1s;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_trust   127.0.0.0/8;
        smtp_enqueue %%NAME%%;
    }
}
EOC

$t->set(NAME => 'old');
$t->write_conf($conf)->run();

my $h = Test::SMTPRelay::Status->new($t, 'http');

sub submit {
    my ($subject) = @_;
    my $c = $t->client('smtp');
    $c->cmd('EHLO client.test');
    return ($c->send_message('a@from.test', 'b@to.test',
        "Subject: $subject\r\n\r\nbody\r\n"))[0];
}

is(submit("old$_"), 250, "queued $_") for 1 .. 3;

$t->set(NAME => 'new');
$t->write_conf($conf)->reload(wait => 1);
$t->write_file('up', '');

# others may know the queue: it is left to them for ten seconds

$t->wait_log(qr/3 messages of smtp_queue "old", which is not configured/, 30);

my @lines = grep { /not configured/ } split /\n/, $t->log();
is(scalar @lines, 1, 'told in one line') or diag(join "\n", @lines);
like($lines[0], qr/\[warn\] .*spool "\Q$t->{dir}\E\/spool": 3 messages of s/,
    'with the spool, and the number');
like($lines[0], qr/wait: configure it again, or give them to another one by/,
    'and what to do');

$h->wait_list('state=unknown', 3);
pass('in the listing');

my ($q) = grep { $_->{name} eq 'old' } @{($h->get(''))[1]{queues}};
is($q->{messages}, 3, 'in the status');
ok(!$q->{configured}, 'as not configured');

# the queue that is there goes on, and those wait

is(submit('new1'), 250, 'new mail');
$sink->wait_messages(1, 20);
like(($sink->messages())[0]{body}, qr/Subject: new1/, 'is delivered');

sub tried { join ' ', map { "$_->{id}:$_->{attempts}" } $h->list('queue=old') }

my $tried = tried();
like($tried, qr/:\d+ \S+:\d+ \S+:\d+$/, 'three of them');
select undef, undef, undef, 2;
is(tried(), $tried, 'nothing is tried, though it was every second');

# configured again

$t->set(NAME => 'old');
$t->write_conf($conf)->reload(wait => 1);

$sink->wait_messages(4, 30);
is(join(' ', sort map { $_->{body} =~ /^Subject: (\S+)/m } $sink->messages()),
    'new1 old1 old2 old3', 'configured again: delivered, each once');

$h->wait_list('', 0);

$t->done();
