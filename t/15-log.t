#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# smtp_log: each line is JSON whatever a client sent, one for each
# transaction, in the file it belongs to, reopened by USR1.  No log, the
# debugging one neither, has a password or what it can be made from.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use MIME::Base64 qw/ encode_base64 /;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

my $password = 'Tr0ub4dor-and-3';
my $wrong = 'wr0ng-h0rse-b4ttery';

$t->write_file('accounts', 'alice@example.org '
    . crypt($password, '$6$salt') . "\n", 0600);

# the most that can be logged, without the helper's own wish for it

(my $globals = $t->globals('error.log')) =~ s/^error_log (\S+) \w+;/error_log $1 debug;/m;
$t->set(DEBUG => $globals);

$t->write_conf(<<'EOC')->run();
%%DEBUG%%
events { worker_connections 128; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_none%%;
        retry     1h;
    }

    smtp_hostname  mx.example.org;
    smtp_log       %%DIR%%/smtp.log json;

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_trust     127.0.0.0/8;
        smtp_max_recipients  1000;
        smtp_max_message_size  10k;
        smtp_enqueue   out;
    }

    server {
        listen 127.0.0.1:%%PORT_other%%;
        smtp_trust     127.0.0.0/8;
        smtp_log       %%DIR%%/other.log;
        smtp_enqueue   out;
    }

    server {
        listen 127.0.0.1:%%PORT_off%%;
        smtp_trust     127.0.0.0/8;
        smtp_log       off;
        smtp_enqueue   out;
    }

    server {
        listen 127.0.0.1:%%PORT_auth%%;
        smtp_auth            plain login;
        smtp_auth_plaintext  on;
        smtp_accounts        file=%%DIR%%/accounts;
        smtp_max_errors      100;
        smtp_enqueue         out;
    }
}
EOC

my ($c, $code, $text);

# the transactions of a log, when there are so many; each line must be JSON

sub transactions {
    my ($n, $file) = @_;

    $file ||= 'smtp.log';

    my @found;

    wait_for(sub {
        @found = grep { /"event":"transaction"/ }
            $t->read_file($file) =~ /^(.*)\n/mg;
        @found >= $n
    }, 10, "$n transactions in $file");

    return map { JSON::PP->new->utf8->decode($_) } @found;
}

sub last_one {
    my ($n, $file) = @_;
    return (transactions($n, $file))[-1];
}

# a usual message: all members

$c = $t->client('smtp');
my $port = $c->local_port();
$c->cmd('EHLO client.example');
($code, $text) = $c->send_message('a@example.org',
    [ 'b@example.net', 'c@example.net' ], "Subject: x\r\n\r\nx\r\n");
is($code, 250, 'sent');
my ($id) = $text =~ /queued as (\S+)/;

my $line = last_one(1);
is_deeply([ @$line{qw/ event queue_id client port helo login tls cipher from
        size status code /} ],
    [ 'transaction', $id, '127.0.0.1', $port, 'client.example', '', '', '',
        'a@example.org', 17, 'accepted', 250 ], 'members');
