/* Batch files for the tests of jsonl: rules, a line to write down, and a checker that is fed in
 * pieces of exact size. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/strbuf.h"
#include "exact.h"
#include "json/json.h"
#include "json/json_text.h"
#include "jsonl/jsonl.h"
#include "jsonl/jsonl_facts.h"

#define URL "/v1/chat/completions"
#define LINE(id, model)                                                                            \
    "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"" URL                                 \
    "\",\"body\":{\"model\":\"" model "\"}}"
#define GOOD LINE("a", "m")

static const char *const endpoints[] = {URL, "/v1/responses", "/v1/embeddings", NULL};

static const struct jsonl_rules balanced = {.endpoints = endpoints, .model_required = true};
static const struct jsonl_rules plain = {.endpoints = endpoints};
static const struct jsonl_rules any_path = {0};

/* Cheap and repeatable. */
static uint64_t seed = 88172645463325252u;

static size_t draw(size_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed >> 33) % below;
}

/* Feed exact copies of pieces of at most `piece` bytes (0: random ones), so that the sanitizer sees
 * reads past an end. */
static inline struct jsonl *check(const struct jsonl_rules *rules, const char *text, size_t len,
                                  size_t piece, int *result)
{
    struct jsonl *j = jsonl_new(rules);
    int err = 0;

    assert_non_null(j);
    for (size_t at = 0, n; at < len; at += n) {
        char *copy;

        n = piece != 0 ? piece : 1 + draw(90);
        n = n < len - at ? n : len - at;
        copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, text + at, n);
        err = jsonl_feed(j, copy, n);
        free(copy);
    }
    *result = jsonl_finish(j);
    if (err != 0)
        assert_int_equal(*result, err);
    return j;
}

static inline void assert_same_report(const struct jsonl_report *a, const struct jsonl_report *b)
{
    assert_int_equal(a->lines, b->lines);
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(&a->prompt, &b->prompt, sizeof(a->prompt));
    assert_int_equal(a->output_tokens, b->output_tokens);
    assert_int_equal(a->num_problems, b->num_problems);
    assert_int_equal(a->model == NULL, b->model == NULL);
    if (a->model != NULL)
        assert_string_equal(a->model, b->model);
    assert_int_equal(a->url == NULL, b->url == NULL);
    if (a->url != NULL)
        assert_string_equal(a->url, b->url);
    for (size_t i = 0; i < a->num_problems; i++) {
        const struct jsonl_problem *p = &a->problems[i], *q = &b->problems[i];

        if (p->line != q->line || p->column != q->column || strcmp(p->field, q->field) != 0 ||
            strcmp(p->code, q->code) != 0 || strcmp(p->message, q->message) != 0)
            fail_msg("%llu:%llu %s / %llu:%llu %s", (unsigned long long)p->line,
                     (unsigned long long)p->column, p->message, (unsigned long long)q->line,
                     (unsigned long long)q->column, q->message);
    }
}

/* As one piece, and the same byte by byte and in random pieces. */
static inline struct jsonl *check_all_ways(const struct jsonl_rules *rules, const char *text,
                                           size_t len, int *result)
{
    struct jsonl *whole = check(rules, text, len, len + 1, result);
    struct jsonl_report report, other;

    jsonl_report(whole, &report);
    for (size_t piece = 0; piece < 8; piece++) {
        int again;
        struct jsonl *j = check(rules, text, len, piece, &again);

        assert_int_equal(again, *result);
        jsonl_report(j, &other);
        assert_same_report(&report, &other);
        jsonl_free(j);
    }
    return whole;
}

static inline struct jsonl *assert_accepted_bytes(const struct jsonl_rules *rules, const char *text,
                                                  size_t len)
{
    struct jsonl_report report;
    int result;
    struct jsonl *j = check_all_ways(rules, text, len, &result);

    jsonl_report(j, &report);
    if (result != 0)
        fail_msg("%s: %s", text, report.num_problems > 0 ? report.problems[0].message : "?");
    return j;
}
