/* What the balancer's tables cost a request, in nanoseconds of one core: the choice among 32, the
 * group of a model in lists of 10 to 10,000, and what the ledgers add to a poll.
 *
 * Usage: bench_balancer [rounds, default 7] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/breaker.h"
#include "balancer/idem.h"
#include "balancer/memo.h"
#include "balancer/meters.h"
#include "balancer/pick.h"
#include "balancer/quota.h"
#include "balancer/rights.h"
#include "balancer/sample.h"
#include "balancer/state.h"
#include "balancer/table.h"
#include "crypto/ids.h"
#include "crypto/sha256.h"
#include "tests/unit/ids_mint.h"
#include "tests/bench/bench.h"

#define CALLS       20000u
#define CANDIDATES  32u
#define WORKERS     8u
#define BATCHES     20000u /* unfinished ones in the ledger, polled in no order */
#define GROUP_SIZES 4
#define NOW         UINT64_C(1000000000)

/* One thing that is measured: `run` does it CALLS times and gives back something that depends on
 * all of them, so that nothing is left out. */
struct subject {
    const char *name;
    const char *aim;
    uint64_t (*run)(void);
};

static struct state *state;
static struct quota *quota;
static struct memo *memo;
static struct idem *idem;
static struct ids_seals seals;
static struct pick_candidate candidates[CANDIDATES];
static struct table *tables[GROUP_SIZES];
static const uint32_t group_sizes[GROUP_SIZES] = {10, 100, 1000, 10000};
static char (*models)[32];
static char (*ids)[IDS_MAX + 1];

/* --- what there is --- */

static void make_table(uint32_t nth)
{
    uint32_t n = group_sizes[nth];
    struct model_deployment *rows = calloc(n, sizeof(*rows));
    struct model_account account = {0};
    struct model_list list = {
        .accounts = &account, .num_accounts = 1, .deployments = rows, .num_deployments = n};

    if (rows == NULL)
        exit(1);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct model_deployment){.group = models[i], .fingerprint = i + 1};
    must(table_build(&list, 1, &tables[nth]));
    free(rows);
}

static void make_models(void)
{
    uint32_t most = group_sizes[GROUP_SIZES - 1];

    models = calloc(most, sizeof(*models));
    if (models == NULL)
        exit(1);
    for (uint32_t i = 0; i < most; i++)
        snprintf(models[i], sizeof(models[i]), "gpt-4o-batch-team-%u", i);
    for (uint32_t i = 0; i < GROUP_SIZES; i++)
        make_table(i);
}

static void make_candidates(void)
{
    struct model_deployment rows[CANDIDATES];
    struct model_account account = {0};
    struct model_list list = {.accounts = &account,
                              .num_accounts = 1,
                              .deployments = rows,
                              .num_deployments = CANDIDATES};
    uint32_t columns[CANDIDATES];
    struct table *table;

    for (uint32_t i = 0; i < CANDIDATES; i++)
        rows[i] = (struct model_deployment){.group = models[0], .fingerprint = i + 1};
    must(table_build(&list, 1, &table));
    must(state_new(128, 256, &state));
    must(state_bind(state, table, columns));
    table_free(table);
    for (uint32_t w = 0; w < WORKERS; w++) {
        for (uint32_t c = 0; c < CANDIDATES; c++) {
            state_begin_at(state, w, c, OP_CREATE, NOW);
            state_end_at(state, w, c, OP_CREATE, OUTCOME_OK, 200, 1000 + draw(1000), 1, 1, NOW);
        }
    }
    for (uint32_t c = 0; c < CANDIDATES; c++)
        candidates[c] = (struct pick_candidate){.deployment = c,
                                                .admitted = true,
                                                .limit = 1 << 30,
                                                .enqueued = draw(1 << 20),
                                                .drain_rate = 100 + draw(50),
                                                .latency_us = 1000 + draw(1000),
                                                .weight = 1 + draw(9)};
}

