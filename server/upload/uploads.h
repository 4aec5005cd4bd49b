/* The record of an upload that a request names, for its three calls. */
#pragma once

#include "json/json.h"
#include "parts/parts.h"
#include "request/relay.h"

/** The upload of the request's path. Answers 404 for every id that cannot be this caller's, or is
 * another node's, 400 for one whose hour is over.
 *  @param parts  open, when GO_ON is returned; it may have ended */
MUST_USE enum answered uploads_find(struct relay *relay, struct parts *parts);

/** The text of its "head" or "done" as a tree.
 *  @return NULL: it cannot be read, or there is no memory */
struct json *uploads_read(const struct parts *parts, const char *name, struct json_doc *doc);

/** Answer that a call comes too late, or what went wrong with its folder.
 *  @param err  0: it has ended */
void uploads_fail(struct relay *relay, const struct parts *parts, int err);

/** The upload, how it ended, and of which parts, as "done" has it.
 *  @param of    digest of the part ids; "": it was cancelled
 *  @param file  of `doc`; NULL: there is none
 *  @return its "upload", which is the answer; NULL: out of memory */
struct json *uploads_done(const struct parts *parts, struct json_doc *doc, const char *of,
                          struct json *file, struct strbuf *done);
