/* See hooks.h. Endpoints are asked one by one for what is due, so that one that hangs or is away
 * takes its own places and nobody else's. A try whose end the database did not take is kept and
 * reported again, for as long as its claim is good: then somebody else makes it once more. */
#include "hooks.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "common/clock.h"
#include "common/log.h"
#include "core/seals.h"
#include "crypto/vault.h"
#include "hook_rows.h"
#include "store/store_hooks.h"
#include "upstream/client.h"
#include "upstream/failure.h"
#include "webhook/hook_sign.h"
#include "webhook/hook_tries.h"
#include "webhook/hook_url.h"

#define LOOK_MS      1000
#define TRY_MS       15000
#define CONNECT_MS   10000
#define ANSWER_BYTES 4096
#define HEAD_BYTES   (16 * 1024)
#define IN_FLIGHT    64
#define EACH         8
#define CLAIMS       4 /* of a look: workers' questions do not wait for all of them */
#define TEND_MS      3600000
#define ERROR_BYTES  160
#define MAX_FAILING  256 /* endpoints that are known to fail, for the log */

struct attempt {
    TAILQ_ENTRY(attempt) link;
    struct hooks *hooks;        /* borrowed */
    struct store_hook_try row;  /* owned */
    struct upstream_call *call; /* NULL: it has ended, or never began */
    struct loop_timer timer;    /* ends one that was cut */
    uint64_t claimed_ms;
    size_t received;
    int status; /* 0: no answer */
    int64_t retry_after_ms;
    char error[ERROR_BYTES];
    bool ended; /* and the database does not know yet */
};

TAILQ_HEAD(attempts, attempt);

struct hooks {
    struct loop *loop;           /* borrowed */
    const struct config *config; /* borrowed */
    struct store *store;         /* borrowed */
    char *node;                  /* owned */
    struct store_hook_claimer me;
    struct vault vault;
    struct manage_hooks rules;
    struct upstream *upstream; /* owned */
    struct loop_timer look;
    struct attempts attempts; /* claimed: under way, or to be reported */
    size_t num_attempts;
    bool ready;    /* endpoints of the configuration are in the database */
    bool draining; /* nothing new is claimed */
    uint64_t tend_ms;
    char failing[MAX_FAILING][STORE_HOOK_ID + 1]; /* "": free */
};

/* ---- what the log says: changes of an endpoint's state, never its URL's path ---- */

static char *find_failing(struct hooks *h, const char *id)
{
    for (size_t i = 0; i < MAX_FAILING; i++)
        if (strcmp(h->failing[i], id) == 0)
            return h->failing[i];
    return NULL;
}

static void tell(struct hooks *h, const struct attempt *a, enum hook_verdict verdict)
{
    char *known = find_failing(h, a->row.hook_id), *place;

    log_debug("webhook %s: event %s, try %" PRId64 ": %d%s%s", a->row.hook_id, a->row.event_id,
              a->row.tries, a->status, *a->error != '\0' ? ", " : "", a->error);
    if (verdict == HOOK_DELIVERED && known != NULL) {
        log_info("webhook %s (%.*s) takes events again", a->row.hook_id, hook_url_shown(a->row.url),
                 a->row.url);
        known[0] = '\0';
    }
    place = known == NULL ? find_failing(h, "") : NULL;
    if (verdict == HOOK_DELIVERED || place == NULL)
        return;
    snprintf(place, STORE_HOOK_ID + 1, "%s", a->row.hook_id);
    log_warn("webhook %s (%.*s) does not take events: %s; they are tried again", a->row.hook_id,
             hook_url_shown(a->row.url), a->row.url, a->error);
}

/* ---- the end of a try ---- */

static void attempt_free(struct attempt *a)
{
    loop_timer_stop(a->hooks->loop, &a->timer);
    TAILQ_REMOVE(&a->hooks->attempts, a, link);
    assert(a->hooks->num_attempts > 0);
    a->hooks->num_attempts--;
    store_hook_try_deinit(&a->row);
    free(a);
}

static uint32_t any_number(void)
{
    uint32_t number = 0;

    (void)RAND_bytes((unsigned char *)&number, sizeof(number)); /* 0 will do, too */
    return number;
}

