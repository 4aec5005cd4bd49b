/* See token_fetch.h. One credential after the other, each in steps:
 *
 *                 due, and the lease is ours            request
 *        IDLE ────────────────────────► PREPARING ────────────────► CALLING
 *         ▲                              │      ▲ Azure Arc: once more, with a file  │
 *         └──── published, or failed ────┴──────┴─────────────────────────────┘
 *
 * What decides is entra_when_next() of the cell's state: so it goes on where another prober was,
 * of the generation before or of the program before, and a wait that was asked for holds for all.
 * The lease of the cell says that nobody else asks for the same token meanwhile. */
#include "token_fetch.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/strbuf.h"
#include "probes.h"
#include "token_prepare.h"

#define LOOK_MS  100           /* between two looks whether a bell rang */
#define AGAIN_MS 1000          /* a cell is looked at that often at least: others write into it */
#define STEP_MS  ENTRA_CALL_MS /* of a preparation, as of a call */
/* Longer than any step: who has it and lives takes it again at each step */
#define LEASE_MS (2 * STEP_MS)

enum step { STEP_IDLE, STEP_PREPARING, STEP_CALLING };

/* What was told of a credential last, so that only a change is told (entra statement 15). */
struct told {
    uint32_t outcome;
    int32_t status;
    uint64_t number;
    char code[64];
};

/* One credential. */
struct fetcher {
    struct token_fetch *of;
    const struct entra_credential *credential; /* borrowed */
    struct entra_tokens_cell *cell;
    enum step step;
    bool challenged;       /* this is the second call, with a file that the first one named */
    uint64_t due_ms;       /* when its cell is looked at next, unless the bell rings */
    uint64_t step_ms;      /* when the step began */
    struct token_job *job; /* the thread of the step, or one that was abandoned; NULL: none */
    bool stuck;            /* ... that one */
    struct upstream_call *call;
    struct entra_request request;
    struct told told;
    char warned[128]; /* the last warning */
};

struct token_fetch {
    struct upkeep *upkeep;   /* borrowed */
    struct runtime *rt;      /* its own */
    struct upstream *direct; /* owned; for managed identities: no proxy, the metadata address */
    struct token_preparer *preparer;
    struct loop_timer look;
    size_t num;
    struct fetcher fetchers[];
};

static uint64_t now_of(const struct fetcher *f)
{
    return loop_now_ms(f->of->rt->loop);
}

static uint64_t random_bits(const struct fetcher *f)
{
    return (uint64_t)(runtime_random(f->of->rt) * (double)(UINT64_C(1) << 52));
}

/* --- the log --- */

static bool is_told(struct fetcher *f, const struct entra_tokens_error *error)
{
    struct told now = {.outcome = error->outcome, .status = error->status, .number = error->number};
    bool same;

    memcpy(now.code, error->code, sizeof(now.code));
    same = f->told.outcome == now.outcome && f->told.status == now.status &&
           f->told.number == now.number && strcmp(f->told.code, now.code) == 0;
    f->told = now;
    return same;
}

static void tell_failure(struct fetcher *f, const struct entra_answer *answer,
                         const struct entra_state *state, const struct entra_tokens_error *error)
{
    uint64_t now_ms = now_of(f);
    bool lives = entra_when_use(state, now_ms) != ENTRA_USE_NONE;
    struct strbuf text = STRBUF_INIT;
    uint64_t next_s = (entra_when_next(state, now_ms) - now_ms + 999) / 1000;

    if (is_told(f, error))
        return;
    entra_answer_describe(answer, &text);
    if (lives)
        log_warn("entra: %s: no new token: %s; the one before is good for %" PRIu64 " s more",
                 f->credential->name, strbuf_str(&text), (state->ends_ms - now_ms) / 1000);
    else
        log_error("entra: %s: no token: %s; its rows rest, the next call is made in %" PRIu64 " s",
                  f->credential->name, strbuf_str(&text), next_s);
    strbuf_deinit(&text);
}

static void tell_token(struct fetcher *f, const struct entra_answer *answer)
{
    if (answer->warning[0] != '\0' && strcmp(f->warned, answer->warning) != 0)
        log_warn("entra: %s: %s", f->credential->name, answer->warning);
    memcpy(f->warned, answer->warning, sizeof(f->warned));
    if (f->told.outcome != ENTRA_OK) {
        log_info("entra: %s: there is a token again, for %u s", f->credential->name,
                 answer->lives_s);
        probes_again(f->of->upkeep, (uint32_t)(f - f->of->fetchers));
    } else {
        log_debug("entra: %s: a token for %u s", f->credential->name, answer->lives_s);
    }
    f->told = (struct told){.outcome = ENTRA_OK};
}

/* --- the end of a fetch --- */

static void let_go(struct fetcher *f)
{
    f->step = STEP_IDLE;
    f->challenged = false;
    f->due_ms = now_of(f);
    entra_request_wipe(&f->request);
    entra_tokens_release(f->cell, f->of->rt->slot);
}

/* Who rang until now has his answer. */
static void settle(struct fetcher *f)
{
    let_go(f);
    entra_tokens_hear(f->cell, entra_tokens_rung(f->cell));
}

