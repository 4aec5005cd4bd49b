/* What the files of this room share: one call, its problems, and how it is answered. */
#pragma once

#include "json/json.h"
#include "manage/manage.h"
#include "store/store.h"
#include "store/store_batches.h"

#define MANAGE_PROBLEMS 16 /* told at once; more are left out */

enum manage_method { MANAGE_GET = 1, MANAGE_POST = 2, MANAGE_PATCH = 4, MANAGE_DELETE = 8 };

/* What is wrong with a body, as FastAPI says it. */
struct manage_problem {
    char field[64];   /* "": the body as a whole */
    const char *type; /* constant: "missing", "string_type", ... */
    char text[160];
};

struct manage_job {
    const struct manage *manage;
    struct json_doc *doc;
    const struct json *query;  /* object of texts */
    const struct json *caller; /* object */
    const struct json *body;   /* NULL: none, or none that could be read */
    const char *segment;       /* {key} of /key/{key}/regenerate; NULL: none */
    struct manage_problem problems[MANAGE_PROBLEMS];
    size_t num_problems;
    struct json *warnings; /* array of texts; NULL: none */
    struct manage_answer *out;
    bool answered;
};

/* --- answers: the first one counts --- */

/** Answer 200 with a tree of the job's document; `warnings` are added. */
void manage_ok(struct manage_job *job, struct json *body);

/** Answer with an error in LiteLLM's envelope, whose code is a text (tenants A.3). Never says a key
 * or a hash. @param param  NULL for null */
void manage_fail(struct manage_job *job, int status, const char *type, const char *param,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/** Answer for what the store returned, which is not 0: ERR_IO is 503, ERR_FULL 507. */
void manage_fail_store(struct manage_job *job, int err);

/** Whether there is a database; else that is answered. @param what  "keys" or "teams" */
bool manage_has_store(struct manage_job *job, const char *what);

/** Whether there is a journal; else that is answered. */
bool manage_has_journal(struct manage_job *job);

/** Whether who asks sees all. */
bool manage_is_admin(const struct manage_job *job);

/** Whose objects who asks sees else.
 *  @return false: the worker has not said whose key it is, so it is nobody's */
bool manage_owner(const struct manage_job *job, uint64_t *owner);

/** Note what is wrong with the body: the answer is a 422 then. */
void manage_problem(struct manage_job *job, const char *field, const char *type, const char *fmt,
                    ...) __attribute__((format(printf, 4, 5)));

/** Note what is kept and has no effect. */
void manage_warn(struct manage_job *job, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/** Whether the body has problems, which are answered then. */
bool manage_is_refused(struct manage_job *job);

/** Who calls, for the audit. */
struct store_actor manage_actor(const struct manage_job *job);

/* --- fields --- */

/** Take the fields of a body for a key, or a team, into its row: what is not named stays, null
 * clears (A7). Notes problems. The row may be changed in part then.
 *  @return 0, ERR_NOMEM */
MUST_USE int manage_take_key(struct manage_job *job, struct store_key *key);
MUST_USE int manage_take_team(struct manage_job *job, struct store_team *team);

/** A text of the body: NULL when it is absent, null or (a noted problem) no text. */
const char *manage_text(struct manage_job *job, const char *field);

/** A text that must be there. */
const char *manage_required(struct manage_job *job, const char *field);

/** "30s", "5m", "30min", "1h", "30d", "2w", "1mo" (30 days) in milliseconds. @return false: it is
 * none, or longer than 100 years */
bool manage_duration(const char *text, int64_t *ms);

/** Whole numbers of a query. @return `otherwise` when it is absent; -1: (a noted problem) */
int64_t manage_query_int(struct manage_job *job, const char *name, int64_t otherwise);
const char *manage_query(const struct manage_job *job, const char *name); /* NULL: absent or "" */

/* --- keys by name --- */

/** The hash that a request names a key by: of "sk-..." or as it is (64 hex digits).
 *  @return false: it is neither */
bool manage_hash(const char *name, char hash[STORE_HASH_DIGITS + 1]);

/** A file's key with this hash, or its team with this id; NULL: none.
 *  @param name  written: where it stands */
const struct rights_key *manage_file_key(const struct manage_job *job, const char *hash,
                                         const char **name);
const struct rights_team *manage_file_team(const struct manage_job *job, const char *id,
                                           const char **name);

/* --- rows as LiteLLM shows them --- */

/** All fields of a key but the secret. @param hash  whether it has `token` */
struct json *manage_show_key(struct manage_job *job, const struct store_key *key, bool hash);
/* @param source  where it stands */
struct json *manage_show_file_key(struct manage_job *job, const struct rights_key *key,
                                  const char *source);
struct json *manage_show_team(struct manage_job *job, const struct store_team *team);

/* --- handlers --- */

int manage_key_generate(struct manage_job *job);
int manage_service_account(struct manage_job *job);
int manage_key_update(struct manage_job *job);
int manage_key_delete(struct manage_job *job);
int manage_key_block(struct manage_job *job);
int manage_key_unblock(struct manage_job *job);
int manage_key_regenerate(struct manage_job *job);
int manage_key_info(struct manage_job *job);
int manage_key_list(struct manage_job *job);
int manage_team_new(struct manage_job *job);
int manage_team_update(struct manage_job *job);
int manage_team_info(struct manage_job *job);
int manage_team_list(struct manage_job *job);
int manage_team_block(struct manage_job *job);
int manage_team_unblock(struct manage_job *job);
int manage_team_delete(struct manage_job *job);
int manage_rebuild_start(struct manage_job *job);
int manage_rebuild_get(struct manage_job *job);
int manage_batches_list(struct manage_job *job);
int manage_batch_get(struct manage_job *job);
int manage_usage(struct manage_job *job);

/** When a batch will have ended if it goes on as it did. Pure.
 *  @param now_ms  Unix
 *  @return Unix ms; 0: nobody can say, or it has ended */
int64_t manage_expected_end_ms(const struct store_batch_row *row, int64_t now_ms);
int manage_hook_create(struct manage_job *job);
int manage_hook_list(struct manage_job *job);
int manage_hook_get(struct manage_job *job);
int manage_hook_update(struct manage_job *job);
int manage_hook_delete(struct manage_job *job);
int manage_hook_rotate(struct manage_job *job);
int manage_hook_test(struct manage_job *job);
int manage_hook_events(struct manage_job *job);
int manage_hook_replay(struct manage_job *job);
