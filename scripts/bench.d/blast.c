/*
 * The traffic that iperf3 and ping cannot make: datagrams at an even, exact rate, and an echo before there is a route.
 *
 *   blast udp TO FROM ADDRESS SIZE START   the highest rate without loss, in datagrams a second. TO and FROM are the
 *                                          network namespaces of sink and source, SIZE is the payload, START a guess
 *   blast first ADDRESS                    echo requests, one a millisecond, until one is answered; prints when (ns)
 *
 * Without loss: at most one datagram of 1000 is lost, and the source could keep the rate. A rate fails when it failed
 * twice. Source and sink have real-time priority, so that what is lost is lost by the path between them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/ip_icmp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 9, BATCH = 64, MAX_SIZE = 9000, BUFFER = 8 << 20, TICK = 100000, SECOND = 1000000000 };
static const double TRIAL = 0.5, MAX_LOSS = 0.001, MIN_SENT = 0.98, CATCH_UP = 0.001, STEP = 1.5, CLOSE = 1.03;

static atomic_uint trial;
static atomic_ulong received;

static int64_t now(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static void pause_until(int64_t when) {
	struct timespec t = {when / SECOND, when % SECOND};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static struct sockaddr_in address(const char *text) {
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	if (text && inet_pton(AF_INET, text, &in.sin_addr) != 1)
		errx(2, "%s: not an IPv4 address", text);
	return in;
}

static int datagram_socket(const char *netns, int option) {
	int ns = open(netns, O_RDONLY | O_CLOEXEC), size = BUFFER;
	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
		err(1, "%s", netns);
	close(ns);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, option, &size, sizeof size);
	return fd;
}

static void fill(struct mmsghdr *messages, struct iovec *pieces, char *data, size_t size, size_t stride) {
	for (int i = 0; i < BATCH; i++) {
		pieces[i] = (struct iovec){data + i * stride, size};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &pieces[i], .msg_iovlen = 1}};
	}
}

/* Counts what belongs to the trial that runs: each datagram begins with the number of its own. */
static void *sink(void *socket) {
	static char data[BATCH * 4];
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	fill(messages, pieces, data, 4, 4);
	for (;;) {
		int n = recvmmsg(*(int *)socket, messages, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++) {
			uint32_t id;
			memcpy(&id, data + i * 4, 4);
			if (id == trial)
				received++;
		}
	}
	return NULL;
}

/* Sends for one trial; how many were sent. A source that comes late may catch up a little, and loses the rest. */
static uint64_t source(int fd, size_t size, double rate) {
	static char data[MAX_SIZE];
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	uint32_t id = trial;
	memcpy(data, &id, 4);
	fill(messages, pieces, data, size, 0);
	uint64_t sent = 0;
	double given_up = 0;
	int64_t start = now(CLOCK_MONOTONIC), time = start, end = start + (int64_t)(TRIAL * SECOND);
	for (; time < end; time = now(CLOCK_MONOTONIC)) {
		double due = (double)(time - start) / SECOND * rate - given_up - (double)sent;
		if (due > rate * CATCH_UP + 1) {
			given_up += due - rate * CATCH_UP - 1;
			due = rate * CATCH_UP + 1;
		}
		while (due >= 1) {
			int n = sendmmsg(fd, messages, due < BATCH ? (unsigned)due : BATCH, 0);
			/* A full queue is the path's loss. */
			n = n > 0 ? n : 1;
			sent += (uint64_t)n;
			due -= n;
		}
		pause_until(time + TICK);
	}
	return sent;
}

