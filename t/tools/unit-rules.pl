#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Writes the make rules of the C test programs.  A test program names the
# sources it links, and libraries, in comments of the form
#
#     sources: protocol/ngx_smtp_command.c protocol/ngx_smtp_address.c
#     libs: -lcrypt
#
# with paths relative to ngx_smtp_relay_module/.  A path that begins with t/
# is relative to the repository, and what that file names in the same way is
# linked too.  t/unit/shim.c and t/unit/shim_string.c are always linked.
#
#     unit-rules.pl <root> <out> <cc> <cflags> <ldflags> <source>...

use strict;
use warnings;

my ($root, $out, $cc, $cflags, $ldflags, @tests) = @ARGV;

my (%objects, @programs);

sub object {
    my ($source) = @_;

    (my $object = $source) =~ s!/!-!g;
    $object =~ s/\.c$/.o/;
    $objects{"$out/obj/$object"} = "$root/$source";

    return "$out/obj/$object";
}

# what a file names, and what those of t/ name: sources, then libraries

sub named {
    my ($file, $seen) = @_;

    open my $f, '<', "$root/$file" or die "$file: $!\n";
    my $text = do { local $/; <$f> };
    close $f;

    my (@sources, @libs);

    while ($text =~ m{\bsources:((?:\s+\*?\s*[\w/.-]+\.c\b)+)}g) {
        push @sources, $1 =~ m{([\w/.-]+\.c)\b}g;
    }

    while ($text =~ m{\blibs:((?:\s+-l[\w.+-]+)+)}g) {
        push @libs, $1 =~ m{(-l[\w.+-]+)}g;
    }

    @sources = grep { !$seen->{$_}++ }
        map { m{^t/} ? $_ : "ngx_smtp_relay_module/$_" } @sources;

    for my $source (@sources) {
        -f "$root/$source" or die "$file: no source $source\n";
    }

    for my $source (grep { m{^t/} } @sources) {
        my ($more, $libs) = named($source, $seen);

        push @sources, @$more;
        push @libs, @$libs;
    }

    return (\@sources, \@libs);
}

for my $test (@tests) {
    my ($sources, $libs) = named($test, {});
    my @sources = @$sources;
    my @libs = @$libs;

    my ($name) = $test =~ m{([^/]+)\.c$};
    my @obj = map { object($_) } $test, @sources, 't/unit/shim.c',
        't/unit/shim_string.c';

    push @programs, "$out/$name";

    print "$out/$name: @obj\n"
        . "\t$cc $cflags -o \$@ @obj @libs $ldflags\n\n";
}

for my $object (sort keys %objects) {
    print "$object: $objects{$object} $out/flags\n"
        . "\t$cc $cflags -MMD -c -o \$@ $objects{$object}\n\n";
}

print "all: @programs\n.PHONY: all\n.DEFAULT_GOAL := all\n";
print "-include \$(wildcard $out/obj/*.d)\n";
