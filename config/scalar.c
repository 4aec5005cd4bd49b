/* See scalar.h. Numbers are YAML 1.1's decimal ones, as LiteLLM's parser reads them (underscores
 * between digits included); octal, hexadecimal and sexagesimal spellings are refused rather than
 * guessed. */
#include "scalar.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

static const struct unit sizes[] = {
    {"B", 1},           {"KB", 1000},          {"MB", 1000000},
    {"GB", 1000000000}, {"KiB", 1 << 10},      {"MiB", 1 << 20},
    {"GiB", 1 << 30},   {"TB", 1000000000000}, {"TiB", (int64_t)1 << 40}};

/* As the providers write their limits: 90K, 200M, 1B. */
static const struct unit amounts[] = {{"", 1}, {"K", 1000}, {"M", 1000000}, {"B", 1000000000}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits, with single underscores between them; no leading zero but "0" itself. The end, or NULL.
 */
static const char *skip_digits(const char *at, bool leading_zero)
{
    const char *start = at;

    if (!is_digit(*at))
        return NULL;
    while (is_digit(*at) || (*at == '_' && is_digit(at[1])))
        at++;
    if (!leading_zero && *start == '0' && at - start > 1)
        return NULL;
    return at;
}

static int parse_int(const char *text, int64_t *out)
{
    bool negative = *text == '-';
    const char *at = negative || *text == '+' ? text + 1 : text;
    const char *end = skip_digits(at, false);
    int64_t value = 0;

    if (end == NULL || *end != '\0')
        return ERR_SYNTAX;
    for (; at < end; at++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): skip_digits() has read as far */
        if (*at == '_')
            continue;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *at - '0', &value))
            return ERR_LIMIT;
    }
    /* The sum is kept negative, because the smallest integer has no positive twin. */
    if (!negative && __builtin_mul_overflow(value, -1, &value))
        return ERR_LIMIT;
    *out = value;
    return 0;
}

/* [+-]digits[.digits][e[+-]digits], copied without underscores for strtod(). The program keeps the
 * C locale. */
static int parse_decimal(const char *text, size_t len, double *out)
{
    char plain[64];
    const char *at = text;
    size_t n = 0;

    if (len == 0 || len >= sizeof(plain))
        return ERR_SYNTAX;
    if (*at == '-' || *at == '+')
        at++;
    at = skip_digits(at, false);
    if (at != NULL && *at == '.')
        at = skip_digits(at + 1, true);
    if (at != NULL && at < text + len && (*at == 'e' || *at == 'E')) {
        at++;
        if (*at == '-' || *at == '+')
            at++;
        at = skip_digits(at, true);
    }
    if (at != text + len)
        return ERR_SYNTAX;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '_')
            plain[n++] = text[i];
    }
    plain[n] = '\0';
    *out = strtod(plain, NULL);
    return isfinite(*out) ? 0 : ERR_LIMIT;
}

static int parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};

    for (size_t i = 0; i < COUNT(yes); i++) {
        if (strcasecmp(text, yes[i]) == 0) {
            *out = true;
            return 0;
        }
        if (strcasecmp(text, no[i]) == 0) {
            *out = false;
            return 0;
        }
    }
    return ERR_SYNTAX;
}

/* Splits "12 GiB" into the length of the number and the factor of its unit. */
static int split_unit(const char *text, const struct unit *units, size_t num_units,
                      int64_t default_factor, size_t *len, int64_t *factor)
{
    const char *unit;

    *len = strspn(text, "+-0123456789._");
    unit = text + *len;
    if (*len > 0 && *unit == ' ')
        unit++;
    *factor = default_factor;
    if (text[*len] == '\0')
        return 0;
    for (size_t i = 0; i < num_units; i++) {
        if (strcasecmp(unit, units[i].name) == 0) {
            *factor = units[i].factor;
            return 0;
        }
    }
    return ERR_SYNTAX;
}

static int parse_duration(const char *text, int64_t default_factor, int64_t *out)
{
    size_t len;
    int64_t factor;
    double number, ms;
    int rc = split_unit(text, durations, COUNT(durations), default_factor, &len, &factor);

    if (rc == 0)
        rc = parse_decimal(text, len, &number);
    if (rc != 0)
        return rc;
    ms = number * (double)factor;
    ms += ms < 0 ? -0.5 : 0.5;
    if (ms > 9e15 || ms < -9e15)
        return ERR_LIMIT;
    /* Never let a positive time become none. */
    *out = ms < 1 && number > 0 ? 1 : (int64_t)ms;
    return 0;
}

static int parse_bytes(const char *text, int64_t *out)
{
    char number[32];
    size_t len;
    int64_t factor;
    int rc = split_unit(text, sizes, COUNT(sizes), 1, &len, &factor);

    if (rc != 0)
        return rc;
    if (len >= sizeof(number))
        return ERR_SYNTAX;
    memcpy(number, text, len);
    number[len] = '\0';
    rc = parse_int(number, out);
    if (rc != 0)
        return rc;
    return __builtin_mul_overflow(*out, factor, out) ? ERR_LIMIT : 0;
}

/* "1.5B" is as good as 1500000000, but there is no half token. What "1.001" lacks as a double is no
 * part of one. */
