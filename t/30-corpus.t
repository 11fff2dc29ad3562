#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Real mails arrive byte-identical below the added fields, by DATA and by
# BDAT; those with bare newlines get what smtp_bare_newline says.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;
use Test::SMTPRelay;

my $dir = testdata('mime');
plan(skip_all => 'no ../shared/testdata') unless $dir;

my $t = Test::SMTPRelay->new();

my $sink = $t->sink('mx');

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
worker_processes 2;
events { worker_connections 256; }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_mx%%;
    }

    server {
        listen 127.0.0.1:%%PORT_smtp%%;
        smtp_trust  127.0.0.0/8;
        smtp_max_hops  1000;
        smtp_enqueue   out;
    }
}
EOC

sub slurp {
    open my $fh, '<:raw', $_[0] or die "$_[0]: $!";
    local $/;
    return scalar <$fh>;
}

my $manifest = decode_json(slurp("$dir/manifest.json"));

my $c = $t->client('smtp');
$c->ehlo();

my (%sent, @refused, @taken);
my $n = 0;

for my $file (@$manifest) {
    my $mail = slurp("$dir/$file->{file}");
    $mail =~ s/\n/\r\n/g if $file->{eol} eq 'lf';
    $n++;

    if ($mail =~ /\r(?!\n)|(?<!\r)\n/) {
        my @reply = $c->send_message('a@example.org', "n$n\@example.net",
            $mail, $n % 2 ? (bdat => 10000) : ());
        push @refused, "$file->{file}: $reply[0]" if $reply[0] != 550;
        next;
    }

    my $want = $mail =~ /(\A|\r\n)\z/ ? $mail : "$mail\r\n";

    for my $way ([ 'data' ], [ 'bdat', bdat => 1 + ($n * 997) % 20000 ]) {
        my ($name, @opts) = @$way;
        my @reply = $c->send_message('a@example.org',
            "n$n-$name\@example.net", $mail,
            $mail =~ /[\x80-\xff]/ ? (mail => 'BODY=8BITMIME') : (), @opts);

        push @taken, "$file->{file}: $reply[0] $reply[1]"
            if $reply[0] != 250;
        $sent{"n$n-$name\@example.net"} = [ $file->{file}, $want ];
    }
}

is("@taken", '', "$n mails were taken");
is("@refused", '', 'those with bare newlines were refused');

$sink->wait_messages(scalar keys %sent, 60);

my @different;

for ($sink->messages()) {
    my ($file, $want) = @{delete $sent{$_->{rcpts}[0]} || [ 'twice', '' ]};

    my $added = length($_->{body}) - length($want);

    push @different, "$_->{rcpts}[0] $file" unless $added > 0
        && substr($_->{body}, $added) eq $want
        && substr($_->{body}, 0, $added)
            =~ /\AReceived: [^\r\n]*\r\n([ \t][^\r\n]*\r\n)*\z/;
}

is("@different", '', 'each arrived as it was sent, once');
is(join(' ', sort keys %sent), '', 'all arrived');

$c->quit();
$t->done();
