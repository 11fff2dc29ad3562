#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Checks that docs/directives.md and docs/variables.md have an entry for every
# directive and variable of the module, and for nothing else.  The entries'
# form is described at the top of these files.
#
#     docs-check.pl [root of the repository]
#
# Directives come from the ngx_command_t tables under module/.  A table whose
# entries have stream contexts holds directives of stream{} and server{};
# any other, ngx_smtp_<name>_commands, those of the block smtp_<name>{}.
# Variables come from the ngx_stream_variable_t tables.

use strict;
use warnings;

use File::Basename qw/ basename dirname /;

my $root = $ARGV[0] || dirname(__FILE__) . '/../..';

my (%directives, %variables, @errors);

for my $path (sort glob "$root/ngx_smtp_relay_module/module/*.c") {
    open my $f, '<', $path or die "$path: $!\n";
    my $text = do { local $/; <$f> };

    $text =~ s{/\*.*?\*/}{}gs;

    while ($text =~ /\bngx_command_t\s+(\w+)\s*\[\]\s*=\s*\{(.*?)\n\};/gs) {
        my ($table, $body) = ($1, $2);

        while ($body =~ /\{\s*ngx_string\("(\w+)"\),\s*([^,]+),/g) {
            my ($name, $flags) = ($1, $2);
            my @contexts;

            push @contexts, 'main' if $flags =~ /\bNGX_MAIN_CONF\b/;
            push @contexts, 'stream' if $flags =~ /NGX_STREAM_MAIN_CONF/;
            push @contexts, 'server' if $flags =~ /NGX_STREAM_SRV_CONF/;
            push @contexts, 'upstream' if $flags =~ /NGX_STREAM_UPS_CONF/;
            push @contexts, 'location' if $flags =~ /NGX_HTTP_LOC_CONF/;

            my $block = '';

            unless (@contexts) {
                ($block) = $table =~ /^ngx_(smtp_\w+)_commands$/;
                push @errors, "$path: table $table has no block"
                    unless $block;
                $block //= '';
                @contexts = $block;
            }

            $directives{"$block/$name"} = { name => $name,
                contexts => \@contexts, file => basename($path) };
        }
    }

    while ($text
        =~ /\bngx_stream_variable_t\s+\w+\s*\[\]\s*=\s*\{(.*?)\n\};/gs)
    {
        my $body = $1;

        while ($body =~ /\{\s*ngx_string\("(\w+)"\)/g) {
            $variables{"\$$1"} = basename($path);
        }
    }
}

# directives

my $doc = 'docs/directives.md';
my $block = '';
my %seen;

for my $part (parts("$root/$doc")) {
    my ($title, $text, $line) = @$part;

    if ($title =~ /^## /) {
        $block = $title =~ /^## Directives of `?(\w+)`?/ ? $1 : '';
        next;
    }

    $title =~ /^### `?(\w+)`?\s*$/ or do {
        push @errors, "$doc:$line: \"$title\" is not the name of a directive";
        next;
    };

    my $name = $1;
    my $d = $directives{"$block/$name"};
    my $in = $block ? " in $block" : '';

    if (!$d) {
        push @errors, "$doc:$line: there is no directive $name$in";
        next;
    }

    push @errors, "$doc:$line: $name$in is there twice"
        if $seen{"$block/$name"}++;

    my %field = $text =~ /^\*\*(Syntax|Default|Context):\*\*\s*(.+?)\s*$/mg;

    for my $key (qw/ Syntax Default Context /) {
        push @errors, "$doc:$line: $name$in has no $key"
            unless defined $field{$key};
    }

    push @errors, "$doc:$line: the Syntax of $name$in is not `$name ...;` or"
            . " `$name ... { ... }`"
        if defined $field{Syntax}
            && $field{Syntax} !~ /^`\Q$name\E\b.*[;}]`/;

    push @errors, "$doc:$line: the Default of $name$in is neither `-` nor"
            . " `$name ...;`"
        if defined $field{Default}
            && $field{Default} !~ /^(?:-|`\Q$name\E .*;`)/;

    if (defined $field{Context}) {
        my @have = sort $field{Context} =~ /(\w+)/g;
        my @want = sort @{$d->{contexts}};

        push @errors, "$doc:$line: the Context of $name$in is "
                . join(', ', @{$d->{contexts}})
            if "@have" ne "@want";
    }

    (my $prose = $text) =~ s/^\*\*\w+:\*\*.*$//mg;

    push @errors, "$doc:$line: $name$in has no description"
        unless $prose =~ /\w/;
}

for my $key (sort keys %directives) {
    my ($b, $name) = split m{/}, $key;

    push @errors, "$doc: no entry for $name" . ($b ? " in $b" : '')
            . " ($directives{$key}{file})"
        unless $seen{$key};
}

# variables

$doc = 'docs/variables.md';
%seen = ();

for my $part (parts("$root/$doc")) {
    my ($title, $text, $line) = @$part;

    next if $title =~ /^## /;

    my @names = $title =~ /(\$\w+)/g;

    push @errors, "$doc:$line: \"$title\" names no variable" unless @names;

    for my $name (@names) {
        push @errors, "$doc:$line: there is no variable $name"
            unless $variables{$name};
        push @errors, "$doc:$line: $name is there twice" if $seen{$name}++;
    }

    push @errors, "$doc:$line: @names: no description" unless $text =~ /\w/;
}

for my $name (sort keys %variables) {
    push @errors, "$doc: no entry for $name ($variables{$name})"
        unless $seen{$name};
}

print map { "$_\n" } @errors;
exit(@errors ? 1 : 0);


# The level 2 and 3 headings, what follows each, and its line; code blocks
# and comments hold no headings.

sub parts {
    my ($path) = @_;

    open my $f, '<', $path or do {
        push @errors, "$path: $!";
        return;
    };

    my (@parts, $code, $comment);

    while (<$f>) {
        $code = !$code if /^```/;
        $comment = 1 if /^<!--/;

        if ($comment) {
            $comment = 0 if /-->/;
            next;
        }

        if (!$code && /^###? /) {
            chomp;
            push @parts, [ $_, '', $. ];

        } elsif (@parts) {
            $parts[-1][1] .= $_;
        }
    }

    return @parts;
}
