/* Calls of accounts by Entra ID carry the token of now (entra statements 13 and 16 to 19). The prober's
 * process fetches it; here it is read for each call, and waited for where there is none.
 *
 * A token that is refused is replaced once, here, so that no caller, no breaker and no client hears of
 * it. To send a create or an upload again after a 401 is safe: the provider says it before it does
 * anything (balancer/retry.c). on_begin has run then, so whoever counts on it keeps what it has marked
 * as sent, and the marker of a create is the same: however the second try ends, it is found as the
 * first one would be.
 *
 * Secrets: the token is on the stack of go_on() alone, and wiped there; provider_headers() and
 * libcurl's lines are wiped by who has them. */
#include "attempt_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "core/account_token.h"
#include "token_rules.h"

#define LOOK_MS    20    /* between two looks at the cell */
#define NO_CELL_MS 60000 /* a credential that the region had no room for: when to come back */

/* --- a spec that outlives attempt_start() --- */

static size_t room_of(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

static void keep_text(const char **text, char **at)
{
    char *begin = *at;

    if (*text == NULL)
        return;
    *at = stpcpy(begin, *text) + 1;
    *text = begin;
}

static struct kept_spec *keep(const struct attempt_spec *spec)
{
    size_t body_len = spec->body != NULL ? spec->body_len : 0;
    size_t room = room_of(spec->id) + room_of(spec->query) + room_of(spec->content_type) +
                  room_of(spec->range) + room_of(spec->if_range) + body_len + 1;
    struct kept_spec *kept = malloc(sizeof(*kept) + room);
    char *at;

    if (kept == NULL)
        return NULL;
    kept->spec = *spec;
    kept->spec.request_id = NULL; /* the attempt has it */
    at = kept->text;
    keep_text(&kept->spec.id, &at);
    keep_text(&kept->spec.query, &at);
    keep_text(&kept->spec.content_type, &at);
    keep_text(&kept->spec.range, &at);
    keep_text(&kept->spec.if_range, &at);
    if (spec->body != NULL)
        kept->spec.body = memcpy(at, spec->body, body_len);
    return kept;
}

/* --- the wait --- */

static void on_timer(struct loop_timer *timer);

/* It is one of the worker's calls to providers, of which there is a limit (server README 6). */
static void set_waits(struct attempt *at, bool waits)
{
    assert(waits || !at->waits || at->rt->calls_waiting > 0);
    at->rt->calls_waiting += (uint32_t)waits - (uint32_t)at->waits;
    at->waits = waits;
}

/* The bell is looked at first: what it says holds for the token that is read behind it. */
static void look(const struct attempt *at, const struct entra_tokens_cell *cell, char *text,
                 struct entra_tokens_view *token, struct token_view *view)
{
    uint64_t now_ms = loop_now_ms(at->rt->loop);

    *token = (struct entra_tokens_view){0};
    *view = (struct token_view){.heard = true, .wait_ms = NO_CELL_MS};
    text[0] = '\0';
    if (cell == NULL)
        return;
    view->heard = at->rung != 0 && entra_tokens_is_heard(cell, at->rung);
    view->wait_ms = entra_tokens_wait_ms(cell, now_ms);
    view->failing = entra_tokens_failures(cell) > 0;
    view->there = entra_tokens_read(cell, now_ms, text, token);
    view->number = token->number;
    view->refused = token->refused;
}

static int send_with(struct attempt *at, const char *text, const struct entra_tokens_view *token)
{
    at->token = token->number;
    at->token_ms = token->obtained_ms;
    return attempt_send(at, &at->kept->spec, text);
}

/* Send it, or wait, or have the loop end it. @return 0, or as attempt_send() */
static int go_on(struct attempt *at, enum token_step *step, uint64_t *wait_ms)
{
    struct entra_tokens_cell *cell = account_token_cell(at->rt, at->deployment);
    uint64_t now_ms = loop_now_ms(at->rt->loop);
    char text[ENTRA_TOKENS_TEXT + 1];
    struct entra_tokens_view token;
    struct token_view view;
    int rc = 0;

    look(at, cell, text, &token, &view);
    *wait_ms = view.wait_ms;
    *step = token_step(&view, at->refused, now_ms - at->waits_since_ms, attempt_left_ms(at));
    if (*step == TOKEN_SEND)
        rc = send_with(at, text, &token);
    else if (*step == TOKEN_WAIT && at->rung == 0)
        at->rung = entra_tokens_ring(cell);
    secret_wipe(text, token.len);
    return rc;
}

/* Like go_on(), from where no callback may run. */
static int begin_wait(struct attempt *at)
{
    enum token_step step;
    uint64_t wait_ms;
    int rc;

    assert(at->call == NULL);
    at->waits_since_ms = loop_now_ms(at->rt->loop);
    rc = go_on(at, &step, &wait_ms);
    if (rc != 0 || step == TOKEN_SEND)
        return rc;
    set_waits(at, true);
    at->timer.cb = on_timer;
    at->timer.arg = at;
    return loop_timer_start(at->rt->loop, &at->timer, step == TOKEN_WAIT ? LOOK_MS : 0);
}

static void end_unsent(struct attempt *at)
{
    static const struct upstream_result unsent = {
        .end = UPSTREAM_REFUSED, .nothing_sent = true, .error = "start: out of memory"};

    attempt_end(at, &unsent);
}

static void on_timer(struct loop_timer *timer)
{
    struct attempt *at = timer->arg;
    enum token_step step;
    uint64_t wait_ms;
    int rc;

    assert(at->call == NULL);
    rc = go_on(at, &step, &wait_ms);
    set_waits(at, rc == 0 && step == TOKEN_WAIT);
    if (at->waits)
        rc = loop_timer_start(at->rt->loop, timer, LOOK_MS);
    if (rc != 0)
        end_unsent(at);
    else if (step == TOKEN_NONE)
        attempt_end_without_token(at, token_retry_after_ms(wait_ms));
}

int attempt_token_start(struct attempt *at, const struct attempt_spec *spec)
{
    at->kept = keep(spec);
    return at->kept != NULL ? begin_wait(at) : ERR_NOMEM;
}

void attempt_token_deinit(struct attempt *at)
{
    set_waits(at, false);
    if (at->timer.cb != NULL)
        loop_timer_stop(at->rt->loop, &at->timer);
    free(at->kept);
}

/* --- a 401 --- */

/* The token that is there now. */
static struct entra_tokens_view current_of(const struct attempt *at,
                                           const struct entra_tokens_cell *cell)
{
    struct entra_tokens_view token = {0};

    if (cell != NULL && !entra_tokens_read(cell, loop_now_ms(at->rt->loop), NULL, &token))
        token = (struct entra_tokens_view){0};
    return token;
}

static struct token_verdict judge(const struct attempt *at, const struct upstream_result *upstream,
                                  const struct entra_tokens_view *current)
{
    uint64_t now_ms = loop_now_ms(at->rt->loop);
    struct failure said;
    struct token_refusal refusal = {
        .denied = failure_is_permission_denied(upstream, &said),
        .sent_again = at->refused != 0,
        .can_go_back = at->source == NULL || at->rewind != NULL,
        .number = at->token,
        .age_ms = now_ms > at->token_ms ? now_ms - at->token_ms : 0,
        .current = current->number,
    };

    return token_judge(&refusal);
}

static void discard(struct attempt *at, struct entra_tokens_cell *cell, bool known)
{
    const struct model_list *models = &at->rt->config->models;
    const struct model_account *account = runtime_account(at->rt, at->deployment);

    if (!known)
        log_info("account %s: its token (%s) was refused with status 401; another one is asked for",
                 account->name, models->credentials[account->entra].name);
    at->rung = entra_tokens_refuse(cell, at->token);
}

bool attempt_token_goes_on(struct attempt *at, const struct upstream_result *upstream)
{
    struct entra_tokens_cell *cell;
    struct entra_tokens_view current;
    struct token_verdict verdict;

    assert(at->call == NULL);
    if (at->kept == NULL || upstream->end != UPSTREAM_ANSWERED || upstream->head.status != 401)
        return false;
    cell = account_token_cell(at->rt, at->deployment);
    current = current_of(at, cell);
    verdict = judge(at, upstream, &current);
    at->rung = 0;
    if (verdict.discard)
        discard(at, cell, current.refused);
    if (!verdict.again || (at->source != NULL && at->rewind(at->arg) != 0))
        return false;
    at->refused = at->token;
    if (begin_wait(at) != 0)
        return false;
    at->sent = upstream->bytes_sent;
    at->received = upstream->bytes_received;
    return true;
}
