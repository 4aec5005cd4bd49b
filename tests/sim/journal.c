/* See journal.h. */
#include "journal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TALLY_MAX     65536 /* distinct method and path pairs counted one by one */
#define BODY_KEPT_MAX 16384

struct entry {
    uint64_t seq;
    uint64_t order;
    uint64_t conn_id;
    struct strbuf head;
    struct strbuf body;  /* small JSON and form bodies */
    struct strbuf parts; /* JSON; "" when no multipart */
    int64_t body_bytes;
    int status;
    bool answered;
};

/* How often one method and path came. */
struct tally {
    char *key; /* owned: "GET /openai/files" */
    size_t method_len;
    size_t len;
    uint64_t received;
    uint64_t answered;
};

struct journal {
    struct entry ring[JOURNAL_SIZE];
    uint64_t next;  /* sequence number of the next request; the ring slot is next % JOURNAL_SIZE */
    uint64_t first; /* of the oldest entry since the last reset */
    struct map tally_ix;
    struct tally **tallies; /* owned */
    size_t n_tallies, cap_tallies;
};

struct journal *journal_new(void)
{
    return sim_alloc(sizeof(struct journal));
}

static void forget_tallies(struct journal *j)
{
    for (size_t i = 0; i < j->n_tallies; i++) {
        free(j->tallies[i]->key);
        free(j->tallies[i]);
    }
    free(j->tallies);
    j->tallies = NULL;
    j->n_tallies = j->cap_tallies = 0;
    map_clear(&j->tally_ix);
}

void journal_free(struct journal *j)
{
    if (j == NULL)
        return;
    forget_tallies(j);
    for (size_t i = 0; i < JOURNAL_SIZE; i++) {
        strbuf_deinit(&j->ring[i].head);
        strbuf_deinit(&j->ring[i].body);
        strbuf_deinit(&j->ring[i].parts);
    }
    free(j);
}

void journal_reset(struct journal *j)
{
    forget_tallies(j);
    j->first = j->next;
}

static struct tally *tally_new(struct journal *j, const char *key, size_t len, size_t method_len)
{
    struct tally *t = sim_alloc(sizeof(*t));

    t->key = sim_strndup(key, len);
    t->len = len;
    t->method_len = method_len;
    if (j->n_tallies == j->cap_tallies) {
        j->cap_tallies = j->cap_tallies == 0 ? 64 : j->cap_tallies * 2;
        j->tallies = sim_realloc(j->tallies, j->cap_tallies * sizeof(struct tally *));
    }
    j->tallies[j->n_tallies++] = t;
    map_put(&j->tally_ix, t->key, len, t);
    return t;
}

static struct tally *tally_of(struct journal *j, const struct request *req)
{
    size_t len = req->method_len + 1 + req->path_len; /* "METHOD /path" is how the head begins */
    struct tally *t = map_get(&j->tally_ix, req->head.data, len);

    if (t != NULL)
        return t;
    if (j->n_tallies < TALLY_MAX)
        return tally_new(j, req->head.data, len, req->method_len);
    t = map_get(&j->tally_ix, "* (others)", 10);
    return t != NULL ? t : tally_new(j, "* (others)", 10, 1);
}

static struct entry *entry_of(struct journal *j, const struct request *req)
{
    struct entry *e = &j->ring[req->journal_seq % JOURNAL_SIZE];

    return e->seq == req->journal_seq && req->journal_seq >= j->first ? e : NULL;
}

void journal_begin(struct journal *j, struct request *req, uint64_t order)
{
    req->journal_seq = j->next++;
    struct entry *e = &j->ring[req->journal_seq % JOURNAL_SIZE];
    e->seq = req->journal_seq;
    e->order = order;
    e->conn_id = req->conn_id;
    e->status = 0;
    e->answered = false;
    e->body_bytes = 0;
    strbuf_reset(&e->head);
    strbuf_add(&e->head, req->head.data, req->head.len);
    strbuf_reset(&e->body);
    strbuf_reset(&e->parts);
    tally_of(j, req)->received++;
}

static bool is_text_body(const struct request *req)
{
    const struct header *h = request_header(req, "content-type");

    return h == NULL || h->value_len < 9 || strncasecmp(h->value, "multipart", 9) != 0;
}

void journal_end(struct journal *j, const struct request *req, int status)
{
    struct entry *e = entry_of(j, req);

    if (req->journal_seq < j->first)
        return; /* from before a reset */
    tally_of(j, req)->answered++;
    if (e == NULL)
        return;
    e->status = status;
    e->answered = true;
    e->body_bytes = req->body_bytes;
    if (req->body.len > 0 && req->body.len <= BODY_KEPT_MAX && is_text_body(req) &&
        req->body.mem != NULL)
        strbuf_add(&e->body, req->body.mem + req->body.off, (size_t)req->body.len);
}

void journal_parts(struct journal *j, const struct request *req, const char *json)
{
    struct entry *e = entry_of(j, req);

    if (e == NULL)
        return;
    strbuf_reset(&e->parts);
    strbuf_adds(&e->parts, json);
}

