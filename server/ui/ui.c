/* See ui.h. */
#include "ui/ui.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/shm_words.h"
#include "json/json.h"
#include "login_limit.h"
#include "request/auth.h"
#include "request/errors.h"
#include "state_text.h"
#include "ui_impl.h"

#define COOL_MS (15u * 60 * 1000)

struct ui *ui_get(struct runtime *rt)
{
    struct ui *ui = rt->ui;

    if (ui != NULL)
        return ui;
    ui = calloc(1, sizeof(*ui));
    if (ui == NULL)
        return NULL;
    ui->state = state_text_new(rt);
    if (ui->state == NULL ||
        session_keys_init(&ui->keys, rt->inherited->seals, &rt->config->master_key,
                          rt->inherited->started_ms) != 0) {
        free(ui->state);
        free(ui);
        return NULL;
    }
    rt->ui = ui;
    return ui;
}

/* --- sessions --- */

static const struct ui_words *words_of(const struct relay *relay)
{
    return &relay->rt->inherited->shared->ui;
}

static bool is_ended(const struct relay *relay, uint64_t name)
{
    for (size_t i = 0; i < UI_ENDED; i++)
        if (load_relaxed(&words_of(relay)->ended[i]) == name)
            return true;
    return false;
}

static void end_session(const struct relay *relay, uint64_t name)
{
    struct ui_words *words = &relay->rt->inherited->shared->ui;
    uint64_t n = atomic_fetch_add_explicit(&words->num_ended, 1, memory_order_relaxed);

    store_relaxed(&words->ended[n % UI_ENDED], name);
}

static bool is_for_anybody(const struct runtime *rt)
{
    return !secret_is_set(&rt->config->master_key) && rt->inherited->rights == NULL;
}

/* Whether who began it may still see all. */
static bool take_right(struct relay *relay, const struct session *session)
{
    const struct config *config = relay->rt->config;

    switch (session->right) {
    case SESSION_ADMIN:
        return auth_take_admin(relay, session->hash);
    case SESSION_MASTER:
        if (secret_is_set(&config->master_key))
            relay->tenant = &tenant_master;
        return secret_is_set(&config->master_key);
    case SESSION_ANYBODY:
        break;
    }
    return is_for_anybody(relay->rt);
}

/* @return false: there is none that is good */
static bool find_session(struct relay *relay, const struct ui *ui, struct session *out)
{
    const char *text;
    size_t len;

    return relay_cookie(relay, SESSION_COOKIE, &text, &len) &&
           session_open(&ui->keys, text, len, clock_unix_s(), out) == 0 &&
           !is_ended(relay, out->name) && take_right(relay, out);
}

/* A page of another site can send a cookie along, and a header of this name only where it may. */
static bool is_genuine(const struct relay *relay, const struct ui *ui,
                       const struct session *session)
{
    const char *text;
    size_t len;

    return relay_request_header(relay, "x-tranche-csrf", &text, &len) &&
           session_csrf_is(&ui->keys, session, text, len);
}

enum answered ui_check_session(struct relay *relay)
{
    const struct ui *ui = ui_get(relay->rt);
    struct session session;

    if (ui == NULL) {
        relay_error(relay, OUT_OF_MEMORY, "");
        return ANSWERED;
    }
    if (!find_session(relay, ui, &session)) {
        relay_error(relay, UI_NO_SESSION, "");
        return ANSWERED;
    }
    if (auth_check_route(relay) == ANSWERED)
        return ANSWERED;
    if (relay->method == METHOD_POST && !is_genuine(relay, ui, &session)) {
        relay_error(relay, UI_FORGED, "");
        return ANSWERED;
    }
    return GO_ON;
}

/* For the page alone: what else the host serves does not get it. Where a proxy cuts the root off, the
 * browser has it in its addresses all the same.
 * @param max_age_s  0: it is to be forgotten, for which the path has to be that of its begin */
static void set_cookie(struct relay *relay, const char *value, int max_age_s)
{
    const char *root = relay->rt->config->root_path;
    struct strbuf text = STRBUF_INIT;

    strbuf_addf(&text, SESSION_COOKIE "=%s; Path=%s/ui; Max-Age=%d; HttpOnly; SameSite=Strict%s",
                value, root != NULL ? root : "", max_age_s,
                relay_is_secure(relay) ? "; Secure" : "");
    relay_header(relay, "set-cookie", strbuf_str(&text));
    strbuf_deinit(&text);
}

static void answer_json(struct relay *relay, struct strbuf *text)
{
    relay_header(relay, "cache-control", "no-store");
    if (strbuf_failed(text))
        relay_error(relay, OUT_OF_MEMORY, "");
    else
        relay_bytes(relay, 200, "application/json", strbuf_str(text), text->len);
    strbuf_deinit(text);
}

