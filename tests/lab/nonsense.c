/*
 * Preloaded into a program, has the monotonic clock say what no kernel says: a second of more than a second. Rust's
 * standard library panics over it.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int result = (int)syscall(SYS_clock_gettime, clock, time);
	if (clock == CLOCK_MONOTONIC)
		time->tv_nsec += 2000000000;
	return result;
}