static int parse_tokens(const char *text, int64_t *out)
{
    size_t len;
    int64_t factor;
    double number;
    int rc = split_unit(text, amounts, COUNT(amounts), 1, &len, &factor);

    if (rc == 0)
        rc = parse_decimal(text, len, &number);
    if (rc != 0)
        return rc;
    number *= (double)factor;
    if (number > 9e15 || number < -9e15) /* up to there each whole number is a double */
        return ERR_LIMIT;
    *out = (int64_t)(number + (number < 0 ? -0.5 : 0.5));
    return number - (double)*out > 1e-6 || number - (double)*out < -1e-6 ? ERR_SYNTAX : 0;
}

int scalar_parse(const struct scalar_rule *rule, const char *text, union scalar_value *out)
{
    union scalar_value value = {0};
    int rc;

    switch (rule->kind) {
    case SCALAR_BOOL:
        return parse_bool(text, &out->truth);
    case SCALAR_FLOAT:
        rc = parse_decimal(text, strlen(text), &value.number);
        if (rc == 0 && (value.number < (double)rule->min || value.number > (double)rule->max))
            rc = ERR_LIMIT;
        if (rc == 0)
            out->number = value.number;
        return rc;
    case SCALAR_INT:
        rc = parse_int(text, &value.integer);
        break;
    case SCALAR_BYTES:
        rc = parse_bytes(text, &value.integer);
        break;
    case SCALAR_TOKENS:
        rc = parse_tokens(text, &value.integer);
        break;
    default:
        rc = parse_duration(text, rule->kind == SCALAR_SECONDS ? 1000 : 1, &value.integer);
        break;
    }
    if (rc == 0 && (value.integer < rule->min || value.integer > rule->max))
        rc = ERR_LIMIT;
    if (rc == 0)
        out->integer = value.integer;
    return rc;
}

void scalar_print_ms(int64_t ms, struct strbuf *out)
{
    if (ms == 0)
        strbuf_adds(out, "0s");
    else if (ms % 86400000 == 0)
        strbuf_addf(out, "%" PRId64 "d", ms / 86400000);
    else if (ms % 3600000 == 0)
        strbuf_addf(out, "%" PRId64 "h", ms / 3600000);
    else if (ms % 60000 == 0)
        strbuf_addf(out, "%" PRId64 "m", ms / 60000);
    else if (ms % 1000 == 0)
        strbuf_addf(out, "%" PRId64 "s", ms / 1000);
    else
        strbuf_addf(out, "%" PRId64 "ms", ms);
}

/* In the greatest unit that leaves a whole number; the first one stands for none. */
static void print_in_units(int64_t value, const struct unit *units, size_t num_units,
                           struct strbuf *out)
{
    const struct unit *best = NULL;

    for (size_t i = 1; i < num_units; i++) {
        if (value > 0 && value % units[i].factor == 0 &&
            (best == NULL || units[i].factor > best->factor))
            best = &units[i];
    }
    if (best == NULL)
        strbuf_addf(out, "%" PRId64, value);
    else
        strbuf_addf(out, "%" PRId64 "%s", value / best->factor, best->name);
}

void scalar_print_bytes(int64_t bytes, struct strbuf *out)
{
    print_in_units(bytes, sizes, COUNT(sizes), out);
}

void scalar_print_tokens(int64_t tokens, struct strbuf *out)
{
    print_in_units(tokens, amounts, COUNT(amounts), out);
}

static void print_bound(enum scalar_kind kind, int64_t bound, struct strbuf *out)
{
    if (kind == SCALAR_BYTES)
        scalar_print_bytes(bound, out);
    else if (kind == SCALAR_TOKENS)
        scalar_print_tokens(bound, out);
    else if (kind == SCALAR_SECONDS || kind == SCALAR_MILLISECONDS)
        scalar_print_ms(bound, out);
    else
        strbuf_addf(out, "%" PRId64, bound);
}

void scalar_wanted(const struct scalar_rule *rule, struct strbuf *out)
{
    static const char *const names[] = {
        [SCALAR_INT] = "an integer",          [SCALAR_FLOAT] = "a number",
        [SCALAR_BOOL] = "true or false",      [SCALAR_SECONDS] = "a duration",
        [SCALAR_MILLISECONDS] = "a duration", [SCALAR_BYTES] = "a size",
        [SCALAR_TOKENS] = "a whole number"};

    strbuf_adds(out, names[rule->kind]);
    if (rule->kind == SCALAR_BOOL)
        return;
    strbuf_adds(out, rule->max == INT64_MAX ? " of " : " from ");
    print_bound(rule->kind, rule->min, out);
    if (rule->max == INT64_MAX) {
        strbuf_adds(out, " or more");
    } else {
        strbuf_adds(out, " to ");
        print_bound(rule->kind, rule->max, out);
    }
    if (rule->kind == SCALAR_SECONDS)
        strbuf_adds(out, ", such as 30 (seconds), \"500ms\", \"30s\" or \"5m\"");
    else if (rule->kind == SCALAR_MILLISECONDS)
        strbuf_adds(out, ", such as 500 (milliseconds), \"30s\" or \"5m\"");
    else if (rule->kind == SCALAR_BYTES)
        strbuf_adds(out, ", such as 1048576, \"200MB\" or \"10GiB\"");
    else if (rule->kind == SCALAR_TOKENS)
        strbuf_adds(out, ", such as 200000000, \"200M\" or \"1B\"");
}
