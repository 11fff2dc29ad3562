#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Checks that docs/error-log.md tells of every line that a running nginx
# writes to its error log at level warn and above, and of no other.
#
#     log-lines.pl [root of the repository]
#
# Of each line the longest piece without values has to be there; what stands
# for a value there is "..." or N.  What nginx -t says, at emerg or in files of
# the configuration, explains itself.

use strict;
use warnings;

use File::Basename qw/ dirname /;

my $root = $ARGV[0] || dirname(__FILE__) . '/../..';
my $name = 'docs/error-log.md';
my $page = slurp("$root/$name");
my $doc = flat($page);
my $code = '';
my $found = 0;
my @missing;

for my $path (sort glob "$root/ngx_smtp_relay_module/*/*.c") {
    my $text = slurp($path);

    $text =~ s{/\*.*?\*/}{}gs;
    $text =~ s/"\s*\n\s*"//g;
    $code .= $text =~ s/\\"/"/gr;

    next if $path =~ m{/ngx_smtp_(?:redis_)?conf[^/]*\.c$};

    # a call, from the level to its end: all texts in it

    my $string = qr/"((?:[^"\\]|\\.)*)"/;

    while ($text =~ /\bNGX_LOG_(?:WARN|ERR|CRIT|ALERT)\b
        ((?:[^;"]|"(?:[^"\\]|\\.)*")*);/gx)
    {
        my $call = $1;

        while ($call =~ /$string/g) {
            my $line = $1;
            my ($piece) = sort { length $b <=> length $a }
                map { flat($_) } split /%[a-zA-Z]+|%\*s/, $line =~ s/\\"/"/gr;

            next if length($piece // '') < 12 || $piece !~ /\w \w/;

            $found++;
            push @missing, "$name does not have \"$piece\" ("
                    . $path =~ s{.*/}{}r . ")"
                if index($doc, $piece) < 0;
        }
    }
}

push @missing, 'no log lines were found' unless $found;

# the other way round: the first column of its tables

for my $cell ($page =~ /^\| (`.*?) \| /mg) {
    for my $line ($cell =~ /`([^`]+)`/g) {
        for my $piece (split /"?\.\.\."?|\bN\b|\d+/, $line) {
            # these words are put together when the line is written
            $piece = flat($piece) =~ s/^(?:failed, |while )//r;
            next if $piece =~ /\(\)/;

            push @missing, "$name: nothing writes \"$piece\""
                if length $piece >= 12 && index($code, $piece) < 0;
        }
    }
}

print map { "$_\n" } @missing;
exit(@missing ? 1 : 0);


sub flat {
    my ($text) = @_;

    $text =~ s/[\s`]+/ /g;

    return $text =~ s/^[ :;,"]+|[ :;,"]+$//gr;
}


sub slurp {
    my ($path) = @_;

    open my $f, '<', $path or die "$path: $!\n";
    local $/;

    return scalar <$f>;
}
