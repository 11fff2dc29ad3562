#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Code style, and the direction of includes between the layers.  The checkers
# are tried on bad input first.

use strict;
use warnings;

use FindBin;
use File::Path qw/ make_path /;
use File::Temp qw/ tempdir /;
use Test::More;

my $root = "$FindBin::Bin/..";
my $tools = "$root/t/tools";
my $dir = tempdir(CLEANUP => 1);

# each layer rule, broken on purpose

my %bad = (
    'upward include' =>
        [ 'protocol', '#include "ngx_smtp_b.h"', qr/must not include/ ],
    'sideways include' =>
        [ 'net', '#include "ngx_smtp_c.h"', qr/must not include/ ],
    'unknown header' =>
        [ 'module', '#include "ngx_smtp_none.h"', qr/no header/ ],
    'mail' => [ 'module', '#include <ngx_mail.h>', qr/subsystem/ ],
    'events in a pure layer' =>
        [ 'queue', '#include <ngx_event.h>', qr/is pure/ ],
    'time in a pure layer' =>
        [ 'auth', '    now = ngx_time();', qr/calls ngx_time/ ],
    'log in a pure layer' =>
        [ 'message', '    ngx_log_error(1, log, 0, "x");', qr/calls ngx_log/ ],
    'version' => [ 'relay', '#if (nginx_version < 1)', qr/nginx_version/ ],
);

for my $name (sort keys %bad) {
    my ($layer, $line, $re) = @{$bad{$name}};
    (my $sub = "$dir/$name") =~ s/ /-/g;

    make_path("$sub/$layer", "$sub/server", "$sub/spool");
    put("$sub/server/ngx_smtp_b.h", '');
    put("$sub/spool/ngx_smtp_c.h", '');
    put("$sub/$layer/ngx_smtp_a.c", "$line\n");

    like(`perl $tools/layers.pl $sub`, $re, "layers: $name is seen");
}

make_path("$dir/good/protocol", "$dir/good/core");
put("$dir/good/protocol/ngx_smtp_b.h", "");
put("$dir/good/core/ngx_smtp_a.c",
    "#include \"ngx_smtp_b.h\"\n/* nginx_version, ngx_time() */\n");
is(`perl $tools/layers.pl $dir/good`, '', 'layers: good ones pass');

my $head = "\n/*\n * Copyright (C) ngx_smtp_relay_module authors\n */\n\n\n";
my $func = "void\nf(void)\n{\n%s}\n";

my %ugly = (
    'tab' => [ "\tx;\n", qr/: tab/ ],
    'trailing blank' => [ "x; \n", qr/trailing/ ],
    'long line' => [ 'x' x 80 . "\n", qr/80 columns/ ],
    '// comment' => [ "x; // y\n", qr/comment/ ],
    'one blank line' => [ sprintf($func, '') . "\n" . sprintf($func, ''),
        qr/two blank/ ],
    'long function' => [ sprintf($func, "    x;\n" x 150), qr/function of/ ],
    'long file' => [ "\n\nint  x;\n" x 500, qr/lines/ ],
    'no line feed' => [ 'x', qr/line feed/ ],
);

for my $name (sort keys %ugly) {
    put("$dir/a.c", $head . $ugly{$name}[0]);
    like(`perl $tools/style.pl $dir/a.c`, $ugly{$name}[1],
        "style: $name is seen");
}

put("$dir/a.c", "int  x;\n");
like(`perl $tools/style.pl $dir/a.c`, qr/copyright/, 'style: no copyright');

put("$dir/a.c", $head . "char  *s = \"// no comment\";\n\n\n"
    . sprintf($func, "    x;\n" x 140));
is(`perl $tools/style.pl $dir/a.c`, '', 'style: good files pass');

# ours

my @files = map { glob "$root/$_" } 'ngx_smtp_relay_module/*/*.[ch]',
    't/unit/*.[ch]', 't/fuzz/*.[ch]', 't/bench/*.[ch]';

cmp_ok(scalar @files, '>', 3, 'there are sources');
is(`perl $tools/layers.pl`, '', 'layers');
is(join('', `perl $tools/style.pl @files`), '', 'style');

# Perl and the build scripts: tabs and line length only

for my $path (map { glob "$root/$_" } 'config', '.ci/run', 't/00*.t',
    't/lib/Test/*.pm', 't/lib/Test/*/*.pm', 't/tools/*')
{
    next unless -f $path;

    open my $f, '<:encoding(UTF-8)', $path or die "$path: $!";
    my @bad = grep { /[^\S\n]$|.{80}/ } <$f>;
    is(join('', @bad), '', substr $path, 1 + length $root);
}

done_testing();


sub put {
    my ($path, $text) = @_;
    open my $f, '>', $path or die "$path: $!";
    print $f $text;
    close $f;
}
