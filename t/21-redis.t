#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Accounts in Redis: what a record says, Redis that is slow, gone, restarted,
# that answers nonsense, AUTH, SELECT, TLS and unix sockets, several servers;
# clients that leave while it is asked; workers that leave.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::INET;
use MIME::Base64 qw/ encode_base64 /;
use Test::More;
use Test::SMTPRelay;
use Time::HiRes qw/ time sleep /;

my $t = Test::SMTPRelay->new();

my $redis = $t->redis('redis');
my $locked = $t->redis('locked', username => 'nginx', password => 'red sesame',
    tls => 1);
my $second = $t->redis('second');
my $slow = $t->redis('slow');

my ($other_cert) = $t->gen_cert('other', 'other.example');

$t->set(UNIX => $redis->unix(), CERT => $locked->cert(),
    OTHER => $other_cert);

# what bad servers answer to the first bytes they get

my %bad = (
    garbage => "HTTP/1.1 400 Bad Request\r\n\r\n",
    deep => "*1\r\n" x 20,
    wide => "*1000000000\r\n",
    endless => '+' . 'x' x 200_000,
    huge => "\$2000000000\r\n" . 'x' x 200_000,
    cut => "*3\r\n\$10\r\nabc",
    number => ":1\r\n",
    nil => "*-1\r\n",
    string => "\$3\r\nabc\r\n",
    two => "*2\r\n\$-1\r\n\$-1\r\n",
    nested => "*3\r\n*0\r\n*0\r\n*0\r\n",
    numbers => "*3\r\n:1\r\n:1\r\n:1\r\n",
    loading => "-LOADING Redis is loading the dataset in memory\r\n",
    twice => "*3\r\n\$-1\r\n\$-1\r\n\$-1\r\n" x 2,
    nothing => '',
    silent => undef,
);

my $blocks = '';
my $servers = '';

sub add {
    my ($name, $block) = @_;

    $blocks .= "smtp_redis $name { $block }\n";
    $servers .= "server { listen 127.0.0.1:%%PORT_smtp_$name%%;"
        . " smtp_accounts redis=$name; smtp_enqueue out; }\n";
}

add($_, "server 127.0.0.1:%%PORT_$_%%; timeout 400ms;") for sort keys %bad;

add('main', 'server 127.0.0.1:%%PORT_redis%%; timeout 500ms;');
add('patient', 'server 127.0.0.1:%%PORT_slow%%; timeout 60s;');
add('socket', 'server unix:%%UNIX%%;');
add('db', 'server 127.0.0.1:%%PORT_redis%%; database 3;');
add('prefix', 'server 127.0.0.1:%%PORT_redis%%; prefix "my {x}:";');
add('nodb', 'server 127.0.0.1:%%PORT_redis%%; database 99;');
add('down', 'server 127.0.0.1:%%PORT_down%%;');
add('list', 'server 127.0.0.1:%%PORT_down%%; server 127.0.0.1:%%PORT_silent%%;'
    . ' server 127.0.0.1:%%PORT_second%%; timeout 400ms;');
add('busy', 'server 127.0.0.1:%%PORT_loading%%;'
    . ' server 127.0.0.1:%%PORT_second%%;');
add('user', 'server 127.0.0.1:%%PORT_locked%%; username nginx;'
    . ' password "red sesame";');
add('wronguser', 'server 127.0.0.1:%%PORT_locked%%; username nginx;'
    . ' password wrong;');
add('nouser', 'server 127.0.0.1:%%PORT_locked%%;');

my $tls = 'server 127.0.0.1:%%PORT_locked_tls%%; username nginx;'
    . ' password "red sesame"; tls on;';

add('tls', $tls);
add('verified', "$tls tls_trusted_certificate %%CERT%%;"
    . ' tls_name localhost;');
add('misnamed', "$tls tls_trusted_certificate %%CERT%%;"
    . ' tls_name other.example;');
add('untrusted', "$tls tls_trusted_certificate %%OTHER%%;"
    . ' tls_name localhost;');
add('notls', 'server 127.0.0.1:%%PORT_redis%%; tls on; timeout 400ms;');