static void fail(struct fetcher *f, const struct entra_answer *answer)
{
    struct entra_tokens_error error = {.unix_s = clock_unix_s(),
                                       .status = answer->status,
                                       .outcome = (uint32_t)answer->outcome,
                                       .number = answer->number};
    struct entra_state state;

    static_assert(sizeof(error.code) == sizeof(answer->error) &&
                      sizeof(error.line) == sizeof(answer->message) &&
                      sizeof(error.correlation) == sizeof(answer->correlation),
                  "texts are copied whole");
    memcpy(error.code, answer->error, sizeof(error.code));
    memcpy(error.line, answer->message, sizeof(error.line));
    memcpy(error.correlation, answer->correlation, sizeof(error.correlation));
    entra_tokens_state(f->cell, &state);
    entra_when_failed(&state, answer->outcome, answer->retry_after_s, now_of(f), random_bits(f));
    entra_tokens_fail(f->cell, &state, &error);
    tell_failure(f, answer, &state, &error);
    settle(f);
}

/* It was not asked. */
static void fail_here(struct fetcher *f, enum entra_outcome outcome,
                      const struct entra_error *error)
{
    struct entra_answer answer;

    entra_answer_fail(outcome, error, &answer);
    fail(f, &answer);
    entra_answer_deinit(&answer);
}

/* Its life is counted from when it was asked for: never longer than whoever issued it counts. */
static void succeed(struct fetcher *f, const struct entra_answer *answer)
{
    struct entra_state state;

    assert(f->step == STEP_CALLING && f->step_ms <= now_of(f));
    entra_tokens_state(f->cell, &state);
    entra_when_obtained(&state, answer->lives_s, answer->refresh_s, f->step_ms, random_bits(f));
    if (entra_tokens_publish(f->cell, answer->token.data, answer->token.len, &state) != 0)
        tell_token(f, answer);
    settle(f);
}

/* --- the call --- */

static void prepare(struct fetcher *f, const char *challenge);

static void follow(struct fetcher *f, const struct entra_answer *answer)
{
    static const struct entra_error twice = {"the key file of the challenge was not accepted"};

    if (f->challenged) {
        fail_here(f, ENTRA_FINAL, &twice);
        return;
    }
    f->challenged = true;
    prepare(f, answer->challenge);
}

static void on_answer(void *arg, const struct upstream_result *result)
{
    struct fetcher *f = arg;
    struct entra_answer answer;

    assert(f->step == STEP_CALLING);
    f->call = NULL;
    entra_answer_read(f->credential, &f->request, result, clock_unix_s(), &answer);
    entra_request_wipe(&f->request);
    if (answer.outcome == ENTRA_OK)
        succeed(f, &answer);
    else if (answer.outcome == ENTRA_CHALLENGE)
        follow(f, &answer);
    else
        fail(f, &answer);
    entra_answer_deinit(&answer);
}

/* The lease is taken again, or somebody else has it by now, who asks too and answers those who
 * rang. */
static bool goes_on(struct fetcher *f)
{
    if (entra_tokens_lease(f->cell, f->of->rt->slot, now_of(f), LEASE_MS))
        return true;
    let_go(f);
    return false;
}

static void call(struct fetcher *f)
{
    bool managed = f->credential->kind == ENTRA_MANAGED;
    const struct upstream_request request = {.method = f->request.method,
                                             .url = f->request.url,
                                             .headers = f->request.headers,
                                             .num_headers = f->request.num_headers,
                                             .body = f->request.body,
                                             .body_len = f->request.body_len,
                                             .secret = true,
                                             .total_ms = ENTRA_CALL_MS,
                                             .max_body = ENTRA_MAX_ANSWER,
                                             .on_done = on_answer,
                                             .arg = f};
    static const struct entra_error no_memory = {"out of memory"};

    if (!goes_on(f))
        return;
    f->step = STEP_CALLING;
    f->step_ms = now_of(f);
    f->call = upstream_start(managed ? f->of->direct : f->of->rt->upstream, &request);
    if (f->call == NULL)
        fail_here(f, ENTRA_PASSING, &no_memory);
}

/* --- the preparation --- */

static void on_prepared(void *arg, struct token_prepared *prepared)
{
    struct fetcher *f = arg;

    f->job = NULL;
    f->stuck = false;
    if (prepared == NULL)
        return; /* it came too late, and was told as a failure */
    assert(f->step == STEP_PREPARING);
    if (!prepared->ok) {
        fail_here(f, prepared->outcome, &prepared->error);
        return;
    }
    f->request = prepared->request;
    prepared->request = (struct entra_request){0};
    call(f);
}

/* Nothing of this waits for a disk or signs. */
static void prepare_here(struct fetcher *f)
{
    struct entra_error error = {""};
    int ret = entra_request_build(f->credential, NULL, clock_unix_s(), &f->request, &error);

    if (ret == 0)
        call(f);
    else
        fail_here(f, ret == ERR_NOMEM ? ENTRA_PASSING : ENTRA_FINAL, &error);
}

