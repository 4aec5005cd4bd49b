/* A client's side for tests of handlers: a relay whose answers are only noted. It stands in for all
 * of relay.c, so no libh2o is needed. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "objects/client_ids.h"
#include "request/relay.h"

/* The last answer, and how many there were. */
static struct {
    unsigned num;
    int status;
    uint32_t deployment;
    struct failure failure; /* of an error */
    char body[4096];
    char headers[1024]; /* "name: value\n"... */
} answered;

/* What the client sends besides the body: name and value; NULL: nothing. */
static const char *sent_header[2];

void relay_attach(struct relay *relay, void *op, void (*on_gone)(void *op))
{
    assert_null(relay->op);
    assert_false(relay->answered);
    relay->op = op;
    relay->on_gone = on_gone;
}

bool relay_request_header(const struct relay *relay, const char *name, const char **value,
                          size_t *len)
{
    (void)relay;
    if (sent_header[0] == NULL || strcmp(sent_header[0], name) != 0)
        return false;
    *value = sent_header[1];
    *len = strlen(*value);
    return true;
}

void relay_peer(const struct relay *relay, struct strbuf *out)
{
    (void)relay;
    strbuf_addf(out, "127.0.0.1");
}

void relay_header(struct relay *relay, const char *name, const char *value)
{
    size_t len = strlen(answered.headers);

    (void)relay;
    snprintf(answered.headers + len, sizeof(answered.headers) - len, "%s: %s\n", name, value);
}

void relay_made(struct relay *relay, const char *id)
{
    (void)relay;
    (void)id;
}

void relay_begin_answer(struct relay *relay)
{
    assert_false(relay->answered); /* nothing after an answer */
    relay->answered = true;
}

void relay_head(struct relay *relay, int status, const char *content_type, size_t len)
{
    (void)content_type;
    (void)len;
    relay_begin_answer(relay);
    answered.num++;
    answered.status = status;
    answered.deployment = relay->deployment;
}

void relay_bytes(struct relay *relay, int status, const char *content_type, const char *bytes,
                 size_t len)
{
    relay->op = NULL;
    relay_head(relay, status, content_type, len);
    snprintf(answered.body, sizeof(answered.body), "%.*s", (int)len, bytes);
}

void relay_empty(struct relay *relay, int status)
{
    relay_bytes(relay, status, "", "", 0);
}

void relay_json(struct relay *relay, int status, const struct json *value)
{
    struct strbuf text = STRBUF_INIT;

    json_write(value, &text);
    relay_bytes(relay, status, "application/json", strbuf_str(&text), text.len);
    strbuf_deinit(&text);
}

void relay_failure(struct relay *relay, const struct failure *failure)
{
    answered.failure = *failure;
    relay_bytes(relay, failure->status, "application/json", "", 0);
}

static void fill(struct failure *failure, int status, const char *type, const char *code,
                 const char *param)
{
    *failure = (struct failure){.status = status, .retry_after_ms = -1};
    snprintf(failure->type, sizeof(failure->type), "%s", type);
    snprintf(failure->code, sizeof(failure->code), "%s", code);
    snprintf(failure->param, sizeof(failure->param), "%s", param);
}

void relay_fill(struct failure *failure, int status, const char *type, const char *code,
                const char *param, const char *fmt, ...)
{
    va_list args;

    fill(failure, status, type, code, param);
    va_start(args, fmt);
    vsnprintf(failure->message, sizeof(failure->message), fmt, args);
    va_end(args);
}

void relay_problem(struct relay *relay, int status, const char *type, const char *code,
                   const char *param, const char *fmt, ...)
{
    struct failure failure;
    va_list args;

    fill(&failure, status, type, code, param);
    va_start(args, fmt);
    vsnprintf(failure.message, sizeof(failure.message), fmt, args);
    va_end(args);
    relay_failure(relay, &failure);
}

struct viewer relay_viewer(const struct relay *relay)
{
    return (struct viewer){.rt = relay->rt,
                           .owner = relay->owner,
                           .named = &relay->named,
                           .is_tenant = relay->owner != 0};
}
