/* See price.h. */
#include "price/price.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MILLION        1000000
#define MOST_DIGITS    19 /* what an int64_t holds of any digits is 18, and one that is rounded */
#define MOST_EXPONENT  100000
#define NANO_DIGITS    9 /* of a dollar */
#define MILLION_DIGITS 6

static const char *const names[PRICE_NAMES] = {
    [PRICE_INPUT] = "input_cost_per_token",
    [PRICE_CACHED] = "cache_read_input_token_cost",
    [PRICE_OUTPUT] = "output_cost_per_token",
    [PRICE_INPUT_BATCHES] = "input_cost_per_token_batches",
    [PRICE_CACHED_BATCHES] = "cache_read_input_token_cost_batches",
    [PRICE_OUTPUT_BATCHES] = "output_cost_per_token_batches",
    [PRICE_INPUT_LONG] = "input_cost_per_token_above_272k_tokens",
    [PRICE_CACHED_LONG] = "cache_read_input_token_cost_above_272k_tokens",
    [PRICE_OUTPUT_LONG] = "output_cost_per_token_above_272k_tokens",
    [PRICE_INPUT_LONG_BATCHES] = "input_cost_per_token_above_272k_tokens_batches",
    [PRICE_CACHED_LONG_BATCHES] = "cache_read_input_token_cost_above_272k_tokens_batches",
    [PRICE_OUTPUT_LONG_BATCHES] = "output_cost_per_token_above_272k_tokens_batches",
};

const char *price_name(enum price_name name)
{
    assert((unsigned)name < PRICE_NAMES);
    return names[name];
}

enum price_name price_name_find(const char *text, size_t len)
{
    unsigned name = 0;

    while (name < PRICE_NAMES &&
           (strlen(names[name]) != len || memcmp(names[name], text, len) != 0))
        name++;
    return (enum price_name)name;
}

/* --- decimal text --- */

/* The digits that count, the first of them not 0, and how many stand before the point. */
struct decimal {
    unsigned char digits[MOST_DIGITS + 1];
    size_t num;    /* kept in `digits`; later ones do not change how a number is rounded */
    int64_t whole; /* digits before the point; negative: zeros behind it */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void take_digit(struct decimal *d, char c, bool behind_point)
{
    if (d->num == 0 && c == '0') {
        d->whole -= behind_point;
        return;
    }
    if (d->num < sizeof(d->digits))
        d->digits[d->num++] = (unsigned char)(c - '0');
    d->whole += !behind_point;
}

/* @return where the digits and the point end; `text` itself: there is no digit */
static const char *read_digits(struct decimal *d, const char *text, const char *end)
{
    bool point = false, any = false;
    const char *p = text;

    for (; p < end && (is_digit(*p) || (*p == '.' && !point)); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        take_digit(d, *p, point);
    }
    return any ? p : text;
}

static int read_exponent(struct decimal *d, const char *p, const char *end)
{
    bool negative = p < end && *p == '-';
    int64_t exponent = 0;

    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return ERR_SYNTAX;
    for (; p < end; p++) {
        if (!is_digit(*p))
            return ERR_SYNTAX;
        if (exponent < MOST_EXPONENT)
            exponent = exponent * 10 + (*p - '0');
    }
    d->whole += negative ? -exponent : exponent;
    return 0;
}

static int read_decimal(struct decimal *d, const char *text, size_t len)
{
    const char *end = text + len, *p;

    *d = (struct decimal){0};
    if (len > 0 && *text == '+')
        text++;
    p = read_digits(d, text, end);
    if (p == text)
        return ERR_SYNTAX;
    if (p == end)
        return 0;
    return *p == 'e' || *p == 'E' ? read_exponent(d, p + 1, end) : ERR_SYNTAX;
}

/* The number in units of which 10^places are one, rounded half up. */
static int scale(const struct decimal *d, int places, int64_t most, int64_t *out)
{
    int64_t digits = d->whole + places, number = 0;

    *out = 0;
    if (d->num == 0 || digits < 0)
        return 0;
    if (digits > MOST_DIGITS)
        return ERR_LIMIT;
    for (int64_t i = 0; i < digits; i++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (size_t)i < d->num ? d->digits[i] : 0, &number))
            return ERR_LIMIT;
    if ((size_t)digits < d->num && d->digits[digits] >= 5 &&
        __builtin_add_overflow(number, 1, &number))
        return ERR_LIMIT;
    if (number > most)
        return ERR_LIMIT;
    *out = number;
    return 0;
}

static int parse(const char *text, size_t len, int places, int64_t most, int64_t *out)
{
    struct decimal d;
    int ret = read_decimal(&d, text, len);

    return ret != 0 ? ret : scale(&d, places, most, out);
}