uint64_t journal_count(const struct journal *j, const char *method, const char *path, bool answered)
{
    uint64_t n = 0;

    for (size_t i = 0; i < j->n_tallies; i++) {
        const struct tally *t = j->tallies[i];
        if (method != NULL && strcmp(method, "*") != 0 &&
            (strlen(method) != t->method_len || memcmp(method, t->key, t->method_len) != 0))
            continue;
        if (sim_glob(path, t->key + t->method_len + 1, t->len - t->method_len - 1))
            n += answered ? t->answered : t->received;
    }
    return n;
}

/* "GET /openai/files/file-1/content" becomes "GET /openai/files/{id}/content". */
static void template_of(const struct tally *t, struct strbuf *out)
{
    const char *p = t->key;
    bool collection = false;

    strbuf_reset(out);
    while (*p != '\0') {
        size_t n = strcspn(p + 1, "/") + 1;
        if (collection && n > 1)
            strbuf_adds(out, "/{id}");
        else
            strbuf_add(out, p, n);
        collection = !collection && ((n == 6 && memcmp(p, "/files", 6) == 0) ||
                                     (n == 8 && memcmp(p, "/batches", 8) == 0));
        p += n;
    }
}

void journal_write_calls(const struct journal *j, struct strbuf *out)
{
    struct strbuf key = STRBUF_INIT;
    struct map seen = {0};
    uint64_t *sums = sim_alloc((j->n_tallies + 1) * sizeof(*sums));
    char **names = sim_alloc((j->n_tallies + 1) * sizeof(*names));
    size_t n = 0;

    for (size_t i = 0; i < j->n_tallies; i++) {
        template_of(j->tallies[i], &key);
        uint64_t *sum = map_get(&seen, key.data, key.len);
        if (sum == NULL) {
            names[n] = sim_strndup(key.data, key.len);
            sum = &sums[n];
            map_put(&seen, names[n++], key.len, sum);
        }
        *sum += j->tallies[i]->received;
    }
    strbuf_addc(out, '{');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        json_write_string(out, names[i], strlen(names[i]));
        strbuf_addf(out, ":%llu", (unsigned long long)sums[i]);
        free(names[i]);
    }
    strbuf_addc(out, '}');
    free(names);
    free(sums);
    map_clear(&seen);
    strbuf_deinit(&key);
}

size_t journal_size(const struct journal *j)
{
    uint64_t n = j->next - j->first;

    return n < JOURNAL_SIZE ? (size_t)n : JOURNAL_SIZE;
}

static const struct entry *entry_at(const struct journal *j, size_t i)
{
    return &j->ring[(j->next - journal_size(j) + i) % JOURNAL_SIZE];
}

uint64_t journal_order_at(const struct journal *j, size_t i)
{
    return entry_at(j, i)->order;
}

static void write_lower(struct strbuf *out, const char *text, size_t len)
{
    char small[256];
    size_t n = len < sizeof(small) ? len : sizeof(small);

    for (size_t i = 0; i < n; i++)
        small[i] = (char)tolower((unsigned char)text[i]);
    json_write_string(out, small, n);
}

/* Repeated headers are joined with ", " as RFC 9110, section 5.3 has it. */
static void write_headers(const struct request *req, struct strbuf *out)
{
    struct strbuf value = STRBUF_INIT;
    bool first = true;

    strbuf_addc(out, '{');
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct header *h = &req->headers[i];
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen |= req->headers[k].name_len == h->name_len &&
                    strncasecmp(req->headers[k].name, h->name, h->name_len) == 0;
        if (seen)
            continue;
        strbuf_reset(&value);
        strbuf_add(&value, h->value, h->value_len);
        for (size_t k = i + 1; k < req->n_headers; k++) {
            const struct header *o = &req->headers[k];
            if (o->name_len != h->name_len || strncasecmp(o->name, h->name, h->name_len) != 0)
                continue;
            strbuf_adds(&value, ", ");
            strbuf_add(&value, o->value, o->value_len);
        }
        if (!first)
            strbuf_addc(out, ',');
        first = false;
        write_lower(out, h->name, h->name_len);
        strbuf_addc(out, ':');
        json_write_string(out, strbuf_str(&value), value.len);
    }
    strbuf_addc(out, '}');
    strbuf_deinit(&value);
}

void journal_write_at(const struct journal *j, size_t i, const char *account, struct strbuf *out)
{
    const struct entry *e = entry_at(j, i);
    struct request req = {.head = e->head};

    if (request_parse(&req) != 0 && req.target == NULL)
        return;
    strbuf_adds(out, "{\"account\":");
    json_write_string(out, account, strlen(account));
    strbuf_adds(out, ",\"method\":");
    json_write_string(out, req.method, req.method_len);
    strbuf_adds(out, ",\"target\":");
    json_write_string(out, req.target, req.target_len);
    strbuf_adds(out, ",\"headers\":");
    write_headers(&req, out);
    strbuf_addf(out, ",\"body_bytes\":%lld,\"status\":%d,\"answered\":%s,\"http\":\"1.%d\"",
                (long long)e->body_bytes, e->status, e->answered ? "true" : "false", req.minor);
    strbuf_addf(out, ",\"conn\":%llu", (unsigned long long)e->conn_id);
    if (e->body.len > 0) {
        strbuf_adds(out, ",\"body\":");
        json_write_string(out, e->body.data, e->body.len);
    }
    if (e->parts.len > 0) {
        strbuf_adds(out, ",\"parts\":");
        strbuf_add(out, e->parts.data, e->parts.len);
    }
    strbuf_addc(out, '}');
}
