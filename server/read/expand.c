/* See expand.h. */
#include "expand.h"

#include <stdio.h>
#include <string.h>

#include "core/tenant.h"
#include "json/json.h"
#include "request/route.h"

#define VALUE_BYTES 128

static bool lists(const char *value, const char *word)
{
    while (*value != '\0') {
        size_t len = strcspn(value, ",");

        if (len == strlen(word) && strncmp(value, word, len) == 0)
            return true;
        value += len + (value[len] == ',');
    }
    return false;
}

static bool query_is(const struct relay *relay, const char *name, const char *word)
{
    char value[VALUE_BYTES];

    return route_query(relay->query, relay->query_len, name, value, sizeof(value)) > 0 &&
           lists(value, word);
}

bool expand_wants_events(const struct relay *relay)
{
    return relay->route.kind == ROUTE_BATCH && relay->query_len > 0 &&
           (query_is(relay, "expand", "events") || query_is(relay, "expand[]", "events"));
}

bool expand_is_strict(const struct relay *relay)
{
    return query_is(relay, "strict", "true");
}

struct wire_story expand_question(const struct relay *relay, const char *native, uint32_t account)
{
    return (struct wire_story){.native = native,
                               .account = account,
                               .all = !tenant_is_bound(relay->tenant),
                               .owner = relay->owner};
}

const char *expand_reason(bool asked, enum wire_story_end end)
{
    if (!asked)
        return "no journal is kept (tranche_settings.database)";
    return end == WIRE_NO_STORY ? "the journal does not know this batch"
                                : "the journal's database does not answer "
                                  "(tranche_settings.database)";
}

bool expand_set(struct json_doc *doc, struct json *batch, const char *text, size_t len)
{
    struct json_error error;
    struct json *events = json_parse(doc, text, len, &error);

    if (!json_is(events, JSON_ARRAY))
        return false;
    json_set(doc, batch, "events", events);
    return true;
}

void expand_lack(struct relay *relay, struct json_doc *doc, struct json *batch, const char *reason)
{
    char header[VALUE_BYTES];

    snprintf(header, sizeof(header), "events: %s", reason);
    relay_header(relay, "x-tranche-partial", header);
    json_set(doc, batch, "events", json_new_null(doc));
}
