/* A batch's results: one line for each line of its input, in input order, whatever order its output
 * and error files have (results README statements D32 and D34). Pure: files come through callbacks, so the
 * same is done with spools and with files on a disk (tranche results). Memory
 * is constant beside the index.
 *
 *     index = results_index_new();
 *     results_index_feed(), ..., results_index_end_of_file()     of the output file, then the error file
 *     spec = (struct results_spec){.index = index, .read = pread_of_both, .read_input = ..., ...};
 *     results_missing(&spec, "expired");
 *     merge = results_merge_new(&spec);
 *     while ((step = results_merge_next(merge, &out, 65536)) == RESULTS_MORE)
 *         write `out`, strbuf_reset(&out);
 *
 * An answer goes out with the bytes that the provider wrote; with RESULTS_BOTH its last brace is
 * followed by the input's line as a member `request`. A line without an answer becomes
 * {"id":null,"custom_id":...,"response":null,"error":{"code":...,"message":...}}.
 *
 * A line of the input whose custom_id cannot be read may have an answer, and may have been paid for:
 * it is never given as one to try again, and what looks for those without an answer ends there
 * (RESULTS_UNREADABLE). Among answers it keeps its place, with an error that says so. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "results/results_index.h"

/* What became of a line; bits, because they are asked for together. */
enum results_kind {
    RESULTS_OK = 1,       /* status 200, and no error */
    RESULTS_REFUSED = 2,  /* an answer that may be another one next time: 408, 409, 429, 5xx */
    RESULTS_UNDONE = 4,   /* batch_expired, batch_cancelled: nobody has tried it */
    RESULTS_FAILED = 8,   /* any other answer */
    RESULTS_MISSING = 16, /* no line in output and error files */
    RESULTS_ERROR = RESULTS_REFUSED | RESULTS_UNDONE | RESULTS_FAILED,
    RESULTS_RETRYABLE = RESULTS_REFUSED | RESULTS_UNDONE | RESULTS_MISSING, /* D30 */
    RESULTS_ALL = 31
};

/** The kind of an answer; NULL: there is none. */
enum results_kind results_kind_of(const struct results_answer *answer);

/* Which lines of the input are wanted by name: a set of hashes, for ?custom_id= and retries. */
struct results_ids {
    const uint64_t (*hashes)[2]; /* borrowed; sorted by results_ids_sort(); NULL: all lines */
    size_t num;
};

/** Sort hashes for struct results_ids, in their place. */
void results_ids_sort(uint64_t (*hashes)[2], size_t num);

enum results_form {
    RESULTS_ANSWERS, /* answers in OpenAI's shape */
    RESULTS_BOTH,    /* ... with the input's line as member `request` */
    RESULTS_INPUT    /* the input's lines as they stand: a file to try again; none that has a 200 */
};

/** Read like pread(2): bytes, 0 at the end, -1 on error. spool_read() is one. */
typedef ssize_t (*results_read_cb)(void *arg, char *buf, size_t len, uint64_t offset);

struct results_spec {
    const struct results_index *index; /* borrowed, as all here, until results_merge_free() */
    results_read_cb read;              /* of output and error files, put behind each other */
    void *read_arg;
    results_read_cb read_input;
    void *read_input_arg;
    uint64_t input_begin, input_end; /* [begin, end) of the input in what `read_input` reads */
    enum results_form form;
    unsigned kinds; /* enum results_kind, those that are wanted */
    struct results_ids ids;
    uint64_t after;                             /* leave out so many of the lines that are wanted */
    uint64_t limit;                             /* give at most so many; UINT64_MAX: all */
    const char *missing_code, *missing_message; /* without quotes, backslashes and control bytes */
};

/** Why lines have no answer, by the batch's status: batch_expired, batch_cancelled, else not_run. Fills
 * missing_code and missing_message with constants. @param status  NULL: not known */
void results_missing(struct results_spec *spec, const char *status);

enum results_step {
    RESULTS_MORE,      /* call again; some bytes may have been written, or none yet */
    RESULTS_DONE,      /* that was all */
    RESULTS_BROKEN,    /* a file could not be read, or ended before its end */
    RESULTS_UNREADABLE /* RESULTS_INPUT, with RESULTS_MISSING: a line's custom_id; for good */
};

struct results_merge;

/** @param spec  copied. @return NULL: out of memory; the caller frees it */
struct results_merge *results_merge_new(const struct results_spec *spec);
void results_merge_free(struct results_merge *merge);

/** Write what comes next, for one turn of a loop: looks at 64 KiB of the input at most, and at 256
 * lines.
 *  @param out   appended to; strbuf_failed() is the caller's to look at
 *  @param room  at most so many bytes, and a few hundred */
enum results_step results_merge_next(struct results_merge *merge, struct strbuf *out, size_t room);

/** Lines that were given so far. */
uint64_t results_merge_given(const struct results_merge *merge);
