#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The parts "million" and "rows" of the benchmark, very small: each figure is
# there.  What it is says nothing here.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();
my $bench = "$FindBin::Bin/bench";

$t->skip_all('not with sanitizers: there is nothing to measure')
    if $ENV{TEST_SANITIZE};
$t->skip_all('no smtp-sink and smtp-source: install postfix')
    if grep { !program($_) } qw/ smtp-sink smtp-source /;

is(system("$bench/build", $t->dir() . '/bench'), 0, 'tools')
    or BAIL_OUT('cannot build');

my @common = ('--nginx', $ENV{TEST_NGINX_BINARY} || program('nginx'),
    '--module', $ENV{TEST_SMTP_MODULE}, '--build', $t->dir(),
    '--dir', $t->dir());

# a queue in two segments at least, one for each worker

my $r = bench('million', qw/ --queue 400 --messages 60 --runs 1 --sessions 5
    --settle 0 --own-cache /);

is_deeply([ map { $_->{name} } @{$r->{checks}} ], [ 'memory of a message',
    'recovery, cold', 'memory of a recovered message',
    'accept beside it / empty', 'delivery beside it / empty',
    'a page of the queue', 'a page by domain', 'a page by error',
    'a page by sender', 'a page by state' ], 'million: what is judged');

for my $name ('leaving',
    map { "$_ all" } qw/ hold release requeue flush delete /)
{
    like($r->{figures}{$name}, qr/^\d/, "million: figure \"$name\"");
}

cmp_ok($r->{figures}{'recovery, cold'}, '>', 0, 'million: recovery takes time');

$r = bench('rows', '--sessions', '1,3', '--sizes', '1024,102400',
    '--seconds', 1);

is_deeply([ map { "$_->{size} $_->{sessions}" } @{$r->{rows}} ],
    [ '1024 1', '1024 3', '102400 1', '102400 3' ], 'rows: all of them');

for my $row (@{$r->{rows}}) {
    cmp_ok($row->{rate}, '>', 0, 'rows: rate');
    cmp_ok($row->{p99_ms}, '>=', $row->{p50_ms}, 'rows: percentiles');
}

is_deeply([ map { $_->{name} } @{$r->{checks}} ], [ '100 KB, the best row' ],
    'rows: what is judged');

$t->done();


sub program {
    return (grep { -x } map { "$_/$_[0]" } split(/:/, $ENV{PATH}),
        '/usr/sbin', '/usr/local/sbin')[0];
}


sub bench {
    my ($part, @options) = @_;
    my $json = $t->dir() . "/$part.json";
    my ($status, $out) = $t->command({ timeout => 300 }, $^X,
        "$bench/$part", @common, @options, '--json', $json);

    is($status, 0, "$part: runs") or diag($out);

    return decode_json($t->read_file("$part.json"));
}
