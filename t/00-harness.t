#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The harness itself, with nginx's own stream modules: other tests can only
# fail when these parts work.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::SSL ();
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $sink = $t->sink('mx', tls => 1, ehlo => [ 'PIPELINING', 'CHUNKING' ],
    replies => {
        RCPT => sub { $_[1] =~ /bad@/ ? '550 5.1.1 unknown' : undef },
        VRFY => { reply => '252 slow', bytewise => 1 },
        HELP => { raw => "garbage\r\n" },
        NOOP => [ '250 first', '451 then' ],
        EXPN => { close => 1 },
        BURL => { reset => 1 },
        XWAIT => { delay => 0.3, reply => '250 waited' },
        DOT => sub { $_[1]{body} =~ /refuse/ ? '554 5.7.1 no' : undef },
    });

my ($crt, $key) = $t->gen_cert('server');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
worker_processes 2;
events { worker_connections 64; }
stream {
    ssl_certificate %%DIR%%/server.crt;
    ssl_certificate_key %%DIR%%/server.key;

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        proxy_pass 127.0.0.1:%%PORT_mx%%;
    }
    server { listen 127.0.0.1:%%PORT_smtps%% ssl;
        proxy_pass 127.0.0.1:%%PORT_mx%%;
    }
}
EOC

isnt($t->port('smtp'), $t->port('mx'), 'ports differ');
is(scalar $t->workers(), 2, 'workers');

# the client and the sink

my $c = $t->client('smtp');

is(($c->banner())[0], 220, 'greeting');
is_deeply($c->ehlo('me'), { PIPELINING => '', CHUNKING => '',
    STARTTLS => '' }, 'ehlo');

my ($code, $text, $lines) = $c->cmd('VRFY x');
is("$code $text", '252 slow', 'reply byte by byte');

$c->check('NOOP', 250, 'first of an array');
$c->check('NOOP', qr/^451 then$/, 'second of an array');
$c->check('NOOP', qr/^451 then$/, 'the last one repeats');
$c->check('XWAIT', 250, 'delay');
is(($c->cmd('HELP'))[1], 'not SMTP: garbage', 'garbage');

is(($c->send_message('a@x', [ 'b@y', 'bad@y', 'c@y' ],
    "Subject: s\r\n\r\n.dot\r\n..\r\nend\r\n", mail => 'SIZE=5'))[0], 250,
    'message');
is(($c->send_message('', 'b@y', "refuse\r\n"))[0], 554, 'refused message');
is(($c->send_message('', 'bad@y', 'x'))[0], 550, 'refused recipient');
is(($c->send_message('a@x', 'b@y', "no end\nof line\0", bdat => 6))[0], 250,
    'BDAT');
is(($c->send_message('a@x', 'b@y', "by bytes\r\n", bytes => 1))[0], 250,
    'byte by byte');
is(($c->send_message('a@x', 'b@y', ''))[0], 250, 'empty');

is_deeply([ map { $_->[0] } $c->pipeline('MAIL FROM:<p@x>', 'RCPT TO:<q@y>',
    'DATA') ], [ 250, 250, 354 ], 'pipelining');
$c->send_raw("one\r\n.\r\nNOOP\r\n");
is(($c->read_reply())[0], 250, 'end of data');
is(($c->read_reply())[0], 451, 'command in the same packet');

my @m = $sink->wait_messages(5);

is(scalar @m, 5, 'messages');
is($m[0]{from}, 'a@x', 'sender');
is($m[0]{from_params}, 'SIZE=5', 'parameters');
is_deeply($m[0]{rcpts}, [ 'b@y', 'c@y' ], 'accepted recipients');
is($m[0]{body}, "Subject: s\r\n\r\n.dot\r\n..\r\nend\r\n", 'body');
is($m[1]{body}, "no end\nof line\0", 'body of BDAT');
is($m[1]{chunks}, 3, 'chunks');
is($m[3]{body}, '', 'empty body');
is(scalar $sink->transactions(), 6, 'and the refused one');
ok(scalar(grep { /^1 EHLO me$/ } $sink->commands()), 'commands');

is($c->starttls(), 220, 'STARTTLS');
ok($c->ehlo(), 'ehlo in TLS');
is(($c->send_message('t@x', 'b@y', "tls\r\n"))[0], 250, 'message in TLS');
is(($sink->messages())[-1]{tls}, 1, 'it was TLS');
is(($c->quit())[0], 221, 'quit');

