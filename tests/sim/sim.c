/* See sim.h. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "call.h"
#include "journal.h"

static int64_t clock_ms(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void sim_tick(struct sim *sim)
{
    sim->now_ms = clock_ms(CLOCK_REALTIME) + sim->skew_ms;
    sim->mono_ms = clock_ms(CLOCK_MONOTONIC);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_random(struct account *acc)
{
    return next_random(&acc->rng);
}

void sim_hex(uint64_t *rng, char *out, int digits)
{
    static const char hex[] = "0123456789abcdef";
    uint64_t bits = 0;

    for (int i = 0; i < digits; i++) {
        if (i % 16 == 0)
            bits = next_random(rng);
        out[i] = hex[bits & 15];
        bits >>= 4;
    }
    out[digits] = '\0';
}

void sim_uuid(uint64_t *rng, char *out)
{
    char hex[40];

    sim_hex(rng, hex, 32);
    memcpy(out, hex, 8);
    memcpy(out + 9, hex + 8, 4);
    memcpy(out + 14, hex + 12, 4);
    memcpy(out + 19, hex + 16, 4);
    memcpy(out + 24, hex + 20, 12);
    out[8] = out[13] = out[18] = out[23] = '-';
    out[36] = '\0';
}

void sim_new_id(struct account *acc, char *out, const char *prefix, bool dashed)
{
    size_t n = strlen(prefix);

    memcpy(out, prefix, n);
    if (dashed)
        sim_uuid(&acc->rng, out + n);
    else
        sim_hex(&acc->rng, out + n, 32);
}

static void reset_account(struct account *acc)
{
    for (size_t i = 0; i < acc->n_batches; i++)
        batches_free(acc, acc->batches[i]);
    for (size_t i = 0; i < acc->n_files; i++)
        files_free(acc->files[i]);
    acc->n_batches = acc->n_files = acc->n_active = acc->first_active = acc->n_unread = 0;
    map_clear(&acc->file_ix);
    map_clear(&acc->batch_ix);
    acc->uploads = acc->creates = acc->connections = 0;
    if (acc->journal != NULL)
        journal_reset(acc->journal);
}

void sim_reset(struct sim *sim)
{
    for (size_t i = 0; i < sim->n_accounts; i++) {
        struct account *acc = sim->accounts[i];
        reset_account(acc);
        switches_copy(&acc->sw, &acc->sw_start);
        acc->pace = acc->pace_start;
    }
    entra_reset(sim);
    sim->skew_ms = 0; /* nothing is left that could notice the step back */
    sim_tick(sim);
    faults_clear(sim);
    control_notify(sim);
}

void *sim_alloc(size_t size)
{
    void *p = calloc(1, size == 0 ? 1 : size);

    if (p == NULL) {
        fprintf(stderr, "tranche-sim: out of memory\n");
        abort();
    }
    return p;
}

void *sim_realloc(void *old, size_t size)
{
    void *p = realloc(old, size);

    if (p == NULL) {
        fprintf(stderr, "tranche-sim: out of memory\n");
        abort();
    }
    return p;
}

void sim_reserve(struct strbuf *sb, size_t extra)
{
    if (strbuf_reserve(sb, extra) == 0)
        return;
    fprintf(stderr, "tranche-sim: out of memory\n");
    abort();
}

char *sim_strndup(const char *text, size_t len)
{
    char *copy = sim_alloc(len + 1);

    memcpy(copy, text, len);
    return copy;
}

char *sim_strdup(const char *text)
{
    return text == NULL ? NULL : sim_strndup(text, strlen(text));
}

bool sim_glob(const char *pattern, const char *text, size_t len)
{
    const char *end = text + len;
    const char *star = NULL, *mark = NULL;

    if (pattern == NULL)
        return true;
    while (text < end) {
        if (*pattern == '*') {
            star = pattern++;
            mark = text;
        } else if (*pattern == *text && *pattern != '\0') {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++mark;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}
