/* A batch file of this machine: checked as `tranche check-file` does, and as the body of an upload,
 * with another model name where one is given. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bar.h"
#include "client.h"
#include "jsonl/jsonl.h"

#define INPUT_DIGEST 64 /* hex characters of its SHA-256 */
#define INPUT_NAME   96 /* bytes of a file name that is uploaded */

struct input {
    int fd; /* -1: closed */
    uint64_t bytes;
    char digest[INPUT_DIGEST + 1];
    struct jsonl *lines;        /* owned */
    struct jsonl_report report; /* borrowed from `lines` */
};

/** Open and check a file; what is wrong with it is told on standard error.
 *  @return CLIENT_OK, CLIENT_REFUSED: it is not valid, CLIENT_USAGE: it cannot be read. Pair with
 *          input_close() in any case */
MUST_USE enum client_exit input_open(struct input *input, const char *path);
void input_close(struct input *input);

/** The name that a file is uploaded by, so that it is found again: the input's, the nonce behind it.
 * Letters that a multipart head could misread become "_". Pure. */
void input_name(const char *path, const char *nonce, char out[INPUT_NAME]);

/* The body of an upload, as it is read by client_ask(). */
struct input_body {
    struct strbuf head, type; /* owned; multipart up to the content, Content-Type */
    char tail[64];
    size_t head_at, tail_at;     /* sent of them */
    struct jsonl_splice *splice; /* owned */
    uint64_t length;             /* of all */
    struct bar *bar;             /* borrowed */
};

/** @param name   of the file, as input_name() gives it
 *  @param nonce  for the boundary
 *  @param model  NULL or "": the lines keep theirs
 *  @param bar    begun by the caller; moves with what is sent
 *  @return 0, ERR_NOMEM; input_body_deinit() it in any case */
MUST_USE int input_body_init(struct input_body *body, struct input *input, const char *name,
                             const char *nonce, const char *model, struct bar *bar);
void input_body_deinit(struct input_body *body);
/** A client_source_cb. */
ssize_t input_body_read(void *arg, char *buf, size_t len);
