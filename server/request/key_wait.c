/* A key that is not in the table, where there may be others than those that were loaded: the keeper
 * is asked once, and the request waits without a byte of its body taken (tenants statements A37,
 * C27). What the keeper has found is in the table then. */
#include <assert.h>
#include <stdlib.h>

#include "auth_impl.h"
#include "auth_refusal.h"
#include "request/auth.h"
#include "request/operation.h"
#include "tenants/ask.h"

struct key_wait {
    struct operation op; /* first */
    struct ask_call *call;
    struct unknown_key key; /* borrows from the request */
    void (*go_on)(struct relay *relay);
};

static void free_wait(struct operation *op)
{
    struct key_wait *w = (struct key_wait *)op;

    ask_cancel(&w->call);
    free(w);
}

static const struct operation_ops wait_ops = {.free = free_wait};

/* @param known  whether it is known that there is no such key */
static void refuse(struct relay *relay, const struct unknown_key *key, bool known)
{
    struct failure why;

    auth_refusal_unknown(&why, key->token, key->len, known);
    relay_failure(relay, &why);
}

static void on_answer(void *arg, const struct ask_answer *answer)
{
    struct key_wait *w = arg;
    void (*go_on)(struct relay * relay) = w->go_on;
    enum keeper_lookup found = ask_key_result(answer);
    struct unknown_key key = w->key;
    struct relay *relay;

    assert(w->call != NULL); /* one answer, and none from inside ask_key() */
    w->call = NULL;
    relay = operation_end(&w->op);
    if (found != KEEPER_KEY_PUBLISHED)
        refuse(relay, &key, found == KEEPER_KEY_UNKNOWN);
    else if (auth_check(relay) == GO_ON)
        go_on(relay);
}

void key_wait_begin(struct relay *relay, const struct unknown_key *key,
                    void (*go_on)(struct relay *relay))
{
    struct runtime *rt = relay->rt;
    struct key_wait *w;

    if (!misses_pass(&rt->misses, relay_peer_key(relay), loop_now_ms(rt->loop))) {
        refuse(relay, key, false);
        return;
    }
    w = operation_new(sizeof(*w), relay, &wait_ops);
    if (w == NULL)
        return; /* it was answered */
    w->key = *key;
    w->go_on = go_on;
    if (ask_key(rt->ask, key->hash, on_answer, w, &w->call) != 0)
        refuse(operation_end(&w->op), key, false);
}