$c = $t->client('smtps', tls => { SSL_ca_file => $crt,
    SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_PEER(),
    SSL_verifycn_name => 'localhost', SSL_verifycn_scheme => 'smtp' });
is(($c->banner())[0], 220, 'greeting in TLS');
is(($c->send_message('t@x', 'b@y', 'x' x 300000))[0], 250, 'large in TLS');
is(length +($sink->messages())[-1]{body}, 300002, 'all of it');

$c->cmd('EXPN x');
ok($c->closed(5), 'sink closes');

$c = $t->client('mx');
is(($c->cmd('BURL'))[1], 'reset', 'sink resets');

is($sink->connections(), 3, 'connections');

$sink->stop();
ok(!eval { $t->client('mx') }, 'stopped sink');
$sink->set(replies => { BANNER => '421 4.3.2 no' });
is(($t->client('mx')->banner())[0], 421, 'changed sink');

# nginx

my %before = map { $_ => 1 } $t->workers();

$t->reload(wait => 1);
is(scalar(grep { $before{$_} } $t->workers()), 0, 'reload');

$t->expect_log(qr/exited on signal 9/);
$t->kill_worker();
is(scalar $t->workers(), 2, 'worker replaced');

rename $t->dir() . '/error.log', $t->dir() . '/error.log.1';
$t->usr1();
ok(-e $t->dir() . '/error.log', 'log reopened');

my $old = $t->pid();
my $new = $t->upgrade();
isnt($new, $old, 'upgraded');
$t->upgrade_finish();
ok($t->alive($new), 'the new one serves');

my @orphans = $t->kill_master();
is(scalar @orphans, 2, 'orphans');
ok($t->alive($orphans[0]), 'orphans live');
$t->kill_all();
ok(!$t->alive($orphans[0]), 'killed');

$t->run();
is(scalar $t->workers(), 2, 'runs again');
$t->term();
ok(!$t->alive(), 'terminated');

# configurations

my $conf = "%%%%GLOBALS%%%%\nevents { }\nstream { %s }\n";

$t->accepted(sprintf($conf, ''), 'accepted');
$t->refused(sprintf($conf, 'nonsense;'),
    qr/unknown directive "nonsense" in .*test-\d+\.conf:\d+/, 'refused');

is(($t->command('sh', '-c', 'cat; exit 3'))[0] >> 8, 3, 'status');
is(($t->command({ stdin => "in\n" }, 'cat'))[1], "in\n", 'output');

# what the harness must not let pass: tests that have to fail

my $head = "use lib '$FindBin::Bin/lib'; use Test::More;"
    . " use Test::SMTPRelay; my \$t = Test::SMTPRelay->new();"
    . ' $t->write_conf("%%GLOBALS%%\nevents { }\nstream { }\n")->run();'
    . ' print "pid ", $t->pid(), "\n"; pass("one");';

my %bad = (
    'undeclared alert' => [ '$t->kill_worker(); $t->done();',
        qr/^not ok \d+ - no undeclared alerts/m ],
    'declared, but absent' => [ '$t->expect_log(qr/never/); $t->done();',
        qr/^not ok \d+ - logged as declared: .*never/m ],
    'done() not reached' => [ 'done_testing();', qr/was not reached/ ],
    'death' => [ 'die "oops"; $t->done()', qr/oops/ ],
    'sanitizer report' => [
        '$t->write_file("sanitizer.1", "ERROR: AddressSanitizer: x\n");'
        . ' $t->done();', qr/^not ok \d+ - no sanitizer reports/m ],
    'killed' => [ 'kill "INT", $$; sleep 5;', qr/was not reached/ ],
);

for my $name (sort keys %bad) {
    my $file = $t->write_file('bad.t', $head . $bad{$name}[0]);
    my ($status, $out) = $t->command($^X, $file);
    my ($pid) = $out =~ /^pid (\d+)/m;

    isnt($status, 0, "$name: fails");
    like($out, $bad{$name}[1], "$name: says why");
    ok($pid && !$t->alive($pid), "$name: nothing is left");
}

# the log of the killed worker was renamed away above

$t->write_file('error.log', $t->read_file('error.log.1') . $t->log());

$t->done();
