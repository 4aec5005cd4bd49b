/* Reading multipart/form-data out of a blob. Written apart from the gateway's own reader on
 * purpose: the two check each other. It keeps the headers of each part, because Azure has opinions
 * about them. */
#pragma once

#include "request.h"

#define PARTS_MAX 64

struct part {
    char *name;     /* owned */
    char *filename; /* owned base name; NULL: not a file */
    char *headers;  /* owned; as received */
    bool has_type;
    bool has_length;
    int64_t off; /* content, in the body */
    int64_t len;
};

struct parts {
    struct part part[PARTS_MAX];
    size_t n;
};

/** Read the parts of a request. Returns 0, or -1 with `why` (a constant) set. Free with
 * parts_free() in any case. */
int parts_read(const struct request *req, struct parts *parts, const char **why);
void parts_free(struct parts *parts);

/** The part of that name, NULL when absent. */
const struct part *parts_get(const struct parts *parts, const char *name);

/** A small part's text, malloc'ed; NULL when absent. */
char *parts_text(const struct request *req, const struct parts *parts, const char *name);

/** Print name, filename and headers as JSON. */
void parts_write(const struct parts *parts, struct strbuf *out);
