/*
 * Preloaded into a program, has its sends fail: the first twenty succeed, all others end in error $REFUSE. A tracer
 * cannot do that to a process under seccomp.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

static int (*real)(int, struct mmsghdr *, unsigned int, int);
static int calls, error;

__attribute__((constructor)) static void begin(void)
{
	const char *refuse = getenv("REFUSE");
	real = (int (*)(int, struct mmsghdr *, unsigned int, int))dlsym(RTLD_NEXT, "sendmmsg");
	error = refuse ? atoi(refuse) : 0;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	if (!error || calls++ < 20)
		return real(fd, messages, count, flags);
	errno = error;
	return -1;
}