static int passes_once(int fd, size_t size, double rate) {
	received = 0;
	trial++;
	uint64_t sent = source(fd, size, rate), before;
	/* Whatever still stands in a queue belongs to this trial, and must not disturb the next one. */
	int64_t limit = now(CLOCK_MONOTONIC) + 2 * (int64_t)SECOND;
	do {
		before = received;
		pause_until(now(CLOCK_MONOTONIC) + SECOND / 20);
	} while (received != before && now(CLOCK_MONOTONIC) < limit);
	if (getenv("BLAST_TRACE"))
		fprintf(stderr, "rate %.0f sent %.0f received %.0f\n", rate, sent / TRIAL, received / TRIAL);
	return (double)sent >= rate * TRIAL * MIN_SENT && (double)received >= (double)sent * (1 - MAX_LOSS);
}

static int passes(int fd, size_t size, double rate) {
	return passes_once(fd, size, rate) || passes_once(fd, size, rate);
}

static double search(int fd, size_t size, double rate) {
	double low = 0, high = 0;
	while (rate >= 500 && (low == 0 || high == 0 || high / low > CLOSE)) {
		if (passes(fd, size, rate))
			low = rate;
		else
			high = rate;
		rate = low == 0 ? high / STEP : high == 0 ? low * STEP : sqrt(low * high);
	}
	return low;
}

static int udp(char **arg) {
	struct sockaddr_in to = address(arg[2]), any = address(NULL);
	size_t size = (size_t)atol(arg[3]);
	if (size < 4 || size > MAX_SIZE)
		errx(2, "%s: not a size", arg[3]);
	int in = datagram_socket(arg[0], SO_RCVBUFFORCE), out = datagram_socket(arg[1], SO_SNDBUFFORCE);
	if (bind(in, (struct sockaddr *)&any, sizeof any) < 0)
		err(1, "bind");
	if (connect(out, (struct sockaddr *)&to, sizeof to) < 0)
		err(1, "connect");
	prctl(PR_SET_TIMERSLACK, 1);
	if (sched_setscheduler(0, SCHED_RR, &(struct sched_param){.sched_priority = 1}) < 0)
		warn("no real-time priority");
	pthread_t thread;
	if (pthread_create(&thread, NULL, sink, &in) != 0)
		errx(1, "no thread");
	printf("%.0f\n", search(out, size, atof(arg[4])));
	return 0;
}

static int answered(int fd) {
	unsigned char packet[1500];
	ssize_t n;
	while ((n = recv(fd, packet, sizeof packet, MSG_DONTWAIT)) > 0) {
		struct icmphdr *icmp = (struct icmphdr *)(packet + (packet[0] & 15) * 4);
		if ((unsigned char *)(icmp + 1) <= packet + n && icmp->type == ICMP_ECHOREPLY && icmp->un.echo.id == htons((uint16_t)getpid()))
			return 1;
	}
	return 0;
}

static int first(char **arg) {
	struct sockaddr_in to = address(arg[0]);
	struct icmphdr echo = {.type = ICMP_ECHO, .un.echo.id = htons((uint16_t)getpid())};
	uint32_t sum = htons(ICMP_ECHO << 8) + echo.un.echo.id;
	echo.checksum = (uint16_t)~((sum & 0xffff) + (sum >> 16));
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (fd < 0)
		err(1, "socket");
	prctl(PR_SET_TIMERSLACK, 1);
	for (int tries = 0; tries < 15000; tries++) {
		/* Without a route it fails, which is what we wait through. */
		sendto(fd, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to);
		for (int64_t until = now(CLOCK_MONOTONIC) + SECOND / 1000; now(CLOCK_MONOTONIC) < until; pause_until(now(CLOCK_MONOTONIC) + TICK))
			if (answered(fd)) {
				printf("%lld\n", (long long)now(CLOCK_REALTIME));
				return 0;
			}
	}
	return 1;
}

int main(int argc, char **argv) {
	if (argc == 7 && strcmp(argv[1], "udp") == 0)
		return udp(argv + 2);
	if (argc == 3 && strcmp(argv[1], "first") == 0)
		return first(argv + 2);
	errx(2, "usage: blast udp TO FROM ADDRESS SIZE START | blast first ADDRESS");
}
