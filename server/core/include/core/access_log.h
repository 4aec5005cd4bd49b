/* One JSON line on standard output per request that ended. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/live.h"

#define ACCESS_LOG_ID 37 /* bytes of a request's id, with the NUL */

/* What the line of a request says; all borrowed during the call. Server README 9 tells of each
 * member. */
struct access_line {
    const char *request_id;
    const char *client;         /* address; NULL or "": it has none */
    const char *route, *method; /* names */
    const char *path;           /* pattern */
    int status;                 /* of the answer; 499: the client left before one */
    uint64_t bytes_in;          /* of the request's body, as far as it was taken */
    size_t bytes_out;           /* of the answer's body */
    uint64_t started_us;        /* monotonic */
    int version;                /* 0x101, 0x200: as libh2o counts */
    const char *model;          /* asked for, or of the deployment; secrets in it are masked */
    const char *id;         /* of the object, as the client knows it; secrets in it are masked */
    size_t id_len;          /* 0: none */
    const char *deployment; /* that served it; NULL: none */
    const char *key, *team; /* who asked: tenant_log_name(), the team's id; NULL or "": none */
    const struct live_calls *calls; /* to providers; NULL: there were none */
    bool cut_off;                   /* the process ends before the request does */
};

/** A new id of a request: what its x-request-id header and its line have in common. */
void access_log_new_id(char out[ACCESS_LOG_ID]);

/** Write the line at the end of this turn (log_out_flush()); called once, when the request's memory
 * goes. */
void access_log_write(const struct access_line *request);

/** The line of a request that was refused by its head alone, before any route saw it.
 *  @param client     address
 *  @param version    0x101, 0x200: as libh2o counts
 *  @param bytes_out  of the answer's body */
void access_log_refusal(const char *request_id, const char *client, int status, int version,
                        size_t bytes_out);
