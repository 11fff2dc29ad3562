package Test::SMTPRelay::Postfix;

# Copyright (C) ngx_smtp_relay_module authors

# A real Postfix as next hop, with configuration, queue and mailbox in the
# folder of the test; the system's own Postfix is not touched.  Needs root.
#
#     my $postfix = $t->postfix('mta');        # smtpd on %%PORT_mta%%
#     my $postfix = $t->postfix('mta', tls => 1, main => "key = value\n");
#
#     $postfix->wait_messages(1);              # the files of the mailbox
#     $postfix->log();
#
# Every recipient's mail goes into one Maildir.

use strict;
use warnings;

use Carp qw/ croak /;
use File::Path qw/ make_path /;


sub new {
    my ($class, $t, $name, %opts) = @_;

    $t->skip_all('Postfix as next hop needs root') if $> != 0;
    $t->has_daemon('postfix');

    my $self = bless { t => $t, name => $name, %opts }, $class;

    $self->{dir} = $t->dir() . "/postfix-$name";
    $self->{port} = $t->port($name);

    return $self;
}


sub port { $_[0]{port} }


sub start {
    my ($self) = @_;

    my ($t, $dir) = @$self{qw/ t dir /};
    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];

    make_path("$dir/conf", "$dir/queue", "$dir/data", "$dir/mail");
    chown +(getpwnam 'postfix')[2, 3], "$dir/data";
    chown $uid, $gid, "$dir/mail";

    my $tls = '';

    if ($self->{tls}) {
        my ($cert, $key) = $t->gen_cert("postfix-$self->{name}");
        chmod 0600, $key;
        $tls = "smtpd_tls_security_level = may\n"
            . "smtpd_tls_cert_file = $cert\nsmtpd_tls_key_file = $key\n";
    }

    my $main = <<"EOF";
compatibility_level = 3.6
queue_directory = $dir/queue
data_directory = $dir/data
maillog_file = $dir/log
maillog_file_prefixes = $dir
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = regexp:{{/./ OK}}
virtual_mailbox_base = $dir/mail
virtual_mailbox_maps = static:inbox/
virtual_minimum_uid = 1
virtual_uid_maps = static:$uid
virtual_gid_maps = static:$gid
virtual_mailbox_limit = 0
message_size_limit = 104857600
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
EOF

    $t->write_file("postfix-$self->{name}/conf/main.cf",
        $main . $tls . ($self->{main} || ''));

    $t->write_file("postfix-$self->{name}/conf/master.cf", <<"EOF");
127.0.0.1:$self->{port} inet n - n - - smtpd
pickup  unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr    unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce  unix - - n - 0 bounce
defer   unix - - n - 0 bounce
trace   unix - - n - 0 bounce
error   unix - - n - - error
retry   unix - - n - - error
virtual unix - n n - - virtual
anvil   unix - - n - 1 anvil
scache  unix - - n - 1 scache
tlsmgr  unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
showq   unix n - n - - showq
EOF

    my ($status, $out) = $t->command(Test::SMTPRelay::which('postfix'),
        '-c', "$dir/conf", 'start');

    croak "postfix start: $out" . $self->log() if $status;

    $t->at_end(sub { $self->stop() });

    Test::SMTPRelay::wait_for(
        sub { Test::SMTPRelay::listening($self->{port}) }, 15, 'postfix');

    return $self;
}


sub stop {
    my ($self) = @_;

    return if $self->{stopped}++;

    $self->{t}->command(Test::SMTPRelay::which('postfix'),
        '-c', "$self->{dir}/conf", 'stop');
}


sub log {
    my ($self) = @_;
    return $self->{t}->read_file("postfix-$self->{name}/log");
}


sub messages {
    my ($self) = @_;

    return map {
        open my $f, '<:raw', $_ or croak "$_: $!";
        local $/;
        <$f>
    } glob "$self->{dir}/mail/inbox/new/*";
}


sub wait_messages {
    my ($self, $n, $timeout) = @_;

    Test::SMTPRelay::wait_for(sub {
        my @files = glob "$self->{dir}/mail/inbox/new/*";
        @files >= $n;
    }, $timeout || 20, "$n messages in Postfix");

    return $self->messages();
}


1;
