#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Delivery status notifications (RFC 3461): what NOTIFY asks for, with next
# hops that have the extension and others that have not, for each outcome.
# Every report is read by an independent MIME parser.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Test::SMTPRelay;

my $parser = eval {
    require MIME::Parser;
    MIME::Parser->new();
};

my $t = Test::SMTPRelay->new();

my %replies = (
    RCPT => sub {
        my ($s, $arg) = @_;
        return '550 5.1.1 no such user' if $arg =~ /<fail/;
        return '450 4.2.1 come later' if $arg =~ /<(?:wait|exp)/;
        return $s->count('slow') < 4 ? '450 4.2.1 come later' : undef
            if $arg =~ /<slow/;
        return undef;
    },
);

my @keywords = ('PIPELINING', 'SIZE 1000000', '8BITMIME', 'SMTPUTF8');

my %peer = (
    dsn => $t->sink('dsn', ehlo => [ @keywords, 'DSN' ],
        replies => \%replies),
    plain => $t->sink('plain', ehlo => \@keywords, replies => \%replies),
);

my $reports = $t->sink('reports', ehlo => \@keywords, replies => {
    RCPT => sub {
        my ($s, $arg) = @_;
        return '550 5.1.7 forged' if $arg =~ /<forged/;
        return undef;
    },
});

my $queues = '';
my $servers = '';

for my $peer (sort keys %peer) {
    for my $kind (qw/ long short warn /) {
        my $options = $kind eq 'short' ? 'expire 3s;'
            : $kind eq 'warn' ? 'expire 1h; delay_warning 2s;'
            : 'expire 1h;';

        $queues .= <<EOC;
    smtp_queue ${peer}_$kind {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_$peer%%;
        tls           off;
        retry         1s;
        report_queue  reports;
        @{[ $peer eq 'dsn' ? 'postmaster pm@relay.test;' : '' ]}
        $options
    }
EOC
        $servers .= <<EOC;
    server {
        listen        127.0.0.1:%%PORT_${peer}_$kind%%;
        smtp_trust    127.0.0.0/8;
        smtp_enqueue  ${peer}_$kind;
    }
EOC
    }
}

$t->write_conf(<<EOC)->run();
%%GLOBALS%%

worker_processes 2;

events { }

stream {
    smtp_log  %%DIR%%/smtp.log json;

$queues

    smtp_queue reports {
        spool         %%DIR%%/spool;
        hostname      relay.test;
        next_hop      127.0.0.1:%%PORT_reports%%;
        tls           off;
        retry         1s;
        expire        1h;
    }

$servers
}
EOC

# EHLO

my $c = $t->client('dsn_long');
my (undef, undef, $lines) = $c->cmd('EHLO client.test');
ok((grep { /^250[ -]DSN$/ } @$lines), 'DSN is offered');
$c->quit();

my %client;

