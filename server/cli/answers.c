/* See answers.h. */
#include "answers.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "save.h"

#define PIECE 65536

int answers_open(struct answers *a, const char *path)
{
    *a = (struct answers){.fd = -1, .before = -1};
    a->path = strdup(path);
    a->index = results_index_new();
    if (a->path == NULL || a->index == NULL)
        return ERR_NOMEM;
    a->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    a->error = a->fd == -1 ? errno : 0;
    return a->fd == -1 ? ERR_IO : 0;
}

void answers_close(struct answers *a)
{
    if (a->fd != -1) {
        close(a->fd);
        (void)unlink(a->path);
    }
    results_index_free(a->index);
    free(a->path);
    *a = (struct answers){.fd = -1, .before = -1};
}

/* --- reading --- */

static bool write_all(struct answers *a, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(a->fd, bytes, len);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1) {
            a->error = errno;
            return false;
        }
        bytes += n;
        len -= (size_t)n;
        a->len += (uint64_t)n;
    }
    return true;
}

static bool on_bytes(void *arg, const char *bytes, size_t len)
{
    struct answers *a = arg;
    int err = results_index_feed(a->index, bytes, len);

    a->bar.total = a->answer->length > 0 ? (uint64_t)a->answer->length : 0;
    bar_add(&a->bar, len);
    if (err != 0) {
        a->error = err == ERR_LIMIT ? EFBIG : ENOMEM;
        return false;
    }
    return write_all(a, bytes, len);
}

enum client_exit answers_fetch(struct answers *a, struct client *client, const char *id,
                               const volatile sig_atomic_t *stop, struct client_answer *answer)
{
    struct strbuf path = STRBUF_INIT;
    struct client_request request = {.method = "GET", .on_data = on_bytes, .arg = a, .stop = stop};
    enum client_exit code;

    assert(a->before == -1);
    strbuf_adds(&path, "/v1/files/");
    client_add_segment(&path, id);
    strbuf_adds(&path, "/content");
    request.path = strbuf_str(&path);
    a->answer = answer;
    bar_begin(&a->bar, "reading results", 0);
    code = client_ask(client, &request, answer);
    a->answer = NULL;
    bar_end(&a->bar);
    strbuf_deinit(&path);
    if (code == CLIENT_OK && results_index_end_of_file(a->index) != 0) {
        a->error = EFBIG;
        code = CLIENT_USAGE;
    }
    if (code == CLIENT_USAGE && a->error != 0)
        snprintf(answer->said, sizeof(answer->said), "%s: %s", a->path, strerror(a->error));
    return code;
}

/* --- what was merged before --- */

/* A line that results_merge made itself: the batch had no answer, so it is none. */
static bool is_missing(const char *line, size_t len)
{
    static const char begin[] = "{\"id\":null,\"custom_id\":",
                      code[] = ",\"error\":{\"code\":\"not_run\"";

    return len > sizeof(begin) + sizeof(code) && memcmp(line, begin, sizeof(begin) - 1) == 0 &&
           memmem(line, len, code, sizeof(code) - 1) != NULL;
}

static int feed_before(struct answers *a, FILE *file)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int err = 0;

    while (err == 0 && (len = getline(&line, &room, file)) > 0) {
        if (is_missing(line, (size_t)len))
            memset(line, ' ', (size_t)len - (line[len - 1] == '\n'));
        for (size_t at = 0; err == 0 && at < (size_t)len; at += PIECE)
            err = results_index_feed(a->index, line + at,
                                     (size_t)len - at < PIECE ? (size_t)len - at : PIECE);
    }
    if (err == 0 && ferror(file) != 0) {
        a->error = errno != 0 ? errno : EIO;
        err = ERR_IO;
    }
    free(line);
    return err != 0 ? err : results_index_end_of_file(a->index);
}

int answers_add_before(struct answers *a, int fd)
{
    int copy = dup(fd), err;
    FILE *file = copy != -1 && lseek(copy, 0, SEEK_SET) == 0 ? fdopen(copy, "r") : NULL;

    assert(a->before == -1 && fd != -1);
    if (file == NULL) {
        a->error = errno;
        if (copy != -1)
            close(copy);
        return ERR_IO;
    }
    err = feed_before(a, file);
    a->before = fd;
    (void)fclose(file);
    return err;
}

/* --- the merge --- */

