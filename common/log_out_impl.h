/* What the unit test of log_out.c sees of it. */
#pragma once

#include <stdatomic.h>

#include "common/log_out.h"

enum log_out_kind {
    LOG_OUT_PLAIN,  /* a file, or not looked at yet: a write does not wait for a reader */
    LOG_OUT_OWN,    /* a description of our own with O_NONBLOCK */
    LOG_OUT_SOCKET, /* send(2) can be told not to wait */
    LOG_OUT_GUARDED /* what could not be opened anew: looked at first, and a timer ends a wait */
};

struct log_out {
    int fd;
    enum log_out_kind kind;
    _Atomic uint64_t *lost, *untold; /* shared by all processes */
    _Atomic uint32_t *torn;          /* 1: the last write ended inside a line */
    const char *path;                /* borrowed; of a file that is reopened; NULL: none */
    uint32_t opened;                 /* the `reopen` word when it was opened last */
    bool journal;                    /* it is the journal's socket */
};

/* Find out what it is, and take it over. */
void log_out_open(struct log_out *out);

/* How many bytes of a text of whole lines were written; the rest was not. Never waits. */
size_t log_out_write_some(struct log_out *out, const char *text, size_t len);

/* As log_out_put(). */
bool log_out_write(struct log_out *out, const char *line, size_t len);
