#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_verify_recipient: a backend is asked at RCPT before the spool takes
# mail, once; a backend that does not answer holds nobody up for long.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ sleep time /;

my $t = Test::SMTPRelay->new();

sub verdict {
    my ($s, $arg) = @_;

    return $arg =~ /<bad/ ? "550 5.1.1 no such user: you may want to ask the "
            . 'postmaster of this place, or somebody else who knows'
        : $arg =~ /<once/ && $s->count('once') == 1 ? '551 5.1.6 moved'
        : $arg =~ /<later/ ? '450 4.2.1 greylisted'
        : $arg =~ /<gone/ ? { close => 1 }
        : $arg =~ /<silent/ ? { silent => 1 }
        : $arg =~ /<slow/ ? { delay => 1 } : undef;
}

my %replies = (RCPT => \&verdict, MAIL => sub {
    my ($s, $arg) = @_;
    return $arg =~ /<refused/ ? '550 5.7.1 not you' : undef;
});

my $mta = $t->sink('mta', replies => \%replies);
my $other = $t->sink('other', replies => \%replies);
my $secure = $t->sink('secure', replies => \%replies, tls => 1);
my $mute = $t->sink('mute', replies => { BANNER => { silent => 1 } });
my $mx = $t->sink('mx');

# takes mail, or only connections: what the file says

$t->write_file('dead', 'dead');

my $half_dead = $t->sink('half_dead', replies => { BANNER => sub {
    return $t->read_file('dead') ? { silent => 1 } : undef;
} });

my $conf = <<'EOC';
%%GLOBALS%%

worker_processes 2;

events { }

stream {
    smtp_hostname  in.test;
    smtp_trust     127.0.0.0/8;

    smtp_queue q {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_mx%%;
        tls       off;
        spool_min_free  1m;
    }

    upstream mta {
        server  127.0.0.1:%%PORT_mta%%;
    }

    server {
        listen  127.0.0.1:%%PORT_smtp%%;
        smtp_enqueue  q;
        smtp_verify_recipient  mta timeout=20s;
    }

    server {
        listen  127.0.0.1:%%PORT_defer%%;
        smtp_enqueue  q;
        smtp_verify_recipient  127.0.0.1:%%PORT_other%% negative_ttl=1s
            tempfail=defer sender=probe@in.test timeout=20s;
    }

    server {
        listen  127.0.0.1:%%PORT_hasty%%;
        smtp_enqueue  q;
        smtp_verify_recipient  127.0.0.1:%%PORT_other%% tempfail=defer
            timeout=1s;
    }

    server {
        listen  127.0.0.1:%%PORT_refused%%;
        smtp_enqueue  q;
        smtp_verify_recipient  127.0.0.1:%%PORT_other%%
            sender=refused@in.test;
    }

    server {
        listen  127.0.0.1:%%PORT_mute%%;
        smtp_enqueue  q;
        smtp_verify_recipient  127.0.0.1:%%PORT_mute%%9 timeout=1s;
    }

    server {
        listen  127.0.0.1:%%PORT_secure%%;
        smtp_enqueue  q;
        smtp_pass_ssl  starttls;
        smtp_verify_recipient  127.0.0.1:%%PORT_tls%%9;
    }

    map $smtp_rcpt_domain $who {
        ours.test  mta;
        wrong.test nobody;
        default    "";
    }

    server {
        listen  127.0.0.1:%%PORT_variable%%;
        smtp_enqueue  q;
        smtp_verify_recipient  $who;
    }

    upstream dead {
        server  127.0.0.1:%%PORT_half_dead%% max_fails=0;
    }

    server {
        listen  127.0.0.1:%%PORT_checked%%;
        smtp_enqueue  q;
        smtp_verify_recipient  dead tempfail=defer timeout=60s;
        smtp_health_check  interval=200ms timeout=1s;
    }

    server {
        listen  127.0.0.1:%%PORT_both%%;
        smtp_pass  127.0.0.1:%%PORT_dead%%;
        smtp_enqueue  q;
        smtp_verify_recipient  mta;
    }
}
EOC

# listeners and sinks have ports of their own
my ($mute_port, $tls_port) = ($t->port('mute'), $t->port('secure'));
$conf =~ s/127\.0\.0\.1:%%PORT_mute%%9/127.0.0.1:$mute_port/;
$conf =~ s/127\.0\.0\.1:%%PORT_tls%%9/127.0.0.1:$tls_port/;
$conf =~ s/listen  127\.0\.0\.1:%%PORT_(mute|secure)%%/listen  127.0.0.1:%%PORT_$1in%%/g;

$t->write_conf($conf)->run();

# RCPTs for an address that a sink has seen

