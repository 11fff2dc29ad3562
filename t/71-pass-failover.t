#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A backend that fails, in each way and at each step, on a new and on a kept
# connection, with and without another server and a queue behind: what the
# client is told, and how many copies there are and where.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

# how the bad one fails is in a file: "STEP how"

my $control = $t->dir() . '/fail';
$t->write_file('fail', '');

my %how = (
    '4xx' => '451 4.3.5 later, please',
    '5xx' => '550 5.7.7 not at all',
    '421' => '421 4.3.2 going down',
    close => { close => 1 },
    reset => { reset => 1 },
    silent => { silent => 1 },
    garbage => { raw => "\x00\xff nonsense\r\n" },
);

my @steps = qw/ BANNER EHLO MAIL RCPT DATA DOT /;

sub fails {
    my ($step) = @_;

    return sub {
        my ($s, $arg) = @_;

        open my $f, '<', $control or return undef;
        my ($fail, $kind) = split / /, <$f> // '';

        return undef unless ($fail // '') eq $step;
        return ref $how{$kind} ? { %{$how{$kind}} } : $how{$kind};
    };
}

my $bad = $t->sink('bad', replies => {
    (map { $_ => fails($_) } @steps), HELO => fails('EHLO') });
my $good = $t->sink('good');
my $mx = $t->sink('mx');

# does what the recipient says

my $odd = $t->sink('odd', replies => { RCPT => sub {
    my ($s, $arg) = @_;
    return $arg =~ /<close/ ? { close => 1 }
        : $arg =~ /<later/ ? '450 4.2.1 later'
        : $arg =~ /<idle/ && $s->count('idle') == 1
            ? { reply => '250 2.1.5 and bye', close => 1 } : undef;
  }, DATA => sub {
    my ($s, $arg) = @_;
    return $s->{from} =~ /^drop/ ? { reply => '354 go', drop_after => 1000 }
        : undef;
  } });

my $picky = $t->sink('picky', replies => { RCPT => sub {
    my ($s, $arg) = @_;
    return $arg =~ /<first/ ? '550 5.1.1 not here' : undef;
  } });

my $servers = '';

for my $name (qw/ bad odd /) {
    for my $next ('', 'next') {
        for my $queue ('', 'queue') {
            for my $keep (0, 10) {
                my $listen = $t->port("$name$next$queue$keep");
                my $pass = $next ? "${name}_next"
                    : '127.0.0.1:' . $t->port($name);
                my $spool = $queue
                    ? 'smtp_enqueue q fallback=error,timeout,421,4xx;' : '';

                $servers .= <<"EOC";
    server {
        listen  127.0.0.1:$listen;
        smtp_pass  $pass;
        smtp_pass_keepalive  $keep;
        $spool
    }

EOC
            }
        }
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

    smtp_pass_next_upstream    error timeout 421 4xx;
    smtp_pass_connect_timeout  2s;
    smtp_pass_timeout          700ms;
    smtp_pass_data_timeout     700ms;
    smtp_pass_buffer_size      20m;

    smtp_queue q {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        spool_min_free  1m;
    }

    upstream bad_next {
        server  127.0.0.1:%%PORT_bad%% max_fails=0;
        server  127.0.0.1:%%PORT_good%% backup;
    }

    upstream odd_next {
        server  127.0.0.1:%%PORT_odd%% max_fails=0;
        server  127.0.0.1:%%PORT_good%% backup;
    }

    upstream picky_next {
        server  127.0.0.1:%%PORT_odd%% max_fails=0;
        server  127.0.0.1:%%PORT_picky%% backup;
    }

%%SERVERS%%

    server {
        listen  127.0.0.1:%%PORT_picky_in%%;
        smtp_pass  picky_next;
    }

    server {
        listen  127.0.0.1:%%PORT_picky_queue%%;
        smtp_pass  picky_next;
        smtp_enqueue  q;
    }

    server {
        listen  127.0.0.1:%%PORT_stream%%;
        smtp_pass  odd_next;
        smtp_enqueue  q;
        smtp_pass_buffer_size  64k;
    }

    server {
        listen  127.0.0.1:%%PORT_strict%%;
        smtp_pass  bad_next;
        smtp_pass_next_upstream  off;
        smtp_enqueue  q fallback=421;
    }

    server {
        listen  127.0.0.1:%%PORT_one%%;
        smtp_pass  bad_next;
        smtp_pass_next_upstream_tries  1;
    }
}
EOC

# What must come: the command that is answered, its code, and where the
# message is then: bad, next, queue; or none.

sub expected {
    my ($step, $kind, $next, $queue) = @_;

    my $early = $step eq 'BANNER' || $step eq 'EHLO';
    my $lost = $kind =~ /close|reset|silent|garbage/;
    my $elsewhere = $next ? 'next' : $queue ? 'queue' : '';

    # rules 0 and 2: whatever a server says before MAIL is about itself
    if ($early) {
        return $elsewhere ? ('DOT', 250, $elsewhere)
            : ('RCPT', qr/^451 4\.4\.1 /, 'none');
    }

    if ($step eq 'MAIL' || $step eq 'RCPT') {
        return ('RCPT', qr/^550 5\.7\.7 not at all$/, 'none')
            if $kind eq '5xx';
        return ('DOT', 250, $elsewhere) if $elsewhere;
        return ('RCPT', $kind eq '4xx' ? qr/^451 4\.3\.5 later, please$/
            : $kind eq '421' ? qr/^451 4\.3\.2 going down$/
            : qr/^451 4\.4\.1 /, 'none');
    }

    # rule 4: lost before the end of data
    if ($lost && $step eq 'DATA') {
        return $elsewhere ? ('DOT', 250, $elsewhere)
            : ('DOT', qr/^451 4\.4\.2 /, 'none');
    }

    # rule 5: nobody else ever gets it
    return ('DOT', qr/^451 4\.4\.2 /, 'none') if $lost;

    # rules 3 and 5
    return ('DOT', qr/^550 5\.7\.7 not at all$/, 'none') if $kind eq '5xx';
    return ('DOT', 250, 'queue') if $queue;
    return ('DOT', $kind eq '4xx' ? qr/^451 4\.3\.5 later, please$/
        : qr/^451 4\.3\.2 going down$/, 'none');
}

my $n = 0;
my %want;

for my $keep (0, 10) {
    for my $next ('', 'next') {
        for my $queue ('', 'queue') {
            for my $step (@steps) {

                # a kept connection is past these
                next if $keep && $step =~ /BANNER|EHLO/;

                for my $kind (sort keys %how) {
                    one($step, $kind, $next, $queue, $keep);
                }
            }
        }
    }
}

$t->write_file('fail', '');


sub one {
    my ($step, $kind, $next, $queue, $keep) = @_;

    my $name = "$step $kind" . ($next ? ', next' : '')
        . ($queue ? ', queue' : '') . ($keep ? ', kept' : '');
    my $from = 'm' . ++$n . '@from.test';
    my $c = $t->client("bad$next$queue$keep");

    $c->cmd('EHLO client.test');

    if ($keep) {
        $t->write_file('fail', '');
        my @r = $c->send_message("keep$n\@from.test", 'a@to.test', "x\r\n");
        $r[0] == 250 or fail("$name: the message before: @r[0, 1]");
    }

    $t->write_file('fail', "$step $kind");

    my ($at, $reply, $where) = expected($step, $kind, $next, $queue);
    $want{$from} = [ $where, $name ];

    $c->cmd("MAIL FROM:<$from>");
    my ($code, $text) = $c->cmd('RCPT TO:<a@to.test>');

    if ($at eq 'RCPT') {
        like("$code $text", $reply, "$name: RCPT");
        return;
    }

    return is("$code $text", '250', "$name: RCPT") if $code != 250;

    $c->cmd('DATA');
    ($code, $text) = $c->cmd("Subject: $n\r\n\r\n.$n\r\n.");

    ref $reply ? like("$code $text", $reply, "$name: message")
        : is($code, $reply, "$name: message") || diag($text);

    # and the session goes on
    is(($c->cmd('NOOP'))[0], 250, "$name: NOOP") if $n % 7 == 0;
}

# all of them: one copy where it should be, none elsewhere

my $queued = grep { $_->[0] eq 'queue' } values %want;
$mx->wait_messages($queued, 60);

my %copies;

for (['bad', $bad], ['next', $good], ['queue', $mx]) {
    my ($where, $sink) = @$_;
    $copies{$_->{from}}{$where}++ for $sink->messages();
}

my @wrong;

for my $from (keys %want) {
    my ($where, $name) = @{$want{$from}};
    my $got = join ' ', map { "$_=$copies{$from}{$_}" }
        sort keys %{$copies{$from} || {}};

    push @wrong, "$name: $got, not $where"
        if $got ne ($where eq 'none' ? '' : "$where=1");
}

is("@wrong[0 .. ($#wrong > 5 ? 5 : $#wrong)]", '',
    scalar(keys %want) . ' messages: each once, where it belongs');

# recipients beyond the first one

sub session {
    my ($port, $from, @rcpts) = @_;
    my $c = $t->client($port);
    $c->cmd('EHLO client.test');
    $c->cmd("MAIL FROM:<$from\@from.test>");
    my @codes = map { my @r = $c->cmd("RCPT TO:<$_\@to.test>"); $r[0] } @rcpts;
    return ($c, "@codes");
}

sub copies {
    my ($from, $sink) = @_;
    return join ';', map { "@{$_->{rcpts}}" =~ s/\@to\.test//gr }
        grep { $_->{from} eq "$from\@from.test" } $sink->messages();
}

my ($c, $codes) = session('oddqueue0', 'second4xx', 'first', 'later');
is($codes, '250 450', 'a 4xx behind an accepted one is the client\'s');
$c->cmd('DATA');
$c->check("x\r\n.", 250, 'the message');
is(copies('second4xx', $odd), 'first', 'passed');

($c, $codes) = session('oddqueue0', 'first4xx', 'later', 'first');
is($codes, '250 250', 'a 4xx of the first one turns the transaction');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^250 2\.0\.0 Ok: queued as /, 'the message');

($c, $codes) = session('odd0', 'lost', 'first', 'close', 'third');
is($codes, '250 451 451', 'lost at the second: 451 without another place');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^451 4\.4\.2/, 'and for the message');

($c, $codes) = session('oddnext0', 'lostnext', 'first', 'close', 'third');
is($codes, '250 250 250', 'lost at the second: the next server');
$c->cmd('DATA');
$c->check("x\r\n.", 250, 'the message');
is(copies('lostnext', $good), 'first close third', 'with all of them');

($c, $codes) = session('oddqueue0', 'lostqueue', 'first', 'close', 'third');
is($codes, '250 250 250', 'lost at the second: the spool');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^250 2\.0\.0 Ok: queued as /, 'the message');

