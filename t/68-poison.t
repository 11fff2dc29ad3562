#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A message that kills each worker that works on it: a next hop that kills
# the worker whose connection it is when the message arrives.  After three
# times it is on hold, with a line that says what to do; all other mail is
# delivered; released, it goes out once the next hop lets it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Test::SMTPRelay::Status;

my $t = Test::SMTPRelay->new();

my $cured = "$t->{dir}/cured";

# the worker with the other end of this connection

sub owner {
    my ($socket) = @_;

    my $want = sprintf '0100007F:%04X', $socket->peerport();
    my $inode;

    open my $tcp, '<', '/proc/net/tcp' or die "/proc/net/tcp: $!";

    while (<$tcp>) {
        my @f = split;
        $inode = $f[9] if $f[1] eq $want && $f[3] eq '01';
    }

    die 'no such connection' unless $inode;

    # the sink was started before nginx and does not know its processes

    for (glob "/proc/[0-9]*/fd/*") {
        next if (readlink($_) // '') ne "socket:[$inode]";
        return (split m{/})[2];
    }

    die 'nobody has the connection';
}

my $sink = $t->sink('mx', replies => {
    DOT => sub {
        my ($s, $txn) = @_;

        if ($txn->{body} =~ /^Subject: poison/m && !-e $cured) {
            kill 'KILL', owner($s->{socket});
            return { silent => 1 };
        }

        return undef;
    },
});

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%

worker_processes 2;

events { }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status control=on; }
    }
}

stream {
    smtp_queue out {
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
        smtp_enqueue out;
    }
}
EOC

$t->expect_log(qr/\[alert\] .* exited on signal 9/);
$t->expect_log(qr/\[crit\] .*was worked on when 3 workers died, it is on hold/);

my $h = Test::SMTPRelay::Status->new($t, 'http');

sub submit {
    my ($subject) = @_;

    # the worker may die before it answers: like any client, try again

    for (1 .. 20) {
        my ($code, $text) = eval {
            my $c = $t->client('smtp');
            $c->cmd('EHLO client.test');
            $c->send_message('a@from.test', 'b@to.test',
                "Subject: $subject\r\n\r\nhello\r\n");
        };

        return $text if ($code || 0) == 250;

        select undef, undef, undef, 0.1;
    }

    return '';
}

like(submit('poison'), qr/queued as (\S+)/, 'poison taken');

# others meanwhile

for (1 .. 10) {
    like(submit("good$_"), qr/queued as/, "good$_ taken");
}

$t->wait_log(qr/\[crit\] .*it is on hold/, 40);

my ($id) = $t->log() =~ /\[crit\] .* message (\S+) was worked on/;
my @first = $t->log() =~ /\Q$id\E was worked on when a worker died \(1 of 3\)/g;
my @second = $t->log() =~ /\Q$id\E was worked on when a worker died \(2 of 3\)/g;

is(scalar @first, 1, 'the first strike');
is(scalar @second, 1, 'the second strike');

like($t->log(), qr/on hold: "smtpq show" shows it, "smtpq release" tries it/,
    'the line says what to do');

# what is on hold is the right one, and nothing else is left

$h->wait_list("", 1);
my ($left) = $h->list("");
is($left->{id}, $id, 'it is still there');
is($left->{state}, 'held', 'on hold');

my $shown = ($h->get("message/$id"))[1];
like($shown->{header} // '', qr/Subject: poison/, 'the poison itself');

my %got;
wait_for(sub {
    %got = ();
    /^Subject: (\S+)/m and $got{$1}++ for map { $_->{body} } $sink->messages();
    return 10 == grep { /^good/ } keys %got;
}, 20, 'the others');

pass('all others were delivered');
ok(!$got{poison}, 'the poison was not');

# nobody dies any more

my @workers = sort $t->workers();
select undef, undef, undef, 1;
is_deeply([sort $t->workers()], \@workers, 'the workers live');

# by a restart it stays on hold

$t->stop();
$t->run();
$h->wait_list("state=held", 1);
($left) = $h->list("");
is($left->{id}, $id, 'on hold after a restart');

$t->write_file('cured', '');
is(($h->post("message/$id/release"))[0], 200, 'released');

wait_for(sub { grep { $_->{body} =~ /poison/ } $sink->messages() }, 20,
    'the message');
pass('delivered');

$h->wait_list('', 0);

$t->done();
