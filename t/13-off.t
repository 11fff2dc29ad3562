#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# "off": what is set for all of stream{} does not hold for one server{}.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64 qw/ encode_base64 /;
use Test::More;
use Test::SMTPRelay;

my $t = Test::SMTPRelay->new();

$t->write_file('accounts', 'alice ' . crypt('secret', '$6$abcdefgh') . "\n");

$t->write_conf(<<'EOC')->run();
%%GLOBALS%%
events { }

stream {
    smtp_queue out {
        spool     %%DIR%%/spool;
        spool_min_free 1m;
        next_hop  127.0.0.1:%%PORT_none%%;
        retry     1h;
    }

    smtp_hostname        mx.example.org;
    smtp_auth            plain login;
    smtp_auth_plaintext  on;
    smtp_accounts        file=accounts;
    smtp_domains         ours.example;
    smtp_trust           127.0.0.0/8;
    smtp_xclient         127.0.0.0/8;

    server {
        listen 127.0.0.1:%%PORT_all%%;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_none_of_it%%;
        smtp_auth    off;
        smtp_domains off;
        smtp_trust   off;
        smtp_xclient off;
        smtp_enqueue out;
    }

    server {
        listen 127.0.0.1:%%PORT_domains%%;
        smtp_auth    off;
        smtp_trust   off;
        smtp_enqueue out;
    }
}
EOC

my $plain = 'AUTH PLAIN ' . encode_base64("\0alice\0secret", '');

# offered in EHLO, AUTH, and three recipients, the last of a domain "off"

sub says {
    my ($name) = @_;

    my $c = $t->client($name);
    my $ehlo = $c->ehlo();

    my @r = map { exists $ehlo->{$_} ? 1 : 0 } qw/ AUTH XCLIENT /;

    push @r, map { ($c->cmd($_))[0] } $plain, 'RSET', 'MAIL FROM:<a@b.example>',
        map { "RCPT TO:<$_>" } 'x@ours.example', 'x@other.example', 'x@off',
            'postmaster';

    $c->quit();

    return "@r";
}

is(says('all'), '1 1 235 250 250 250 250 250 250', 'all of stream{}');
is(says('none_of_it'), '0 0 502 250 250 550 550 550 501', 'nothing of it');
is(says('domains'), '0 1 502 250 250 250 550 550 250', 'one of it');

$t->done();
