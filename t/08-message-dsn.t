#!/usr/bin/perl

# Copyright (C) ngx_smtp_relay_module authors

# Delivery reports as an independent MIME parser sees them.  The reports come
# from the unit test program; nginx is not involved.

use warnings;
use strict;

use Encode qw/decode/;
use File::Temp qw/tempdir/;
use Test::More;

BEGIN {
	eval { require MIME::Parser; 1 }
		or plan(skip_all => 'no MIME::Parser (libmime-tools-perl)');
}

my $program = ($ENV{TEST_BUILD} || 'build') . '/unit/test_dsn';

plan(skip_all => "no $program (make unit-build)") unless -x $program;

my $dir = tempdir('ngx-smtp-dsn-XXXXXX', TMPDIR => 1, CLEANUP => 1);

# what each report must say: fields of the message, then of each recipient

my %common = (
	'reporting-mta' => 'dns; mail.example.com',
	'x-queue-id' => '65af-1-2',
	'arrival-date' => 'Thu, 01 Jan 2026 00:00:00 +0000',
);

my %bob = (
	'final-recipient' => 'rfc822; bob@example.org',
	'action' => 'failed',
	'status' => '5.1.1',
	'remote-mta' => 'dns; mx.example.org',
	'diagnostic-code' => 'smtp; 550 5.1.1 User unknown',
	'last-attempt-date' => 'Thu, 01 Jan 2026 00:30:00 +0000',
);

my $original = "From: alice\@example.com\r\nSubject: hello\r\n";
my $body = "This is the body.\r\n--not the boundary\r\n";

report('failure',
	third => 'message/rfc822',
	human => qr/<bob\@example\.org>.*550 5\.1\.1 User unknown/s,
	groups => [
		{ %common, 'original-envelope-id' => 'QQ314159=+' },
		{ %bob, 'original-recipient' =>
			'rfc822; Bob+tag@Example.ORG' }]);

report('headers',
	third => 'text/rfc822-headers',
	groups => [{ %common }, { %bob }]);

report('delay',
	third => 'text/rfc822-headers',
	human => qr/goes on trying until\s+Tue, 06 Jan 2026 01:00:00 \+0100/,
	subject => qr/delayed/,
	groups => [
		{ %common,
			'arrival-date' => 'Thu, 01 Jan 2026 01:00:00 +0100' },
		{ %bob,
			action => 'delayed',
			status => '4.4.1',
			'diagnostic-code' =>
				'X-nginx; 4.4.1 connection timed out',
			'last-attempt-date' =>
				'Thu, 01 Jan 2026 01:30:00 +0100',
			'will-retry-until' =>
				'Tue, 06 Jan 2026 01:00:00 +0100' }]);

report('success',
	third => 'text/rfc822-headers',
	subject => qr/sent on/,
	groups => [
		{ %common },
		{ %bob,
			action => 'relayed',
			status => '2.0.0',
			'diagnostic-code' =>
				'smtp; 250 2.0.0 queued as 123' }]);

my %alice = (%bob,
	'final-recipient' => 'rfc822; alice@example.com',
	'status' => '5.7.1',
	'diagnostic-code' => 'smtp; 550 5.7.1 no reports here');

my %bob_then = %bob;

delete @bob_then{qw/remote-mta last-attempt-date/};

report('double',
	third => 'text/rfc822-headers',
	to => 'postmaster@example.com',
	id => '<65af-1-2.7.d@mail.example.com>',
	human => qr/neither could the\s+report.*<alice@.*<bob@/s,
	groups => [{ %common }, { %alice }, { %bob_then }]);

my %nowhere = (%bob,
	'final-recipient' => 'rfc822; postmaster',
	'status' => '5.4.4',
	'diagnostic-code' => 'X-nginx; 5.4.4 no such domain');

delete @nowhere{qw/remote-mta last-attempt-date/};

report('several',
	third => 'message/rfc822',
	human => qr/<bob@.*<"carol c"\@example\.org>.*Given up.*<postmaster>/s,
	groups => [
		{ %common },
		{ %bob },
		{ %bob,
			'final-recipient' => 'rfc822; "carol c"@example.org',
			'status' => '4.3.1',
			'diagnostic-code' => 'smtp; 452 over quota' },
		{ %nowhere }]);

report('utf8',
	utf8 => 1,
	to => "\x{e4}lice\@example.com",
	third => 'message/global',
	encoding => '8bit',
	human => qr/<b\x{f6}b\+x\@example\.org>.*Kein b\x{f6}b/s,
	groups => [
		{ %common },
		{ %bob,
			'original-recipient' => 'utf-8; b\\x{F6}b@example.org',
			'final-recipient' => "utf-8; b\x{f6}b+x\@example.org",
			'diagnostic-code' =>
				"smtp; 550 5.1.1 Kein b\x{f6}b" }]);

report('utf8-rcpt',
	third => 'message/rfc822',
	human => qr/<b\\x\{F6\}b\\x\{2B\}x\@example\.org>/,
	groups => [
		{ %common },
		{ %bob,
			'original-recipient' => 'utf-8; b\\x{F6}b@example.org',
			'final-recipient' =>
				'utf-8; b\\x{F6}b\\x{2B}x@example.org',
			'diagnostic-code' => 'smtp; 550 5.1.1 Kein b?b' }]);