sub submit {
    my ($port, $from, $to, %opts) = @_;

    my $c = $client{$port} ||= do {
        my $new = $t->client($port);
        $new->cmd('EHLO client.test');
        $new;
    };

    my @reply = $c->send_message($from, $to, $opts{message}
        // "Subject: test\r\nX-Test: $from\r\n\r\nthe secret body\r\n", %opts);

    return $reply[0] == 250 && $reply[1] =~ /queued as (\S+)/ ? $1
        : die "not taken: @reply[0, 1]";
}

sub lines {
    my ($id) = @_;
    return grep { $_->{event} eq 'delivery' && $_->{queue_id} eq $id }
        $t->json_log('smtp.log');
}

# the matrix

my @notify = ('', qw/ NEVER SUCCESS FAILURE DELAY /, 'SUCCESS,FAILURE,DELAY');

my %outcome = (
    delivered => { rcpt => 'ok', queue => 'long', report => 'success' },
    failed => { rcpt => 'fail', queue => 'long', report => 'failure' },
    expired => { rcpt => 'exp', queue => 'short', report => 'failure' },
    delayed => { rcpt => 'wait', queue => 'warn', report => 'delay' },
);

my %action = (success => 'relayed', failure => 'failed', delay => 'delayed');

my @cases;

for my $peer (sort keys %peer) {
    for my $outcome (sort keys %outcome) {
        for my $notify (@notify) {
            my %case = (%{$outcome{$outcome}}, n => scalar @cases,
                peer => $peer, outcome => $outcome, notify => $notify);

            my $kind = $case{report};
            my $asked = uc($kind);

            # not given: failure and delay

            my $want = $notify ? $notify =~ /\b$asked\b/
                : $kind ne 'success';

            # a peer with DSN reports success itself

            $want = 0 if $kind eq 'success' && $peer eq 'dsn';

            $case{want} = $want ? 1 : 0;
            $case{name} = "$outcome, peer $peer, NOTIFY=" . ($notify || '-');
            push @cases, \%case;
        }
    }
}

for my $case (@cases) {
    $case->{id} = submit("$case->{peer}_$case->{queue}",
        "c$case->{n}\@from.test", "$case->{rcpt}$case->{n}\@to.test",
        mail => "RET=HDRS ENVID=e+3D$case->{n}",
        rcpt => $case->{notify} ? "NOTIFY=$case->{notify}" : '');
}

# enough attempts of what is tried again, the last result of all others

sub outcomes {
    my ($attempts) = @_;
    my %seen;

    for ($t->json_log('smtp.log')) {
        next if $_->{event} ne 'delivery' || $_->{report};
        $seen{$_->{queue_id}}{$_->{status}} ||= 0;
        $seen{$_->{queue_id}}{$_->{status}}++;
    }

    return !grep {
        my $s = $seen{$_->{id}} || {};
        $_->{outcome} eq 'delayed' ? ($s->{deferred} || 0) < $attempts
            : !$s->{$_->{outcome}};
    } @cases;
}

wait_for(sub { outcomes(5) }, 60, 'all outcomes');

my $wanted = grep { $_->{want} } @cases;
wait_for(sub { $reports->count_messages() >= $wanted }, 20, 'all reports');

# nobody hears twice: not three attempts later, nor before another report

wait_for(sub { outcomes(8) }, 60, 'more attempts');
submit('plain_long', 'fence@from.test', 'fail-fence@to.test');
wait_for(sub { $reports->received('fence@from.test') }, 20, 'another report');
$wanted++;

for my $case (@cases) {
    my @got = $reports->received("c$case->{n}\@from.test");

    is(scalar @got, $case->{want}, $case->{name}) or next;
    check_report($case, @got) if @got;
}

is($reports->count_messages(), $wanted, 'and nothing else was reported');

sub check_report {
    my ($case, $r) = @_;

    is($r->{from}, '', 'report: null sender');
    unlike("$r->{from_params}@{$r->{rcpt_params}}", qr/8BITMIME|RET|ENVID/,
        'report: no parameters');

    my %want = (
        'reporting-mta' => 'dns; relay.test',
        'x-queue-id' => $case->{id},
        'original-envelope-id' => "e=$case->{n}",
        'final-recipient' => "rfc822; $case->{rcpt}$case->{n}\@to.test",
        'action' => $action{$case->{report}},
        'remote-mta' => 'dns; [127.0.0.1]',
        'status' => { success => '2.0.0', failed => '5.1.1',
            expired => '4.2.1', delayed => '4.2.1', delivered => '2.0.0' }
            ->{$case->{outcome}},
    );

    my ($status, $rest, @parts) = parse($r) or return;

    is_deeply({ map { $_ => $status->{$_} } keys %want }, \%want,
        'report: contents');
    is($parts[2]->mime_type, 'text/rfc822-headers', 'report: header returned');
    like($parts[2]->bodyhandle->as_string, qr/^X-Test: c$case->{n}\@/m,
        'report: of the message');
    unlike($r->{body}, qr/secret body/, 'report: not the body');
    ok(!!$status->{'will-retry-until'} == ($case->{outcome} eq 'delayed'),
        'report: until when it is tried');
}

# the fields of the status part, those of the original, and the parts

sub parse {
    my ($r) = @_;

    unless ($parser) {
        SKIP: { skip 'no MIME::Parser (libmime-tools-perl)', 1; }
        return;
    }

    $parser->output_to_core(1);
    $parser->extract_nested_messages(1);

    my $m = $parser->parse_data($r->{body});

    is(join('', $parser->results->errors, $parser->results->warnings), '',
        'report: well-formed');
    is($m->mime_type, 'multipart/report', 'report: type');

    my @parts = $m->parts;
    is(scalar @parts, 3, 'report: parts') or return;

    my $text = $parts[1]->bodyhandle ? $parts[1]->bodyhandle->as_string
        : join('', @{$parts[1]->body});
    my %status;

    $text =~ s/\r//g;
    $text =~ s/\n[ \t]+/ /g;
    push @{$status{lc $1}}, $2 while $text =~ /^([\w-]+):\s*(.*?)\s*$/mg;

    return ({ map { $_ => $status{$_}[0] } keys %status }, \%status, @parts);
}

# what the peers were told

for my $case (grep { $_->{outcome} eq 'delivered' } @cases) {
    my ($m) = grep { grep { $_ eq "ok$case->{n}\@to.test" } @{$_->{rcpts}} }
        $peer{$case->{peer}}->messages();
    my ($mail, $rcpt) = ($m->{from_params}, $m->{rcpt_params}[0]);

    if ($case->{peer} eq 'plain') {
        unlike("$mail $rcpt", qr/RET|ENVID|NOTIFY|ORCPT/,
            "nothing for a peer without DSN: $case->{notify}");
        next;
    }

    like($mail, qr/\bRET=HDRS ENVID=e\+3D$case->{n}$/, 'RET and ENVID');

    is($rcpt, join(' ', $case->{notify} ? "NOTIFY=$case->{notify}" : (),
        $case->{notify} eq 'NEVER' ? ()
            : "ORCPT=rfc822;ok$case->{n}\@to.test"),
        "NOTIFY and ORCPT: $case->{notify}");
}

submit('dsn_long', 'o@from.test', 'okgiven@to.test',
    rcpt => 'ORCPT=rfc822;first+2Bname@else.test');
wait_for(sub { grep { grep { /okgiven/ } @{$_->{rcpts}} }
    $peer{dsn}->messages() }, 10, 'with ORCPT');
my ($m) = grep { grep { /okgiven/ } @{$_->{rcpts}} } $peer{dsn}->messages();
is($m->{rcpt_params}[0], 'ORCPT=rfc822;first+2Bname@else.test',
    'ORCPT as it came');

# recipients of one message with different fates: a report of each kind

$c = $t->client('plain_warn');
$c->cmd('EHLO client.test');
$c->check('MAIL FROM:<mixed@from.test> RET=FULL', qr/^250/, 'mail');
$c->check("RCPT TO:<$_->[0]\@to.test> NOTIFY=$_->[1] ORCPT=rfc822;x$_->[0]\@y",
    qr/^250/, 'rcpt')
    for [ ok1 => 'SUCCESS' ], [ ok2 => 'FAILURE' ],
        [ fail1 => 'SUCCESS,FAILURE' ], [ fail2 => 'DELAY' ],
        [ slow1 => 'DELAY,SUCCESS' ];
$c->send_data("Subject: x\r\n\r\nthe whole body\r\n");

wait_for(sub { $reports->received('mixed@from.test') >= 4 }, 20, 'four reports');

my %by_action;

for my $r ($reports->received('mixed@from.test')) {
    my (undef, $s) = parse($r) or last;
    push @{$by_action{$s->{action}[0]}}, join ' ',
        @{$s->{'final-recipient'}}, @{$s->{'original-recipient'}};
    is($r->{body} =~ /the whole body/ ? 1 : 0,
        $s->{action}[0] eq 'failed' ? 1 : 0,
        "RET=FULL for failures only: $s->{action}[0]");
}

is_deeply({ map { $_ => [ sort @{$by_action{$_}} ] } keys %by_action }, {
    failed => [ 'rfc822; fail1@to.test rfc822; xfail1@y' ],
    delayed => [ 'rfc822; slow1@to.test rfc822; xslow1@y' ],
    relayed => [ 'rfc822; ok1@to.test rfc822; xok1@y',
        'rfc822; slow1@to.test rfc822; xslow1@y' ],
}, 'each recipient in its report') if $parser;

# the null sender

my $null = submit('dsn_warn', '', 'failnull@to.test');
my $null2 = submit('dsn_warn', '', 'waitnull@to.test',
    rcpt => 'NOTIFY=DELAY,FAILURE');
my $null3 = submit('plain_warn', '', 'oknull@to.test',
    rcpt => 'NOTIFY=SUCCESS');

# a double bounce: to the postmaster of the queue, or nowhere

my $id = submit('dsn_long', 'forged@from.test', 'fail-double@to.test',
    mail => 'ENVID=hidden');
wait_for(sub { $reports->received('pm@relay.test') }, 20, 'postmaster');

my ($r) = $reports->received('pm@relay.test');
is($r->{from}, '', 'double bounce: null sender');
like($r->{body}, qr/^X-Test: forged\@/m, 'double bounce: header');

if (my ($first, $all) = parse($r)) {
    is_deeply($all->{'final-recipient'}, [ 'rfc822; forged@from.test',
        'rfc822; fail-double@to.test' ], 'double bounce: sender, recipient');
    is_deeply($all->{status}, [ '5.1.7', '5.1.1' ], 'double bounce: reasons');
}

my ($line) = grep { $_->{report} eq 'double' } lines($id);
is($line->{status}, 'delivered', 'double bounce: log');
is_deeply($line->{to}, [ 'pm@relay.test' ], 'double bounce: to');

my $dropped = submit('plain_long', 'forged@from.test', 'fail-x@to.test');
$t->json_log('smtp.log', sub { $_->{event} eq 'delivery'
    && $_->{queue_id} eq $dropped && $_->{report} eq 'failure' });
$t->wait_log(qr/report about $dropped could not be delivered: 5\.1\.7/);

# internationalized: sender, recipient, content

submit('plain_long', "\xc3\xa4\@from.test", "fail-\xc3\xb6\@to.test",
    mail => 'SMTPUTF8 BODY=8BITMIME RET=FULL',
    rcpt => "ORCPT=utf-8;fail-\xc3\xb6\@first.test",
    message => "Subject: \xc3\xbc\r\n\r\n\xe2\x82\xac\r\n");
wait_for(sub { $reports->received("\xc3\xa4\@from.test") }, 10, 'report in UTF-8');

($r) = $reports->received("\xc3\xa4\@from.test");
like($r->{from_params}, qr/\bSMTPUTF8\b/, 'utf-8: with SMTPUTF8');
like($r->{from_params}, qr/\bBODY=8BITMIME\b/, 'utf-8: 8bit');

if (my ($s, undef, @parts) = parse($r)) {
    is($s->{'final-recipient'}, "utf-8; fail-\xc3\xb6\@to.test",
        'utf-8: recipient');
    is($s->{'original-recipient'}, "utf-8; fail-\xc3\xb6\@first.test",
        'utf-8: original recipient');
    is($parts[1]->mime_type, 'message/global-delivery-status', 'utf-8: status');
    is($parts[2]->mime_type, 'message/global', 'utf-8: original');
}

# an ASCII sender: a report in ASCII

submit('plain_long', 'ascii@from.test', [ "fail-\xc3\xb6\@to.test",
    'ok-ascii@to.test' ],
    mail => 'SMTPUTF8', message => "Subject: x\r\n\r\nx\r\n");
wait_for(sub { $reports->received('ascii@from.test') }, 10, 'report in ASCII');

($r) = $reports->received('ascii@from.test');
unlike($r->{from_params}, qr/SMTPUTF8|8BITMIME/, 'ascii: no parameters');
unlike($r->{body}, qr/[\x80-\xff]/, 'ascii: all of it');
like($r->{body}, qr/^Final-Recipient: utf-8; fail-\\x\{F6\}\@to\.test\r$/m,
    'ascii: recipient encoded');

# content of 8 bits: only if it is returned

for ([ '8h', "Subject: \xe4\r\n\r\nx\r\n", 1 ],
    [ '8b', "Subject: x\r\n\r\n\xe4\r\n", 0 ],
    [ '8f', "Subject: x\r\n\r\n\xe4\r\n", 1, mail => 'RET=FULL' ])
{
    my ($name, $message, $eight, @opts) = @$_;

    submit('plain_long', "$name\@from.test", 'fail-8@to.test',
        message => $message, @opts);
    wait_for(sub { $reports->received("$name\@from.test") }, 10, $name);
    ($r) = $reports->received("$name\@from.test");
    is($r->{from_params} =~ /8BITMIME/ ? 1 : 0, $eight, "8BITMIME: $name");
}

# a header over bounce_size: as much of it as that

submit('plain_long', 'long@from.test', 'fail-long@to.test',
    message => ("X-Long: " . 'x' x 70 . "\r\n") x 2000 . "\r\nsecret\r\n");
wait_for(sub { $reports->received('long@from.test') }, 10, 'long header');
($r) = $reports->received('long@from.test');
cmp_ok(length $r->{body}, '>', 51200, 'long header: 50k come back');
cmp_ok(length $r->{body}, '<', 55000, 'long header: and no more');
unlike($r->{body}, qr/^secret/m, 'long header: no body');
parse($r);

# what was told of a delay is known after a restart

my $before = grep { /delayed/ } map { $_->{body} } $reports->messages();

$t->stop();
$t->run();
%client = ();

wait_for(sub { (grep { !$_->{report} } lines($cases[-1]{id})) > 0 }, 10, 'log');

my $tries = () = lines((grep { $_->{outcome} eq 'delayed' } @cases)[0]{id});
wait_for(sub {
    (() = lines((grep { $_->{outcome} eq 'delayed' } @cases)[0]{id}))
        > $tries + 2;
}, 20, 'attempts after the restart');

is(scalar(grep { /delayed/ } map { $_->{body} } $reports->messages()), $before,
    'a delay is told once, restart or not');

# the null sender was told nothing by then

is(scalar(grep { $_->{report} } map { lines($_) } $null, $null2, $null3), 0,
    'nothing was reported to the null sender');
is(scalar($reports->received('')), 0, 'nor sent');

# configuration

for ([ 'postmaster nobody;', qr/invalid address "nobody", must be .* in/ ],
    [ 'postmaster a@b.test; postmaster c@d.test;',
        qr/is duplicate in/ ],
    [ 'delay_warning soon;',
        qr/invalid value "soon" of "delay_warning", must be .* in/ ])
{
    my ($text, $want) = @$_;

    $t->refused(<<EOC, $want, $text);
%%GLOBALS%%
events { }
stream {
    smtp_queue q {
        spool %%DIR%%/spool2;
        next_hop 127.0.0.1:25;
        $text
    }
}
EOC
}

$t->done();
