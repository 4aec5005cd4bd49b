/* A key and a team as the database has them: what administrators wrote, whole, so that they read it
 * again as it was. What of it counts for a request is a struct rights_key, which store_key_rights()
 * makes. Keys of LiteLLM's own tables take the same form.
 *
 * Lists and maps are JSON texts. What has a column of its own stands there and nowhere else; every
 * other field of LiteLLM's (tenants statement A3) stands in `fields` under LiteLLM's name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/rights.h"

#define STORE_HASH_DIGITS 64 /* of the SHA-256 of a key, in lower-case hex */

struct store_key {
    char hash[STORE_HASH_DIGITS + 1];
    char *id;              /* owned; stable: the first hash, which regeneration keeps */
    char *name;            /* owned; "sk-...abcd", which may be shown; NULL: not known */
    char *alias;           /* owned; unique; NULL: none */
    char *team_id;         /* owned; NULL: none */
    char *user_id;         /* owned; NULL: none */
    char *organization_id; /* owned; NULL: none */
    char *models;          /* owned; JSON array of texts; NULL: [], which allows all (A17) */
    char *aliases;         /* owned; JSON object of texts; NULL: {} */
    char *routes;          /* owned; `allowed_routes`, JSON array of texts; NULL: [], the default */
    char *metadata;        /* owned; JSON object; NULL: {} */
    char *fields;          /* owned; JSON object of the other fields; NULL: {} */
    char *source;          /* owned; "api", "import"; NULL: "api" */
    char *created_by, *updated_by; /* owned; who; NULL: not known */
    bool admin;                    /* sees and may all, as the master key */
    bool blocked;
    int64_t expires_unix_ms;                  /* 0: never */
    int64_t created_unix_ms, updated_unix_ms; /* written by the store; 0 in what is added: now */
    int64_t gen;                              /* the change that made the row as it is */
};

struct store_team {
    char *id;                      /* owned */
    char *alias;                   /* owned; NULL: none */
    char *organization_id;         /* owned; NULL: none */
    char *models;                  /* owned; JSON array of texts; NULL: [], which allows all */
    char *aliases;                 /* owned; JSON object of texts; NULL: {} */
    char *metadata;                /* owned; JSON object; NULL: {} */
    char *fields;                  /* owned; JSON object of the other fields; NULL: {} */
    char *created_by, *updated_by; /* owned; who; NULL: not known */
    bool blocked;
    int64_t created_unix_ms, updated_unix_ms;
    int64_t gen;
};

/** Free what one holds, and empty it. An empty one is fine. */
void store_key_deinit(struct store_key *key);
void store_team_deinit(struct store_team *team);

/**
 * What a key may, compiled: models and aliases (tenants statement A17), the routes of
 * `allowed_routes` or `key_type` (A4), limits from `fields`, else from `metadata` (A39, A43). A
 * member of a wrong type counts as the strictest value it could have meant: a limit that cannot be
 * read is 0, a list that cannot be read allows nothing.
 *
 * @param out  written; the caller's to rights_key_deinit(); untouched on an error
 * @return 0; ERR_INVALID: the hash is none; ERR_NOMEM
 */
MUST_USE int store_key_rights(const struct store_key *key, enum rights_source source,
                              struct rights_key *out);
MUST_USE int store_team_rights(const struct store_team *team, enum rights_source source,
                               struct rights_team *out);