/* --- logging in and out --- */

/* Nothing that could be guessed, or what need not be: strangers behind the same proxy do not keep an
 * operator out. What only the keeper may know counts as wrong until it is known. */
static bool is_above_limit(const struct relay *relay)
{
    size_t len;

    return auth_credential(relay, &len) == NULL || is_for_anybody(relay->rt) ||
           auth_shows_good_key(relay);
}

enum answered ui_admit_login(struct relay *relay)
{
    struct ui_words *words = &relay->rt->inherited->shared->ui;
    struct failure why;
    uint64_t wait_ms;

    if (is_above_limit(relay) || login_limit_take(words->logins, UI_LOGIN_PLACES,
                                                  relay_peer_key(relay), clock_now_ms(), &wait_ms))
        return GO_ON;
    error_fill(&why, UI_LOGINS, "", (unsigned)((wait_ms + 999) / 1000));
    why.retry_after_ms = (int64_t)wait_ms;
    relay_failure(relay, &why);
    return ANSWERED;
}

static void describe(const struct relay *relay, const char *who, const struct session *session,
                     struct strbuf *out)
{
    char csrf[SESSION_CSRF + 1];

    session_csrf(&relay->rt->ui->keys, session, csrf);
    strbuf_addf(out, "{\"csrf\":\"%s\"", csrf);
    json_write_member_string(out, "who", who);
    json_write_member_int(out, "expires_at", session->expires_unix_s);
    strbuf_addc(out, '}');
}

