package Test::SMTPRelay::Status;

# Copyright (C) ngx_smtp_relay_module authors

# A client of smtp_status for tests.
#
#     my $h = Test::SMTPRelay::Status->new($t, 'http');   # %%PORT_http%%
#     my ($status, $answer, $head) = $h->get('queue?limit=10');
#     ($status, $answer) = $h->post("message/$id/hold");
#     ($status, $answer) = $h->request('GET', '', Host => 'evil.test');
#     my @rows = $h->list('state=held');     # all pages
#     $h->wait_list('state=held', 3);        # until there are so many
#     $h->show($id)->{attempts};             # one message; undef: none
#     $h->state($id);                        # its state, '' if there is none
#     $h->waiting($id);                      # until it is deferred
#     $h->act($id, 'hold', 200, 'done');     # as a test: status and result
#     $h->gone($id, 'delivered');            # as a test: is not there soon
#
# A worker that does not answer in time on a busy machine is asked again:
# get() and post() repeat a partial answer, and 503, for a while.

use strict;
use warnings;

use IO::Socket::INET;
use JSON::PP ();
use Test::More ();
use Time::HiRes qw/ sleep time /;

my $json = JSON::PP->new->utf8;


sub new {
    my ($class, $t, $port, %opts) = @_;

    return bless { t => $t, port => $t->port($port), base => '/smtp/',
        %opts }, $class;
}


sub get { shift->patient('GET', @_) }
sub post { shift->patient('POST', @_) }


sub patient {
    my ($self, @request) = @_;

    my $end = time() + 10 * $Test::SMTPRelay::PATIENCE;

    for ( ;; ) {
        my @answer = $self->request(@request);

        return @answer if time() >= $end
            || ($answer[0] != 503 && !$answer[1]{partial});

        sleep 0.1;
    }
}


sub request {
    my ($self, $method, $path, %headers) = @_;

    $headers{Host} = "127.0.0.1:$self->{port}" unless exists $headers{Host};

    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $self->{port}, Proto => 'tcp', Timeout => 10)
        or die "connect: $@";

    print {$s} "$method $self->{base}$path HTTP/1.1\r\n",
        (map { defined $headers{$_} ? "$_: $headers{$_}\r\n" : () }
            sort keys %headers),
        $method eq 'POST' ? "Content-Length: 0\r\n" : '',
        "Connection: close\r\n\r\n";

    my $reply = do { local $/; <$s> } // '';

    my ($status, $head, $body)
        = $reply =~ m{^HTTP/1\.1 (\d+)(.*?)\r\n\r\n(.*)$}s
        or die "no answer: $reply";

    my $answer = $head =~ m{Content-Type: application/json}
        && $method ne 'HEAD' ? $json->decode($body) : {};

    return ($status, $answer, $head);
}


sub list {
    my ($self, $query) = @_;

    my @rows;
    my $after = '';

    for ( ;; ) {
        my ($status, $answer)
            = $self->get('queue?' . ($query // '') . $after);

        die "$status $answer->{error}" if $status != 200;

        push @rows, @{$answer->{messages}};
        return @rows unless defined $answer->{next};

        $after = "&after=$answer->{next}";
    }
}


sub wait_list {
    my ($self, $query, $n, $timeout) = @_;

    return Test::SMTPRelay::wait_for(sub { $self->list($query) == $n },
        $timeout || 15, "$n messages for \"$query\"");
}


sub show {
    my ($self, $id) = @_;
    my ($status, $answer) = $self->get("message/$id");
    return $status == 200 ? $answer : undef;
}


sub state {
    my ($self, $id) = @_;
    return ($self->show($id) || {})->{state} // '';
}


# returns the id

sub waiting {
    my ($self, $id) = @_;

    Test::SMTPRelay::wait_for(sub { $self->state($id) eq 'deferred' }, 30,
        "$id to wait");

    return $id;
}


sub act {
    my ($self, $id, $action, $want, $result, $name) = @_;

    my ($status, $answer) = $self->post("message/$id/$action");

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    Test::More::is("$status " . ($answer->{result} // $answer->{error} // ''),
        "$want $result", $name || "$action: $result");
}


sub gone {
    my ($self, $id, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    Test::More::ok(eval { Test::SMTPRelay::wait_for(
        sub { !defined $self->show($id) }, 30, "$id to end") }, $name);
}


1;
