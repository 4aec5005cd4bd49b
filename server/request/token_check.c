/* A credential that is a token of the configured issuer: who speaks by it (tenants statements A53 to
 * A56). What is remembered is known at once. Else the request waits, without a byte of its body
 * taken: for a slice in which its signature is verified, where the connections take turns, and when
 * the issuer may have a new key, at most WAIT_MS for the keeper to have asked. */
#include "request/auth.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <h2o.h>

#include "auth_impl.h"
#include "auth_refusal.h"
#include "common/clock.h"
#include "core/tenant.h"
#include "front/front.h"
#include "request/errors.h"
#include "request/operation.h"
#include "tenants/tokens.h"

#define NOTHING       "None"
#define WAIT_MS       2000
#define LOOK_MS       20   /* between two looks whether the keeper has asked the issuer */
#define KEYS_RETRY_MS 5000 /* as where keys cannot be loaded */

/* A request that waits. */
struct token_wait {
    struct operation op; /* first */
    struct slice slice;
    struct token token; /* borrowed from the request */
    uint64_t ticket;    /* of the bell; 0: it was not rung */
    uint64_t until_ms;  /* monotonic; nobody waits for the keeper after that */
    void (*go_on)(struct relay *relay);
};

/* --- answers --- */

static void refuse_bad(struct relay *relay, enum jwt_verdict verdict)
{
    if (verdict == JWT_NO_MEMORY)
        relay_error(relay, OUT_OF_MEMORY, "");
    else if (verdict == JWT_EXPIRED)
        relay_error(relay, TOKEN_EXPIRED, NOTHING);
    else
        relay_error(relay, TOKEN_REFUSED, NOTHING, jwt_verdict_text(verdict));
}

static void keys_away(struct relay *relay)
{
    struct failure why;

    error_fill(&why, TOKEN_KEYS_AWAY, NOTHING);
    why.retry_after_ms = KEYS_RETRY_MS;
    relay_failure(relay, &why);
}

static void teams_away(struct relay *relay)
{
    struct failure why;

    error_fill(&why, TENANT_KEYS_AWAY, NOTHING);
    why.retry_after_ms = KEYS_RETRY_MS;
    relay_failure(relay, &why);
}

static void admit(struct relay *relay, const struct rights *rights,
                  void (*go_on)(struct relay *relay))
{
    struct tenant *tenant = h2o_mem_alloc_pool(&relay->req->pool, sizeof(*tenant));
    int64_t now_unix_ms = clock_unix_ms();
    enum rights_verdict verdict = rights_judge(rights, now_unix_ms);
    struct failure why;

    memset(tenant, 0, sizeof(*tenant));
    tenant->kind = rights->admin ? TENANT_ADMIN : TENANT_KEY;
    tenant->by_token = true;
    tenant->rights = *rights;
    relay->tenant = tenant;
    if (verdict == RIGHTS_GOOD) {
        relay->owner = tenant_owner(tenant);
        go_on(relay);
    } else if (verdict == RIGHTS_EXPIRED) {
        relay_error(relay, TOKEN_EXPIRED, NOTHING);
    } else {
        auth_refusal_judged(&why, verdict, rights, now_unix_ms);
        relay_failure(relay, &why);
    }
}

/* The relay is nobody's operation. */
static void answer(struct relay *relay, enum token_end end, const struct token_answer *found,
                   void (*go_on)(struct relay *relay))
{
    assert(relay->op == NULL && !relay->answered);
    assert(relay->owner == 0 && relay->tenant == &tenant_anybody); /* until we know */
    switch (end) {
    case TOKEN_GOOD:
        admit(relay, &found->rights, go_on);
        break;
    case TOKEN_BAD:
        refuse_bad(relay, found->verdict);
        break;
    case TOKEN_NO_TEAM:
        relay_error(relay, TOKEN_WITHOUT_TEAM, NOTHING);
        break;
    case TOKEN_WRONG_TEAM:
        relay_error(relay, TOKEN_OF_OTHER_TEAM, NOTHING);
        break;
    case TOKEN_TEAMS_AWAY:
        teams_away(relay);
        break;
    case TOKEN_NEW_KEY:
        refuse_bad(relay, JWT_UNKNOWN_KEY);
        break;
    case TOKEN_NO_KEYS:
    case TOKEN_UNKNOWN: /* it cannot come from tokens_verify() */
        keys_away(relay);
        break;
    }
}

