/*
 * Preloaded into a program, makes the clock of its deadlines run $HURRY times as fast: a rekey that is due after two
 * minutes comes after seconds. Waiting takes as long as ever, so it needs traffic that ends each wait.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);
static long long start, speed = 1;

static long long nanos(const struct timespec *at) { return at->tv_sec * 1000000000LL + at->tv_nsec; }

__attribute__((constructor)) static void begin(void)
{
	struct timespec now;
	const char *hurry = getenv("HURRY");
	real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	real(CLOCK_BOOTTIME, &now);
	start = nanos(&now);
	speed = hurry ? atoi(hurry) : 1;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int failed = real(clock, now);
	if (clock == CLOCK_BOOTTIME && !failed) {
		long long hurried = start + (nanos(now) - start) * speed;
		now->tv_sec = hurried / 1000000000;
		now->tv_nsec = hurried % 1000000000;
	}
	return failed;
}
