# What systemd does for a socket unit with Accept=no and its service: holds UDP port 1417, starts the service on it when a
# datagram waits, again as soon as it has ended, and gives it up when it starts too often (StartLimitBurst=5 in
# StartLimitIntervalSec=10s, the defaults). systemd-socket-activate(1) waits and starts; it turns into the service, so
# something has to hold the socket for it and count, and that is this.
#
# usage: perl systemd.pl PATH-OF-SYSTEMD-SOCKET-ACTIVATE PROGRAM ARGUMENT...
use strict;
use warnings;
use POSIX qw(dup2 setsid);
use Socket qw(AF_INET6 IN6ADDR_ANY IPPROTO_IPV6 IPV6_V6ONLY SOCK_DGRAM pack_sockaddr_in6);

use constant { FIRST => 3, BURST => 5, INTERVAL => 10 };

# Descriptors up to this one stay open in what is started.
$^F = FIRST;
socket(my $socket, AF_INET6, SOCK_DGRAM, 0) or die "socket: $!";
setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 0) or die "dual stack: $!";
bind($socket, pack_sockaddr_in6(1417, IN6ADDR_ANY)) or die "bind: $!";
exit if fork;
setsid();
open(STDIN, '<', '/dev/null');
open(STDOUT, '>', '/dev/null');
open(STDERR, '>', '/dev/null');
# The journal.
open(STDERR, '|-', 'logger', '-t', 'naptun') or die "logger: $!";
$0 = 'systemd.pl';

my @starts;
for (;;) {
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		fileno($socket) == FIRST or dup2(fileno($socket), FIRST);
		@ENV{qw(LISTEN_FDS LISTEN_PID)} = (1, $$);
		exec @ARGV;
		exit 127;
	}
	waitpid $pid, 0;
	@starts = grep { $_ > time - INTERVAL } @starts, time;
	next if @starts <= BURST;
	system 'logger', '-t', 'systemd', 'Start request repeated too quickly: start-limit-hit';
	exit;
}