static void judge(const struct attempt *a, enum hook_verdict verdict, struct store_hook_result *out)
{
    int64_t wait_ms;

    *out = (struct store_hook_result){.event_id = a->row.event_id,
                                      .hook_id = a->row.hook_id,
                                      .state = STORE_HOOK_DELIVERED,
                                      .status = a->status,
                                      .error = *a->error != '\0' ? a->error : NULL};
    if (verdict == HOOK_DELIVERED)
        return;
    if (verdict == HOOK_GONE)
        out->off_why = "it answered 410 Gone";
    wait_ms =
        hook_tries_wait((uint32_t)a->row.tries, a->row.age_ms, a->retry_after_ms, any_number());
    out->state = verdict == HOOK_GONE || wait_ms < 0 ? STORE_HOOK_GIVEN_UP : STORE_HOOK_DUE;
    out->wait_ms = wait_ms > 0 ? wait_ms : 0;
    out->rest_ms = hook_tries_rest(a->status, a->retry_after_ms);
}

/* A claim that is not ours any more is somebody else's: so is the event. */
static void report(struct attempt *a)
{
    struct hooks *h = a->hooks;
    enum hook_verdict verdict = hook_verdict(a->status);
    struct store_hook_result result;
    bool off;
    int ret;

    judge(a, verdict, &result);
    ret = store_hooks_report(h->store, &h->me, &result, HOOK_GIVE_UP_MS, &off);
    if (ret != 0 && ret != ERR_NOT_FOUND &&
        loop_now_ms(h->loop) < a->claimed_ms + STORE_HOOK_CLAIM_MS)
        return; /* the next look tries again */
    if (ret == 0)
        tell(h, a, verdict);
    if (off)
        log_warn("webhook %s (%.*s) is switched off: %s. PATCH /webhooks/%s with "
                 "{\"enabled\": true} when it works again",
                 a->row.hook_id, hook_url_shown(a->row.url), a->row.url,
                 result.off_why != NULL ? result.off_why : "it took nothing for 72 hours",
                 a->row.hook_id);
    attempt_free(a);
}

static void finish(struct attempt *a)
{
    struct hooks *h = a->hooks;

    assert(a->call == NULL && !a->ended);
    a->ended = true;
    if (a->status != 0 && hook_verdict(a->status) != HOOK_DELIVERED)
        snprintf(a->error, sizeof(a->error), "the answer has status %d", a->status);
    else if (a->status != 0)
        a->error[0] = '\0';
    report(a);
    hooks_look_soon(h); /* there is a place */
}

static void on_cut(struct loop_timer *timer)
{
    finish(timer->arg);
}

/* ---- a try ---- */

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct upstream_result result = {.head = *head};
    struct attempt *a = arg;

    a->status = head->status;
    a->retry_after_ms = failure_retry_after(&result, clock_unix_s());
    return true;
}

/* What it says is nobody's business: it is read so that a receiver can finish. */
static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct attempt *a = arg;

    (void)bytes;
    a->received += len;
    if (a->received <= ANSWER_BYTES || a->call == NULL)
        return true;
    upstream_cancel(a->call);
    a->call = NULL;
    if (loop_timer_start(a->hooks->loop, &a->timer, 0) != 0)
        log_error("out of memory: the end of a webhook's answer is not seen");
    return true;
}

static void on_done(void *arg, const struct upstream_result *result)
{
    struct attempt *a = arg;

    a->call = NULL;
    snprintf(a->error, sizeof(a->error), "%s", result->error);
    finish(a);
}

static bool may_connect(void *arg, const struct sockaddr *address, socklen_t len)
{
    const struct manage_hooks *rules = arg;
    unsigned char bytes[HOOK_ADDRESS_BYTES];

    return hook_address_of(address, len, bytes) &&
           hook_address_may(bytes, rules->ranges, rules->num_ranges);
}

/* @return false: `error` says why it cannot be signed */
static bool sign(struct attempt *a, int64_t at_s, char out[HOOK_SIGNATURES + 1])
{
    const struct store_hook_try *row = &a->row;
    char secret[HOOK_SECRET_MAX + 1], old[HOOK_SECRET_MAX + 1];
    const struct vault *vault = &a->hooks->vault;
    int ret = hook_rows_open(vault, row->hook_id, row->secret, secret);
    bool has_old =
        row->old_secret != NULL && hook_rows_open(vault, row->hook_id, row->old_secret, old) == 0;

    if (ret == 0)
        ret = hook_sign_both(secret, has_old ? old : NULL, row->event_id, at_s, row->body,
                             strlen(row->body), out);
    OPENSSL_cleanse(secret, sizeof(secret));
    OPENSSL_cleanse(old, sizeof(old));
    if (ret != 0)
        snprintf(a->error, sizeof(a->error), "its secret cannot be read: %s",
                 ret == ERR_NOT_FOUND ? "the seal key that encrypted it is not configured any more"
                                      : err_str(ret));
    return ret == 0;
}

