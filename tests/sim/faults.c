/* See faults.h. */
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void fault_release(struct fault *f)
{
    if (f == NULL || --f->refs > 0)
        return;
    free(f->account);
    free(f->method);
    free(f->path);
    free(f->headers);
    free(f->body);
    free(f);
}

void faults_clear(struct sim *sim)
{
    while (sim->faults != NULL) {
        struct fault *f = sim->faults;
        sim->faults = f->next;
        fault_release(f);
    }
}

static int phase_of(const struct json *action, const char *key, enum phase *out, struct strbuf *why)
{
    static const char *const names[] = {"", "accept", "head", "body", "answer"};
    const struct json *v = json_get(action, key);
    const char *text = json_str(v, NULL);

    if (v == NULL || json_is(v, JSON_NULL))
        return 0;
    for (int i = PHASE_ACCEPT; text != NULL && i <= PHASE_ANSWER; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum phase)i;
            return 0;
        }
    }
    strbuf_addf(why, "%s: want \"accept\", \"head\", \"body\" or \"answer\"", key);
    return -1;
}

static int parse_headers(struct fault *f, const struct json *headers, struct strbuf *why)
{
    struct strbuf out = STRBUF_INIT;

    for (size_t i = 0; i < json_size(headers); i++) {
        const char *name = json_key_at(headers, i, NULL);
        const struct json *v = json_at(headers, i);
        const char *text = json_str(v, NULL);
        if (text == NULL)
            text = json_number_text(v);
        if (text == NULL || strpbrk(text, "\r\n") != NULL) {
            strbuf_addf(why, "headers.%s: want a string of one line", name);
            strbuf_deinit(&out);
            return -1;
        }
        f->has_type |= strcasecmp(name, "content-type") == 0;
        f->has_retry |= strncasecmp(name, "retry-after", 11) == 0;
        strbuf_addf(&out, "%s: %s\r\n", name, text);
    }
    f->headers = strbuf_take(&out);
    return 0;
}

static void parse_body(struct fault *f, const struct json *body)
{
    if (body == NULL)
        return;
    const char *text = json_str(body, NULL);
    if (text != NULL) {
        f->body = sim_strdup(text);
        f->body_type = text[0] == '{' || text[0] == '[' ? "application/json"
                       : text[0] == '<'                 ? "text/html; charset=UTF-8"
                                                        : "text/plain";
        return;
    }
    struct strbuf out = STRBUF_INIT;
    json_write(body, &out);
    f->body = strbuf_take(&out);
    f->body_type = "application/json";
}

static void get_int(const struct json *obj, const char *key, int64_t *out)
{
    (void)json_int64(json_get(obj, key), out);
}

static int parse_action(struct fault *f, const struct json *a, struct strbuf *why)
{
    static const char *const known[] = {"status",   "headers", "body",     "early",    "close",
                                        "reset",    "hang",    "ms",       "trickle",  "truncate",
                                        "delay_ms", "gzip",    "not_json", "oversize", "late"};
    int64_t status = 0;

    for (size_t i = 0; i < json_size(a); i++) {
        const char *key = json_key_at(a, i, NULL);
        bool ok = false;
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
            ok |= strcmp(key, known[k]) == 0;
        if (!ok) {
            strbuf_addf(why, "unknown action '%s'", key);
            return -1;
        }
    }
    get_int(a, "status", &status);
    if (status != 0 && (status < 200 || status > 999)) {
        strbuf_adds(why, "status: want 200 to 999");
        return -1;
    }
    f->status = (int)status;
    (void)json_bool(json_get(a, "early"), &f->early);
    (void)json_bool(json_get(a, "late"), &f->late);
    if (parse_headers(f, json_get(a, "headers"), why) != 0)
        return -1;
    parse_body(f, json_get(a, "body"));
    get_int(a, "ms", &f->hang_ms);
    get_int(a, "truncate", &f->truncate);
    get_int(json_get(a, "trickle"), "bytes", &f->trickle_bytes);
    get_int(json_get(a, "trickle"), "interval_ms", &f->trickle_ms);
    (void)json_bool(json_get(json_get(a, "trickle"), "head"), &f->trickle_head);
    get_int(a, "delay_ms", &f->delay_ms);
    get_int(a, "oversize", &f->oversize);
    (void)json_bool(json_get(a, "gzip"), &f->gzip);
    (void)json_bool(json_get(a, "not_json"), &f->not_json);
    if (phase_of(a, "close", &f->close, why) != 0 || phase_of(a, "reset", &f->reset, why) != 0 ||
        phase_of(a, "hang", &f->hang, why) != 0)
        return -1;
    return 0;
}

struct fault *faults_add(struct sim *sim, const struct json *desc, struct strbuf *why)
{
    struct fault *f = sim_alloc(sizeof(*f));
    struct fault **tail = &sim->faults;

    f->refs = 1;
    f->times = 1;
    f->hang_ms = -1;
    f->truncate = -1;
    f->account = sim_strdup(json_get_str(desc, "account"));
    f->method = sim_strdup(json_get_str(desc, "method"));
    f->path = sim_strdup(json_get_str(desc, "path"));
    get_int(desc, "times", &f->times);
    get_int(desc, "skip", &f->skip);
    if (!json_is(json_get(desc, "action"), JSON_OBJECT)) {
        strbuf_adds(why, "action: want an object");
        goto fail;
    }
    if (parse_action(f, json_get(desc, "action"), why) != 0)
        goto fail;
    snprintf(f->id, sizeof(f->id), "f%llu", (unsigned long long)++sim->n_faults);
    while (*tail != NULL)
        tail = &(*tail)->next;
    *tail = f;
    return f;
fail:
    fault_release(f);
    return NULL;
}

bool faults_on_accept(const struct fault *f)
{
    return f->close == PHASE_ACCEPT || f->reset == PHASE_ACCEPT || f->hang == PHASE_ACCEPT;
}

static bool matches(const struct fault *f, const struct account *acc, const struct request *req)
{
    if (f->times == 0 || faults_on_accept(f) != (req == NULL))
        return false;
    if (f->account != NULL && strcmp(f->account, acc->name) != 0)
        return false;
    if (req == NULL)
        return true;
    if (f->method != NULL && strcmp(f->method, "*") != 0 && !request_is(req, f->method))
        return false;
    return sim_glob(f->path, req->target, req->path_len);
}

struct fault *faults_take(struct sim *sim, const struct account *acc, const struct request *req)
{
    for (struct fault *f = sim->faults; f != NULL; f = f->next) {
        if (!matches(f, acc, req))
            continue;
        if (f->skip > 0) {
            f->skip--;
            continue;
        }
        if (f->times > 0)
            f->times--;
        f->hits++;
        f->refs++;
        return f;
    }
    return NULL;
}

void faults_write(const struct sim *sim, struct strbuf *out)
{
    strbuf_addc(out, '[');
    for (const struct fault *f = sim->faults; f != NULL; f = f->next)
        strbuf_addf(out, "%s{\"id\":\"%s\",\"times\":%lld,\"skip\":%lld,\"hits\":%lld}",
                    f == sim->faults ? "" : ",", f->id, (long long)f->times, (long long)f->skip,
                    (long long)f->hits);
    strbuf_addc(out, ']');
}