int price_parse(const char *text, size_t len, int64_t *nano)
{
    return parse(text, len, NANO_DIGITS + MILLION_DIGITS, PRICE_MOST, nano);
}

int price_parse_dollars(const char *text, size_t len, int64_t *nano)
{
    return parse(text, len, NANO_DIGITS, INT64_MAX, nano);
}

/* --- which price counts --- */

void price_list_init(struct price_list *list)
{
    for (int i = 0; i < PRICE_NAMES; i++)
        list->of[i] = PRICE_NONE;
}

bool price_list_is_empty(const struct price_list *list)
{
    for (int i = 0; i < PRICE_NAMES; i++)
        if (list->of[i] != PRICE_NONE)
            return false;
    return true;
}

/* A batch's own price, else half of the ordinary one, else the one that stands for it. */
static int64_t pick(const struct price_list *list, enum price_name batches,
                    enum price_name ordinary, int64_t otherwise)
{
    if (list->of[batches] != PRICE_NONE)
        return list->of[batches];
    if (list->of[ordinary] != PRICE_NONE)
        return list->of[ordinary] / 2 + list->of[ordinary] % 2;
    return otherwise;
}

bool price_of_list(const struct price_list *list, struct price *out)
{
    struct price_rate *base = &out->base, *above = &out->above;

    base->in = pick(list, PRICE_INPUT_BATCHES, PRICE_INPUT, PRICE_NONE);
    base->cached = pick(list, PRICE_CACHED_BATCHES, PRICE_CACHED, base->in);
    base->out = pick(list, PRICE_OUTPUT_BATCHES, PRICE_OUTPUT, PRICE_NONE);
    above->in = pick(list, PRICE_INPUT_LONG_BATCHES, PRICE_INPUT_LONG, base->in);
    /* Without a price of its own the cached part of a long request costs what that of others does,
     * unless those have none either. */
    above->cached = pick(list, PRICE_CACHED_LONG_BATCHES, PRICE_CACHED_LONG,
                         base->cached == base->in ? above->in : base->cached);
    above->out = pick(list, PRICE_OUTPUT_LONG_BATCHES, PRICE_OUTPUT_LONG, base->out);
    out->tiered = above->in != base->in || above->cached != base->cached || above->out != base->out;
    return base->in != PRICE_NONE;
}

/* --- what it comes to --- */

__extension__ typedef unsigned __int128 wide;

static uint64_t less(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Millionths of a nano-dollar: at most 3 * 2^64 * 10^18, below 2^126. */
static wide sum_of(const struct price_rate *rate, uint64_t in, uint64_t cached, uint64_t out)
{
    assert(rate->in >= 0 && rate->cached >= 0 && cached <= in);
    return (wide)(in - cached) * (wide)rate->in + (wide)cached * (wide)rate->cached +
           (out > 0 ? (wide)out * (wide)rate->out : 0);
}

bool price_cost(const struct price *price, const struct price_tokens *tokens, int64_t *nano)
{
    uint64_t cached = less(tokens->cached, tokens->in);
    uint64_t long_in = less(tokens->long_in, tokens->in);
    uint64_t long_out = less(tokens->long_out, tokens->out);
    /* Neither more of the cached tokens than the long requests have, nor fewer than the others
     * leave over. */
    uint64_t long_cached = less(less(tokens->long_cached, cached), long_in);
    uint64_t others = tokens->in - long_in;
    wide sum;

    *nano = 0;
    if (cached - long_cached > others)
        long_cached = cached - others;
    if ((tokens->out > long_out && price->base.out == PRICE_NONE) ||
        (long_out > 0 && price->above.out == PRICE_NONE))
        return false;
    sum = sum_of(&price->base, others, cached - long_cached, tokens->out - long_out) +
          sum_of(&price->above, long_in, long_cached, long_out);
    sum = (sum + MILLION / 2) / MILLION;
    *nano = sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
    return true;
}

static void add(uint64_t *sum, uint64_t more)
{
    if (__builtin_add_overflow(*sum, more, sum))
        *sum = UINT64_MAX;
}

void price_tokens_add(struct price_tokens *sum, const struct price_tokens *more)
{
    add(&sum->in, more->in);
    add(&sum->cached, more->cached);
    add(&sum->out, more->out);
    add(&sum->long_in, more->long_in);
    add(&sum->long_cached, more->long_cached);
    add(&sum->long_out, more->long_out);
}

const char *price_dollars(int64_t nano, char text[PRICE_DOLLARS_BYTES])
{
    uint64_t number = nano < 0 ? -(uint64_t)nano : (uint64_t)nano;

    snprintf(text, PRICE_DOLLARS_BYTES, "%s%" PRIu64 ".%09" PRIu64, nano < 0 ? "-" : "",
             number / 1000000000, number % 1000000000);
    return text;
}
