#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Checks what of the code style a machine can: lines of at most 79 columns, no
# tabs, no trailing blanks, no // comments, a copyright line first, include
# guards, two blank lines between functions, functions of at most 150 lines
# and files of at most 1,200.  Beyond 80 and 900 lines it only notes (-v).
#
#     style.pl [-v] file...

use strict;
use warnings;

use File::Basename qw/ basename /;

my $verbose = @ARGV && $ARGV[0] eq '-v' && shift;

my (@errors, @notes);

for my $path (@ARGV) {
    open my $f, '<:raw', $path or die "$path: $!\n";
    my $text = do { local $/; <$f> };
    my @lines = split /\n/, $text, -1;

    my $last = pop @lines;
    push @errors, "$path: no line feed at the end" if $last ne '';
    push @errors, "$path: blank line at the end"
        if @lines && $lines[-1] eq '';

    push @errors, "$path: no copyright line first"
        unless $text =~ m{\A\n?/\*\n \* Copyright \(C\) ngx_smtp_relay_};

    push @errors, "$path: " . @lines . " lines" if @lines > 1200;
    push @notes, "$path: " . @lines . " lines"
        if @lines > 900 && @lines <= 1200;

    # comments and strings are blanked, lines stay
    my $code = $text;
    $code =~ s{(/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)+')}
              {my $s = $1; $s =~ s![^\n]!_!g; $s}gse;

    my @code = split /\n/, $code, -1;
    my ($start, $blank) = (0, 2);

    for my $i (0 .. $#lines) {
        local $_ = $lines[$i];
        my $at = "$path:" . ($i + 1);

        push @errors, "$at: tab" if /\t/;
        push @errors, "$at: carriage return" if /\r/;
        push @errors, "$at: trailing blank" if / $/;
        push @errors, "$at: " . length() . " columns" if columns($_) > 79;
        push @errors, "$at: // comment" if $code[$i] =~ m{//};

        # a function: its opening brace is alone in the first column

        if ($code[$i] eq '{' && $i && $code[$i - 1] =~ /[\w)*]\s*$/) {
            $start = $i;
        }

        if ($code[$i] eq '}' && $start) {
            my $n = $i - $start + 1;

            push @errors, "$at: function of $n lines" if $n > 150;
            push @notes, "$at: function of $n lines" if $n > 80 && $n <= 150;
            $start = 0;

            my ($next) = grep { $_ > $#lines || $lines[$_] ne '' }
                $i + 1 .. $#lines + 1;

            push @errors, "$at: not two blank lines after a function"
                if $next <= $#lines && $next - $i != 3
                    && $lines[$next] !~ /^#/;
        }
    }

    if ($path =~ /\.h$/) {
        (my $guard = uc basename($path)) =~ s/\W/_/g;

        push @errors, "$path: no guard _${guard}_INCLUDED_"
            unless $text =~ /^#ifndef (_\w*${guard}_INCLUDED_)\n#define \1$/m;
    }
}

print map { "$_\n" } @errors;
print map { "note: $_\n" } @notes if $verbose;
exit(@errors ? 1 : 0);


# UTF-8 in comments counts by characters

sub columns {
    my ($line) = @_;
    utf8::decode($line);
    return length $line;
}