# the same Redis and accounts for a listener with TLS

my ($cert, $key) = $t->gen_cert('front', 'localhost');

$servers .= "server { listen 127.0.0.1:%%PORT_smtp_patienttls%% ssl;"
    . " ssl_certificate $cert; ssl_certificate_key $key;"
    . " smtp_accounts redis=patient; smtp_enqueue out; }\n";

my $conf = <<"EOC";
%%GLOBALS%%
events { worker_connections 512; }
worker_processes 1;
stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        next_hop  127.0.0.1:%%PORT_none%%;
        spool_min_free 1m;
        retry     1h;
    }
    smtp_hostname        mx.example.org;
    smtp_auth            plain login;
    smtp_auth_plaintext  on;
    smtp_max_errors      50;
    $blocks
    $servers
}
EOC

# the bad servers, one process for all

my %listen = map {
    $_ => IO::Socket::INET->new(Listen => 16, Proto => 'tcp', ReuseAddr => 1,
        LocalAddr => '127.0.0.1', LocalPort => $t->port($_))
        || die "listen: $!";
} keys %bad;

$t->spawn_perl('bad-redis', sub {
    my %kind = map { fileno($listen{$_}) => $_ } keys %listen;
    my $select = IO::Select->new(values %listen);
    my %of;

    $SIG{PIPE} = 'IGNORE';

    for ( ;; ) {
        for my $s ($select->can_read()) {
            if (my $kind = $kind{fileno $s}) {
                my $c = $s->accept() or next;
                $of{$c} = $kind;
                $select->add($c);
                next;
            }

            my $n = sysread $s, my $data, 65536;
            my $kind = $of{$s};

            next if $n && !defined $bad{$kind};
            syswrite $s, $bad{$kind} if $n;

            if (!$n || $kind eq 'cut' || $kind eq 'nothing') {
                $select->remove($s);
                delete $of{$s};
                close $s;
            }
        }
    }
});

close $_ for values %listen;

$t->write_conf($conf)->run();

sub b64 { encode_base64($_[0], '') }

sub client {
    my ($name, %opts) = @_;
    my $c = $t->client("smtp_$name", %opts);
    $c->ehlo();
    return $c;
}

sub slurp {
    my ($name) = @_;
    open my $fh, '<', $name or die "$name: $!";
    local $/;
    return scalar <$fh>;
}

# the reply to a login, on a session of its own

