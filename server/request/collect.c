/* See collect.h. What the budget counts is what was allocated: the buffer of the bytes while they
 * come, then the tree. A tree is counted once it was made, so that one tree at a time may be over
 * the budget: at most twice its text and 100 bytes for each of COLLECT_MAX_VALUES. */
#include "request/collect.h"

#include <h2o.h>
#include <string.h>

#include "front/front.h"
#include "request/errors.h"

/* Lives in the request's pool. */
struct collector {
    struct relay *relay;
    struct body *body; /* NULL once it ended */
    struct strbuf bytes;
    size_t counted; /* of `bytes`, in the worker's budget */
    struct slice slice;
    collect_cb next;
    collect_text_cb take; /* NULL: it is read here, for `next` */
};

/* --- the budget --- */

static uint64_t budget_of(const struct runtime *rt)
{
    const struct config_limits *limits = &rt->config->limits;
    uint64_t least = limits->max_json_bytes * 8;

    return limits->json_memory_bytes > least ? limits->json_memory_bytes : least;
}

/* Whether a body that has `held` bytes may have `more`. */
static bool has_room(const struct relay *relay, size_t held, size_t more)
{
    const struct runtime *rt = relay->rt;
    uint64_t budget = budget_of(rt);

    if (!share_may(relay->share, SHARE_JSON, more, rt->json_bytes, budget))
        return false;
    if (held + more > COLLECT_SMALL)
        budget -= budget / 4;
    return rt->json_bytes + more <= budget;
}

static void count(struct relay *relay, size_t more, size_t less)
{
    relay->rt->json_bytes += more;
    relay->rt->json_bytes -= less;
    share_add(relay->share, SHARE_JSON, more);
    share_sub(relay->share, SHARE_JSON, less);
}

static void count_bytes(struct collector *c)
{
    count(c->relay, c->bytes.cap, c->counted);
    c->counted = c->bytes.cap;
}

static void drop_bytes(struct collector *c)
{
    strbuf_deinit(&c->bytes);
    count_bytes(c);
}

void collect_forget(struct relay *relay)
{
    if (relay->doc == NULL)
        return;
    json_doc_free(relay->doc);
    relay->doc = NULL;
    relay->request = NULL;
    count(relay, 0, relay->json_bytes);
    relay->json_bytes = 0;
}

/* --- the end of a body --- */

/* An empty body is no body: SDKs send Content-Type with nothing behind it (providers 3.1). */
static bool is_blank(const struct strbuf *text)
{
    return strspn(strbuf_str(text), " \t\r\n") == text->len;
}

static void no_memory(struct relay *relay)
{
    relay_error(relay, OUT_OF_MEMORY, "");
}

static void refuse_text(struct relay *relay, const struct json_error *error)
{
    if (error->over_limit)
        relay_error(relay, JSON_TOO_MANY_VALUES, "", error->line, error->column, error->message);
    else
        relay_error(relay, JSON_INVALID, "", error->line, error->column, error->message);
}

static void read_text(struct collector *c)
{
    struct relay *relay = c->relay;
    struct json_error error;
    struct json *root;

    relay->doc = json_doc_new();
    if (relay->doc == NULL || strbuf_failed(&c->bytes)) {
        no_memory(relay);
        return;
    }
    root = json_parse_most(relay->doc, strbuf_str(&c->bytes), c->bytes.len, COLLECT_MAX_VALUES,
                           &error);
    drop_bytes(c);
    relay->json_bytes = json_doc_bytes(relay->doc);
    count(relay, relay->json_bytes, 0);
    relay->request = root;
    if (root == NULL)
        refuse_text(relay, &error);
    else if (!json_is(root, JSON_OBJECT))
        relay_error(relay, JSON_NO_OBJECT, "");
    else
        c->next(relay);
}

static void on_slice(struct slice *slice)
{
    read_text(slice->arg);
}

/* The callback may answer, after which only our own disposer looks at us. */
static void hand_over(struct collector *c)
{
    struct strbuf text = c->bytes;

    strbuf_init(&c->bytes);
    count_bytes(c);
    if (strbuf_failed(&text))
        no_memory(c->relay);
    else
        c->take(c->relay, strbuf_str(&text), text.len);
    strbuf_deinit(&text);
}

static void on_collect_end(void *arg)
{
    struct collector *c = arg;
    struct runtime *rt = c->relay->rt;

    c->body = NULL;
    if (c->take != NULL) {
        hand_over(c);
    } else if (is_blank(&c->bytes)) {
        drop_bytes(c);
        c->next(c->relay);
    } else if (c->bytes.len <= COLLECT_AT_ONCE) {
        read_text(c);
    } else if (slices_add(&rt->slices, rt->loop, &c->slice) != 0) {
        no_memory(c->relay);
    }
}

/* --- its bytes --- */

static void on_collector_gone(void *p)
{
    struct collector *c = p;

    body_abandon(c->body);
    slices_remove(&c->relay->rt->slices, &c->slice);
    drop_bytes(c);
}

static void no_room(struct collector *c)
{
    body_abandon(c->body);
    c->body = NULL;
    drop_bytes(c);
    relay_error(c->relay, JSON_MEMORY_FULL, "");
}

static void on_collect_data(void *arg, const char *bytes, size_t len)
{
    struct collector *c = arg;

    c->relay->bytes_in += len;
    if (!has_room(c->relay, c->counted, len)) {
        no_room(c);
        return;
    }
    strbuf_add(&c->bytes, bytes, len);
    count_bytes(c);
}

static uint64_t max_bytes(const struct relay *relay)
{
    uint64_t max = relay->rt->config->limits.max_json_bytes;

    return relay->method != METHOD_POST && max > COLLECT_MAX_OTHER ? COLLECT_MAX_OTHER : max;
}

static void too_large(struct relay *relay)
{
    relay_error(relay, JSON_TOO_LARGE, "", (unsigned long long)max_bytes(relay));
}

static void on_collect_failure(void *arg, enum body_failure why)
{
    struct collector *c = arg;

    c->body = NULL;
    drop_bytes(c);
    if (why == BODY_CLIENT_GONE)
        return;
    if (why == BODY_TOO_LARGE)
        too_large(c->relay);
    else if (why == BODY_TOO_SLOW)
        relay_error(c->relay, BODY_TOO_SLOW, "");
    else
        relay_error(c->relay, BODY_MALFORMED, "");
}

static const struct body_ops collect_ops = {on_collect_data, on_collect_end, on_collect_failure};

static void collect(struct relay *relay, struct body *body, collect_cb next, collect_text_cb take)
{
    struct collector *c;

    if (body_length(body) > (int64_t)max_bytes(relay)) {
        too_large(relay);
        return;
    }
    /* the pool's disposers run from the last to the first: ours before the relay's */
    c = h2o_mem_alloc_shared(&relay->req->pool, sizeof(*c), on_collector_gone);
    memset(c, 0, sizeof(*c));
    c->relay = relay;
    c->body = body;
    c->slice.cb = on_slice;
    c->slice.arg = c;
    c->slice.flow = share_flow(relay->share);
    c->next = next;
    c->take = take;
    body_start(body, &collect_ops, c, max_bytes(relay));
}

void collect_json(struct relay *relay, collect_cb next)
{
    struct body *body = front_body(relay->req);

    if (body == NULL)
        next(relay);
    else
        collect(relay, body, next, NULL);
}

void collect_text(struct relay *relay, collect_text_cb next)
{
    struct body *body = front_body(relay->req);

    if (body == NULL)
        next(relay, "", 0);
    else
        collect(relay, body, NULL, next);
}
