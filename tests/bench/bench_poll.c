/* What ids and accounting cost one GET /v1/batches/{id}, in nanoseconds of one core, by the
 * functions that a worker runs: the client's id is opened, where it is recalled, the batch's marker
 * is proved, the ledger hears of it, and the ids of the answer are minted. Of each of 20,000
 * batches, in no order, and of a hundred that are polled all the time.
 *
 * Usage: bench_poll [rounds, default 7] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "json/json_mask.h"
#include "objects/batch_view.h"
#include "objects/ledger.h"
#include "objects/polls.h"
#include "request/resolve.h"
#include "objects/observation.h"
#include "tests/bench/bench.h"
#include "tests/unit/ids_mint.h"

#define BATCHES 20000u
#define CALLS   20000u
#define DOCS                                                                                       \
    50u /* parsed at a time, outside of what is measured, and in the cache then as in life */
#define COLUMNS 4u

struct batch {
    char id[IDS_MAX + 1]; /* the client's */
    char *text;           /* as its provider sends it */
};

static struct model_account accounts[COLUMNS];
static struct model_deployment deployments[COLUMNS];
static struct config config;
static struct ids_seals seals;
static struct inherited inherited;
static struct runtime worker;
static struct batch *batches;
static uint64_t loop_ms = UINT64_C(1000000000);

static uint64_t bench_now_ms(struct loop *loop)
{
    (void)loop;
    return loop_ms;
}

static const struct loop_ops loop_ops = {.now_ms = bench_now_ms};
static struct loop loop = {.ops = &loop_ops};

/* --- what there is --- */

static void make_worker(void)
{
    static char base[COLUMNS][64];
    static uint32_t columns[COLUMNS];
    static struct table *table;
    struct state *state;

    for (uint32_t i = 0; i < COLUMNS; i++) {
        snprintf(base[i], sizeof(base[i]), "https://eu%u.openai.azure.com", i);
        accounts[i] =
            (struct model_account){.provider = PROVIDER_AZURE, .base = base[i], .name = base[i]};
        deployments[i] = (struct model_deployment){.group = (char *)"gpt-4o",
                                                   .id = base[i],
                                                   .upstream_model = (char *)"gpt-4o-batch",
                                                   .litellm_model = (char *)"azure/gpt-4o-batch",
                                                   .account = i,
                                                   .fingerprint = 1000 + i};
    }
    config.models = (struct model_list){.accounts = accounts,
                                        .num_accounts = COLUMNS,
                                        .deployments = deployments,
                                        .num_deployments = COLUMNS};
    config.balance_batches = true;
    must(ids_seals_add(&seals, "a seal key", 10, "bench"));
    must(seal_cache_new(32768, &seals.cache));
    must(table_build(&config.models, 1, &table));
    must(state_new(CHILD_ROWS, 64, &state));
    must(state_bind(state, table, columns));
    inherited.state = state;
    must(quota_new(64, 262144, &inherited.quota));
    must(memo_new(65536, &inherited.memo));
    must(poll_cache_new(16384, &inherited.poll_cache));
    for (uint32_t i = 0; i < COLUMNS; i++)
        quota_bind(inherited.quota, columns[i], &(struct quota_terms){.fingerprint = 1000 + i});
    must(account_map_init(&worker.account_map, &config.models, true));
    inherited.config = worker.config = &config;
    inherited.table = worker.table = table;
    inherited.columns = columns;
    inherited.seals = &seals;
    worker.inherited = &inherited;
    worker.loop = &loop;
    worker.account_first = worker.account_map.first;
    worker.account_fingerprint = worker.account_map.fingerprint;
    worker.account_same_resource = worker.account_map.same_resource;
    worker.account_balanced = worker.account_map.balanced;
}