sub login {
    my ($name, $login, $password) = @_;
    my $c = client($name);
    my @r = $c->auth_plain($login, $password // 'secret');
    $c->quit();
    return "$r[0] $r[1]";
}

my $hash = Test::SMTPRelay::Redis::hash('secret');

# records

$redis->account('alice@example.com', 'secret');
$redis->account("sp ace*'\"\xc3\xa4", 'secret', senders => 'a@b.example');
$redis->account('disabled', 'secret', enabled => 0);
$redis->account('yes', 'secret', enabled => 'yes');
$redis->account('one', 'secret', enabled => 1,
    senders => "one\@example.org \@example.net", quota => 17);
$redis->account('scram', '', password => 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEs'
    . 'UEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:'
    . 'wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=');
$redis->account('clear', '', password => 'secret');
$redis->account('md5', '', password => '$1$abcdefgh$y6iHhJNbuC0xpbk0w9pm80');
$redis->cmd('HSET', 'smtp:account:nopassword', 'enabled', 1);
$redis->cmd('SET', 'smtp:account:string', $hash);
$redis->cmd('HSET', 'smtp:account:big', 'password', $hash, 'senders',
    'a@b.example,' x 10_000);

my $ok = qr/^235 2\.7\.0 /;
my $no = qr/^535 5\.7\.8 /;
my $later = qr/^454 4\.7\.0 /;

like(login('main', 'alice@example.com'), $ok, 'login');
like(login('main', 'ALICE@Example.Com'), $ok, 'without case');
like(login('main', "Sp Ace*'\"\xc3\xa4"), $ok, 'odd login');
like(login('main', 'one'), $ok, 'with other fields');
like(login('main', 'scram', 'pencil'), $ok, 'SCRAM verifier');
like(login('socket', 'alice@example.com'), $ok, 'by a unix socket');

my %said;
$said{login('main', @$_)}++ for [ 'alice@example.com', 'wrong' ],
    [ 'nobody' ], [ 'disabled' ], [ 'yes' ], [ 'nopassword' ], [ 'alice*' ],
    [ '*' ], [ "x\r\nDEL x" ], [ 'x' x 255 ], [ 'scram', 'Pencil' ],
    [ '' . "\x01" ];
is(scalar(keys %said), 1, 'one reply for all');
like((keys %said)[0], $no, 'which is 535');

like(login('main', 'clear'), $later, 'password in the clear');
like(login('main', 'md5'), $later, 'scheme that is refused');
like(login('main', 'string'), $later, 'wrong type');
like(login('main', 'big'), $later, 'huge record');
like(login('main', 'alice@example.com'), $ok, 'and all is well after it');

my $c = client('main');
is(($c->auth_login('one', 'secret'))[0], 235, 'login');
$c->check('MAIL FROM:<one@example.org>', 250, 'own address');
$c->cmd('RSET');
$c->check('MAIL FROM:<any@example.net>', 250, 'own domain');
$c->cmd('RSET');
$c->check('MAIL FROM:<two@example.org>', 553, 'not own');

# a change acts at once, in spite of the cache

like(login('main', 'alice@example.com'), $ok, 'cached');
$redis->cmd('HSET', 'smtp:account:alice@example.com', 'password',
    Test::SMTPRelay::Redis::hash('changed'));
like(login('main', 'alice@example.com'), $no, 'old password');
like(login('main', 'alice@example.com', 'changed'), $ok, 'new password');
$redis->cmd('HSET', 'smtp:account:alice@example.com', 'enabled', 0);
like(login('main', 'alice@example.com', 'changed'), $no, 'disabled');
$redis->cmd('HSET', 'smtp:account:alice@example.com', 'enabled', 1,
    'password', $hash);
like(login('main', 'alice@example.com'), $ok, 'enabled');
$redis->cmd('DEL', 'smtp:account:alice@example.com');
like(login('main', 'alice@example.com'), $no, 'removed');
$redis->cmd('HSET', 'smtp:account:alice@example.com', 'password', $hash);
like(login('main', 'alice@example.com'), $ok, 'back');

# prefix of the keys

like(login('prefix', 'alice@example.com'), $no, 'not below another prefix');
$redis->cmd('HSET', 'my {x}:account:prefix', 'password', $hash);
like(login('prefix', 'prefix'), $ok, 'below its prefix');

# database

like(login('db', 'alice@example.com'), $no, 'not in another database');
$redis->cmd('SELECT', 3);
$redis->cmd('HSET', 'smtp:account:db', 'password', $hash);
$redis->cmd('SELECT', 0);
like(login('db', 'db'), $ok, 'in its database');
like(login('main', 'db'), $no, 'not in the other one');
like(login('nodb', 'db'), $later, 'a database that is not');

# AUTH and TLS

$locked->account('locked', 'secret');
like(login('user', 'locked'), $ok, 'AUTH with username');
like(login('wronguser', 'locked'), $later, 'AUTH refused');
like(login('nouser', 'locked'), $later, 'no AUTH');
like(login('tls', 'locked'), $ok, 'TLS');
like(login('verified', 'locked'), $ok, 'TLS, verified');
like(login('misnamed', 'locked'), $later, 'TLS, another name');
like(login('untrusted', 'locked'), $later, 'TLS, another authority');
like(login('notls', 'alice@example.com'), $later, 'no TLS there');
like(login('tls', 'locked'), $ok, 'TLS, the same connection');

# nonsense

for my $kind (sort keys %bad) {
    my $want = $kind eq 'twice' ? qr/^[45][35][54] / : $later;

    like(login($kind, 'alice@example.com'), $want, "$kind");
    sleep 0.1;
    like(login($kind, 'alice@example.com'), $want, "$kind again");
}

# several servers: the first is down, the second silent

$second->account('second', 'secret');
like(login('list', 'second'), $ok, 'the third server');
my $start = time();
like(login('list', 'second'), $ok, 'the third server again');
cmp_ok(time() - $start, '<', 1 * $Test::SMTPRelay::PATIENCE,
    'is kept as long as it works');

# the first has just been started, and says so

like(login('busy', 'second'), $ok, 'the first server has no data yet');

# what goes silent between logins is noticed: the kernel has a timer for it

my @kept = grep { $_->[3] eq '01' && $_->[5] =~ /^02:/
        && hex((split /:/, $_->[2])[1]) == $t->port('second') }
    map { [ split ] } split /\n/, slurp('/proc/net/tcp');
cmp_ok(scalar @kept, '>=', 1, 'idle connections are probed');

# down; comes up later

like(login('down', 'alice@example.com'), $later, 'down') for 1 .. 3;
my $late = $t->redis('down');
$late->account('late', 'secret');
wait_for(sub { login('down', 'late') =~ $ok }, 3, 'Redis that was down');
pass('up, without a reload');

# silent for a while

$redis->pause();
$start = time();
like(login('main', 'alice@example.com'), $later, 'slow');
my $took = time() - $start;
cmp_ok($took, '>', 0.4, 'after the time-out');
cmp_ok($took, '<', 3 * $Test::SMTPRelay::PATIENCE, 'not long after');
$redis->resume();
wait_for(sub { login('main', 'alice@example.com') =~ $ok }, 3, 'Redis');
pass('fast again, without a reload');

# clients that leave while it is silent

$redis->pause();
my @c = map { client('main') } 1 .. 6;
$_->send_raw('AUTH PLAIN ' . b64("\0one\0secret") . "\r\n") for @c;
sleep 0.05;
$_->close(reset => 1) for splice @c, 0, 3;
$_->shutdown_write() for splice @c, 0, 1;
sleep 0.05;
$redis->resume();
is(($_->read_reply())[0], 235, 'who stayed is served') for @c;
like(login('main', 'one'), $ok, 'next one');

# ... are noticed at once, in clear and over TLS; what is pipelined is no fault

$slow->account('slow', 'secret');
like(login('patient', 'slow'), $ok, 'Redis that will be slow');
$slow->pause();

my $auth = 'AUTH PLAIN ' . b64("\0slow\0secret") . "\r\n";
my $left = qr/client closed connection while checking SMTP login/;

sub left { my $n = () = $t->log() =~ /$left/g; return $n }

@c = map { client('patient') } 1 .. 3;
$c[0]->send_raw($auth);
$c[1]->send_raw("${auth}NOOP\r\n");
$c[2]->send_raw($auth);
sleep 0.2;
$c[2]->send_raw("NOOP\r\n");
$c[2]->shutdown_write();
my $before = left();
$c[0]->close();
wait_for(sub { left() == $before + 1 }, 20, 'the end of who left');

my $together = client('patient');
$together->send_raw($auth);
$together->shutdown_write();
wait_for(sub { left() == $before + 2 }, 20, 'the end of who sent and left');

my $over_tls = client('patienttls', tls => 1);
$over_tls->send_raw($auth);
$over_tls->close();
wait_for(sub { left() == $before + 3 }, 20, 'the end of who left over TLS');
pass('who leaves is noticed');

$slow->resume();
is(join(' ', map { ($_->read_reply())[0] } @c[1, 1, 2, 2]), '235 250 235 250',
    'who has pipelined is served');
like(login('patient', 'slow'), $ok, 'and so is the next');

# killed while it is asked

$redis->pause();
@c = map { client('main') } 1 .. 3;
$_->send_raw('AUTH PLAIN ' . b64("\0one\0secret") . "\r\n") for @c;
sleep 0.05;
$redis->kill();
is(($_->read_reply())[0], 454, 'killed while asked') for @c;
$_->check('NOOP', 250, 'the session goes on') for @c;
like(login('main', 'one'), $later, 'still down');
$redis->start();
wait_for(sub { login('main', 'one') =~ $ok }, 3, 'Redis');
pass('restarted, without a reload');
is(($c[0]->auth_plain('one', 'secret'))[0], 235, 'in the old session, too');

# restarted while idle: nobody notices

$redis->kill();
$redis->start();
like(login('main', 'one'), $ok, 'restarted between two logins');

# idle connections closed by Redis

$redis->cmd('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
like(login('main', 'one'), $ok, 'connection closed by Redis');

# many at a time on one connection

$redis->account("user$_", 'secret') for 1 .. 8;
@c = map { client('main', timeout => 20) } 1 .. 8;
$c[$_ - 1]->send_raw('AUTH PLAIN ' . b64("\0user$_\0secret") . "\r\n")
    for 1 .. 8;
is(join(' ', map { ($_->read_reply())[0] } @c), join(' ', (235) x 8),
    'eight at a time');
like($redis->cmd('CLIENT', 'LIST'),
    qr/\A(?!(?:.*cmd=hmget.*\n[\S\s]*){3})/, 'on few connections');

# a worker leaves although it is connected, and one that waits for Redis, too

$start = time();
$t->reload(wait => 1);
cmp_ok(time() - $start, '<', 5 * $Test::SMTPRelay::PATIENCE,
    'connections do not keep a worker');
like(login('main', 'one'), $ok, 'the new worker');

$redis->pause();
$c = client('main');
$c->send_raw('AUTH PLAIN ' . b64("\0one\0secret") . "\r\n");
sleep 0.05;
$t->reload();
wait_for(sub { $t->workers(all => 1) > $t->workers() }, 5,
    'the old worker to leave');
$redis->resume();
like(join(' ', ($c->read_reply())[0, 1]), qr/^235 |^454 /,
    'answered while leaving');
$c->close();
wait_for(sub { $t->workers(all => 1) == 1 }, 5, 'the old worker to be gone');

# TERM while it is asked

$redis->pause();
$c = client('main');
$c->send_raw('AUTH PLAIN ' . b64("\0one\0secret") . "\r\n");
sleep 0.05;
ok($t->term(), 'TERM while Redis is asked');
$redis->resume();

# what nginx -t says

my $test = <<'EOC';
%%GLOBALS%%
events { }
stream {
    smtp_redis main { %%BLOCK%% }
    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        return "";
    }
}
EOC

sub conf {
    my ($block, $re, $name) = @_;
    $t->set(BLOCK => $block);
    $re ? $t->refused($test, $re, $name) : $t->accepted($test, $name);
}

conf('server 127.0.0.1;', undef, 'default port');
conf('server 127.0.0.1:1; server [::1]:2; server unix:/x; database 3;'
    . ' username u; password p; timeout 1s;', undef, 'everything');
conf('timeout 1s;', qr/smtp_redis "main" has no "server", add .*:\d+$/m,
    'no server');
conf('server 127.0.0.1:99999;', qr/invalid port/, 'bad port');
conf('server no.such.host.invalid;', qr/host not found/, 'unknown host');
conf('server 127.0.0.1; username u;', qr/"username" without a "password" in/,
    'username without password');
conf('server 127.0.0.1; database -1;', qr/invalid/, 'negative database');
conf('server 127.0.0.1; timeout 0;', qr/"timeout 0", write/, 'no time');
conf('server 127.0.0.1; tls_name x;', qr/without "tls on"/,
    'parameters of TLS without it');
conf('server 127.0.0.1; tls on; tls_verify on;',
    qr/without a "tls_trusted_certificate"/, 'nothing to verify with');
conf("server 127.0.0.1; tls on; tls_trusted_certificate $other_cert;",
    qr/set "tls_name" in/, 'no name to verify');
conf('server 127.0.0.1; tls on; tls_trusted_certificate /nonexistent;'
    . ' tls_name x;', qr/nonexistent/, 'no such certificate');
conf('server 127.0.0.1; port 1;', qr/unknown directive/, 'unknown directive');
conf('server 127.0.0.1; timeout 1s; timeout 2s;', qr/duplicate/, 'duplicate');

# never in a log

unlike($t->log(), qr/red sesame|\$6\$|W22ZaJ0SNY7/, 'no secrets in the log');

$t->done();
