/* One HTTP request as the fakes see it, and the answer that they make. */
#pragma once

#include "sim.h"

#define HEADERS_MAX 128

struct header {
    const char *name;  /* borrowed from head */
    const char *value; /* borrowed from head */
    size_t name_len;
    size_t value_len;
};

struct request {
    struct strbuf head; /* request line and headers as received, without the empty line */
    const char *method; /* all borrowed from head, with a length because nothing is NUL-terminated
                           in there */
    size_t method_len;
    const char *target;
    size_t target_len;
    size_t path_len; /* of target, without the query */
    int minor;       /* HTTP/1.x */
    struct header headers[HEADERS_MAX];
    size_t n_headers;
    int64_t content_length; /* -1: none */
    bool chunked;
    bool expects_continue;
    bool keep_alive;
    struct blob body;     /* a handler may take it over */
    int64_t body_bytes;   /* received */
    uint64_t journal_seq; /* its line in the journal */
    uint64_t conn_id;
};

struct reply {
    int status;
    const char *type;      /* Content-Type, borrowed constant; NULL: none */
    struct strbuf headers; /* further header lines, each with CRLF */
    struct strbuf body;    /* answer text */
    struct blob file;      /* owned; sent instead of body when has_file */
    bool has_file;
    bool no_compress;
    int64_t delay_ms;
    bool park; /* control/wait: the answer comes later */
};

/** Parse a complete head. Returns 0, or the HTTP status to refuse it with. */
int request_parse(struct request *req);

/** A header's value, NULL when absent. The name is in lower case. */
const struct header *request_header(const struct request *req, const char *name);
bool request_header_is(const struct request *req, const char *name, const char *value);

/** A query parameter, percent-decoded, as a malloc'ed string; NULL when absent. */
char *request_query(const struct request *req, const char *name);

/** The value of a form field (application/x-www-form-urlencoded) in `text`; malloc'ed, NULL when
 * absent. */
char *form_field(const char *text, size_t len, const char *name);

bool request_is(const struct request *req, const char *method);

/** The body as text; malloc'ed and NUL-terminated; NULL when above 16 MiB. */
char *request_text(const struct request *req, size_t *len);

void reply_header(struct reply *rep, const char *name, const char *value);
void reply_reset(struct reply *rep);
const char *reply_reason(int status);
