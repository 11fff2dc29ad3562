#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Checks that the layers of the module include downwards only:
#
#     protocol <- message, auth, queue <- core <- net, spool
#              <- server, relay <- module
#
# that the first four are pure (no I/O, events, clock, randomness, logging),
# that nginx_version appears in core/ngx_smtp_compat.h only and that ngx_mail.h
# is never included.  Prints what is wrong; exit status 1 then.
#
#     layers.pl [directory of the layers]

use strict;
use warnings;

use File::Basename qw/ basename dirname /;

my $dir = $ARGV[0] || dirname(__FILE__) . '/../../ngx_smtp_relay_module';

my %level = (protocol => 0, message => 1, auth => 1, queue => 1, core => 2,
    net => 3, spool => 3, server => 4, relay => 4, module => 5);

my %pure = map { $_ => 1 } qw/ protocol message auth queue /;

# of nginx, pure code may include these two, and what they bring
my %pure_includes = map { $_ => 1 } qw/ ngx_config.h ngx_core.h /;

my $impure = qr/(
    ngx_log_(?:error|debug\d?|abort|stderr) | ngx_(?:http_|cookie_)?time
    | ngx_timeofday | ngx_random | ngx_add_timer | ngx_del_timer
    | ngx_post_event | ngx_open_\w+ | ngx_(?:read|write|close|delete)_\w+
    | s?random | srand | rand | time | gettimeofday | clock_gettime
    | getrandom | RAND_(?:priv_)?bytes | open | openat | fopen | read | write
    | pread | pwrite | socket | connect | send | recv | select | poll | sleep
    | usleep | getenv | printf | fprintf | getaddrinfo | gethostbyname
    | localtime(?:_r)?
)\s*\(/x;

my @errors;
my %home;

for my $path (glob "$dir/*/*.[ch]") {
    my $layer = basename(dirname($path));

    push @errors, "$path: no such layer: $layer"
        unless exists $level{$layer};

    push @errors, "$path: two headers of this name, also in $home{$1}"
        if basename($path) =~ /^(.*\.h)$/ && $home{$1};

    $home{basename($path)} = $layer if $path =~ /\.h$/;

    push @errors, "$path: file names begin with ngx_smtp_"
        unless basename($path) =~ /^ngx_smtp_/;
}

for my $path (sort glob "$dir/*/*.[ch]") {
    my $layer = basename(dirname($path));
    next unless exists $level{$layer};

    open my $f, '<', $path or die "$path: $!\n";
    my $text = do { local $/; <$f> };

    # comments and strings are blanked, lines stay
    $text =~ s{(/\*.*?\*/|"(?:[^"\\\n]|\\.)*")}
              {my $s = $1; my $keep = $s =~ /^"/ && $s =~ /\.h"$/;
               $s =~ s![^\n]! !g unless $keep; $s}gse;

    my $n = 0;

    for (split /\n/, $text) {
        $n++;

        if (/^\s*#\s*include\s+"([^"]+)"/) {
            my $header = $1;
            my $target = $home{$header};

            if (!defined $target) {
                push @errors, "$path:$n: no header $header in any layer";

            } elsif ($target ne $layer && $level{$target} >= $level{$layer}) {
                push @errors, "$path:$n: $layer must not include $header"
                    . " of $target";
            }
        }

        if (/^\s*#\s*include\s+<([^>]+)>/) {
            my $header = $1;

            push @errors, "$path:$n: ngx_mail.h is another subsystem's"
                if $header =~ /^ngx_mail/;

            push @errors, "$path:$n: $layer is pure, but includes $header"
                if $pure{$layer} && $header =~ /^ngx_/
                    && !$pure_includes{$header};
        }

        push @errors, "$path:$n: nginx_version outside of ngx_smtp_compat.h"
            if /\bnginx_version\b/
                && basename($path) ne 'ngx_smtp_compat.h';

        if ($pure{$layer} && /(?<!->)(?<![.\w])$impure/) {
            push @errors, "$path:$n: $layer is pure, but calls $1()";
        }
    }
}

print map { "$_\n" } @errors;
exit(@errors ? 1 : 0);
