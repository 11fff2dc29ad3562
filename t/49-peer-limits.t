#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# A next hop that takes fewer recipients at a time than it is named, and one
# without SMTPUTF8: nobody waits, and nothing is returned, that need not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

# three recipients for a transaction; "hard" hangs up when it is named more

my $few = $t->sink('few', ehlo => [ 'PIPELINING', '8BITMIME' ], replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return @{$s->{rcpts}} == 3 ? '452 4.5.3 too many recipients' : undef;
    },
});

my $hard = $t->sink('hard', ehlo => [], replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return undef if @{$s->{rcpts}} < 3;
        return $s->{errors}++ < 2 ? '452 4.5.3 too many recipients'
            : '421 4.7.0 too many errors';
    },
});

my $ascii = $t->sink('ascii', ehlo => [ 'PIPELINING', '8BITMIME' ],
    replies => {
        MAIL => sub {
            my ($s, $arg) = @_;
            return '451 4.3.0 later'
                if $arg =~ /<later/ && $s->count('later') == 1;
            return undef;
        },
    });

my $queues = join '', map { <<"EOC" } qw/ few hard ascii /;
    smtp_queue $_ {
        spool     %%DIR%%/spool;
        hostname  relay.test;
        next_hop  127.0.0.1:%%PORT_$_%%;
        tls       off;
        retry     2s 10m;
    }

    server {
        listen        127.0.0.1:%%PORT_to-$_%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  $_;
    }

EOC

$queues =~ s/%%PORT_([\w-]+)%%/$t->port($1)/ge;

$t->write_conf(<<"EOC")->run(listen => []);
%%GLOBALS%%

worker_processes 1;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

$queues
}
EOC

my $message = "Subject: x\r\n\r\nx\r\n";
my @to = map { "r$_\@to.test" } 1 .. 11;

sub attempts {
    my ($id, $n) = @_;

    my @lines;

    wait_for(sub {
        my %done;
        @lines = $t->deliveries($id, sub { 1 });
        for my $line (@lines) {
            $_->{status} eq 'delivered' and $done{$_->{to}}++
                for $line->{results} ? @{$line->{results}}
                    : map { { to => $_, status => $line->{status} } }
                        @{$line->{to}};
        }
        keys %done == $n;
    }, 30, "all results of $id");

    return @lines;
}

# too many for one transaction: the others follow in the same attempt

my $id = $t->submit('to-few', 'a@from.test', \@to, $message);
my @lines = attempts($id, 11);

is(join(' ', map { $_->{attempt} } @lines), '1 1 1 1', 'in one attempt');
is_deeply([ map { @{$_->{rcpts}} } $few->messages() ], \@to,
    'each recipient once');
is(join(' ', map { scalar @{$_->{rcpts}} } $few->messages()), '3 3 3 2',
    'in four transactions');
is(scalar(grep { /^\d+ RCPT/ } $few->commands()), 19,
    'the first time all are named, then as many as it takes');

# hung up over them: the next attempt names no more than it took

$id = $t->submit('to-hard', 'a@from.test', \@to, $message);
@lines = attempts($id, 11);

is(join(' ', map { "$_->{attempt}-$_->{status}" } @lines),
    '1-deferred 2-delivered 2-delivered 2-delivered 2-delivered',
    'all in the second attempt');
is_deeply([ sort map { @{$_->{rcpts}} } $hard->messages() ], [ sort @to ],
    'each recipient once');

# SMTPUTF8 that is not needed: tried again, and of a large message that was
# never in memory

$id = $t->submit('to-ascii', 'later@from.test', 'b@to.test', $message,
    mail => 'SMTPUTF8');
@lines = attempts($id, 1);
is(join(' ', map { "$_->{attempt}-$_->{status}" } @lines),
    '1-deferred 2-delivered', 'SMTPUTF8 not needed: not at a retry either');

my $large = "Subject: large\r\n\r\n" . ("\xc3\xa4" x 38 . "\r\n") x 20000;

$id = $t->submit('to-ascii', 'a@from.test', 'large@to.test', $large,
    mail => 'SMTPUTF8');
@lines = attempts($id, 1);
is($lines[0]{status}, 'delivered', 'of a large one');
my ($m) = $ascii->received('large@to.test');
ok($m && substr($m->{body}, -length $large) eq $large, 'which is as it was');

# ... and what needs it fails

$id = $t->submit('to-ascii', 'a@from.test', 'c@to.test',
    "Subject: \xc3\xa4\r\n\r\n" . ('x' x 70 . "\r\n") x 20000,
    mail => 'SMTPUTF8');
my ($line) = $t->deliveries($id, sub { !$_->{report} });
like($line->{reply}, qr/^5\.6\.7 /, 'needed: fails');

$t->done();