/* As Azure shows it, with its names of this length. */
static void write_batch(uint32_t nth, const char *native, const char *file, bool ended,
                        struct strbuf *out)
{
    struct marker marker = {.request = nth * UINT64_C(0x9e3779b97f4a7c15), .tokens = 1000};
    struct strbuf text = STRBUF_INIT;

    marker_nonce_of(0, native, strlen(native), marker.nonce);
    snprintf(marker.file, sizeof(marker.file), "%s", file);
    marker.deployment = deployments[nth % COLUMNS].fingerprint;
    must(marker_write(&seals, &marker, &text));
    strbuf_addf(out,
                "{\"id\":\"%s\",\"object\":\"batch\",\"endpoint\":\"/v1/chat/"
                "completions\",\"input_file_id\":"
                "\"%s\",\"completion_window\":\"24h\",\"status\":\"%s\",\"output_file_id\":%s,"
                "\"error_file_id\":%s,\"created_at\":%lld,\"in_progress_at\":1700000000,\"request_"
                "counts\":{"
                "\"total\":1000,\"completed\":%u,\"failed\":0},\"metadata\":{\"team\":\"x\","
                "\"tranche\":\"%s\"}}",
                native, file, ended ? "completed" : "in_progress",
                ended ? "\"file-00000000000000000000000000000001\"" : "null",
                ended ? "\"file-00000000000000000000000000000002\"" : "null",
                (long long)clock_unix_s() - 60, ended ? 1000 : nth % 1000, strbuf_str(&text));
    strbuf_deinit(&text);
}

static void make_batch(uint32_t nth, bool ended)
{
    uint32_t column = nth % COLUMNS;
    struct id_tag tag = {.deployment = worker.account_fingerprint[column]};
    struct strbuf minted = STRBUF_INIT, text = STRBUF_INIT;
    struct quota_claim claim;
    char native[64], file[64];
    uint32_t mixed = nth * 2654435761u;

    snprintf(native, sizeof(native), "batch_%08x-0000-4000-8000-%012x", mixed, nth);
    snprintf(file, sizeof(file), "file-%032x", mixed);
    if (!ended) {
        must(quota_reserve(inherited.quota, 1, inherited.columns[column], 1000, nth + 1, loop_ms,
                           &claim));
        must(quota_commit(inherited.quota, &claim, native, strlen(native)));
    }
    must(ids_mint(&seals, ID_BATCH, native, &tag, &minted));
    snprintf(batches[nth].id, sizeof(batches[nth].id), "%s", strbuf_str(&minted));
    write_batch(nth, native, file, ended, &text);
    batches[nth].text = strbuf_take(&text);
    strbuf_deinit(&minted);
}

static void make_batches(void)
{
    batches = calloc(2 * BATCHES, sizeof(*batches));
    if (batches == NULL)
        exit(1);
    for (uint32_t i = 0; i < 2 * BATCHES; i++)
        make_batch(i, i >= BATCHES);
}

/* --- what is measured --- */

enum part { OPENING = 1, PROVING = 2, COUNTING = 4, MINTING = 8, BELIEVING = 16, MASKING = 32 };

struct poll {
    char id[IDS_MAX + 1]; /* as the request has just been parsed */
    uint32_t column;
    struct json_doc *doc;
    struct json *root;
};

static void run(const struct poll *polls, uint32_t num, unsigned parts, uint64_t *sum)
{
    struct relay relay = {.rt = &worker};

    for (uint32_t i = 0; i < num; i++) {
        struct target target = {0};
        struct marker marker;
        struct observation seen;
        const char *id = polls[i].id;

        if (parts & OPENING) {
            if (!resolve_id(&relay, ID_BATCH, id, strlen(id), &target))
                exit(1);
            *sum += target.deployments[0];
            target_deinit(&target);
        }
        if (parts & BELIEVING &&
            polls_believe(&inherited, runtime_fingerprint(&worker, polls[i].column), polls[i].doc,
                          polls[i].root, loop_ms, 0) != polls[i].root)
            exit(1);
        if (parts & COUNTING) {
            if (!observation_of_batch(&inherited, 1, runtime_fingerprint(&worker, polls[i].column),
                                      polls[i].root, loop_ms, &seen))
                exit(1);
        } else if (parts & PROVING && !ledger_marker(&seals, polls[i].root, &marker)) {
            exit(1);
        }
        if (parts & MASKING)
            json_mask(polls[i].doc, polls[i].root, mask_installed(), false);
        if (parts & MINTING)
            client_ids_show_batch(&(struct viewer){&worker, relay.owner, &relay.named},
                                  polls[i].column, true, polls[i].doc, polls[i].root);
    }
}

