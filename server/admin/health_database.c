/* See health_database.h. */
#include "admin/health_database.h"

#include <string.h>

#include "json/json.h"

/* A text of the keeper's that is no object was written half. */
static void write_nodes(const struct database_words *w, struct strbuf *out)
{
    char text[PROBLEM_BYTES];
    bool first = true;

    strbuf_addf(out, ",\"nodes_live\":%u,\"nodes_known\":%u,\"nodes\":[",
                load_relaxed_32(&w->nodes_up), load_relaxed_32(&w->nodes));
    for (size_t i = 0; i < DATABASE_NODES; i++) {
        if (!problem_get(&w->node[i], text) || text[0] != '{' || text[strlen(text) - 1] != '}')
            continue;
        strbuf_addf(out, "%s%s", first ? "" : ",", text);
        first = false;
    }
    strbuf_addc(out, ']');
}

static void write_lease(const struct lease_words *w, const char *name, struct strbuf *out)
{
    strbuf_addf(out, ",\"%s\":{\"scopes\":%llu", name,
                (unsigned long long)load_relaxed(&w->scopes));
    json_write_member_int(out, "tokens", (int64_t)load_relaxed(&w->tokens));
    json_write_member_int(out, "batches", (int64_t)load_relaxed(&w->batches));
    strbuf_addf(out, ",\"dollars\":%.9g}", (double)load_relaxed(&w->nano) / 1e9);
}

static void write_leases(const struct database_words *w, struct strbuf *out)
{
    strbuf_addf(out, ",\"leases\":{\"counted\":%s",
                load_relaxed_32(&w->leases_counted) != 0 ? "true" : "false");
    write_lease(&w->key_leases, "keys", out);
    write_lease(&w->team_leases, "teams", out);
    strbuf_addc(out, '}');
}

static void write_journal(const struct database_words *w, struct strbuf *out)
{
    write_nodes(w, out);
    strbuf_adds(out, ",\"batches\":{\"open\":");
    strbuf_addf(out, "%llu", (unsigned long long)load_relaxed(&w->open));
    json_write_member_int(out, "usage_unknown", (int64_t)load_relaxed(&w->unmeasured));
    json_write_member_int(out, "due", (int64_t)load_relaxed(&w->due));
    json_write_member_int(out, "late_s", (int64_t)load_relaxed(&w->late_ms) / 1000);
    json_write_member_int(out, "claimed", (int64_t)load_relaxed(&w->claimed));
    strbuf_addf(out, "},\"webhooks\":{\"due\":%llu",
                (unsigned long long)load_relaxed(&w->hooks_due));
    json_write_member_int(out, "late_s", (int64_t)load_relaxed(&w->hooks_late_ms) / 1000);
    json_write_member_int(out, "endpoints", (int64_t)load_relaxed(&w->hooks));
    json_write_member_int(out, "off", (int64_t)load_relaxed(&w->hooks_off));
    strbuf_addc(out, '}');
    json_write_member_int(out, "claims_expired", (int64_t)load_relaxed(&w->claims_expired));
    json_write_member_int(out, "outage_grants", (int64_t)load_relaxed(&w->outage_grants));
    write_leases(w, out);
    json_write_member_int(out, "spool_bytes", (int64_t)load_relaxed(&w->spool_bytes));
}

void health_database_write(const struct database_words *w, uint64_t now_ms, struct strbuf *out)
{
    uint64_t contact_ms = load_relaxed(&w->contact_ms);
    bool journal = load_relaxed_32(&w->journal) != 0;
    char why[PROBLEM_BYTES];

    if (load_relaxed_32(&w->configured) == 0)
        return;
    strbuf_addf(out, ",\"database\":{\"up\":%s", load_relaxed_32(&w->up) != 0 ? "true" : "false");
    if (contact_ms != 0 && contact_ms <= now_ms)
        json_write_member_int(out, "lag_s", (int64_t)((now_ms - contact_ms) / 1000));
    if (problem_get(&w->why, why))
        json_write_member_string(out, "problem", why);
    json_write_member_int(out, "clock_skew_s", (int64_t)load_relaxed(&w->clock_skew_ms) / 1000);
    strbuf_addf(out, ",\"journal\":%s", journal ? "true" : "false");
    if (journal)
        write_journal(w, out);
    strbuf_addc(out, '}');
}
