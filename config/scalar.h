/* Text to value, strictly: the whole text or nothing, bounds included. libcyaml's own parsers take
 * "5abc" for 5, "010" for 8 and "nope" for true, so every scalar of the file arrives here as text.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

enum scalar_kind {
    SCALAR_INT,
    SCALAR_FLOAT,
    SCALAR_BOOL,
    SCALAR_SECONDS,      /* a duration; a number alone is seconds; the value is in milliseconds */
    SCALAR_MILLISECONDS, /* a duration; a number alone is milliseconds; so is the value */
    SCALAR_BYTES,
    SCALAR_TOKENS /* a whole number; K, M, B: thousands, millions, billions */
};

/* What a setting may be. Bounds are inclusive, in the unit of the value; SCALAR_BOOL has none. */
struct scalar_rule {
    enum scalar_kind kind;
    int64_t min;
    int64_t max; /* INT64_MAX: no bound worth telling */
};

union scalar_value {
    int64_t integer; /* also milliseconds, bytes and tokens */
    double number;
    bool truth;
};

/**
 * Parse a scalar under a rule.
 *
 * @param text  NUL-terminated; spaces around it are not forgiven
 * @param out   written on 0 only
 * @return 0, ERR_SYNTAX (not of that form), ERR_LIMIT (outside the bounds)
 */
MUST_USE int scalar_parse(const struct scalar_rule *rule, const char *text,
                          union scalar_value *out);

/** Append what the rule wants, for people: "an integer from 1 to 65535". */
void scalar_wanted(const struct scalar_rule *rule, struct strbuf *out);

/** Append a duration the way scalar_parse() reads it: "500ms", "30s". */
void scalar_print_ms(int64_t ms, struct strbuf *out);

/** Append a size the way scalar_parse() reads it: "10GiB", "200MB", "1500". */
void scalar_print_bytes(int64_t bytes, struct strbuf *out);

/** Append a number of tokens the way scalar_parse() reads it: "200M", "30500". */
void scalar_print_tokens(int64_t tokens, struct strbuf *out);
