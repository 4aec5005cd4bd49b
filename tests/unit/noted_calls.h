/* An upstream for tests that only notes its calls: the test answers them in whatever order it
 * likes. Accounts are those whose base begins with "//a0" to "//a9"; define ACCOUNTS before. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "upstream/client.h"

struct upstream_call {
    struct upstream_request request;
    bool cancelled, done;
    unsigned account;
    char method[8], url[512];
};

static struct upstream_call *calls[64];
static unsigned num_calls;
static bool calls_are_refused;   /* out of memory: none begins */
static const char *date_header;  /* of the answers; NULL: none */
static char noted_headers[2048]; /* of the last call, a line each */

static void note_headers(const struct upstream_request *request)
{
    size_t len = 0;

    noted_headers[0] = '\0';
    for (size_t i = 0; i < request->num_headers && len < sizeof(noted_headers); i++)
        len += (size_t)snprintf(noted_headers + len, sizeof(noted_headers) - len, "%s: %s\n",
                                request->headers[i].name, request->headers[i].value);
}

struct upstream_call *upstream_start(struct upstream *up, const struct upstream_request *request)
{
    struct upstream_call *call = calls_are_refused ? NULL : calloc(1, sizeof(*call));
    const char *number = strstr(request->url, "//a");

    (void)up;
    if (call == NULL)
        return NULL;
    assert_non_null(number);
    assert_true(num_calls < sizeof(calls) / sizeof(calls[0]));
#ifndef NOTED_ANY_METHOD
    assert_string_equal(request->method, "GET");
#endif
    snprintf(call->method, sizeof(call->method), "%s", request->method);
    call->account = (unsigned)atoi(number + 3);
    call->request = *request;
    snprintf(call->url, sizeof(call->url), "%s", request->url);
    note_headers(request);
    return calls[num_calls++] = call;
}

void upstream_cancel(struct upstream_call *call)
{
    call->cancelled = true;
}

int upstream_new(struct loop *loop, const struct upstream_options *options, struct upstream **out)
{
    (void)loop;
    (void)options;
    *out = NULL;
    return ERR_NOMEM;
}

void upstream_free(struct upstream *up)
{
    (void)up;
}

size_t upstream_active(const struct upstream *up)
{
    (void)up;
    return 0;
}

void upstream_resume(struct upstream_call *call)
{
    (void)call;
}

const char *upstream_header_find(const struct upstream_head *head, const char *name)
{
    for (size_t i = 0; i < head->num_headers; i++)
        if (strcmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    return NULL;
}

/* The call to this account that is under way; NULL: none. */
static struct upstream_call *open_call(unsigned account)
{
    for (unsigned i = 0; i < num_calls; i++)
        if (calls[i]->account == account && !calls[i]->cancelled && !calls[i]->done)
            return calls[i];
    return NULL;
}

static inline unsigned in_flight(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ACCOUNTS; i++)
        n += open_call(i) != NULL;
    return n;
}

static void answer(unsigned account, int status, const char *body)
{
    struct upstream_call *call = open_call(account);
    struct upstream_header date = {"date", date_header};
    struct upstream_result result = {.end = status != 0 ? UPSTREAM_ANSWERED : UPSTREAM_TIMEOUT,
                                     .head.status = status,
                                     .head.headers = &date,
                                     .head.num_headers = date_header != NULL,
                                     .body = body,
                                     .body_len = body != NULL ? strlen(body) : 0};

    assert_non_null(call);
    call->done = true;
    call->request.on_done(call->request.arg, &result);
}
