/* Who serves a request: the id's tag, else what path, query, headers and body say, else the default
 * (architecture section 4). And the ids that the answer shows. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/ids.h"
#include "common/strbuf.h"
#include "server/relay.h"

/* Where an object may live. */
struct target {
    uint32_t *deployments; /* owned; candidates, likely first; one when a tag or a hint pins it */
    uint32_t num;
    bool tagged;  /* the client's id had a tag: the answer's ids get one too */
    bool litellm; /* the client's id was one of LiteLLM's: the answer shows ours, not an echo */
    char native[IDS_MAX + 1];
};

/** Take what headers and a JSON body say into the hints (path and query are in already). Call
 * before any resolve_*(). */
void resolve_hints(struct relay *relay);

/** Where the object of this id can be. @param param  name of the field for the error, NULL: the id
 * in the path
 *  @return false when an error was answered (404 for every id that cannot be this caller's) */
bool resolve_id(struct relay *relay, enum id_kind kind, const char *id, size_t len,
                struct target *target);
void target_deinit(struct target *target);

/** Accounts that a list covers, each by the deployment that stands for it. @return false when an
 * error was answered; else *out is malloc'ed */
bool resolve_list(struct relay *relay, uint32_t **out, uint32_t *num);

/** Candidates for an upload: the group of `model` (from the lines; NULL: none), or one account as a
 * whole.
 *  @param rewrite  set when body.model must become the deployment's name
 *  @return true: *out is malloc'ed with at least one entry; false: `why` says what to answer */
bool resolve_upload(const struct relay *relay, const char *model, uint32_t **out, uint32_t *num,
                    bool *rewrite, struct failure *why);

/** Whether new objects on this deployment's account get tagged ids. */
bool resolve_mints(const struct relay *relay, uint32_t deployment);

/** Whether the answer to a call about this object, found at `deployment`, has tagged ids. A client
 * that asked for a native id gets native ids; one that asked with LiteLLM's gets what new objects
 * there get, so that it sees one id from then on. */
bool resolve_shows_tag(const struct relay *relay, const struct target *target, uint32_t deployment);

/** Append the client's form of a native id. */
void resolve_client_id(const struct relay *relay, uint32_t deployment, enum id_kind kind,
                       bool tagged, const char *native, struct strbuf *out);

/** Rewrite the ids of a normalised File or Batch to the client's form. */
void resolve_show_file(const struct relay *relay, uint32_t deployment, bool tagged,
                       struct json_doc *doc, struct json *file);
void resolve_show_batch(const struct relay *relay, uint32_t deployment, bool tagged,
                        struct json_doc *doc, struct json *batch);

/** The answer to every id that names nothing this caller may see: unknown, forged, foreign or of
 * the wrong kind look the same. */
void resolve_not_found(struct relay *relay, enum id_kind kind, const char *id);
