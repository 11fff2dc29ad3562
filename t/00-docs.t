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

# the lines of the error log: what is not in the manual, and what only is

my $code = 'ngx_log_error(NGX_LOG_%s, log, 0, "the disk \"%%V\" is quite "'
    . "\n    \"full; look at it\", &disk);\n";

my $lines = "| line | |\n|---|---|\n| `the disk \"...\" is quite full; look "
    . "at it` | as it says |\n";

log_lines('', 'good', 'CRIT', $lines);
log_lines(qr/does not have "is quite full; look at it"/, 'missing line',
    'WARN', $lines =~ s/quite//r);
log_lines(qr/nothing writes "is half full; look/, 'unknown line',
    'ERR', $lines =~ s/quite/half/r);
log_lines(qr/no log lines/, 'of no level to tell of', 'INFO', $lines);

is(`perl $root/t/tools/log-lines.pl $root`, '', 'lines of the error log');

# the format of the spool, its states and the rest of the manual are there

for my $name (qw/ directives variables architecture spool-format redis
    building operations error-log control /)
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

    my @dead = grep { !/^(?:https?|mailto):/ && !leads($path, $base, $_) }
        $text =~ /\]\(([^)\s]+)\)/g;

    is("@dead", '', 'links of ' . substr $path, 1 + length $root);
}

done_testing();


# a file, and a heading in it

sub leads {
    my ($path, $base, $link) = @_;
    my ($file, $anchor) = $link =~ /^([^#]*)#?(.*)$/;

    $file = length $file ? $base . $file : $path;

    return -e $file && (!length $anchor || anchors($file)->{$anchor});
}


# as they are made of headings: no marks, blanks to "-", the second one has -1

sub anchors {
    my ($path) = @_;
    our %anchors;

    return $anchors{$path} if $anchors{$path};

    my (%seen, $code);
    open my $f, '<', $path or die "$path: $!";

    while (<$f>) {
        $code = !$code if /^```/;
        next if $code || !/^#+ +(.*?)\s*$/;

        my $name = lc $1;
        $name =~ s/[^\w -]//g;
        $name =~ tr/ /-/;
        my $n = $seen{$name}++;
        $anchors{$path}{$n ? "$name-$n" : $name} = 1;
    }

    return $anchors{$path} //= {};
}


sub log_lines {
    my ($want, $name, $level, $text) = @_;

    put('ngx_smtp_relay_module/module/ngx_smtp_y.c', sprintf $code, $level);
    put('docs/error-log.md', $text);

    my $out = `perl $root/t/tools/log-lines.pl $dir`;

    ref $want ? like($out, $want, "log lines: $name is seen")
        : is($out, $want, "log lines: $name");
}


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