report('8bit',
	third => 'message/rfc822',
	encoding => '8bit',
	groups => [{ %common }, { %bob }]);

report('hostile',
	third => 'message/rfc822',
	groups => [
		{ %common,
			'original-envelope-id' => 'x??Action: delivered' },
		{ %bob,
			'original-recipient' =>
				'rfc822; x????Final-Recipient: y',
			'final-recipient' => 'rfc822; '
				. 'bob??Action: delivered??@example.org',
			'remote-mta' => 'dns; mx??Status',
			'diagnostic-code' => 'smtp; 550 5.1.1 '
				. 'no????--0123456789abcdef??Content-Type: '
				. 'text/html????<b>x ???' }]);

done_testing();

###############################################################################

sub report {
	my ($name, %want) = @_;

	subtest $name => sub {
		my $text = produce($name);
		my $parser = MIME::Parser->new();

		$parser->output_under($dir);
		$parser->extract_nested_messages(1);
		$parser->decode_headers(0);

		my $m = $parser->parse_data($text);

		is(join('', $parser->results->errors), '', 'no error');
		is(join('', $parser->results->warnings), '', 'no warning');

		unlike($text, qr/(?<!\r)\n|\r(?!\n)/, 'CRLF only');
		unlike($text, qr/[^\r\n]{998}/, 'no long line');
		unlike($text, qr/[\x80-\xff]/, '7-bit') unless $want{utf8};

		# the report's own header

		my $type = $want{utf8}
			? 'global-delivery-status' : 'delivery-status';

		is(field($m, 'From'), 'Mail Delivery System '
			. '<MAILER-DAEMON@mail.example.com>', 'from');
		is(field($m, 'To'), $want{to} || 'alice@example.com', 'to');
		like(field($m, 'Subject'), $want{subject}
			|| qr/could not be delivered/, 'subject');
		is(field($m, 'Message-ID'),
			$want{id} || '<65af-1-2.7@mail.example.com>',
			'message id');
		is(field($m, 'Auto-Submitted'), 'auto-replied', 'automatic');
		is(field($m, 'MIME-Version'), '1.0', 'mime version');
		is($m->head->count('Received'), 0, 'fields of the original '
			. 'stay in it');
		is($m->mime_type, 'multipart/report', 'report');
		is($m->head->mime_attr('content-type.report-type'), $type,
			'report type');
		is($m->head->mime_encoding,
			$want{encoding} || ($want{utf8} ? '8bit' : '7bit'),
			'encoding');

		my @parts = $m->parts;

		is(scalar @parts, 3, 'three parts') or return;

		# for people

		my $human = decode('UTF-8', $parts[0]->bodyhandle->as_string);

		is($parts[0]->mime_type, 'text/plain', 'human type');
		is($parts[0]->head->mime_attr('content-type.charset'),
			$want{utf8} ? 'utf-8' : 'us-ascii', 'human charset');
		like($human, $want{human} || qr/mail\.example\.com/, 'human');

		# for programs

		is($parts[1]->mime_type, "message/$type", 'status type');
		is_deeply([groups($parts[1])], $want{groups}, 'status');

		# the original

		is($parts[2]->mime_type, $want{third}, 'original type');
		is($parts[2]->head->mime_encoding, $want{encoding} || '7bit',
			'original encoding');

		my $third = third($parts[2]);

		like($third, qr/\Q$original\E/, 'original header');
		is($third =~ /\Q$body\E\z/ ? 1 : 0,
			$want{third} =~ /headers/ ? 0 : 1, 'original body');
	};
}

sub produce {
	my ($name) = @_;

	open my $f, '-|:raw', $program, '--print', $name
		or die "cannot run $program: $!\n";
	my $text = do { local $/; <$f> };
	close $f or die "$program --print $name failed\n";

	return $text;
}

sub field {
	my ($m, $name) = @_;

	is($m->head->count($name), 1, "one $name");

	my $value = $m->head->get($name);
	$value =~ s/\s+\z//;

	return decode('UTF-8', $value);
}

sub groups {
	my ($part) = @_;

	my @groups;

	for my $group (split /\r?\n(?:\r?\n)+/, $part->bodyhandle->as_string) {
		$group =~ s/\r?\n[ \t]+/ /g;

		my %fields;

		for my $line (split /\r?\n/, $group) {
			my ($name, $value) = $line =~ /^([\w-]+): (.*)$/
				or fail("a field: $line");

			ok(!exists $fields{lc $name}, "one $name in a group");
			$fields{lc $name} = decode('UTF-8', $value);
		}

		push @groups, \%fields;
	}

	return @groups;
}

sub third {
	my ($part) = @_;

	# a nested message is parsed as well
	return $part->parts
		? $part->parts(0)->as_string =~ s/\r?\n/\r\n/gr
		: $part->bodyhandle->as_string =~ s/\r?\n/\r\n/gr;
}

###############################################################################
