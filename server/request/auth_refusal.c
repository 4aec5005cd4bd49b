/* See auth_refusal.h. `param` is the text "None" where LiteLLM writes Python's word for nothing. */
#include "auth_refusal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "request/errors.h"

#define NOTHING       "None"
#define SHOWN         4    /* characters of either end of a credential */
#define LEAST_SHOWN   12   /* shorter ones are not shown at all: the rest could be tried */
#define KEYS_RETRY_MS 5000 /* tenants statement C28 */

void auth_refusal_none(struct failure *out)
{
    error_fill(out, TENANT_NO_KEY, NOTHING);
}

/* Some characters of a credential, if they can be shown; else "". */
static void show(char out[SHOWN + 1], const char *token, size_t len, size_t at)
{
    out[0] = '\0';
    if (len < LEAST_SHOWN)
        return;
    for (size_t i = 0; i < SHOWN; i++)
        if (!isgraph((unsigned char)token[at + i]))
            return;
    memcpy(out, token + at, SHOWN);
    out[SHOWN] = '\0';
}

static void odd_key(struct failure *out, const char *token, size_t len)
{
    char head[SHOWN + 1], tail[SHOWN + 1], shown[2 * SHOWN + 8];

    show(head, token, len, 0);
    show(tail, token, len, len >= SHOWN ? len - SHOWN : 0);
    snprintf(shown, sizeof(shown), "%s****%s", head, tail);
    error_fill(out, TENANT_ODD_KEY, NOTHING, shown);
}

void auth_refusal_unknown(struct failure *out, const char *token, size_t len, bool complete)
{
    char tail[SHOWN + 1];

    if (len < 3 || memcmp(token, "sk-", 3) != 0) {
        odd_key(out, token, len);
        return;
    }
    if (!complete) {
        error_fill(out, TENANT_KEYS_AWAY, NOTHING);
        out->retry_after_ms = KEYS_RETRY_MS;
        return;
    }
    show(tail, token, len, len >= SHOWN ? len - SHOWN : 0);
    error_fill(out, TENANT_UNKNOWN_KEY, "key", tail);
}

/* As Python prints a date with its time in UTC. */
static void print_time(char out[48], int64_t unix_ms)
{
    time_t s = (time_t)(unix_ms / 1000);
    long ms = (long)(unix_ms % 1000);
    struct tm tm;
    size_t len;

    if (gmtime_r(&s, &tm) == NULL)
        memset(&tm, 0, sizeof(tm));
    len = strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
    if (ms > 0)
        len += (size_t)snprintf(out + len, 48 - len, ".%03ld000", ms);
    snprintf(out + len, 48 - len, "+00:00");
}

static void expired(struct failure *out, const struct rights *rights, int64_t now_unix_ms)
{
    char param[sizeof("sk-...") + RIGHTS_TAIL], then[48], now[48];

    snprintf(param, sizeof(param), "sk-...%s", rights->tail);
    print_time(then, rights->expires_unix_ms);
    print_time(now, now_unix_ms);
    error_fill(out, TENANT_KEY_EXPIRED, param, then, now);
}

void auth_refusal_judged(struct failure *out, enum rights_verdict verdict,
                         const struct rights *rights, int64_t now_unix_ms)
{
    if (verdict == RIGHTS_EXPIRED)
        expired(out, rights, now_unix_ms);
    else if (verdict == RIGHTS_TEAM_BLOCKED)
        error_fill(out, TENANT_TEAM_BLOCKED, NOTHING, rights->team_name);
    else
        error_fill(out, TENANT_KEY_BLOCKED, NOTHING);
}
