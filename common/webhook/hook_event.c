/* See hook_event.h. */
#include "webhook/hook_event.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <openssl/rand.h>

#include "common/hex.h"
#include "json/json.h"

#define ID_BYTES 16
#define PREFIX   "batch."

static const char *const names[HOOK_TYPES] = {"batch.completed", "batch.failed", "batch.expired",
                                              "batch.cancelled"};

const char *hook_type_name(enum hook_type type)
{
    assert((unsigned)type < HOOK_TYPES);
    return names[type];
}

bool hook_type_of(const char *name, enum hook_type *out)
{
    for (unsigned i = 0; i < HOOK_TYPES; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum hook_type)i;
            return true;
        }
    return false;
}

bool hook_type_of_status(const char *status, enum hook_type *out)
{
    char name[32];
    int len = snprintf(name, sizeof(name), PREFIX "%s", status);

    return len > 0 && (size_t)len < sizeof(name) && hook_type_of(name, out);
}

int hook_event_new_id(char out[HOOK_EVENT_ID + 1])
{
    unsigned char bytes[ID_BYTES];
    char *at = stpcpy(out, "evt_");

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return ERR_IO;
    assert(at + 2 * sizeof(bytes) == out + HOOK_EVENT_ID);
    hex_write(bytes, sizeof(bytes), at);
    return 0;
}

void hook_event_body(const char *id, int64_t created_s, enum hook_type type, const char *batch_id,
                     struct strbuf *out)
{
    strbuf_adds(out, "{\"id\":");
    json_write_string(out, id, strlen(id));
    strbuf_addf(out, ",\"object\":\"event\",\"created_at\":%" PRId64 ",\"type\":\"%s\",\"data\":{",
                created_s, hook_type_name(type));
    strbuf_adds(out, "\"id\":");
    json_write_string(out, batch_id, strlen(batch_id));
    strbuf_adds(out, "}}");
}

void hook_types_write(unsigned types, struct strbuf *out)
{
    const char *between = "";

    strbuf_addc(out, '[');
    for (unsigned i = 0; i < HOOK_TYPES; i++) {
        if ((types & (1u << i)) == 0)
            continue;
        strbuf_addf(out, "%s\"%s\"", between, names[i]);
        between = ",";
    }
    strbuf_addc(out, ']');
}