static void make_batches(void)
{
    ids = calloc(BATCHES, sizeof(*ids));
    if (ids == NULL)
        exit(1);
    must(ids_seals_add(&seals, "a master key", 12, "bench"));
    must(quota_new(256, 262144, &quota));
    must(memo_new(65536, &memo));
    must(idem_new(16384, &idem));
    for (uint32_t c = 0; c < CANDIDATES; c++)
        quota_bind(quota, c, &(struct quota_terms){.fingerprint = c + 1});
    for (uint32_t i = 0; i < BATCHES; i++) {
        struct id_tag tag = {.deployment = 1 + i % CANDIDATES, .owner = 7};
        struct strbuf minted = STRBUF_INIT;
        struct quota_claim claim;
        char native[64];
        int len = snprintf(native, sizeof(native), "batch_%032u", i * 2654435761u);

        must(quota_reserve(quota, 1, i % CANDIDATES, 1000, i + 1, NOW, &claim));
        must(quota_commit(quota, &claim, native, (size_t)len));
        must(ids_mint(&seals, ID_BATCH, native, &tag, &minted));
        memcpy(ids[i], minted.data, minted.len);
        strbuf_deinit(&minted);
        memo_put(memo, memo_key(1, i % CANDIDATES, native, (uint64_t)len),
                 (uint64_t[MEMO_WORDS]){i}, NOW);
    }
}

/* --- what is measured --- */

static uint64_t run_pick(const char *policy)
{
    const struct pick_policy *p = pick_policy_find(policy);
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++)
        sum += pick_next(p, candidates, CANDIDATES, 1000 + (i & 7), (i & 1023) / 1024.0);
    return sum;
}

static uint64_t run_quota_aware(void)
{
    return run_pick("quota-aware");
}

static uint64_t run_shuffle(void)
{
    return run_pick("simple-shuffle");
}

static uint64_t run_least_busy(void)
{
    return run_pick("least-busy");
}

/* As server/routing/choose.c does it. */
static uint64_t run_describe(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS / CANDIDATES; i++) {
        for (uint32_t c = 0; c < CANDIDATES; c++) {
            struct state_sum s;

            state_read(state, c, NOW, &s);
            candidates[c].requests_minute = s.requests_minute;
            candidates[c].admitted = breaker_admits(*state_health(state, c, OP_CREATE), NOW);
            quota_describe(quota, c, NOW, &candidates[c]);
        }
        sum += pick_next(pick_policy_find("quota-aware"), candidates, CANDIDATES, 1000, 0.5);
    }
    return sum * CANDIDATES;
}

/* --- a choice of a group of 10,000 rows --- */

#define MANY         10000u
#define MANY_CHOICES (CALLS / 100)

static struct table *many_table;
static struct state *many_state;
static struct quota *many_quota;
static uint32_t many_columns[MANY], many_rows[MANY];
static struct pick_candidate many_seen[MANY];

static double many_random(void *arg)
{
    (void)arg;
    return draw(1 << 20) / (double)(1 << 20);
}

static void make_many(void)
{
    struct model_deployment *rows = calloc(MANY, sizeof(*rows));
    struct model_account account = {0};
    struct model_list list = {
        .accounts = &account, .num_accounts = 1, .deployments = rows, .num_deployments = MANY};

    if (rows == NULL)
        exit(1);
    for (uint32_t i = 0; i < MANY; i++) {
        many_rows[i] = i;
        rows[i] = (struct model_deployment){.group = models[0], .fingerprint = i + 1};
    }
    must(table_build(&list, 1, &many_table));
    free(rows);
    must(state_new(129, MANY + 256, &many_state));
    must(state_bind(many_state, many_table, many_columns));
    must(quota_new(MANY + 256, 1024, &many_quota));
    for (uint32_t c = 0; c < MANY; c++) {
        quota_bind(many_quota, many_columns[c],
                   &(struct quota_terms){.fingerprint = c + 1, .limit = 1 << 30});
        for (uint32_t w = 0; w < WORKERS; w++) {
            state_begin_at(many_state, w, many_columns[c], OP_CREATE, NOW);
            state_end_at(many_state, w, many_columns[c], OP_CREATE, OUTCOME_OK, 200,
                         1000 + draw(1000), 1, 1, NOW);
        }
    }
}

/* choose_describe() of server/routing/choose.c. */
static void describe_one_of_many(uint32_t row, struct pick_candidate *c)
{
    const struct table_deployment *d = table_deployment(many_table, row);
    struct state_sum s;

    state_read(many_state, many_columns[row], NOW, &s);
    *c = (struct pick_candidate){.deployment = row, .weight = d->weight, .order = d->order};
    c->requests_minute = s.requests_minute;
    c->in_flight = s.in_flight[OP_CREATE];
    c->admitted = breaker_admits(*state_health(many_state, many_columns[row], OP_CREATE), NOW);
    quota_describe(many_quota, many_columns[row], NOW, c);
}

