/* See management.h. */
#include "admin/management.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "core/tenant.h"
#include "request/collect.h"
#include "request/errors.h"
#include "request/operation.h"
#include "tenants/ask.h"

#define NAME_BYTES  64  /* of a parameter */
#define VALUE_BYTES 512 /* of one's value; longer ones are none that the keeper knows */
#define AWAY_MS     5000

struct management {
    struct operation op;
    struct ask_call *call; /* NULL: nothing is under way */
};

static void free_management(struct operation *op)
{
    struct management *m = (struct management *)op;

    ask_cancel(&m->call);
    free(m);
}

static const struct operation_ops ops = {.free = free_management};

/* --- the question --- */

/* @param first  whether nothing stands before it */
static void add_parameter(const char *pair, size_t len, bool *first, struct strbuf *out)
{
    const char *eq = memchr(pair, '=', len);
    size_t name_len = eq == NULL ? len : (size_t)(eq - pair);
    char name[NAME_BYTES], value[VALUE_BYTES];

    if (eq == NULL || route_decode(pair, name_len, true, name, sizeof(name)) <= 0 ||
        route_decode(eq + 1, len - name_len - 1, true, value, sizeof(value)) < 0)
        return;
    if (!*first)
        strbuf_addc(out, ',');
    *first = false;
    json_write_string(out, name, strlen(name));
    strbuf_addc(out, ':');
    json_write_string(out, value, strlen(value));
}

static void add_query(const struct relay *relay, struct strbuf *out)
{
    const char *at = relay->query, *end = at + relay->query_len;
    bool first = true;

    strbuf_adds(out, ",\"query\":{");
    while (at < end) {
        const char *amp = memchr(at, '&', (size_t)(end - at));
        size_t len = amp == NULL ? (size_t)(end - at) : (size_t)(amp - at);

        add_parameter(at, len, &first, out);
        at += len + 1;
    }
    strbuf_addc(out, '}');
}

/* Who asks, as the audit names him: the key, and whom its holder acts for (tenants A.1). */
static void add_caller(const struct relay *relay, struct strbuf *out)
{
    const struct tenant *tenant = relay->tenant;
    bool by_key = tenant->kind == TENANT_ADMIN || tenant->kind == TENANT_KEY;
    char name[TENANT_NAME], hash[2 * RIGHTS_HASH_BYTES + 1] = "";
    struct strbuf who = STRBUF_INIT;
    const char *other;
    size_t len;

    tenant_name(tenant, name);
    strbuf_adds(&who, by_key ? name : "master key");
    if (relay_request_header(relay, "litellm-changed-by", &other, &len) && len > 0)
        strbuf_addf(&who, " for %.*s", len > NAME_BYTES ? NAME_BYTES : (int)len, other);
    strbuf_addf(out,
                ",\"caller\":{\"admin\":%s,\"name\":", tenant_is_bound(tenant) ? "false" : "true");
    json_write_string(out, strbuf_str(&who), who.len);
    strbuf_addf(out, ",\"owner\":\"%016llx\"", (unsigned long long)relay->owner);
    strbuf_adds(out, ",\"hash\":\"");
    if (by_key)
        hex_write(tenant->rights.hash, sizeof(tenant->rights.hash), hash);
    strbuf_adds(out, hash);
    strbuf_adds(out, "\"}");
    strbuf_deinit(&who);
}

static const char *method_name(const struct relay *relay)
{
    switch (relay->method) {
    case METHOD_POST:
        return "POST";
    case METHOD_PATCH:
        return "PATCH";
    case METHOD_DELETE:
        return "DELETE";
    default:
        return "GET";
    }
}

/* @return false: the path cannot be one that the keeper knows */
static bool write_head(const struct relay *relay, struct strbuf *out)
{
    char path[VALUE_BYTES];
    int len = route_decode(relay->path, relay->path_len, false, path, sizeof(path));

    if (len <= 0)
        return false;
    if (len > 1 && path[len - 1] == '/') /* the same route, as elsewhere */
        len--;
    strbuf_addf(out, "{\"method\":\"%s\",\"path\":", method_name(relay));
    json_write_string(out, path, (size_t)len);
    add_query(relay, out);
    add_caller(relay, out);
    strbuf_adds(out, "}\n");
    return true;
}

/* --- the answer --- */

static void fail_away(struct operation *op, bool maybe_done)
{
    struct failure why;

    if (maybe_done)
        error_fill(&why, MANAGEMENT_LOST, "");
    else
        error_fill(&why, MANAGEMENT_AWAY, "");
    why.retry_after_ms = AWAY_MS;
    why.should_not_retry = maybe_done;
    operation_fail(op, &why);
}

/* All that the keeper answers is JSON, but for usage that was asked for as CSV. */
static const char *type_of(const struct ask_answer *answer)
{
    return answer->bytes[0] == '{' || answer->bytes[0] == '[' ? "application/json"
                                                              : "text/csv; charset=utf-8";
}

/* What it made may be in the answer: nobody keeps that on the way. */
static void on_answer(void *arg, const struct ask_answer *answer)
{
    struct management *m = arg;
    bool read = m->op.relay->method == METHOD_GET;
    struct relay *relay;

    assert(m->call != NULL); /* one answer, and none from inside ask_start() */
    m->call = NULL;
    if (answer->end == ASK_ANSWERED && answer->status >= 200 && answer->status < 600 &&
        answer->len > 0) {
        relay = operation_end(&m->op);
        relay_header(relay, "cache-control", "no-store");
        if (answer->status == 503)
            relay_header(relay, "retry-after", "5");
        relay_bytes(relay, (int)answer->status, type_of(answer), answer->bytes, answer->len);
        return;
    }
    if (answer->end == ASK_ANSWERED && answer->status == KEEPER_TOO_LONG) {
        struct failure why;

        error_fill(&why, MANAGEMENT_TOO_LONG, "");
        operation_fail(&m->op, &why);
        return;
    }
    fail_away(&m->op, answer->end != ASK_DOWN && !read);
}

static void on_body(struct relay *relay, const char *text, size_t len)
{
    struct strbuf message = STRBUF_INIT;
    struct management *m;
    int ret = 0;

    if (!write_head(relay, &message)) {
        relay_error(relay, UNKNOWN_URL, "", (int)strlen(method_name(relay)), method_name(relay), 4,
                    "/...");
        strbuf_deinit(&message);
        return;
    }
    strbuf_add(&message, text, len);
    m = operation_new(sizeof(*m), relay, &ops);
    if (m != NULL && strbuf_failed(&message))
        operation_fail_memory(&m->op);
    else if (m != NULL)
        ret = relay->rt->ask == NULL
                  ? ERR_FULL
                  : ask_start(relay->rt->ask, KEEPER_ADMIN_CALL, strbuf_str(&message), message.len,
                              ask_deadline_ms(relay->rt->ask), on_answer, m, &m->call);
    strbuf_deinit(&message);
    if (ret == ERR_NOMEM) {
        operation_fail_memory(&m->op);
    } else if (ret == ERR_LIMIT) {
        struct failure why;

        error_fill(&why, JSON_TOO_LARGE, "", (unsigned long long)KEEPER_MESSAGE);
        operation_fail(&m->op, &why);
    } else if (ret != 0) {
        fail_away(&m->op, false);
    }
}

void management_start(struct relay *relay)
{
    bool needs_journal = relay->route.kind == ROUTE_JOURNAL || relay->route.kind == ROUTE_WEBHOOKS;

    if (needs_journal && !relay->rt->config->journal) {
        relay_error(relay, NO_JOURNAL, "");
        return;
    }
    collect_text(relay, on_body);
}
