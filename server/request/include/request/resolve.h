/* Who serves a request: the id's tag, else what path, query, headers and body say, else the default
 * (server README 4). And the ids that the answer shows. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "crypto/ids.h"
#include "common/strbuf.h"
#include "request/relay.h"

struct candidates; /* candidates.h */
struct viewer;     /* objects/client_ids.h */

/* Where an object may live. */
struct target {
    uint32_t *deployments; /* owned; candidates, likely first */
    uint32_t num;
    bool unsure;      /* it has to be looked for among them (with GET) before anything is changed */
    bool tagged;      /* the client's id had a tag: the answer's ids get one too */
    bool litellm;     /* the client's id was one of LiteLLM's: the answer shows ours, not an echo */
    uint32_t account; /* fingerprint in the tag; 0: there was none */
    uint64_t owner;   /* of the tag: whose the object is; 0: the master's, or there was no tag */
    char native[IDS_MAX + 1];
    /* resolve_follow(): the batch runs elsewhere since it failed late, and the above says where. Its
     * client knows it as `first`, at this deployment; else MODEL_NO_INDEX */
    uint32_t first_deployment;
    char first[IDS_MAX + 1];
    int64_t created_s; /* as its client was told; 0: not known */
    uint32_t moves;    /* so far */
    bool is_over;      /* it has ended, and no provider says how: followed_text() does */
};

/** Take what headers and a JSON body say into the hints (path and query are in already). Call
 * before any resolve_*(). */
void resolve_hints(struct relay *relay);

/** Whether the model that head and query name is served, before anything of a body is taken; the
 * hints stay as they are. Answers 400 model_not_found. */
MUST_USE enum answered resolve_check_head(struct relay *relay);

/** The same for what resolve_hints() gathered. */
MUST_USE enum answered resolve_check_model(struct relay *relay);

/** Where the object of this id can be. Answers 404 for every id that cannot be this caller's. */
MUST_USE enum answered resolve_id(struct relay *relay, enum id_kind kind, const char *id,
                                  size_t len, struct target *target);
void target_deinit(struct target *target);

/** A batch that was moved after a late failure is where it is now. For who asks about one; a cursor of
 * lists stays what it is. */
void resolve_follow(const struct relay *relay, struct target *target);

/** The same some time later.
 *  @param at  the deployment that was asked meanwhile
 *  @return whether it is elsewhere by now, or over: what was asked for there is old */
bool resolve_follow_again(const struct relay *relay, struct target *target, uint32_t at);

/** Give the object of a batch that was moved the id and the time that its client knows; else nothing.
 *  @param viewer  whose id it is
 *  @param batch   as batch_view() made it */
void resolve_show_first(const struct relay *relay, const struct target *target,
                        const struct viewer *viewer, struct json_doc *doc, struct json *batch);

/** Accounts that a list covers, each by the deployment that stands for it.
 *  @param out  malloc'ed; NULL when it was ANSWERED */
MUST_USE enum answered resolve_list(struct relay *relay, uint32_t **out, uint32_t *num);

/** Whether the caller may use the model of a file's lines (tenants statements A18, A29).
 *  @param model  that all lines name, after the caller's aliases
 *  @return false: `why` says what to answer */
bool resolve_lines_are_allowed(const struct relay *relay, const char *model, struct failure *why);
/** Whether the request names models, so that its list covers the accounts of their groups alone. */
bool resolve_names_models(const struct relay *relay);

/** Candidates for an upload: the groups of target_model_names, or the group of the model that the
 * request or the lines name, with what they fall back to; or one account as a whole.
 *  @param model   of the lines, after the caller's aliases; NULL: none
 *  @param target  value of target_model_names, comma-separated; NULL or "": not given
 *  @return true: at least one; release with candidates_deinit(); false: `why` has the answer */
bool resolve_upload(const struct relay *relay, const char *model, const char *target,
                    struct candidates *out, struct failure *why);

/** The status that tells a client that its batch was made: 200 as at OpenAI; on the paths of
 * Azure's SDKs what Azure itself answered, since some of them take nothing else.
 *  @param status  the provider's; 0: it was not seen, then what the account's version answers
 *                 (providers 2.2: 201 after 2024-10-21) */
int resolve_status(const struct relay *relay, uint32_t deployment, int status);

/** Whether the answer to a call about this object, found at `deployment`, has tagged ids. A client
 * that asked for a native id gets native ids; one that asked with LiteLLM's gets what new objects
 * there get, so that it sees one id from then on. */
bool resolve_shows_tag(const struct relay *relay, const struct target *target, uint32_t deployment);

/** The answer to every id that names nothing this caller may see: unknown, forged, foreign or of
 * the wrong kind look the same. */
void resolve_not_found(struct relay *relay, enum id_kind kind, const char *id);
void resolve_describe_not_found(struct failure *failure, enum id_kind kind, const char *id);