/* One choice for each 100 of CALLS. */
static uint64_t run_many(bool all)
{
    struct sample_question q = {
        .table = many_table, .candidates = many_rows, .num = MANY, .random = many_random};
    uint32_t places[SAMPLE_SIZE];
    uint64_t sum = 0;

    for (uint32_t i = 0; i < MANY_CHOICES; i++) {
        uint32_t num = all ? MANY : sample_draw(&q, places, SAMPLE_SIZE);

        for (uint32_t k = 0; k < num; k++)
            describe_one_of_many(all ? k : places[k], &many_seen[k]);
        sum += pick_next(pick_policy_find("quota-aware"), many_seen, num, 1000, 0.5);
    }
    return sum;
}

static uint64_t run_many_sampled(void)
{
    return run_many(false);
}

static uint64_t run_many_all(void)
{
    return run_many(true);
}

static uint64_t run_group(uint32_t nth)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++) {
        const char *model = models[draw(group_sizes[nth])];

        sum += table_find_group(tables[nth], model, strlen(model));
    }
    return sum;
}

static uint64_t run_group_10(void)
{
    return run_group(0);
}

static uint64_t run_group_100(void)
{
    return run_group(1);
}

static uint64_t run_group_1000(void)
{
    return run_group(2);
}

static uint64_t run_group_10000(void)
{
    return run_group(3);
}

static size_t open_id(const char *id, uint32_t *column)
{
    struct id_tag tag;
    size_t native_len;
    bool tagged;

    must(ids_open(&seals, ID_BATCH, 0, id, strlen(id), &native_len, &tagged, &tag));
    *column = tag.deployment - 1;
    return native_len;
}

static uint64_t run_ids_open(void)
{
    uint64_t sum = 0;
    uint32_t column;

    for (uint32_t i = 0; i < CALLS; i++)
        sum += open_id(ids[draw(BATCHES)], &column) + column;
    return sum;
}

static uint64_t run_progress(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t nth = draw(BATCHES);

        sum += quota_progress(quota, nth % CANDIDATES, ids[nth], 38, 1, 2, NOW + i);
    }
    return sum;
}

/* A batch that ended long ago and is still polled. */
static uint64_t run_release_unknown(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t nth = draw(BATCHES);

        sum += quota_release(quota, 1, (nth + 1) % CANDIDATES, ids[nth], 38, QUOTA_FINISHED, NOW);
    }
    return sum;
}

/* A create counted, answered and ended. @param tenants  0: the master key's */
static uint64_t run_reservations(uint32_t tenants)
{
    struct quota_job job = {.tokens = 1000};
    struct quota_refusal refusal;
    struct quota_claim claim;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t nth = draw(BATCHES), tenant = tenants > 0 ? 1 + draw(tenants) : 0;

        job.token = nth + 1;
        job.scopes[QUOTA_KEY] = (struct quota_scope){tenant, UINT64_C(1) << 40, 1000000};
        job.scopes[QUOTA_TEAM] = (struct quota_scope){
            tenant != 0 ? (UINT64_C(1) << 32) + tenant / 10 : 0, UINT64_C(1) << 40, 1000000};
        must(quota_reserve_job(quota, 1, nth % CANDIDATES, &job, NOW, &claim, &refusal));
        must(quota_commit(quota, &claim, ids[nth] + 1, 38));
        sum += quota_release(quota, 1, nth % CANDIDATES, ids[nth] + 1, 38, QUOTA_FINISHED, NOW);
    }
    return sum;
}

static uint64_t run_reserve(void)
{
    return run_reservations(0);
}

static uint64_t run_reserve_tenant(void)
{
    return run_reservations(1000);
}

static uint64_t run_memo_gets(uint32_t different)
{
    uint64_t sum = 0, value[MEMO_WORDS];

    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t nth = draw(different);

        sum += memo_get(memo, memo_key(1, nth % CANDIDATES, ids[nth], 38), 0, NOW, value);
    }
    return sum;
}

static uint64_t run_memo_get(void)
{
    return run_memo_gets(BATCHES);
}

static uint64_t run_memo_get_hot(void)
{
    return run_memo_gets(100);
}

