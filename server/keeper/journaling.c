/* See journaling.h. It lives as long as its process. */
#include "journaling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batches.h"
#include "file_totals.h"
#include "fleet.h"
#include "followed_rows.h"
#include "intents.h"
#include "moves.h"
#include "not_sent.h"
#include "pricing.h"

struct journaling {
    const struct inherited *inherited; /* borrowed */
    struct fleet *fleet;               /* owned, as the next six */
    struct pricing *pricing;
    struct batches *batches;
    struct intents *intents;
    struct file_totals *totals;
    struct followed_rows *followed;
    struct moves *moves;
    struct manage_rebuild rebuild;
};

/* Beside the record of runs: of one place to listen at. */
static void name_outbox(const struct inherited *inherited, char *out, size_t size)
{
    const struct config *config = inherited->config;
    char host[128], run[32] = "";

    snprintf(host, sizeof(host), "%s", config->host);
    for (char *p = host; *p != '\0'; p++)
        if (*p == '/')
            *p = '_';
    /* Several may listen on free ports: a directory of its own tells one of them from the others */
    if (config->port == 0 && !config->state_dir_is_given && inherited->registry != NULL)
        snprintf(run, sizeof(run), "-%llx", (unsigned long long)registry_run(inherited->registry));
    snprintf(out, size, "%s/tranche-%s-%d%s.outbox", config->state_dir, host, config->port, run);
}

static int start(struct journaling *j, const struct journaling_options *options)
{
    const struct config *config = options->inherited->config;
    const char *node = *options->node != '\0' ? options->node : "this gateway";
    struct batches_options batches = {.inherited = options->inherited,
                                      .slot = options->slot,
                                      .store = options->store,
                                      .manage = options->manage,
                                      .rebuild = &j->rebuild};
    struct intents_options intents = {.inherited = options->inherited,
                                      .loop = options->loop,
                                      .store = options->store,
                                      .vault = options->vault};
    char path[512];
    int rc = fleet_new(options->inherited, options->store, options->slot, node, &j->fleet);

    if (rc == 0)
        rc = pricing_new(&config->prices, options->store, &j->pricing);
    batches.pricing = intents.pricing = j->pricing;
    if (rc == 0)
        fleet_show_budgets(j->fleet, j->pricing);
    batches.me = rc == 0 ? fleet_me(j->fleet) : NULL;
    if (rc == 0)
        rc = batches_new(&batches, &j->batches);
    name_outbox(options->inherited, path, sizeof(path));
    intents.fleet = j->fleet;
    intents.batches = j->batches;
    intents.outbox = path;
    if (rc == 0)
        rc = intents_new(&intents, &j->intents);
    if (rc == 0)
        rc = followed_rows_new(options->inherited->followed, options->store, &j->followed);
    if (rc == 0)
        rc = moves_new(options->inherited, options->store, batches.me, j->followed, &j->moves);
    return rc == 0 ? file_totals_new(options->inherited, options->store, &j->totals) : rc;
}

int journaling_new(const struct journaling_options *options, struct journaling **out)
{
    struct journaling *j = calloc(1, sizeof(*j));
    int rc;

    if (j == NULL)
        return ERR_NOMEM;
    j->inherited = options->inherited;
    rc = start(j, options);
    if (rc != 0) {
        file_totals_free(j->totals);
        moves_free(j->moves);
        followed_rows_free(j->followed);
        intents_free(j->intents);
        batches_free(j->batches);
        pricing_free(j->pricing);
        fleet_free(j->fleet);
        free(j);
        return rc;
    }
    options->manage->rebuild = &j->rebuild;
    intents_serve(j->intents, options->calls);
    batches_serve(j->batches, options->calls);
    moves_serve(j->moves, options->calls);
    *out = j;
    return 0;
}

const char *journaling_node(const struct journaling *j)
{
    return fleet_me(j->fleet)->node;
}

void journaling_step(struct journaling *j, bool stopping, uint64_t now_ms)
{
    if (!stopping) {
        fleet_step(j->fleet, now_ms);
        file_totals_look(j->totals, now_ms);
    }
    intents_step(j->intents, now_ms);
    not_sent_step(j->inherited, j->intents);
    batches_step(j->batches, now_ms);
    followed_rows_step(j->followed, stopping, now_ms);
}

/* Before the next beat, for the process may have ended by then. */
void journaling_end(struct journaling *j, uint64_t now_ms)
{
    intents_end(j->intents);
    intents_step(j->intents, now_ms);
}

bool journaling_is_done(const struct journaling *j)
{
    return intents_are_idle(j->intents) && batches_are_written(j->batches);
}