is_deeply($line->{to}, [ 'b@example.net', 'c@example.net' ], 'recipients');
like($line->{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d\d:\d\d$/, 'time');
like($line->{duration}, qr/^\d+(\.\d+)?$/, 'duration');
is($line->{reply}, "2.0.0 Ok: queued as $id", 'reply');
ok($line->{id} ne '' && $line->{id} =~ /^\w+$/, 'id');

# of nodes behind one name whose workers have the same pid, too

my ($node) = $line->{id} =~ /^[0-9a-f]{8}([0-9a-f]{10})[0-9a-f]{6}$/;
my ($pid) = $t->workers();
ok(defined $node && $node ne sprintf('%010x', $pid), 'id: random, not a pid')
    or diag($line->{id});

# hostile addresses

$c->cmd('MAIL FROM:<"q\"\\\\,\":{}[]"@example.org>');
$c->check('RCPT TO:<"},{\"event\":\"x\""@example.net>', 250, 'quotes');
$c->check("RCPT TO:<\"\t\"\@example.net>", qr/^(250|501)/, 'a tab');
$c->check("RCPT TO:<\"\x7f\"\@example.net>", qr/^(250|501)/, 'delete');
$c->check("RCPT TO:<\x1b[2J\@example.net>", 501, 'escape');
$c->check('RSET', 250, 'rset');
$line = last_one(2);
is($line->{from}, '"q\"\\\\,\":{}[]"@example.org', 'sender as it is');
is($line->{to}[0], '"},{\"event\":\"x\""@example.net', 'recipient as it is');
is($line->{status}, 'aborted', 'aborted');

# UTF-8, good and bad

$c->cmd("MAIL FROM:<\xc3\xa4\@example.org> SMTPUTF8");
$c->check("RCPT TO:<\xf0\x9f\x93\xa7\@example.net>", 250, 'utf-8');
for my $bad ("\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3")
{
    $c->check("RCPT TO:<$bad\@example.net>", qr/^5/, 'no utf-8: '
        . unpack 'H*', $bad);
}
$c->check('RSET', 250, 'rset');
$line = last_one(3);
is($line->{from}, "\xe4\@example.org", 'utf-8 sender');
is_deeply($line->{to}, [ "\x{1f4e7}\@example.net" ], 'utf-8 recipient');

# nothing of what was refused before there was a transaction

$c->check("EHLO x\",\"login\":\"root", 501, 'quote in EHLO');
$c->check("EHLO \xff\xfe", 501, 'bytes in EHLO');
$c->check("MAIL FROM:<a\"b\@example.org>", qr/^501/, 'quote in sender');

# a thousand recipients of the longest kind

my $local = 'r' x 50;
my $domain = join('.', ('d' x 60) x 3) . '.example';
$c->cmd("EHLO $domain");
$c->cmd("MAIL FROM:<$local\@$domain>");
my @replies = $c->pipeline(map { "RCPT TO:<$local$_\@$domain>" } 1000 .. 1999);
is((grep { $_->[0] == 250 } @replies), 1000, 'a thousand recipients')
    or diag("@{$replies[0]}[0, 1]");
$c->check("RCPT TO:<a\@$domain>", 452, 'and no more');
is(($c->send_data("Subject: x\r\n\r\nx\r\n"))[0], 250, 'sent');
$line = last_one(4);
is(scalar @{$line->{to}}, 1000, 'in one line');
is($line->{to}[999], "${local}1999\@$domain", 'to the last');
is($line->{helo}, $domain, 'helo');

# outcomes

$c->cmd('MAIL FROM:<a@example.org>');
$c->cmd('RCPT TO:<b@example.net>');
is(($c->send_data('y' x 20000 . "\r\n"))[0], 552, 'too large');
$line = last_one(5);
is("$line->{status} $line->{code} $line->{queue_id}", 'refused 552 ',
    'refused');
$c->cmd('MAIL FROM:<a@example.org>');
$c->cmd('RCPT TO:<b@example.net>');
$c->cmd('DATA');
$c->close();
is(last_one(6)->{status}, 'aborted', 'gone in the message');

# another file, none

$c = $t->client('other');
$c->ehlo();
is(($c->send_message('other@example.org', 'b@example.net', "S: x\r\n"))[0],
    250, 'sent');
is(last_one(1, 'other.log')->{from}, 'other@example.org', 'in its own log');
$c->quit();

$c = $t->client('off');
$c->ehlo();
is(($c->send_message('off@example.org', 'b@example.net', "S: x\r\n"))[0],
    250, 'sent');
$c->quit();

# logins, in all ways; each wrong one, too

my $plain = encode_base64("\0alice\@example.org\0$password", '');
my $bad = encode_base64("\0alice\@example.org\0$wrong", '');

$c = $t->client('auth');
$c->ehlo();
$c->check("AUTH PLAIN $bad", 535, 'wrong password');
$c->check('AUTH PLAIN', 334, 'plain');
$c->check($bad, 535, 'wrong password');
is(($c->auth_login('alice@example.org', $wrong))[0], 535, 'wrong by login');
$c->check("AUTH PLAIN $plain ", qr/^(235|501)/, 'space at the end');
$c->close();

$c = $t->client('auth');
$c->ehlo();
$c->check("AUTH PLAIN $plain", 235, 'login');
$c->cmd('MAIL FROM:<alice@example.org>');
$c->cmd('RCPT TO:<b@example.net>');
is(($c->send_data("Subject: x\r\n\r\nx\r\n"))[0], 250, 'sent');
is(last_one(7)->{login}, 'alice@example.org', 'login in the log');
$c->quit();

$c = $t->client('auth');
$c->ehlo();
is(($c->auth_login('alice@example.org', $password))[0], 235, 'by login');
$c->close();

# by mistakes of a client: the command misspelt, the line too long, with NUL,
# the password where no command is expected, the connection cut in between

$c = $t->client('auth');
$c->ehlo();
$c->check("AUHT PLAIN $plain", 500, 'misspelt');
$c->check("AUTH PLAIN$plain", qr/^50/, 'no space');
$c->check($plain, 500, 'no command');
$c->check("AUTH XOAUTH2 $plain", 504, 'other mechanism');
$c->check('AUTH LOGIN', 334, 'login');
$c->check("$password", qr/^501/, 'not in base64');
$c->check("NOOP $password " . 'x' x 5000, 500, 'too long');
$c->send_raw("AUTH PLAIN $plain\0\r\n");
is(($c->read_reply())[0], 500, 'nul');
$c->check('AUTH PLAIN', 334, 'plain');
$c->send_raw($plain);
$c->close(reset => 1);

# USR1

my $before = () = $t->read_file('smtp.log') =~ /\n/g;
rename $t->dir() . '/smtp.log', $t->dir() . '/smtp.log.1';
$t->usr1();

$c = $t->client('smtp');
$c->ehlo();
is(($c->send_message('new@example.org', 'b@example.net', "S: x\r\n"))[0],
    250, 'sent');
$c->quit();
is(last_one(1)->{from}, 'new@example.org', 'in the new file');
unlike($t->read_file('smtp.log.1'), qr/new\@example/, 'not in the old one');
cmp_ok((() = $t->read_file('smtp.log.1') =~ /\n/g), '>=', $before,
    'which is kept');

# all of it, to the end

$t->stop();

my $all = join '', map { $t->read_file($_) } qw/ smtp.log smtp.log.1 other.log /;
unlike($all, qr/off\@example/, 'no line of the server without log');

my $broken = 0;
my %members;
for ($all =~ /^(.*)\n/mg) {
    my $line = eval { JSON::PP->new->utf8->decode($_) };
    $line or $broken++, diag($_);
    $broken++, diag($_) if /[\x00-\x1f]/;
    $members{$line->{event}}{$_} = 1 for keys %$line;
}
is($broken, 0, 'every line is JSON, without controls');

# what is in a line is in the manual

open my $f, '<', "$Test::SMTPRelay::REPO/docs/directives.md" or die "$!";
my ($manual) = do { local $/; <$f> } =~ /^### smtp_log$(.*?)^### /ms;
my %tables;
@tables{qw/ transaction delivery /} = split /^A \*\*delivery\*\* /m, $manual;

for my $event (sort keys %tables) {
    my %told = map { $_ => 1 } map { /`(\w+)`/g }
        $tables{$event} =~ /^\| (`.*?) \|/mg;

    cmp_ok(scalar keys %told, '>', 12, "members of a $event in the manual");
    is(join(' ', grep { !$told{$_} } sort keys %{$members{$event}}), '',
        "all members of a $event are");
}

my $errors = $t->read_file('error.log');
like($errors, qr/smtp command: AUTH/, 'the error log is a debugging one');

for my $what ($password, $wrong, $plain, $bad, encode_base64($password, ''),
    encode_base64($wrong, ''), unpack('H*', $password))
{
    my $hint = substr $what, 0, 6;

    is(index($all, $what), -1, "not in smtp_log: $hint...");
    is(index($errors, $what), -1, "not in error_log: $hint...")
        or diag(grep { /\Q$what/ } split /^/m, $errors);
}

# what the spool has was sent without them

$t->done();