static void fail_for_file(struct fetcher *f, const char *why)
{
    struct entra_error error;

    snprintf(error.message, sizeof(error.message), "%.200s: %s",
             f->credential->path != NULL ? f->credential->path : "the key file of a challenge",
             why);
    fail_here(f, ENTRA_PASSING, &error);
}

static void prepare(struct fetcher *f, const char *challenge)
{
    if (!goes_on(f))
        return;
    f->step = STEP_PREPARING;
    f->step_ms = now_of(f);
    if (challenge == NULL && f->credential->path == NULL) {
        prepare_here(f);
        return;
    }
    if (f->job != NULL) {
        fail_for_file(f, "it is still being read, for more than ten seconds");
        return;
    }
    f->job = token_prepare_start(f->of->preparer, f->credential, challenge, clock_unix_s(),
                                 on_prepared, f);
    if (f->job == NULL)
        fail_for_file(f, "no memory to read it");
}

/* --- when --- */

static void give_up_file(struct fetcher *f)
{
    token_prepare_abandon(f->job);
    f->stuck = true;
    fail_for_file(f, "it could not be read within ten seconds");
}

static bool is_due(struct fetcher *f, uint64_t now_ms)
{
    struct entra_state state;
    uint64_t next_ms;

    entra_tokens_state(f->cell, &state);
    next_ms = entra_when_next(&state, now_ms);
    f->due_ms = next_ms < now_ms + AGAIN_MS ? next_ms : now_ms + AGAIN_MS;
    return next_ms <= now_ms;
}

/* Another prober may have been quicker between the look and the lease. */
static void begin_if_ours(struct fetcher *f, uint64_t now_ms)
{
    uint32_t slot = f->of->rt->slot;

    if (!entra_tokens_lease(f->cell, slot, now_ms, LEASE_MS)) {
        f->due_ms = now_ms + LOOK_MS;
    } else if (is_due(f, now_ms)) {
        prepare(f, NULL);
    } else {
        entra_tokens_release(f->cell, slot);
    }
}

/* Who rings where nothing is due has his answer: there is a token, or there will be none for a
 * while. */
static void look_at(struct fetcher *f, uint64_t now_ms)
{
    uint64_t rung = entra_tokens_rung(f->cell);
    bool rings = rung != entra_tokens_heard(f->cell);

    if (f->step == STEP_PREPARING && !f->stuck && now_ms >= f->step_ms + STEP_MS)
        give_up_file(f);
    if (f->step != STEP_IDLE || (!rings && now_ms < f->due_ms))
        return;
    if (is_due(f, now_ms))
        begin_if_ours(f, now_ms);
    else if (rings)
        entra_tokens_hear(f->cell, rung);
}

static void on_look(struct loop_timer *timer)
{
    struct token_fetch *t = timer->arg;

    for (size_t i = 0; i < t->num; i++)
        look_at(&t->fetchers[i], loop_now_ms(t->rt->loop));
    if (loop_timer_start(t->rt->loop, timer, LOOK_MS) != 0)
        log_error("out of memory: tokens of Entra ID are no longer fetched");
}

/* --- the beginning --- */

/* A failure that the prober before has told is not told again. */
static void remember_told(struct fetcher *f)
{
    struct entra_tokens_report report;

    entra_tokens_report(f->cell, &report);
    if (report.failures > 0 && report.error.unix_s != 0)
        (void)is_told(f, &report.error);
}

static int open_direct(struct token_fetch *t)
{
    const struct config *config = t->rt->config;
    const struct upstream_options options = {.allow_insecure = config->allow_insecure_upstream,
                                             .allow_metadata = true,
                                             .ca_file = config->upstream_ca_file,
                                             .connect_ms = config->timeouts.connect_ms};

    for (size_t i = 0; i < t->num && t->direct == NULL; i++)
        if (t->fetchers[i].credential->kind == ENTRA_MANAGED) {
            int ret = upstream_new(t->rt->loop, &options, &t->direct);

            if (ret != 0)
                return ret;
        }
    return 0;
}

static void forbid_cores(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
}

int token_fetch_start(struct upkeep *upkeep)
{
    struct runtime *rt = &upkeep->rt;
    const struct model_list *models = &rt->config->models;
    struct token_fetch *t;
    int ret;

    if (models->num_credentials == 0)
        return 0;
    t = calloc(1, sizeof(*t) + models->num_credentials * sizeof(t->fetchers[0]));
    if (t == NULL)
        return ERR_NOMEM;
    forbid_cores();
    t->upkeep = upkeep;
    t->rt = rt;
    t->num = models->num_credentials;
    for (size_t i = 0; i < t->num; i++) {
        struct fetcher *f = &t->fetchers[i];

        f->of = t;
        f->credential = &models->credentials[i];
        f->cell = entra_tokens_find(rt->inherited->entra_tokens, f->credential->fingerprint);
        assert(f->cell != NULL); /* bound before the fork */
        remember_told(f);
    }
    if ((ret = open_direct(t)) != 0 || (ret = token_preparer_new(rt->loop, &t->preparer)) != 0)
        return ret;
    t->look = (struct loop_timer){.cb = on_look, .arg = t};
    return loop_timer_start(rt->loop, &t->look, 0);
}