static void send_try(struct attempt *a)
{
    const char *fault = hook_url_fault(a->row.url, a->hooks->rules.allow_http);
    char signature[HOOK_SIGNATURES + 1], at[24];
    int64_t at_s = clock_unix_s();
    const struct upstream_header headers[] = {{"content-type", "application/json"},
                                              {"user-agent", "tranche/" TRANCHE_VERSION},
                                              {"webhook-id", a->row.event_id},
                                              {"webhook-timestamp", at},
                                              {"webhook-signature", signature}};
    const struct upstream_request request = {.method = "POST",
                                             .url = a->row.url,
                                             .headers = headers,
                                             .num_headers = sizeof(headers) / sizeof(headers[0]),
                                             .body = a->row.body,
                                             .body_len = strlen(a->row.body),
                                             .once = true,
                                             .total_ms = TRY_MS,
                                             .on_head = on_head,
                                             .on_data = on_data,
                                             .on_done = on_done,
                                             .arg = a};

    snprintf(at, sizeof(at), "%" PRId64, at_s);
    if (fault != NULL)
        snprintf(a->error, sizeof(a->error), "its URL is refused: %s", fault);
    else if (sign(a, at_s, signature)) {
        a->call = upstream_start(a->hooks->upstream, &request);
        if (a->call == NULL)
            snprintf(a->error, sizeof(a->error), "out of memory");
    }
    if (a->call == NULL && loop_timer_start(a->hooks->loop, &a->timer, 0) != 0)
        log_error("out of memory: the end of a webhook's try is not seen");
}

/* Takes the row over. */
static void begin(struct hooks *h, struct store_hook_try *row)
{
    struct attempt *a = calloc(1, sizeof(*a));

    if (a == NULL) {
        log_error("out of memory: a webhook's try waits for its claim's end");
        return;
    }
    a->hooks = h;
    a->row = *row;
    memset(row, 0, sizeof(*row));
    a->claimed_ms = loop_now_ms(h->loop);
    a->retry_after_ms = -1;
    a->timer = (struct loop_timer){.cb = on_cut, .arg = a};
    TAILQ_INSERT_TAIL(&h->attempts, a, link);
    h->num_attempts++;
    send_try(a);
}

/* ---- a look ---- */

static size_t in_flight_to(const struct hooks *h, const char *hook_id)
{
    const struct attempt *a;
    size_t num = 0;

    TAILQ_FOREACH(a, &h->attempts, link)
    num += strcmp(a->row.hook_id, hook_id) == 0;
    return num;
}

/* One that failed gets a single place until it takes something: some that hang must not have all. */
static size_t room_for(struct hooks *h, const char *hook_id)
{
    size_t each = find_failing(h, hook_id) != NULL ? 1 : EACH;
    size_t busy = in_flight_to(h, hook_id), room = IN_FLIGHT - h->num_attempts;

    assert(busy <= EACH && h->num_attempts <= IN_FLIGHT);
    if (busy >= each)
        return 0;
    return room < each - busy ? room : each - busy;
}

/* @return false: the database does not answer */
static bool claim(struct hooks *h, const char *hook_id, size_t room)
{
    struct store_hook_tries tries;

    if (store_hooks_claim(h->store, &h->me, hook_id, room, &tries) != 0)
        return false;
    for (size_t i = 0; i < tries.num; i++)
        begin(h, &tries.rows[i]);
    store_hook_tries_deinit(&tries);
    return true;
}

/* @return whether there is more that could be claimed now */
static bool claim_due(struct hooks *h)
{
    char ids[IN_FLIGHT][STORE_HOOK_ID + 1];
    size_t num, claims = 0;

    if (h->num_attempts == IN_FLIGHT || store_hooks_due(h->store, ids, IN_FLIGHT, &num) != 0)
        return false;
    for (size_t i = 0; i < num && h->num_attempts < IN_FLIGHT; i++) {
        size_t room = room_for(h, ids[i]);

        if (room == 0)
            continue;
        if (claims++ == CLAIMS)
            return true;
        if (!claim(h, ids[i], room))
            return false;
    }
    return false;
}