/* --- waiting --- */

static void free_wait(struct operation *op)
{
    struct token_wait *w = (struct token_wait *)op;

    slices_remove(&op->rt->slices, &w->slice);
    free(w);
}

static const struct operation_ops wait_ops = {.free = free_wait};

static void end_wait(struct token_wait *w, enum token_end end, const struct token_answer *found)
{
    void (*go_on)(struct relay * relay) = w->go_on;

    answer(operation_end(&w->op), end, found, go_on);
}

static void verify_soon(struct token_wait *w)
{
    if (slices_add(&w->op.rt->slices, w->op.rt->loop, &w->slice) != 0)
        operation_fail_memory(&w->op);
}

static void look_again(struct operation *op)
{
    struct token_wait *w = (struct token_wait *)op;

    if (tokens_heard(op->rt->tokens, w->ticket) || loop_now_ms(op->rt->loop) >= w->until_ms)
        verify_soon(w);
    else if (!operation_wait(op, LOOK_MS, look_again))
        operation_fail_memory(op);
}

/* @return whether the keeper may change the answer */
static bool wait_for_keeper(struct token_wait *w, enum token_end end)
{
    struct runtime *rt = w->op.rt;

    if ((end != TOKEN_NEW_KEY && end != TOKEN_NO_KEYS) || w->ticket != 0)
        return false;
    w->ticket = tokens_ring(rt->tokens, loop_now_ms(rt->loop));
    if (w->ticket == 0)
        return false;
    w->until_ms = loop_now_ms(rt->loop) + WAIT_MS;
    return operation_wait(&w->op, LOOK_MS, look_again);
}

static void on_turn(struct slice *slice)
{
    struct token_wait *w = slice->arg;
    struct token_answer found;
    enum token_end end = tokens_verify(w->op.rt->tokens, &w->token, clock_unix_ms(), &found);

    assert(end != TOKEN_UNKNOWN); /* it was looked at */
    if (!wait_for_keeper(w, end))
        end_wait(w, end, &found);
}

/* --- all --- */

/* Find out who speaks by a token. */
static void check_token(struct relay *relay, const char *text, size_t len,
                        void (*go_on)(struct relay *relay))
{
    struct token token = {.text = text, .len = len};
    struct token_answer found;
    struct token_wait *w;
    enum token_end end;

    (void)relay_request_header(relay, "x-litellm-team-id", &token.team, &token.team_len);
    end = tokens_recall(relay->rt->tokens, &token, clock_unix_ms(), &found);
    if (end != TOKEN_UNKNOWN) {
        answer(relay, end, &found, go_on);
        return;
    }
    w = operation_new(sizeof(*w), relay, &wait_ops);
    if (w == NULL)
        return; /* it was answered */
    w->token = token;
    w->go_on = go_on;
    w->slice = (struct slice){.cb = on_turn, .arg = w, .flow = &front_load(relay->req)->tokens};
    verify_soon(w);
}

static bool find_token(const struct relay *relay, const char **text, size_t *len)
{
    size_t at = 0;

    while (relay->rt->tokens != NULL && auth_next_credential(relay, &at, text, len))
        if (tokens_take(relay->rt->tokens, *text, *len))
            return true;
    return false;
}

/* A token beside a good key may be for somebody else on the way. */
void auth_begin(struct relay *relay, void (*go_on)(struct relay *relay))
{
    struct unknown_key key;
    const char *text;
    size_t len;

    if (find_token(relay, &text, &len) && !auth_shows_good_key(relay)) {
        relay->owner = 0;
        relay->tenant = &tenant_anybody;
        check_token(relay, text, len, go_on);
        return;
    }
    switch (auth_try(relay, &key)) {
    case AUTH_GO_ON:
        go_on(relay);
        break;
    case AUTH_ASK:
        key_wait_begin(relay, &key, go_on);
        break;
    case AUTH_ANSWERED:
        break;
    }
}