static ssize_t read_at(int fd, char *buf, size_t len, uint64_t offset)
{
    ssize_t n;

    do
        n = pread(fd, buf, len, (off_t)offset);
    while (n == -1 && errno == EINTR);
    return n;
}

/* Answers, and what was merged before behind them: as the index has seen them. */
static ssize_t read_answers(void *arg, char *buf, size_t len, uint64_t offset)
{
    const struct answers *a = arg;

    if (offset >= a->len)
        return a->before == -1 ? 0 : read_at(a->before, buf, len, offset - a->len);
    return read_at(a->fd, buf, len < a->len - offset ? len : (size_t)(a->len - offset), offset);
}

static ssize_t read_input(void *arg, char *buf, size_t len, uint64_t offset)
{
    const int *fd = arg;

    return read_at(*fd, buf, len, offset);
}

static int write_merged(struct results_merge *merge, struct save *save)
{
    struct strbuf out = STRBUF_INIT;
    enum results_step step = RESULTS_MORE;
    int err = merge == NULL ? ERR_NOMEM : 0;

    while (err == 0 && step == RESULTS_MORE) {
        step = results_merge_next(merge, &out, PIECE);
        if (strbuf_failed(&out))
            err = ERR_NOMEM;
        else if (step == RESULTS_UNREADABLE)
            err = ERR_SYNTAX;
        else if (step == RESULTS_BROKEN || !save_write(save, strbuf_str(&out), out.len))
            err = ERR_IO;
        strbuf_reset(&out);
    }
    strbuf_deinit(&out);
    return err;
}

int answers_write(struct answers *a, int input, uint64_t bytes, enum results_form form,
                  unsigned kinds, const char *status, const char *path)
{
    struct results_spec spec = {.index = a->index,
                                .read = read_answers,
                                .read_arg = a,
                                .read_input = read_input,
                                .read_input_arg = &input,
                                .input_end = bytes,
                                .form = form,
                                .kinds = kinds,
                                .limit = UINT64_MAX};
    struct results_merge *merge;
    struct save save;
    int err = save_begin(&save, path);

    assert(input != -1);
    results_missing(&spec, status);
    merge = results_merge_new(&spec);
    if (err == 0)
        err = write_merged(merge, &save);
    if (err == 0)
        err = save_commit(&save);
    if (err == ERR_IO)
        a->error = save.error != 0 ? save.error : EIO;
    else if (err == ERR_SYNTAX)
        a->error = EBADMSG;
    results_merge_free(merge);
    save_end(&save);
    return err;
}

/* --- counting --- */

static void count_line(const struct answers *a, const struct result_line *line, bool good,
                       struct answers_tally *tally)
{
    struct results_answer answer;
    bool has = good && line->has_id && results_index_find(a->index, line->hash, &answer);
    enum results_kind kind = results_kind_of(has ? &answer : NULL);

    tally->lines++;
    tally->ok += kind == RESULTS_OK;
    tally->failed += kind != RESULTS_OK;
    tally->retryable += good && line->has_id && (kind & RESULTS_RETRYABLE) != 0;
}

int answers_count(struct answers *a, int input, uint64_t bytes, struct answers_tally *tally)
{
    struct result_lines *lines = malloc(sizeof(*lines));
    char *buf = malloc(PIECE);
    uint64_t read = 0;
    enum result_end end;
    ssize_t n = 1;

    *tally = (struct answers_tally){.lines = 0};
    if (lines != NULL)
        result_lines_init(lines, results_index_key(a->index), 0);
    while (lines != NULL && buf != NULL && read < bytes &&
           (n = read_at(input, buf, PIECE, read)) > 0) {
        read += (uint64_t)n;
        for (size_t at = 0; at < (size_t)n;) {
            at += result_lines_take(lines, buf + at, (size_t)n - at, &end);
            if (end != RESULT_NOT_YET)
                count_line(a, &lines->line, end == RESULT_LINE, tally);
        }
    }
    if (lines != NULL && (end = result_lines_finish(lines)) != RESULT_NOT_YET)
        count_line(a, &lines->line, end == RESULT_LINE, tally);
    a->error = n > 0 ? 0 : n == 0 ? EIO : errno;
    if (lines == NULL || buf == NULL)
        a->error = ENOMEM;
    free(lines);
    free(buf);
    assert(tally->ok + tally->failed == tally->lines);
    return a->error == 0 ? 0 : ERR_IO;
}
