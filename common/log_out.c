/* See log_out.h. */
#include "common/log_out.h"
#include "log_out_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/shm.h"

#define PIPE_DEFAULT 65536     /* pipe(7); another size is somebody's choice */
#define PIPE_BYTES   (1 << 20) /* what a pipe should hold of a burst */
#define GUARD_US     1000      /* a guarded write waits no longer */
#define TEXT_LOOK_MS 50

/* The words that all processes share; until log_out_init() those of this one. */
struct counts {
    _Atomic uint64_t lost[LOG_STREAMS], untold[LOG_STREAMS];
    _Atomic uint32_t torn[LOG_STREAMS];
};

static struct counts own_counts;

static struct log_out streams[LOG_STREAMS] = {
    [LOG_STREAM_ACCESS] = {STDOUT_FILENO, LOG_OUT_PLAIN, &own_counts.lost[0], &own_counts.untold[0],
                           &own_counts.torn[0]},
    [LOG_STREAM_ERROR] = {STDERR_FILENO, LOG_OUT_PLAIN, &own_counts.lost[1], &own_counts.untold[1],
                          &own_counts.torn[1]},
};

/* --- taking over --- */

/* A description of our own for the same pipe or terminal. Regular files are left alone: they do not
 * wait, and `> log 2>&1` shares one offset. */
static bool reopen(int fd)
{
    char path[32];
    int own;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own == -1)
        return false;
    if (dup2(own, fd) == -1) {
        close(own);
        return false;
    }
    if (own != fd)
        close(own);
    return true;
}

static void grow_pipe(int fd)
{
    if (fcntl(fd, F_GETPIPE_SZ) == PIPE_DEFAULT)
        (void)fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); /* a limit of its user's may forbid it */
}

void log_out_open(struct log_out *out)
{
    struct stat st;

    out->kind = LOG_OUT_PLAIN;
    if (fstat(out->fd, &st) == -1)
        return;
    if (S_ISFIFO(st.st_mode))
        grow_pipe(out->fd);
    if (S_ISSOCK(st.st_mode))
        out->kind = LOG_OUT_SOCKET;
    else if (S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(out->fd)))
        out->kind = reopen(out->fd) ? LOG_OUT_OWN : LOG_OUT_GUARDED;
}

static int fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd)
            return ERR_IO;
    return 0;
}

static void on_alarm(int signal_number)
{
    (void)signal_number; /* it has interrupted a write, which is all it is for */
}

static void prepare_guard(void)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART */

    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
}

int log_out_init(void)
{
    struct counts *counts = shm_new(sizeof(*counts));

    if (counts == NULL)
        return ERR_NOMEM;
    if (fill_standard_descriptors() != 0) {
        shm_free(counts, sizeof(*counts));
        return ERR_IO;
    }
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    prepare_guard();
    for (int i = 0; i < LOG_STREAMS; i++) {
        streams[i].lost = &counts->lost[i];
        streams[i].untold = &counts->untold[i];
        streams[i].torn = &counts->torn[i];
        log_out_open(&streams[i]);
    }
    return 0;
}

/* --- writing --- */

/* The timer repeats, or it could have rung before the write began. */
static void set_guard(long us)
{
    const struct itimerval timer = {.it_interval = {.tv_usec = us}, .it_value = {.tv_usec = us}};

    setitimer(ITIMER_REAL, &timer, NULL);
}

/* Poll says whether there is room; another process may take it before we write. */
static ssize_t write_guarded(int fd, const struct iovec *parts, int num)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    ssize_t written;
    int error;

    if (poll(&room, 1, 0) != 1 || (room.revents & (POLLOUT | POLLERR | POLLHUP)) == 0) {
        errno = EAGAIN;
        return -1;
    }
    set_guard(GUARD_US);
    written = writev(fd, parts, num);
    error = errno;
    set_guard(0);
    errno = error;
    return written;
}

static ssize_t write_parts(const struct log_out *out, struct iovec *parts, int num)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)num};

    if (out->kind == LOG_OUT_GUARDED)
        return write_guarded(out->fd, parts, num);
    if (out->kind == LOG_OUT_SOCKET)
        return sendmsg(out->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return writev(out->fd, parts, num);
}

/* Only a disk that is full and a terminal take a part of a line. What is written next begins a line
 * of its own then, whoever writes it. */
bool log_out_write(struct log_out *out, const char *line, size_t len)
{
    bool torn = atomic_exchange(out->torn, 0) != 0;
    struct iovec parts[] = {{"\n", torn}, {(char *)(uintptr_t)line, len}};
    ssize_t written = write_parts(out, parts, 2);

    if (written == (ssize_t)(len + torn))
        return true;
    if (written > (ssize_t)torn || (torn && written <= 0))
        atomic_store(out->torn, 1);
    return false;
}

bool log_out_put(enum log_stream stream, const char *line, size_t len)
{
    return len <= LOG_OUT_LINE_MAX && log_out_write(&streams[stream], line, len);
}

/* --- counting --- */

void log_out_lose(enum log_stream stream)
{
    atomic_fetch_add(streams[stream].lost, 1);
    atomic_fetch_add(streams[stream].untold, 1);
}

uint64_t log_out_take_untold(enum log_stream stream)
{
    if (atomic_load(streams[stream].untold) == 0)
        return 0; /* nearly always; and the word's cache line stays where it is */
    return atomic_exchange(streams[stream].untold, 0);
}

void log_out_give_back(enum log_stream stream, uint64_t lines)
{
    atomic_fetch_add(streams[stream].untold, lines);
}

uint64_t log_out_lost(enum log_stream stream)
{
    return atomic_load(streams[stream].lost);
}

/* --- a program's last words --- */

/* Of a text as many whole lines as one write takes; a longer line is cut. */
static size_t next_piece(const char *text, size_t len)
{
    size_t max = len < LOG_OUT_LINE_MAX ? len : LOG_OUT_LINE_MAX;
    const char *end = memrchr(text, '\n', max);

    return end != NULL && len > max ? (size_t)(end - text) + 1 : max;
}

void log_out_text(const char *text, size_t len, unsigned wait_ms)
{
    struct log_out *out = &streams[LOG_STREAM_ERROR];
    struct pollfd room = {.fd = out->fd, .events = POLLOUT};
    uint64_t end_ms = clock_now_ms() + wait_ms;

    while (len > 0) {
        size_t piece = next_piece(text, len);

        if (log_out_write(out, text, piece)) {
            text += piece;
            len -= piece;
        } else if (errno != EAGAIN || clock_now_ms() >= end_ms) {
            return;
        } else {
            (void)poll(&room, 1, TEXT_LOOK_MS);
        }
    }
}
