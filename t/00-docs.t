#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Every directive and every variable is documented, and nothing else is.  The
# checker is tried on a small module first.

use strict;
use warnings;

use FindBin;
use File::Path qw/ make_path /;
use File::Temp qw/ tempdir /;
use Test::More;

my $root = "$FindBin::Bin/..";
my $tool = "$root/t/tools/docs-check.pl";
my $dir = tempdir(CLEANUP => 1);

make_path("$dir/ngx_smtp_relay_module/module", "$dir/docs");

put('ngx_smtp_relay_module/module/ngx_smtp_x.c', <<'EOF');
static ngx_conf_enum_t  x[] = { { ngx_string("off"), 0 } };
static ngx_command_t  ngx_smtp_relay_commands[] = {

    { ngx_string("smtp_one"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      0 },

    /* { ngx_string("smtp_gone"), NGX_STREAM_SRV_CONF, 0 }, */

    ngx_null_command
};
static ngx_command_t  ngx_smtp_queue_commands[] = {
    { ngx_string("spool"), NGX_CONF_TAKE1, 0 },
    ngx_null_command
};
static ngx_stream_variable_t  vars[] = {
    { ngx_string("smtp_var"), NULL, 0 },
      ngx_stream_null_variable
};
EOF

my $directives = <<'EOF';
# Directives

### smtp_one

**Syntax:** `smtp_one on | off;`
**Default:** `smtp_one off;`
**Context:** stream, server

Text.

## Directives of smtp_queue

### spool

**Syntax:** `spool path;`
**Default:** -
**Context:** smtp_queue

Text.
EOF

my $variables = "# Variables\n\n### \$smtp_var\n\nText.\n";

check('', 'good', $directives, $variables);
check(qr/no entry for smtp_one/, 'missing directive',
    $directives =~ s/### smtp_one.*?(?=##)//sr, $variables);
check(qr/no entry for spool in smtp_queue/, 'missing in a block',
    $directives =~ s/### spool.*//sr, $variables);
check(qr/no directive smtp_two/, 'unknown directive',
    "$directives\n## More\n\n### smtp_two\n", $variables);
check(qr/no directive smtp_gone/, 'removed directive',
    "$directives\n## More\n\n### smtp_gone\n", $variables);
check(qr/no directive spool\n/, 'outside of its block',
    $directives =~ s/## Directives of.*?\n//r, $variables);
check(qr/Context of smtp_one is stream, server/, 'wrong context',
    $directives =~ s/stream, server/stream/r, $variables);
check(qr/smtp_one has no Default/, 'no default',
    $directives =~ s/\*\*Default.*?\n//r, $variables);
check(qr/Default of smtp_one/, 'wrong default',
    $directives =~ s/`smtp_one off;`/off/r, $variables);
check(qr/Syntax of spool in smtp_queue/, 'wrong syntax',
    $directives =~ s/`spool path;`/`pool path;`/r, $variables);
check(qr/smtp_one has no description/, 'no description',
    $directives =~ s/Text\.//r, $variables);
check(qr/no entry for \$smtp_var/, 'missing variable', $directives, '# V');
check(qr/no variable \$smtp_other/, 'unknown variable', $directives,
    "$variables\n### \$smtp_other\n\nText.\n");

is(`perl $tool $root`, '', 'directives and variables');

# the format of the spool, its states and the rest of the manual are there

for my $name (qw/ directives variables architecture spool-format redis
    building /)
{
    ok(-s "$root/docs/$name.md", "docs/$name.md");
}

# links between our documents lead somewhere

for my $path (glob("$root/*.md"), glob("$root/docs/*.md"),
    glob("$root/docs/*/*.md"))
{
    open my $f, '<', $path or die "$path: $!";
    my $text = do { local $/; <$f> };
    (my $base = $path) =~ s{[^/]*$}{};

    my @dead = grep { !/^(?:https?|mailto):|^#/ && !-e $base . s/#.*//r }
        $text =~ /\]\(([^)\s]+)\)/g;

    is("@dead", '', 'links of ' . substr $path, 1 + length $root);
}

done_testing();


sub check {
    my ($want, $name, $d, $v) = @_;

    put('docs/directives.md', $d);
    put('docs/variables.md', $v);

    my $out = `perl $tool $dir`;

    ref $want ? like($out, $want, "checker: $name is seen")
        : is($out, $want, "checker: $name");
}


sub put {
    my ($name, $text) = @_;
    open my $f, '>', "$dir/$name" or die "$name: $!";
    print $f $text;
    close $f;
}
