/* See deletions.h. */
#include "deletions.h"

#include "balancer/rights.h"
#include "batches.h"
#include "common/log.h"
#include "common/retention.h"

uint32_t deletions_share(uint32_t free)
{
    uint32_t more = free > WIRE_MAX_DUE / 2 ? free - WIRE_MAX_DUE / 2 : 0;

    return more < DELETIONS_AT_ONCE ? more : DELETIONS_AT_ONCE;
}

void deletions_to_wire(const struct store_deletion *deletion, struct wire_due *out)
{
    *out = (struct wire_due){.task = deletion->kind == STORE_FILES_OF ? WIRE_FILES : WIRE_DELETE,
                             .account = deletion->account,
                             .tries = deletion->tries,
                             .native = deletion->native,
                             .owner = deletion->owner};
}

/* A team's keys have its rule, and each may have another one of its own. */
uint32_t deletions_rule(const struct inherited *inherited, uint64_t owner, uint64_t key)
{
    const struct rights_table *table = inherited->rights;
    uint64_t wanted = key != 0 ? key : owner;
    uint32_t config_s = inherited->config->delete_after_s, of_team = RETENTION_UNSET;
    struct rights rights;

    for (uint32_t i = 0; table != NULL && owner != 0 && rights_at(table, i, &rights); i++) {
        if (rights.owner != owner)
            continue;
        if (rights.key == wanted)
            return retention_of(rights.key_limits.delete_after_s, rights.team_limits.delete_after_s,
                                config_s);
        of_team = rights.team_limits.delete_after_s;
    }
    return retention_of(RETENTION_UNSET, of_team, config_s);
}

/* ---- what came of one ---- */

static void note(const struct deletions *d, const struct wire_deletion *wire)
{
    const char *node = d->me->node;

    if (wire->end == WIRE_DELETED)
        log_info("file %s: deleted at its provider by %s (delete_after)", wire->native, node);
    else if (wire->end == WIRE_FOREIGN)
        log_warn("file %s: it is another owner's than the batch that used it, and stays "
                 "(delete_after)",
                 wire->native);
    else if (wire->end == WIRE_NOT_NOW)
        log_warn("%s: its deletion (delete_after) is put off: %s", wire->native, wire->why);
}

static int write(const struct deletions *d, const struct wire_deletion *wire)
{
    static const enum store_deletion_end ends[] = {[WIRE_LISTED] = STORE_LISTED,
                                                   [WIRE_DELETED] = STORE_DELETED,
                                                   [WIRE_GONE] = STORE_GONE,
                                                   [WIRE_FOREIGN] = STORE_NOT_OURS,
                                                   [WIRE_NOT_NOW] = STORE_NOT_NOW};
    struct store_claimer by = {.node = d->me->node, .epoch = d->me->epoch};
    struct store_deletion_done done = {.account = wire->account,
                                       .native = wire->native,
                                       .end = ends[wire->end],
                                       .input = wire_known(wire->input),
                                       .output = wire_known(wire->output),
                                       .error = wire_known(wire->error),
                                       .why = wire_known(wire->why)};
    bool news;
    int rc = d->me->epoch != 0 ? store_deletions_done(d->store, &by, &done, &news) : ERR_IO;

    if (rc == 0 && news)
        note(d, wire);
    return rc;
}

/* What cannot be written now is said again; what nobody says any more is done again, and by then its
 * provider has no such file. */
static void on_call(void *arg, struct call *call)
{
    const struct deletions *d = arg;
    struct wire_deletion wire;
    int rc;

    if (wire_deletion_read(call->bytes, call->len, &wire) != 0 || *wire.native == '\0' ||
        wire.end > WIRE_NOT_NOW) {
        call_answer(&call, WIRE_UNREADABLE, NULL, 0);
        return;
    }
    rc = write(d, &wire);
    if (rc != 0 && !batches_goes_again(rc))
        log_error("journal: what became of file %s is not taken by the database (%s): %s",
                  wire.native, err_str(rc), store_why(d->store));
    call_answer(&call, batches_goes_again(rc) ? WIRE_LATER : WIRE_TAKEN, NULL, 0);
}

void deletions_serve(struct deletions *d, struct calls *calls)
{
    calls_serve(calls, KEEPER_DELETION, on_call, d);
}
