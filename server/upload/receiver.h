/* The receiving half of an upload, as the files that feed it see it: upload.c a form's file, part.c
 * a part of one, assemble.c the parts of a whole. */
#pragma once

#include "front/front.h"
#include "multipart/multipart.h"
#include "request/errors.h"
#include "upload_send.h"

/* Which part of the form is being read. */
enum part_kind {
    PART_FILE,
    PART_PURPOSE,
    PART_EXPIRES_ANCHOR,
    PART_EXPIRES_SECONDS,
    PART_PROVIDER,
    PART_MODEL,
    PART_TARGET_MODELS,
    PART_IGNORED
};

struct incoming; /* part.h */

struct receiver {
    struct upload *up; /* whose we are */
    struct runtime *rt;
    struct body *body; /* borrowed; NULL once it ended, and where there is none */
    struct multipart *form;
    enum part_kind part;
    struct strbuf field; /* the current text field */
    bool have_file, model_checked;
    bool reads;                /* it is one of the worker's `receiving` */
    bool validate;             /* POST files/validate: check and tell, send nothing */
    bool all_problems;         /* go on after the first bad line */
    struct slice slice;        /* waits for a turn while a long line is read */
    struct incoming *incoming; /* owned; the part that the form brings; NULL: it brings a file */
};

/** @param has_lines  they are checked as they come
 *  @return NULL: out of memory; that was answered */
MUST_USE struct receiver *receiver_new(struct relay *relay, bool has_lines);

/** Its bytes are read from now on: it shares the worker's time with others of that kind. */
void receiver_reads(struct receiver *rc);

/** Read the form and answer; `rc` may be gone when it returns. */
void receiver_receive(struct receiver *rc, struct body *body);

/** Answer. The upload itself ends on the way out of the callback that found the error:
 * receiver_end(). Who reads the answer finds the spool's room given back, at another worker too. */
void receiver_reject(struct receiver *rc, const struct failure *why);

#define REJECT(rc, name, ...)                                                                      \
    do {                                                                                           \
        struct failure why_;                                                                       \
        error_fill(&why_, name, __VA_ARGS__);                                                      \
        receiver_reject(rc, &why_);                                                                \
    } while (0)

bool receiver_is_answered(const struct receiver *rc);

/** It was answered: the upload goes, and `rc` with it. */
void receiver_end(struct receiver *rc);

/** Answer that the spool failed. @return `err` */
int receiver_reject_spool(struct receiver *rc, int err);

/** @param err  what the checker of lines said. @return whether the upload goes on */
bool receiver_lines_are_fine(struct receiver *rc, int err);

/** A file of a model that the caller may not use is refused as soon as its first line tells.
 *  @return whether the upload goes on */
bool receiver_model_is_fine(struct receiver *rc);

/** All of the file is there: finish its lines, and send or refuse it. `rc` is gone. */
void receiver_finish_file(struct receiver *rc);

/** The form's field that brings the bytes. */
static inline const char *receiver_field(const struct receiver *rc)
{
    return rc->incoming != NULL ? "data" : "file";
}
