/* See log_out.h. */
#include "common/log_out.h"
#include "log_out_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/environment.h"
#include "common/shm.h"

#define PIPE_DEFAULT 65536     /* pipe(7); another size is somebody's choice */
#define PIPE_BYTES   (1 << 20) /* what a pipe should hold of a burst */
#define GUARD_US     1000      /* a guarded write waits no longer */
#define TEXT_LOOK_MS 50
#define BATCH_BYTES  32768 /* of lines of one turn, to a file */

/* The words that all processes share; until log_out_init() those of this one. */
struct counts {
    _Atomic uint64_t lost[LOG_STREAMS], untold[LOG_STREAMS];
    _Atomic uint32_t torn[LOG_STREAMS];
    _Atomic uint32_t reopen; /* how often that was wanted */
    _Atomic uint32_t level;  /* 1 and more: this level less 1; 0: none was told */
};

static struct counts own_counts;
static struct counts *counts = &own_counts;

/* Lines of this turn. */
struct batch {
    size_t len, told_end; /* bytes; up to the last line that tells of lost ones */
    uint64_t told;
    char text[BATCH_BYTES];
};

static struct batch batches[LOG_STREAMS];
static enum log_priority priorities = LOG_PRIORITY_AUTO;

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

/* systemd.exec(5): device and inode of the socket that the service manager gave. */
static bool is_journal(int fd)
{
    const char *given = environment_get("JOURNAL_STREAM");
    struct stat st;
    char own[64];

    if (given == NULL || fstat(fd, &st) == -1)
        return false;
    snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    return strcmp(own, given) == 0;
}

int log_out_init(void)
{
    struct counts *shared = shm_new(sizeof(*shared));

    if (shared == NULL)
        return ERR_NOMEM;
    if (fill_standard_descriptors() != 0) {
        shm_free(shared, sizeof(*shared));
        return ERR_IO;
    }
    counts = shared;
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    prepare_guard();
    for (int i = 0; i < LOG_STREAMS; i++) {
        streams[i].lost = &counts->lost[i];
        streams[i].untold = &counts->untold[i];
        streams[i].torn = &counts->torn[i];
        streams[i].journal = is_journal(streams[i].fd);
        log_out_open(&streams[i]);
    }
    return 0;
}

/* --- files --- */

static int open_file(struct log_out *out)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    /* Root follows nobody's link: its folder may belong to the user that root becomes. */
    int fd = open(out->path, geteuid() == 0 ? flags | O_NOFOLLOW : flags, 0640);

    if (fd == -1)
        return ERR_IO;
    if (dup2(fd, out->fd) == -1) {
        close(fd);
        return ERR_IO;
    }
    close(fd);
    out->journal = false;
    log_out_open(out);
    return 0;
}

int log_out_use_file(enum log_stream stream, const char *path)
{
    struct log_out *out = &streams[stream];
    const char *before = out->path;
    int ret;

    if (path == NULL)
        return 0;
    out->path = strdup(path);
    if (out->path == NULL) {
        out->path = before;
        return ERR_NOMEM;
    }
    ret = open_file(out);
    if (ret != 0) {
        free((char *)(uintptr_t)out->path);
        out->path = before;
    }
    return ret;
}

/* A file of root's or of that user, which has no other name: one under another name, in a folder of
 * that user's, may be anybody's. */
static bool is_to_be_given(int fd, uid_t user)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
           (st.st_uid == 0 || st.st_uid == user);
}

void log_out_give_files(uid_t user, gid_t group)
{
    for (int i = 0; i < LOG_STREAMS; i++)
        if (streams[i].path != NULL && is_to_be_given(streams[i].fd, user) &&
            fchown(streams[i].fd, user, group) == -1)
            continue; /* as for any file that is not the user's: it cannot be opened again */
}

void log_out_reopen(void)
{
    atomic_fetch_add(&counts->reopen, 1);
}