/* @return whether there is more */
static bool spread(struct hooks *h)
{
    size_t num;

    return store_hooks_spread(h->store, &num) == 0 && num == STORE_HOOKS_SPREAD;
}

static void report_again(struct hooks *h)
{
    struct attempt *a = TAILQ_FIRST(&h->attempts);

    while (a != NULL) {
        struct attempt *next = TAILQ_NEXT(a, link);

        if (a->ended)
            report(a);
        a = next;
    }
}

static void tend(struct hooks *h)
{
    uint64_t now_ms = loop_now_ms(h->loop);
    bool more;

    if (now_ms < h->tend_ms)
        return;
    if (store_hooks_tend(h->store, &more) == 0)
        h->tend_ms = now_ms + (more ? LOOK_MS : TEND_MS);
}

/* Before an event is spread the configuration's endpoints have to be there. */
static void get_ready(struct hooks *h)
{
    h->ready = hook_rows_configure(h->store, h->config, &h->vault) == 0 &&
               store_hooks_take_back(h->store, &h->me) == 0 &&
               hook_rows_reseal(h->store, &h->vault) == 0;
}

static void on_look(struct loop_timer *timer)
{
    struct hooks *h = timer->arg;
    bool more = false;

    report_again(h);
    if (!h->ready && !h->draining)
        get_ready(h);
    if (h->ready && !h->draining) {
        more = spread(h);
        more = claim_due(h) || more;
        tend(h);
    }
    if (loop_timer_start(h->loop, timer, more ? 0 : LOOK_MS) != 0)
        log_error("out of memory: webhooks are not told any more");
}

void hooks_look_soon(struct hooks *hooks)
{
    (void)loop_timer_soon(hooks->loop, &hooks->look); /* it has a slot */
}

/* ---- its life ---- */

static int set_up(struct hooks *h, const char *node)
{
    const struct upstream_options options = {.allow_insecure = h->config->webhook_allow_http,
                                             .ca_file = h->config->webhook_ca_file,
                                             .connect_ms = CONNECT_MS,
                                             .max_header_bytes = HEAD_BYTES,
                                             .may_connect = may_connect,
                                             .may_connect_arg = &h->rules};
    int ret;

    h->node = strdup(node);
    if (h->node == NULL)
        return ERR_NOMEM;
    h->me = (struct store_hook_claimer){.node = h->node, .epoch = clock_unix_ms()};
    h->rules = (struct manage_hooks){.vault = &h->vault,
                                     .allow_http = h->config->webhook_allow_http,
                                     .ranges = h->config->webhook_ranges,
                                     .num_ranges = h->config->num_webhook_ranges};
    ret = seals_vault(h->config, &h->vault);
    if (ret == 0)
        ret = upstream_new(h->loop, &options, &h->upstream);
    return ret == 0 ? loop_timer_start(h->loop, &h->look, 0) : ret;
}

int hooks_new(const struct hooks_options *options, struct hooks **out)
{
    struct hooks *h = calloc(1, sizeof(*h));
    int ret;

    *out = NULL;
    if (h == NULL)
        return ERR_NOMEM;
    h->loop = options->loop;
    h->config = options->config;
    h->store = options->store;
    TAILQ_INIT(&h->attempts);
    h->look = (struct loop_timer){.cb = on_look, .arg = h};
    ret = set_up(h, options->node);
    if (ret == 0)
        *out = h;
    else
        hooks_free(h);
    return ret;
}

void hooks_free(struct hooks *hooks)
{
    struct attempt *a, *next;

    if (hooks == NULL)
        return;
    for (a = TAILQ_FIRST(&hooks->attempts); a != NULL; a = next) {
        next = TAILQ_NEXT(a, link);
        upstream_cancel(a->call);
        attempt_free(a);
    }
    loop_timer_stop(hooks->loop, &hooks->look);
    upstream_free(hooks->upstream);
    vault_clear(&hooks->vault);
    free(hooks->node);
    free(hooks);
}

const struct manage_hooks *hooks_rules(const struct hooks *hooks)
{
    return &hooks->rules;
}

void hooks_drain(struct hooks *hooks)
{
    hooks->draining = true;
}

bool hooks_are_idle(const struct hooks *hooks)
{
    return hooks->num_attempts == 0;
}
