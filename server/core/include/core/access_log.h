/* One JSON line on standard output per request that ended. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ACCESS_LOG_ID 37 /* bytes of a request's id, with the NUL */

/* What the line of a request says; all borrowed during the call. */
struct access_line {
    const char *request_id;
    const char *route, *method; /* names */
    int status;                 /* of the answer; 499: the client left before one */
    size_t bytes_out;           /* of the answer's body */
    uint64_t started_us;        /* monotonic */
    int version;                /* 0x101, 0x200: as libh2o counts */
    const char *id;             /* of the object in the path; secrets in it are masked */
    size_t id_len;              /* 0: none */
    const char *deployment;     /* that served it; NULL: none */
    const char *key, *team;     /* who asked: tenant_name(), the team's id; NULL or "": none */
};

/** A new id of a request: what its x-request-id header and its line have in common. */
void access_log_new_id(char out[ACCESS_LOG_ID]);

/** Write the line; called once, when the request's memory goes. */
void access_log_write(const struct access_line *request);

/** The line of a request that was refused by its head alone, before any route saw it.
 *  @param version    0x101, 0x200: as libh2o counts
 *  @param bytes_out  of the answer's body */
void access_log_refusal(const char *request_id, int status, int version, size_t bytes_out);
