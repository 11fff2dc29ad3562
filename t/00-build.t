#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# The shared object, and what config refuses: one line that says what to do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();
my $repo = $Test::SMTPRelay::REPO;
my $dir = $t->dir();

# the module

$t->accepted("%%GLOBALS%%\nevents { }\nstream { }\n", 'module loads');

my ($status, $out) = $t->command('nm', '-D', '--defined-only', $t->{module});
is_deeply([ sort $out =~ /^\S+ \w (\S+)$/mg ],
    [ qw/ ngx_module_names ngx_module_order ngx_modules / ],
    'exported symbols');

my ($ldd) = ($t->command('ldd', $t->{module}))[1];
unlike($ldd, qr/libssl|libcrypto\.so/, 'no second OpenSSL');

# config, sourced as configure does, with the answers of its options given:
# a whole configure takes seconds

my $src = $ENV{TEST_NGX_SRC} || '/usr/share/nginx/src';
my $cc = ($t->version() =~ /clang/) ? 'clang' : 'gcc';

# a compiler that has not the library

for my $lib (qw/ hiredis cares crypt /) {
    $t->write_file("cc-no-$lib", <<"EOF");
#!/bin/sh
for arg; do
    test "\$arg" = -l$lib && exit 1
done
exec $cc "\$@"
EOF
    chmod 0755, "$dir/cc-no-$lib";
}

$t->write_file('configure', <<'EOF');
cd $1
NGX_OBJS=$2/objs
mkdir -p $NGX_OBJS
NGX_AUTOCONF_ERR=$NGX_OBJS/autoconf.err
NGX_AUTOTEST=$NGX_OBJS/autotest
NGX_AUTO_CONFIG_H=$NGX_OBJS/ngx_auto_config.h
NGX_INCLUDE_UNISTD_H='#include <unistd.h>'
ngx_n=-n
ngx_c=
ngx_addon_dir=$3
STREAM_MODULES="ngx_stream_module ngx_stream_ssl_module"
shift 3
eval "$@"
. $ngx_addon_dir/config
echo
echo "names: $ngx_module_name"
echo "stream: $STREAM_MODULES"
EOF

my $defaults = 'STREAM=YES STREAM_SSL=YES USE_THREADS=YES '
    . "ngx_module_link=DYNAMIC CC=$cc";

($status, $out) = configure('');
is($status, 0, 'config') or diag($out);
like($out, qr/names: ngx_smtp_relay_module ngx_smtp_starttls_module$/m,
    'two modules');

($status, $out) = configure('ngx_module_link=ADDON');
is($status, 0, 'static config') or diag($out);
like($out, qr/ ngx_smtp_starttls_module ngx_stream_ssl_module\b/,
    'static order');
is(() = $out =~ /stream:.*ngx_smtp_starttls_module/g, 1, 'once');

refuses('STREAM=NO', qr/needs the stream module: add --with-stream$/,
    'without stream');
refuses('STREAM_SSL=NO', qr/add --with-stream_ssl_module$/,
    'without stream ssl');
refuses('USE_THREADS=NO', qr/add --with-threads$/, 'without threads');
refuses('STREAM=DYNAMIC ngx_module_link=ADDON',
    qr/cannot be linked statically when stream is dynamic/,
    'static in a dynamic stream');

refuses("CC=$dir/cc-no-hiredis", qr/install libhiredis-dev/,
    'without hiredis');
refuses("CC=$dir/cc-no-cares", qr/install libc-ares-dev/, 'without c-ares');
refuses("CC=$dir/cc-no-crypt", qr/install libcrypt-dev/, 'without libcrypt');

# libraries in another place

my %where = (HIREDIS => 'hiredis', CARES => 'cares', LIBCRYPT => 'crypt');

for my $var (sort keys %where) {
    mkdir "$dir/$var";

    ($status, $out) = $t->command({ env => { "${var}_INC" => "$dir/$var",
        "${var}_LIB" => "$dir/$var" } }, 'sh', '-c',
        ". $dir/configure; echo \"incs: \$CORE_INCS\";"
        . " eval echo \"libs: \\\$ngx_smtp_relay_module_LIBS\"", 'configure',
        $src, "$dir/override", $repo, $defaults);

    like($out, qr{incs:.* \Q$dir/$var\E\b}, "${var}_INC");
    like($out, qr{libs:.*-L\Q$dir/$var\E .*-l$where{$var}\b}, "${var}_LIB");
}

# and once the real configure, which stops before it writes a Makefile

mkdir "$dir/tree";

for (qw/ auto src conf contrib man docs html configure /) {
    symlink "$src/$_", "$dir/tree/$_" if -e "$src/$_";
}

symlink 'auto/configure', "$dir/tree/configure"
    unless -e "$dir/tree/configure";

($status, $out) = $t->command('sh', '-c', "cd $dir/tree && ./configure"
    . " --without-http --without-pcre --with-threads"
    . " --add-dynamic-module=$repo --builddir=$dir/real");

isnt($status, 0, 'configure without stream');
like($out, qr/^\S+configure: error: .* needs the stream module: .*\Z/m,
    'its last line says so');
ok(!-e "$dir/real/Makefile", 'and no Makefile');

$t->done();


sub configure {
    my ($changes) = @_;

    return $t->command('sh', "$dir/configure", $src, "$dir/build", $repo,
        "$defaults $changes");
}


sub refuses {
    my ($changes, $re, $name) = @_;

    my ($status, $out) = configure($changes);

    # "checking for ..." of the features tried before may precede it
    my @lines = grep { !/^(checking for|$)/ } split /\n/, $out;

    is($status >> 8, 1, "$name: refused");
    is(scalar @lines, 1, "$name: in one line") or diag($out);
    like($lines[-1] // '', $re, "$name: with the remedy");
}