static int look(struct log_out *out)
{
    uint32_t wanted = atomic_load_explicit(&counts->reopen, memory_order_relaxed);

    if (out->path == NULL || out->opened == wanted)
        return 0;
    out->opened = wanted; /* also when it fails: it is not tried again with each line */
    return open_file(out);
}

int log_out_look(void)
{
    int ret = 0;

    for (int i = 0; i < LOG_STREAMS; i++)
        if (look(&streams[i]) != 0)
            ret = ERR_IO;
    return ret;
}

/* --- what lines look like, and which there are --- */

void log_out_set_priority(enum log_priority priority)
{
    priorities = priority;
}

bool log_out_has_priority(enum log_stream stream)
{
    return priorities == LOG_PRIORITY_ALWAYS ||
           (priorities == LOG_PRIORITY_AUTO && streams[stream].journal);
}

void log_out_set_level(int level)
{
    atomic_store(&counts->level, level < 0 ? 0 : (uint32_t)level + 1);
}

int log_out_level(void)
{
    return (int)atomic_load_explicit(&counts->level, memory_order_relaxed) - 1;
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

/* Only a disk that is full and a terminal take a part of a text. What is written next begins a line
 * of its own when that part ended inside one, whoever writes it. */
size_t log_out_write_some(struct log_out *out, const char *text, size_t len)
{
    bool torn = atomic_exchange(out->torn, 0) != 0;
    struct iovec parts[] = {{"\n", torn}, {(char *)(uintptr_t)text, len}};
    ssize_t written = write_parts(out, parts, 2);
    size_t done;

    if (written <= 0) {
        if (torn)
            atomic_store(out->torn, 1);
        return 0;
    }
    done = (size_t)written - torn;
    if (done > 0 && text[done - 1] != '\n')
        atomic_store(out->torn, 1);
    return done;
}

bool log_out_write(struct log_out *out, const char *line, size_t len)
{
    return log_out_write_some(out, line, len) == len;
}

bool log_out_put(enum log_stream stream, const char *line, size_t len)
{
    (void)look(&streams[stream]);
    return len <= LOG_OUT_LINE_MAX && log_out_write(&streams[stream], line, len);
}

/* --- lines of one turn --- */

static uint64_t count_lines(const char *text, size_t len)
{
    uint64_t lines = 0;

    for (const char *at = text; (at = memchr(at, '\n', (size_t)(text + len - at))) != NULL; at++)
        lines++;
    return lines;
}

static void flush(enum log_stream stream)
{
    struct batch *b = &batches[stream];
    struct log_out *out = &streams[stream];
    size_t done;

    if (b->len == 0)
        return;
    (void)look(out);
    done = log_out_write_some(out, b->text, b->len);
    if (done < b->len) {
        uint64_t lines = count_lines(b->text + done, b->len - done);

        atomic_fetch_add(out->lost, lines);
        atomic_fetch_add(out->untold, lines);
    }
    if (done < b->told_end)
        log_out_give_back(stream, b->told);
    b->len = b->told_end = 0;
    b->told = 0;
}

/* A write of more may mix with another process's, or be cut, but in a file. */
static size_t batch_bytes(const struct log_out *out)
{
    return out->kind == LOG_OUT_PLAIN ? BATCH_BYTES : LOG_OUT_LINE_MAX;
}

void log_out_add(enum log_stream stream, const char *line, size_t len, uint64_t told)
{
    struct batch *b = &batches[stream];

    if (len > LOG_OUT_LINE_MAX) {
        log_out_lose(stream);
        log_out_give_back(stream, told);
        return;
    }
    if (b->len + len > batch_bytes(&streams[stream]))
        flush(stream);
    memcpy(b->text + b->len, line, len);
    b->len += len;
    b->told += told;
    if (told > 0)
        b->told_end = b->len;
}

void log_out_flush(void)
{
    for (int i = 0; i < LOG_STREAMS; i++)
        flush((enum log_stream)i);
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