sub asked {
    my ($sink, $rcpt) = @_;
    return scalar grep { /RCPT TO:<\Q$rcpt\E>/i } $sink->commands();
}

sub session {
    my ($port, $from) = @_;

    my $c = $t->client($port, timeout => 30);
    $c->cmd('EHLO client.test');
    $c->cmd('MAIL FROM:<' . ($from // 'a@from.test') . '>');

    return $c;
}

sub rcpt {
    my ($port, $rcpt) = @_;

    my $c = session($port);
    my @r = $c->cmd("RCPT TO:<$rcpt>");
    $c->close();

    return "$r[0] $r[1]";
}

# who is known, and who is not; each is asked for once, for all workers

my $c;
my $no = qr/^550 5\.1\.1 no such user: you may want to ask the postmaster of/;

for my $i (1 .. 6) {
    like(rcpt('smtp', 'good@ours.test'), qr/^250 /, "good, $i");
    like(rcpt('smtp', 'bad@ours.test'), $no, "bad, $i");
}

is(asked($mta, 'good@ours.test'), 1, 'good: asked once');
is(asked($mta, 'bad@ours.test'), 1, 'bad: asked once');
like(rcpt('smtp', 'bad@OURS.test'), $no, 'a domain has no case');
is(asked($mta, 'bad@ours.test'), 1, 'so nobody is asked');
rcpt('smtp', 'Bad@ours.test');
is(asked($mta, 'bad@ours.test'), 2, 'a local part may have');

ok(wait_for(sub { grep { / RSET/ } $mta->commands() }, 10, 'RSET'),
    'the backend is left with RSET');
is_deeply([ grep { /MAIL/ && !/MAIL FROM:<>$/ } $mta->commands() ], [],
    'the sender is <>');
is_deeply([ grep { /DATA|BDAT/ } $mta->commands() ], [], 'and no mail');

$c = session('smtp');
$c->cmd("RCPT TO:<many$_\@ours.test>") for 1 .. 30;
$c->close();
is(scalar(grep { /<many/ } $mta->commands()), 30, 'thirty were asked for');
cmp_ok($mta->connections(), '<', 25, 'on kept connections');

$t->reload(wait => 1);
like(rcpt('smtp', 'bad@ours.test'), $no, 'known after a reload');
is(asked($mta, 'bad@ours.test'), 2, 'without asking');

# a pipeline, in order

$c = $t->client('smtp', timeout => 30);
$c->cmd('EHLO client.test');
$c->send_raw("MAIL FROM:<p\@from.test>\r\n" . join('', map {
    "RCPT TO:<$_\@ours.test>\r\n" } qw/ p1 bad1 slow p2 bad2 later good /)
    . "NOOP\r\nDATA\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 10),
    '250 250 550 250 250 550 250 250 250 354', 'each reply to its command');
$c->check("x\r\n.", 250, 'and the message');
my ($m) = $mx->wait_messages(1);
is("@{[ sort @{$m->{rcpts}} ]}", 'good@ours.test later@ours.test '
    . 'p1@ours.test p2@ours.test slow@ours.test', 'for those not refused');

# no verdict is no refusal, and is not remembered

is(asked($mta, 'later@ours.test'), 1, '4xx');
like(rcpt('smtp', 'later@ours.test'), qr/^250 /, 'accepted');
is(asked($mta, 'later@ours.test'), 2, 'asked again');

# a client that does not wait

$c = session('smtp');
$c->send_raw("RCPT TO:<slow2\@ours.test>\r\n");
ok(wait_for(sub { asked($mta, 'slow2@ours.test') }, 20, 'the question'),
    'a question');
$c->close();

$c = session('smtp');
$c->send_raw("RCPT TO:<slow3\@ours.test>\r\nRSET\r\nQUIT\r\n");
is(join(' ', map { ($c->read_reply())[0] } 1 .. 3), '250 250 221',
    'RSET behind it waits');

# tempfail=defer; another sender; a short memory

like(rcpt('defer', 'later@ours.test'), qr/^450 4\.2\.1 greylisted$/,
    'defer: the words of the backend');
ok((grep { /MAIL FROM:<probe\@in\.test>/ } $other->commands()),
    'defer: the sender');
like(rcpt('defer', 'once@ours.test'), qr/^551 5\.1\.6 moved/, 'once: bad');
sleep 1.2;
like(rcpt('defer', 'once@ours.test'), qr/^250 /, 'once: good after its time');

# MAIL that is refused tells nothing of a recipient

like(rcpt('refused', 'x@ours.test'), qr/^250 /, 'a refused MAIL');
like(rcpt('defer', 'x@ours.test'), qr/^250 /, 'nothing was remembered');

# the backend is gone; what is known is known

like(rcpt('hasty', 'silent@ours.test'), qr/^450 4\.4\.1 Recipient cannot be/,
    'defer: silence');
my $n = $other->connections();
like(rcpt('defer', 'y@ours.test'), qr/^450 4\.4\.1 /, 'defer: and a pause');
is($other->connections(), $n, 'in which it is not asked');
like(rcpt('defer', 'x@ours.test'), qr/^250 /, 'defer: known ones are accepted');

my $began = time();
$c = session('mutein');
$c->check("RCPT TO:<m$_\@ours.test>", 250, "no answer: accepted $_")
    for 1 .. 20;
$c->cmd('DATA');
$c->check("x\r\n.", 250, 'and spooled');
$c->close();
cmp_ok(time() - $began, '<', 15, 'not waited for 20 times');
cmp_ok($mute->connections(), '<=', 3, 'asked once');

# TLS, variables

like(rcpt('securein', 'bad@ours.test'), $no, 'by STARTTLS');
ok((grep { / STARTTLS/ } $secure->commands()), 'really');

like(rcpt('variable', 'bad@ours.test'), $no, 'a variable');
like(rcpt('variable', 'bad@else.test'), qr/^250 /, 'an empty one');
like(rcpt('variable', 'bad@wrong.test'), qr/^250 /, 'one that is nothing');

# with smtp_health_check a backend that is down is not asked, and not waited for

wait_for(sub { $t->log() =~ /upstream "127[^"]+" .*is down/ }, 30,
    'the backend to be found down');
is(asked($half_dead, 'x@ours.test'), 0, 'never asked');
$began = time();
like(rcpt('checked', 'x@ours.test'), qr/^450 4\.4\.1 /, 'defer: down');
cmp_ok(time() - $began, '<', 30, 'and not waited for');
$t->write_file('dead', '');
wait_for(sub { rcpt('checked', 'x@ours.test') =~ /^250 / }, 30,
    'the backend to be asked');
is(asked($half_dead, 'x@ours.test'), 1, 'it is up, and was asked');

# behind smtp_pass: of mail that went to the spool

like(rcpt('both', 'bad@ours.test'), $no, 'instead of a backend');
like(rcpt('both', 'good@ours.test'), qr/^250 /, 'and a good one');

$t->expect_log(qr/"nobody" of "smtp_pass \$who" is neither/);
$t->stop();

# nginx -t

sub conf {
    return "%%GLOBALS%%\nevents { }\nstream { smtp_queue q { spool "
        . "%%DIR%%/s; next_hop 127.0.0.1:25; spool_min_free 1m; }\nserver {\n"
        . "listen 127.0.0.1:%%PORT_smtp%%;\n$_[0]\n}\n}\n";
}

my $verify = 'smtp_enqueue q; smtp_verify_recipient';

$t->accepted(conf("$verify $_;"), $_) for '127.0.0.1:25', '$hostname',
    '127.0.0.1:25 positive_ttl=1d negative_ttl=1m timeout=5s tempfail=accept '
    . 'sender=<>', 'unix:/tmp/mta tempfail=defer sender=a@b.test';
$t->refused(conf("$verify 127.0.0.1:25 $_;"),
    qr/invalid parameter "\Q$_\E".*:\d+$/m, $_) for 'timeout=0', 'timeout=',
    'positive_ttl=x', 'tempfail=reject', 'sender=nobody', 'other=1', 'defer';
$t->refused(conf("$verify a:25; smtp_verify_recipient a:25;"),
    qr/is duplicate|host not found/, 'twice');
$t->refused(conf("$verify mta;"), qr/no port in upstream "mta"/,
    'no such upstream');
$t->refused(conf('smtp_pass 127.0.0.1:25; smtp_verify_recipient '
    . '127.0.0.1:25;'), qr/needs "smtp_enqueue".*:\d+$/m, 'with smtp_pass');
$t->refused(conf('return x; smtp_verify_recipient 127.0.0.1:25;'),
    qr/needs "smtp_enqueue".*:\d+$/m, 'with another module');
$t->refused(conf("$verify 127.0.0.1:25; smtp_pass_auth a b;"),
    qr/not verified/, 'a password for anybody');
$t->refused(conf("$verify 127.0.0.1:25; smtp_pass_auth client;"),
    qr/"smtp_verify_recipient" .*"smtp_pass_auth client".*"off".*:\d+$/m,
    'nobody to log in as');
$t->accepted(conf("$verify 127.0.0.1:25; smtp_health_check;"),
    'with checks');
$t->refused(conf("$verify \$hostname; smtp_health_check;"),
    qr/"smtp_health_check" needs .*:\d+$/m, 'with checks of a variable');

$t->done();
