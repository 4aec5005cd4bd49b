/* The wall clock of one program jumps, for tests: preloaded (LD_PRELOAD), it adds to the time what
 * the file says that HISTORY_CLOCK names, eight bytes of milliseconds that the test writes and all
 * processes of the program see at once. Monotonic clocks go on as they are. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift_ms; /* NULL: no shift */
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void take_file(void)
{
    const char *name = getenv("HISTORY_CLOCK");
    int fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *map = fd != -1 ? mmap(NULL, sizeof(*shift_ms), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (fd != -1)
        close(fd);
    if (map != MAP_FAILED)
        shift_ms = map;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc;

    if (real_clock_gettime == NULL)
        *(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    rc = real_clock_gettime(clock, now);
    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) &&
        shift_ms != NULL) {
        int64_t ns = now->tv_nsec + *shift_ms % 1000 * 1000000;

        now->tv_sec += (time_t)(*shift_ms / 1000 + ns / 1000000000);
        now->tv_nsec = (long)(ns % 1000000000);
        if (now->tv_nsec < 0) {
            now->tv_nsec += 1000000000;
            now->tv_sec--;
        }
    }
    return rc;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec spec;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &spec) != 0)
        return -1;
    now->tv_sec = spec.tv_sec;
    now->tv_usec = (suseconds_t)(spec.tv_nsec / 1000);
    return 0;
}

time_t time(time_t *out)
{
    struct timespec spec;

    if (clock_gettime(CLOCK_REALTIME, &spec) != 0)
        return (time_t)-1;
    if (out != NULL)
        *out = spec.tv_sec;
    return spec.tv_sec;
}