/* The secrets of a large configuration. */
static void make_mask(void)
{
    static char texts[100][64];
    static struct secret keys[100];
    static const struct secret *list[100];

    for (size_t i = 0; i < 100; i++) {
        snprintf(texts[i], sizeof(texts[i]), "sk-proj-%016llx%016llx",
                 (unsigned long long)((i + 1) * UINT64_C(0x9e3779b97f4a7c15)),
                 (unsigned long long)((i + 1) * (i + 2) * UINT64_C(0xbf58476d1ce4e5b9)));
        keys[i] = (struct secret){texts[i], strlen(texts[i])};
        list[i] = &keys[i];
    }
    mask_install(mask_new(list, 100));
}

/* @return ns per poll */
static double measure(uint32_t first, uint32_t different, unsigned parts, uint64_t *sum)
{
    static struct poll polls[DOCS];
    double taken = 0;

    for (uint32_t done = 0; done < CALLS; done += DOCS) {
        struct json_error error;
        double start;

        for (uint32_t i = 0; i < DOCS; i++) {
            uint32_t nth = first + draw(different);

            snprintf(polls[i].id, sizeof(polls[i].id), "%s", batches[nth].id);
            polls[i].column = nth % COLUMNS;
            polls[i].doc = json_doc_new();
            polls[i].root =
                json_parse(polls[i].doc, batches[nth].text, strlen(batches[nth].text), &error);
            if (polls[i].root == NULL)
                exit(1);
        }
        start = now_ns();
        run(polls, DOCS, parts, sum);
        taken += now_ns() - start;
        for (uint32_t i = 0; i < DOCS; i++)
            json_doc_free(polls[i].doc);
    }
    return taken / CALLS;
}

static const struct {
    const char *name, *aim;
    unsigned parts;
} subjects[] = {
    {"the id opened, its place found", "", OPENING},
    {"the marker proved", "", PROVING},
    {"... and the ledger told", "", PROVING | COUNTING},
    {"the id opened, the answer's ids shown", "", OPENING | MINTING},
    {"all of it", "1000", OPENING | PROVING | COUNTING | MINTING},
    {"beside it: what it was seen as before", "", BELIEVING},
    {"beside it: 100 keys looked for", "700", MASKING},
};

static const struct {
    const char *name;
    uint32_t first, different;
} worlds[] = {
    {"one of 100 that run", 0, 100},
    {"one of 100 that have ended", BATCHES, 100},
    {"one of 20,000 that run", 0, BATCHES},
    {"one of 20,000 that have ended", BATCHES, BATCHES},
};

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 7;
    uint64_t sum = 0;

    make_worker();
    make_batches();
    make_mask();
    for (size_t k = 0; k < sizeof(worlds) / sizeof(worlds[0]); k++) {
        printf("%-42s %8s %6s   ns\n", worlds[k].name, "measured", "aim");
        for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
            double best = 1e18;

            for (unsigned round = 0; round < rounds; round++) {
                double taken =
                    measure(worlds[k].first, worlds[k].different, subjects[i].parts, &sum);

                best = taken < best ? taken : best;
            }
            printf("  %-40s %8.0f %6s\n", subjects[i].name, best, subjects[i].aim);
        }
    }
    return sum == 42 ? 2 : 0;
}
