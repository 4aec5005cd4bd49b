/* One try to store a spooled file at one deployment: the form around it, the deployment's name
 * spliced into its lines while the spool is read, one attempt. Who tries again starts another one;
 * the spool makes that possible. */
#pragma once

#include "jsonl/jsonl.h"
#include "calls/attempt.h"
#include "core/spool.h"

struct send_file;

struct send_file_spec {
    uint32_t deployment;
    struct spool *spool;         /* borrowed until the end */
    const struct jsonl *lines;   /* borrowed until the end; NULL: no batch file */
    const char *model;           /* what body.model becomes; NULL: it stays */
    struct provider_upload form; /* borrowed until send_file_start() returns */
    const char *request_id;      /* of the client's request, for the log; NULL: none */
    uint64_t owner;              /* attempt_spec.owner */
    void (*on_begin)(void *arg); /* or NULL; attempt_spec.on_begin */
};

/** @param file_bytes  of the file as it was sent. Called once unless cancelled, never from inside
 *                     send_file_start(); the try is gone by then. */
typedef void (*send_file_done_cb)(void *arg, const struct attempt_result *result,
                                  uint64_t file_bytes);

/** @return NULL: out of memory or randomness; nothing was begun, on_done will not run */
struct send_file *send_file_start(struct runtime *rt, const struct send_file_spec *spec,
                                  send_file_done_cb on_done, void *arg);

/** Forget it: no callback any more, the connection is closed. */
void send_file_cancel(struct send_file *sf);

/** The name that body.model becomes at a deployment whose own may hold a `*`: what `*` of `pattern`
 * stands for in `model` takes its place: "openai/gpt-4o", which the group `openai/` `*` took, is
 * "gpt-4o" at a row of upstream name `*`.
 *  @param pattern  the name that `model` came in under: a group's, or another deployment's
 *  @param model    as the lines have it; NULL: they name none
 *  @param buf      where a filled name goes
 *  @return the name; NULL: the lines' own stays */
const char *send_file_name(const struct runtime *rt, uint32_t deployment, const char *pattern,
                           const char *model, char *buf, size_t size);