/* An alias is any text, and this one goes into a header: what is not printable ASCII is hidden. */
static void name_caller(const struct relay *relay, char out[TENANT_NAME])
{
    switch (relay->tenant->kind) {
    case TENANT_MASTER:
        snprintf(out, TENANT_NAME, "master key");
        break;
    case TENANT_ANYBODY:
        snprintf(out, TENANT_NAME, "anybody");
        break;
    default:
        tenant_name(relay->tenant, out);
    }
    for (char *c = out; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

static int begin_session(const struct relay *relay, const struct ui *ui, struct session *session,
                         struct strbuf *sealed)
{
    static const enum session_right rights[] = {[TENANT_ANYBODY] = SESSION_ANYBODY,
                                                [TENANT_MASTER] = SESSION_MASTER,
                                                [TENANT_ADMIN] = SESSION_ADMIN};
    int ret = session_begin(session, rights[relay->tenant->kind], clock_unix_s());

    memcpy(session->hash, relay->tenant->rights.hash, sizeof(session->hash));
    return ret == 0 ? session_seal(&ui->keys, session, sealed) : ret;
}

void ui_login(struct relay *relay)
{
    struct strbuf sealed = STRBUF_INIT, text = STRBUF_INIT;
    const struct ui *ui = ui_get(relay->rt);
    char who[TENANT_NAME];
    struct session session;

    assert(!tenant_is_bound(relay->tenant)); /* auth_check_route() */
    if (relay->tenant->by_token) {
        relay_error(relay, UI_NO_TOKENS, "");
        return;
    }
    if (ui == NULL || begin_session(relay, ui, &session, &sealed) != 0) {
        strbuf_deinit(&sealed);
        relay_error(relay, OUT_OF_MEMORY, "");
        return;
    }
    name_caller(relay, who);
    log_info("page: %s has logged in", who);
    describe(relay, who, &session, &text);
    set_cookie(relay, strbuf_str(&sealed), SESSION_S);
    strbuf_deinit(&sealed);
    answer_json(relay, &text);
}

static void log_out(struct relay *relay, const struct session *session)
{
    struct strbuf text = STRBUF_INIT;
    char who[TENANT_NAME];

    name_caller(relay, who);
    end_session(relay, session->name);
    log_info("page: %s has logged out", who);
    set_cookie(relay, "", 0);
    strbuf_adds(&text, "{\"ended\":true}");
    answer_json(relay, &text);
}

/* --- deployments by hand --- */

static uint32_t find_deployment(const struct relay *relay)
{
    const struct table *table = relay->rt->table;

    for (uint32_t i = 0; !relay->route.bad_id && i < table_num_deployments(table); i++)
        if (strcmp(table_str(table, table_deployment(table, i)->id), relay->route.id) == 0)
            return i;
    return MODEL_NO_INDEX;
}

static _Atomic uint64_t *health_of(const struct relay *relay, uint32_t deployment, enum op_class op)
{
    const struct inherited *inherited = relay->rt->inherited;

    return state_health(inherited->state, inherited->columns[deployment], op);
}

/* Reads go to the account that has the object, whatever its breaker says: new work is what rests. */
static void cool(struct relay *relay, uint32_t deployment, struct strbuf *text)
{
    const struct inherited *inherited = relay->rt->inherited;
    uint64_t until_ms = clock_now_ms() + COOL_MS;

    breaker_rest_by_hand(health_of(relay, deployment, OP_UPLOAD), until_ms);
    breaker_rest_by_hand(health_of(relay, deployment, OP_CREATE), until_ms);
    state_add_rest(inherited->state, relay->rt->slot, inherited->columns[deployment]);
    strbuf_addf(text, "{\"cooled_for_s\":%u}", COOL_MS / 1000);
}

static void restore(struct relay *relay, uint32_t deployment, struct strbuf *text)
{
    for (unsigned op = 0; op < OP_CLASS_COUNT; op++)
        breaker_mend_by_hand(health_of(relay, deployment, (enum op_class)op));
    strbuf_adds(text, "{\"restored\":true}");
}

static void set_deployment(struct relay *relay)
{
    bool cools = relay->route.kind == ROUTE_UI_COOL;
    uint32_t deployment = find_deployment(relay);
    struct strbuf text = STRBUF_INIT;
    char who[TENANT_NAME];

    if (deployment == MODEL_NO_INDEX) {
        relay_error(relay, UI_NO_DEPLOYMENT, "", relay->route.id);
        return;
    }
    if (cools && relay->rt->inherited->breaker.never_rests) {
        relay_error(relay, UI_NO_COOLDOWNS, "");
        return;
    }
    if (cools)
        cool(relay, deployment, &text);
    else
        restore(relay, deployment, &text);
    name_caller(relay, who);
    log_info("page: %s %s deployment %s", who, cools ? "cools down" : "brings back",
             relay->route.id);
    state_text_outdate(relay->rt->ui->state);
    answer_json(relay, &text);
}

/* --- workers by hand --- */

/* @return NULL: there is none with that pid, or it leaves already */
static struct worker_slot *find_worker(const struct relay *relay)
{
    struct shared *shared = relay->rt->inherited->shared;
    char pid[16];

    for (uint32_t i = 0; i < WORKER_ROWS; i++) {
        struct worker_slot *slot = &shared->slots[i];

        snprintf(pid, sizeof(pid), "%d",
                 (int)atomic_load_explicit(&slot->pid, memory_order_relaxed));
        if (strcmp(pid, "0") != 0 && strcmp(pid, relay->route.id) == 0 &&
            load_relaxed_32(&slot->is_worker) != 0 && load_relaxed_32(&slot->draining) == 0)
            return slot;
    }
    return NULL;
}

/* The master does it at its next look, within a second. */
static void drain_worker(struct relay *relay)
{
    struct worker_slot *slot = find_worker(relay);
    struct strbuf text = STRBUF_INIT;
    char who[TENANT_NAME];

    if (slot == NULL) {
        relay_error(relay, UI_NO_WORKER, "", relay->route.id);
        return;
    }
    store_relaxed_32(&slot->relieve, 1);
    name_caller(relay, who);
    log_info("page: %s has worker %s drained and replaced", who, relay->route.id);
    state_text_outdate(relay->rt->ui->state);
    strbuf_adds(&text, "{\"drains\":true}");
    answer_json(relay, &text);
}

/* --- what has a session --- */

void ui_cancel(struct relay *relay)
{
    char who[TENANT_NAME];

    assert(relay->route.kind == ROUTE_UI_CANCEL);
    name_caller(relay, who);
    log_info("page: %s cancels batch %s", who, relay->route.id);
    relay->route.kind = ROUTE_BATCH_CANCEL;
}

/* What only its own browser hears of a session stands in headers: the text is everybody's. */
static void answer_state(struct relay *relay, const struct session *session)
{
    char csrf[SESSION_CSRF + 1], end[24], who[TENANT_NAME];

    session_csrf(&relay->rt->ui->keys, session, csrf);
    snprintf(end, sizeof(end), "%" PRId64, session->expires_unix_s);
    name_caller(relay, who);
    relay_header(relay, "x-tranche-csrf", csrf);
    relay_header(relay, "x-tranche-session-end", end);
    relay_header(relay, "x-tranche-session-of", who);
    state_text_answer(relay->rt->ui->state, relay);
}

void ui_serve(struct relay *relay)
{
    struct session session;

    if (!find_session(relay, relay->rt->ui, &session)) { /* its end came between two looks */
        relay_error(relay, UI_NO_SESSION, "");
        return;
    }
    if (relay->route.kind == ROUTE_UI_LOGOUT)
        log_out(relay, &session);
    else if (relay->route.kind == ROUTE_UI_STATE)
        answer_state(relay, &session);
    else if (relay->route.kind == ROUTE_UI_DRAIN)
        drain_worker(relay);
    else
        set_deployment(relay);
}
