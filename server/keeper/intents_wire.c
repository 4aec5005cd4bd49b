/* See intents_wire.h. */
#include "intents_wire.h"

#include <assert.h>
#include <string.h>

#define UPLOAD_BUSY_MS                                                                             \
    (3600u * 1000)          /* an upload has no time of its own: a large file takes long */
#define BUSY_MORE_MS 60000u /* for what comes before and behind the call itself */

static int64_t as_nano(uint64_t nano)
{
    return nano < INT64_MAX ? (int64_t)nano : INT64_MAX;
}

static struct fleet_scope scope_of(const struct wire_scope *wire)
{
    return (struct fleet_scope){
        .name = wire->name,
        .tokens = wire->tokens,
        .batches = wire->batches,
        .nano = as_nano(wire->nano),
        .period_ms = wire->period_s < INT64_MAX / 1000 ? (int64_t)wire->period_s * 1000 : 0};
}

void intents_from_wire(const struct wire_intent *wire, const struct config *config,
                       struct fleet_intent *out)
{
    *out = (struct fleet_intent){
        .id = wire_known(wire->id),
        .token = wire->ledger,
        .nonce = wire_known(wire->nonce),
        .account = wire->account,
        .deployment = wire->deployment,
        .tokens = wire->tokens,
        .nano = as_nano(wire->nano),
        .owner = wire->who.owner,
        .file = wire_known(wire->who.original),
        .claim = wire_known(wire->claim),
        .key = wire_known(wire->name),
        .request = wire->request,
        .busy_ms = wire->kind == WIRE_UPLOAD ? UPLOAD_BUSY_MS
                                             : 2 * config->timeouts.json_total_ms + BUSY_MORE_MS};
    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        out->scopes[i] = scope_of(&wire->scopes[i]);
    if (wire->anyway != 0)
        out->scopes[FLEET_DEPLOYMENT].tokens = out->scopes[FLEET_DEPLOYMENT].batches =
            RIGHTS_UNLIMITED;
}

void intents_live_from_wire(const struct wire_live *wire, struct fleet_live *out)
{
    *out = (struct fleet_live){.of = {.id = wire_known(wire->id),
                                      .nonce = wire_known(wire->nonce),
                                      .claim = wire_known(wire->claim)},
                               .batch = wire_known(wire->answer.id),
                               .native = wire_known(wire->native),
                               .deployment = wire->deployment,
                               .done = {.key = wire_known(wire->name),
                                        .owner = wire->owner,
                                        .request = wire->request,
                                        .status = (int)wire->answer.status,
                                        .object = wire_known(wire->answer.id),
                                        .body = wire_known(wire->answer.body)}};
}

void intents_of_live(const struct wire_live *wire, struct fleet_intent *out)
{
    *out = (struct fleet_intent){.id = wire_known(wire->id),
                                 .nonce = wire_known(wire->nonce),
                                 .account = wire->account,
                                 .deployment = wire->deployment,
                                 .tokens = wire->tokens,
                                 .nano = as_nano(wire->nano),
                                 .owner = wire->owner,
                                 .file = wire_known(wire->who.original),
                                 .claim = wire_known(wire->claim)};
    if (out->id == NULL)
        out->id = wire_known(wire->native);
    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        out->scopes[i] = scope_of(&wire->scopes[i]);
}

void intents_drop_from_wire(const struct wire_drop *wire, struct fleet_drop *out)
{
    *out = (struct fleet_drop){.of = {.id = wire_known(wire->id),
                                      .nonce = wire_known(wire->nonce),
                                      .token = wire->ledger,
                                      .claim = wire_known(wire->claim)},
                               .end = wire->why == WIRE_WAS_REFUSED ? FLEET_REFUSED_THERE
                                      : wire->why == WIRE_NOT_MADE  ? FLEET_NOT_MADE
                                                                    : FLEET_NOT_KNOWN,
                               .deployment = wire->deployment};
}

static uint64_t positive(int64_t number)
{
    return number > 0 ? (uint64_t)number : 0;
}

void intents_verdict_of(const struct fleet_answer *answer, int64_t epoch, struct wire_verdict *out)
{
    static const uint32_t ends[] = {
        [FLEET_GRANTED] = WIRE_GRANTED, [FLEET_REFUSED] = WIRE_FULL, [FLEET_DONE] = WIRE_DONE,
        [FLEET_RUNNING] = WIRE_RUNNING, [FLEET_OTHER] = WIRE_OTHER,  [FLEET_LOST] = WIRE_LOST};

    assert((size_t)answer->verdict < sizeof(ends) / sizeof(ends[0]));
    *out = (struct wire_verdict){.end = ends[answer->verdict],
                                 .epoch = positive(epoch),
                                 .scope = answer->scope,
                                 .by = (uint32_t)answer->by,
                                 .used = positive(answer->used),
                                 .limit = positive(answer->limit),
                                 .wait_ms = answer->verdict == FLEET_RUNNING ? 250 : 0,
                                 .answer = {.status = (uint32_t)answer->status,
                                            .deployment = answer->deployment,
                                            .id = answer->object,
                                            .nonce = answer->nonce,
                                            .body = answer->body != NULL ? answer->body : "",
                                            .age_ms = positive(answer->age_ms)}};
    if (strlen(out->answer.body) > WIRE_MAX_ANSWER)
        out->answer.body = ""; /* an earlier program kept more */
}

static_assert((int)WIRE_DEPLOYMENT == (int)FLEET_DEPLOYMENT && (int)WIRE_KEY == (int)FLEET_KEY &&
                  (int)WIRE_TEAM == (int)FLEET_TEAM && (int)WIRE_SCOPES == (int)FLEET_SCOPES,
              "scopes have one order");
static_assert((int)WIRE_BY_TOKENS == (int)FLEET_BY_TOKENS &&
                  (int)WIRE_BY_BATCHES == (int)FLEET_BY_BATCHES &&
                  (int)WIRE_BY_NANO == (int)FLEET_BY_BUDGET,
              "what refuses has one order");