static uint64_t run_memo_put(void)
{
    uint64_t value[MEMO_WORDS] = {0};

    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t nth = draw(BATCHES);

        value[0] = nth;
        memo_put(memo, memo_key(1, nth % CANDIDATES, ids[nth], 38), value, NOW);
    }
    return value[0];
}

/* All that the tables add to GET /v1/batches/{id}, of a batch that runs and of one that has ended.
 */
static uint64_t run_polls(bool ended)
{
    uint64_t sum = 0, value[MEMO_WORDS];

    for (uint32_t i = 0; i < CALLS; i++) {
        const char *id = ids[draw(BATCHES)];
        uint32_t column;
        size_t len = open_id(id, &column);

        sum += memo_get(memo, memo_key(1, column, id, len), 0, NOW, value);
        if (ended)
            sum += quota_release(quota, 1, (column + 1) % CANDIDATES, id, len, QUOTA_FINISHED, NOW);
        else
            sum += quota_progress(quota, column, id, len, 1, 2, NOW + i);
    }
    return sum;
}

static uint64_t run_poll(void)
{
    return run_polls(false);
}

static uint64_t run_poll_ended(void)
{
    return run_polls(true);
}

static uint64_t run_idem_key(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++)
        sum += idem_key('c', 7, ids[i], 38).hash[0];
    return sum;
}

/* A create from its claim to its answer of 600 bytes; most of them make room for themselves. */
static uint64_t run_idem_life(void)
{
    static struct idem_answer answer;
    uint64_t sum = 0;

    answer.len = 600;
    for (uint32_t i = 0; i < CALLS; i++) {
        struct idem_key key = {.hash = {seed + draw(1 << 30), draw(1 << 30)}};
        struct idem_claim claim;

        sum += (uint64_t)idem_begin(idem, 1, &key, 1, "nonce", 1000, NOW, &claim, &answer);
        if (!idem_sent(idem, &claim, 7))
            exit(1);
        idem_answer(idem, &claim, &answer);
    }
    return sum;
}

static uint64_t run_idem_look(void)
{
    static struct idem_answer answer;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++)
        sum += (uint64_t)idem_look(idem, &(struct idem_key){.hash = {draw(1 << 30), seed}}, 1, NOW,
                                   &answer);
    return sum;
}

/* --- what a key's limits cost a request --- */

#define SCOPES 1000

static struct meters *meters;
static uint64_t scopes[SCOPES];

static void make_meters(void)
{
    must(meters_new(16384, 516, &meters));
    for (uint32_t i = 0; i < SCOPES; i++) {
        scopes[i] = (uint64_t)draw(UINT32_MAX) << 32 | draw(UINT32_MAX);
        for (uint32_t w = 0; w < WORKERS; w++) /* all of them have held something of everybody */
            if (!meters_hold(meters, w, meters_find(meters, scopes[i], NOW), METERS_REQUESTS, 1,
                             UINT64_MAX))
                exit(1);
    }
}

static uint64_t run_rate(void)
{
    uint64_t sum = 0, wait_ms;

    for (uint32_t i = 0; i < CALLS; i++)
        sum += meters_pass(meters, meters_find(meters, scopes[draw(SCOPES)], NOW),
                           METERS_PER_MINUTE, 1 << 30, UINT64_MAX, NOW, &wait_ms);
    return sum;
}

static uint64_t run_parallel(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t place = meters_find(meters, scopes[draw(SCOPES)], NOW);

        sum += meters_hold(meters, 0, place, METERS_REQUESTS, 1, 100);
        meters_release(meters, 0, place, METERS_REQUESTS, 1);
    }
    return sum;
}

/* --- who asks --- */

#define KEYS       100000u
#define KEY_MODELS 20u

static struct rights_table *rights;
static char (*keys)[32];

static void make_rights(void)
{
    static struct rights_team team = {.id = "team"};
    struct rights_list list = {.teams = &team, .num_teams = 1, .num_keys = KEYS};
    const struct rights_list *lists[] = {&list};
    static char *names[KEY_MODELS];

    keys = calloc(KEYS, sizeof(*keys));
    list.keys = calloc(KEYS, sizeof(*list.keys));
    if (keys == NULL || list.keys == NULL)
        exit(1);
    for (uint32_t i = 0; i < KEY_MODELS; i++)
        names[i] = models[i];
    rights_limits_init(&team.limits);
    for (uint32_t i = 0; i < KEYS; i++) {
        struct rights_key *key = &list.keys[i];

        snprintf(keys[i], sizeof(keys[i]), "sk-%08x%08x%08x", draw(1 << 30), draw(1 << 30), i);
        sha256_of(&(struct sha256_piece){keys[i], strlen(keys[i])}, 1, key->hash);
        key->id = keys[i];
        key->team_id = team.id;
        key->models = (struct rights_models){.names = names, .num_names = KEY_MODELS};
        rights_limits_init(&key->limits);
    }
    must(rights_table_new(1000000, &rights));
    must(rights_publish(rights, 1, lists, 1, true));
    free(list.keys);
}

