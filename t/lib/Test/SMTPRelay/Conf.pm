package Test::SMTPRelay::Conf;

# Copyright (C) ngx_smtp_relay_module authors

# The configuration that most tests of queued mail want: mail comes in at
# %%PORT_smtp%%, is queued in %%DIR%%/spool and goes to %%PORT_mx%%;
# smtp_status is at http://127.0.0.1:%%PORT_http%%/smtp/.
#
#     $t->write_conf(relay_conf())->run();
#
#     relay_conf(
#         workers => 2,                   # 1
#         events  => 'worker_connections 512;',
#         status  => 'control=on',        # parameters of smtp_status
#         queue   => { retry => '1s' },   # directives of smtp_queue "out",
#                                         # besides or instead of the usual
#         server  => { smtp_max_recipients => 5000 },     # of its server{}
#         main    => '...', http => '...', stream => '...');  # more of each
#
# An undefined value leaves a directive out.

use strict;
use warnings;

use Exporter qw/ import /;

our @EXPORT = qw/ relay_conf /;


sub relay_conf {
    my (%o) = @_;

    $_ //= '' for @o{qw/ events status main http stream /};

    my $workers = $o{workers} // 1;

    my $queue = directives($o{queue},
        spool => '%%DIR%%/spool', hostname => 'relay.test',
        next_hop => '127.0.0.1:%%PORT_mx%%', tls => 'off', retry => '1h');

    my $server = directives($o{server},
        listen => '127.0.0.1:%%PORT_smtp%%', smtp_trust => '127.0.0.0/8',
        smtp_enqueue => 'out');

    return <<"EOC";
%%GLOBALS%%
worker_processes $workers;
$o{main}

events { $o{events} }

http {
    access_log off;

    server {
        listen 127.0.0.1:%%PORT_http%%;
        location /smtp/ { smtp_status $o{status}; }
    }

    $o{http}
}

stream {
    smtp_queue out {
$queue
    }

    server {
$server
    }

    $o{stream}
}
EOC
}


# the usual ones, and what this test has

sub directives {
    my ($own, %usual) = @_;

    my %all = (%usual, %{$own || {}});

    return join "\n", map { "        $_ $all{$_};" }
        grep { defined $all{$_} } sort keys %all;
}


1;