($c, $codes) = session('picky_in', 'picky', 'first', 'close');
is($codes, '250 451', 'a replay that is refused: 451');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^451 4\.4\.2/, 'and for the message');

($c, $codes) = session('picky_queue', 'pickyqueue', 'first', 'close');
is($codes, '250 250', 'a replay that is refused: the spool');
$c->cmd('DATA');
$c->check("x\r\n.", qr/^250 2\.0\.0 Ok: queued as /, 'the message');

# a backend that does not wait for a slow client has not failed

($c, $codes) = session('odd0', 'slow', 'idle');
is($codes, '250', 'closed after RCPT');
select undef, undef, undef, 0.3;
$c->cmd('DATA');
$c->check("x\r\n.", 250, 'the message, by a new connection');
is(copies('slow', $odd), 'idle', 'once');

# lost in the middle of a body that is larger than the sockets hold

my $big = ('0123456789' x 7 . "\r\n") x 150000;

for (['odd0', 451, 'none'], ['oddnext0', 250, 'next'],
     ['oddqueue0', 250, 'queue'], ['oddnextqueue0', 250, 'next'],
     ['stream', 250, 'next'])
{
    my ($port, $code, $where) = @$_;

    my $c = $t->client($port);
    $c->cmd('EHLO client.test');
    my @r = $c->send_message("drop$port\@from.test", 'a@to.test', $big,
        timeout => 30);
    is($r[0], $code, "lost in the body, $port: $code") or diag($r[1]);

    wait_for(sub { copies("drop$port", $mx) }, 30, 'the large one')
        if $where eq 'queue';
    is(copies("drop$port", $good) . '-' . copies("drop$port", $mx),
        $where eq 'next' ? 'a-' : $where eq 'queue' ? '-a' : '-',
        "lost in the body, $port: $where");
}

my ($m) = grep { $_->{from} =~ /^drop/ } $mx->messages();
is(length($m->{body} =~ s/^(?:Received:.*\r\n(?:\s.*\r\n)*)+//r), length $big,
    'all of it');

# what is not named does not happen

$t->write_file('fail', 'RCPT close');
($c, $codes) = session('strict', 'strict', 'a');
is($codes, '451', 'neither next server nor fallback');

$t->write_file('fail', 'RCPT 421');
($c, $codes) = session('strict', 'strict', 'a');
is($codes, '250', 'fallback=421');

$t->write_file('fail', 'RCPT close');
($c, $codes) = session('one', 'one', 'a');
is($codes, '451', 'smtp_pass_next_upstream_tries');

# three recipients, spooled: one message

$mx->wait_messages($queued + 4, 30);
is(copies('lostqueue', $mx), 'first close third', 'the spool has them all');
is(copies('first4xx', $mx), 'later first', 'those after a 4xx');
is(copies('pickyqueue', $mx), 'first close', 'those of the replay');

$c->close();

$t->done();