static uint64_t run_hash_key(void)
{
    unsigned char hash[RIGHTS_HASH_BYTES];
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++) {
        const char *key = keys[draw(KEYS)];

        sha256_of(&(struct sha256_piece){key, strlen(key)}, 1, hash);
        sum += hash[0];
    }
    return sum;
}

static uint64_t run_find_keys(uint32_t different)
{
    unsigned char hash[RIGHTS_HASH_BYTES];
    struct rights found;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CALLS; i++) {
        const char *key = keys[draw(different)];

        sha256_of(&(struct sha256_piece){key, strlen(key)}, 1, hash);
        if (!rights_find(rights, hash, &found))
            exit(1);
        sum += found.owner;
    }
    return sum;
}

static uint64_t run_find_key(void)
{
    return run_find_keys(KEYS);
}

static uint64_t run_find_key_hot(void)
{
    return run_find_keys(100);
}

static uint64_t run_may_use(void)
{
    struct rights found;
    uint64_t sum = 0;

    sha256_of(&(struct sha256_piece){keys[0], strlen(keys[0])}, 1, found.hash);
    for (uint32_t i = 0; i < CALLS; i++) {
        const char *model = models[draw(KEY_MODELS)];

        sum += rights_may_use(rights, &found, model, strlen(model));
    }
    return sum;
}

static const struct subject subjects[] = {
    {"choice among 32, quota-aware", "200", run_quota_aware},
    {"its numbers from 8 workers, per candidate", "", run_describe},
    {"1/100 of a choice among 10,000, described", "10000", run_many_sampled},
    {"1/100 of it when all are looked at", "", run_many_all},
    {"choice among 32, simple-shuffle", "200", run_shuffle},
    {"choice among 32, least-busy", "200", run_least_busy},
    {"group of a model, 10 deployments", "", run_group_10},
    {"group of a model, 100 deployments", "flat", run_group_100},
    {"group of a model, 1,000 deployments", "flat", run_group_1000},
    {"group of a model, 10,000 deployments", "flat", run_group_10000},
    {"an id opened", "", run_ids_open},
    {"progress of one of 20,000 batches", "", run_progress},
    {"an end of a batch that is not there", "", run_release_unknown},
    {"a create counted, committed, ended", "", run_reserve},
    {"the same of 1,000 keys of 100 teams", "", run_reserve_tenant},
    {"a fact recalled, of 20,000", "", run_memo_get},
    {"the same, of 100", "", run_memo_get_hot},
    {"a fact remembered", "", run_memo_put},
    {"a poll: id opened, recalled, progress", "1000", run_poll},
    {"the same of one that has ended", "1000", run_poll_ended},
    {"a key of idempotency", "", run_idem_key},
    {"a create claimed, sent, answered", "", run_idem_life},
    {"a key that nobody used", "", run_idem_look},
    {"a request at a key's rate, 1,000 keys", "100", run_rate},
    {"the same in parallel to others, 8 workers", "", run_parallel},
    {"a key hashed (SHA-256)", "", run_hash_key},
    {"a key hashed and found, of 100,000", "300", run_find_key},
    {"the same, of 100 that ask all the time", "300", run_find_key_hot},
    {"whether a key may use one of its 20 models", "", run_may_use},
};

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 7;
    volatile uint64_t sink = 0;

    make_models();
    make_candidates();
    make_batches();
    make_meters();
    make_rights();
    make_many();
    printf("%-42s %8s %6s   ns\n", "", "measured", "aim");
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        double best = 1e18;

        for (unsigned round = 0; round < rounds; round++) {
            double start = now_ns(), taken;

            sink += subjects[i].run();
            taken = (now_ns() - start) / CALLS;
            best = taken < best ? taken : best;
        }
        printf("%-42s %8.0f %6s\n", subjects[i].name, best, subjects[i].aim);
    }
    return (int)(sink & 0);
}
