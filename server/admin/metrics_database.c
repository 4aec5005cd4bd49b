/* See metrics_database.h. */
#include "metrics_database.h"

#include "metrics_text.h"

static void write_count(const char *name, const char *type, const char *help, uint64_t value,
                        struct strbuf *out)
{
    metrics_add_head(name, type, help, out);
    strbuf_addf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void write_seconds(const char *name, const char *help, int64_t ms, struct strbuf *out)
{
    metrics_add_head(name, "gauge", help, out);
    strbuf_addf(out, "%s %.9g\n", name, (double)ms / 1000);
}

static void write_state(const struct database_words *w, uint64_t now_ms, struct strbuf *out)
{
    uint64_t contact_ms = load_relaxed(&w->contact_ms);

    write_count("tranche_database_up", "gauge", "1: the last call reached the database",
                load_relaxed_32(&w->up), out);
    if (contact_ms != 0 && contact_ms <= now_ms) /* else it was never reached */
        write_seconds("tranche_database_lag_seconds", "Seconds since the database was reached last",
                      (int64_t)(now_ms - contact_ms), out);
    write_seconds("tranche_database_clock_skew_seconds",
                  "Seconds by which the clock of the database is ahead of this host; negative: "
                  "behind",
                  (int64_t)load_relaxed(&w->clock_skew_ms), out);
    write_count("tranche_database_keys_generation", "gauge",
                "Number of the last change of keys that is in force",
                load_relaxed(&w->keys_generation), out);
    write_count("tranche_database_spool_bytes", "gauge",
                "Bytes on this node's disk that wait for the database",
                load_relaxed(&w->spool_bytes), out);
}

/* Cumulative, as Prometheus reads it. Its count is the last bucket's, so that both agree although
 * others write meanwhile. */
static void write_reservations(const struct database_words *w, struct strbuf *out)
{
    static const char name[] = "tranche_database_reserve_seconds";
    uint64_t count = 0;

    metrics_add_head(name, "histogram", "Time of a reservation in the database", out);
    for (size_t i = 0; i < DATABASE_BUCKETS; i++) {
        count += load_relaxed(&w->reserved[i]);
        if (i + 1 < DATABASE_BUCKETS)
            strbuf_addf(out, "%s_bucket{le=\"%.9g\"} %llu\n", name,
                        (double)database_bucket_us(i) / 1e6, (unsigned long long)count);
    }
    strbuf_addf(out, "%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)count);
    strbuf_addf(out, "%s_sum %.9g\n", name, (double)load_relaxed(&w->reserve_us) / 1e6);
    strbuf_addf(out, "%s_count %llu\n", name, (unsigned long long)count);
}

static void write_fleet(const struct database_words *w, struct strbuf *out)
{
    metrics_add_head("tranche_database_nodes", "gauge",
                     "Gateways of this database: that live, that are known", out);
    strbuf_addf(out, "tranche_database_nodes{state=\"live\"} %u\n", load_relaxed_32(&w->nodes_up));
    strbuf_addf(out, "tranche_database_nodes{state=\"known\"} %u\n", load_relaxed_32(&w->nodes));
    write_count("tranche_database_claims_expired_total", "counter",
                "Claims of this node that ended before what was claimed was done",
                load_relaxed(&w->claims_expired), out);
    write_count("tranche_database_outage_grants_total", "counter",
                "Creates granted out of this node's share while the database was away",
                load_relaxed(&w->outage_grants), out);
    write_count("tranche_database_allowance_drift_tokens", "gauge",
                "Tokens by which sums of limits differed from their reservations, repaired since "
                "the start",
                load_relaxed(&w->drift_tokens), out);
}

static void write_leased(const char *name, const char *help, double key, double team,
                         struct strbuf *out)
{
    metrics_add_head(name, "gauge", help, out);
    strbuf_addf(out, "%s{scope=\"key\"} %.17g\n", name, key);
    strbuf_addf(out, "%s{scope=\"team\"} %.17g\n", name, team);
}

static void write_leases(const struct database_words *w, struct strbuf *out)
{
    const struct lease_words *key = &w->key_leases, *team = &w->team_leases;

    write_leased("tranche_database_lease_scopes",
                 "Keys and teams of which this node may grant something alone while the database "
                 "is away",
                 (double)load_relaxed(&key->scopes), (double)load_relaxed(&team->scopes), out);
    write_leased("tranche_database_lease_tokens",
                 "Tokens that this node may grant alone while the database is away",
                 (double)load_relaxed(&key->tokens), (double)load_relaxed(&team->tokens), out);
    write_leased("tranche_database_lease_batches",
                 "Batches that this node may grant alone while the database is away",
                 (double)load_relaxed(&key->batches), (double)load_relaxed(&team->batches), out);
    write_leased("tranche_database_lease_dollars",
                 "Dollars of budgets that this node may grant alone while the database is away",
                 (double)load_relaxed(&key->nano) / 1e9, (double)load_relaxed(&team->nano) / 1e9,
                 out);
}

static void write_batches(const struct database_words *w, struct strbuf *out)
{
    metrics_add_head("tranche_journal_batches", "gauge",
                     "Batches of the journal: not ended, ended and usage not known yet, due and "
                     "nobody's, claimed by a node",
                     out);
    strbuf_addf(out, "tranche_journal_batches{state=\"open\"} %llu\n",
                (unsigned long long)load_relaxed(&w->open));
    strbuf_addf(out, "tranche_journal_batches{state=\"unmeasured\"} %llu\n",
                (unsigned long long)load_relaxed(&w->unmeasured));
    strbuf_addf(out, "tranche_journal_batches{state=\"due\"} %llu\n",
                (unsigned long long)load_relaxed(&w->due));
    strbuf_addf(out, "tranche_journal_batches{state=\"claimed\"} %llu\n",
                (unsigned long long)load_relaxed(&w->claimed));
    write_seconds("tranche_journal_late_seconds",
                  "Seconds that the first batch which is due and nobody's has waited",
                  (int64_t)load_relaxed(&w->late_ms), out);
}

static void write_hooks(const struct database_words *w, struct strbuf *out)
{
    uint64_t all = load_relaxed(&w->hooks), off = load_relaxed(&w->hooks_off);

    metrics_add_head("tranche_webhook_endpoints", "gauge",
                     "Endpoints of webhooks: that are told, that are switched off", out);
    strbuf_addf(out, "tranche_webhook_endpoints{state=\"on\"} %llu\n",
                (unsigned long long)(all > off ? all - off : 0));
    strbuf_addf(out, "tranche_webhook_endpoints{state=\"off\"} %llu\n", (unsigned long long)off);
    write_count("tranche_webhook_tries_due", "gauge",
                "Webhooks that are due and have not been told yet", load_relaxed(&w->hooks_due),
                out);
    write_seconds("tranche_webhook_late_seconds",
                  "Seconds that the first webhook which is due has waited",
                  (int64_t)load_relaxed(&w->hooks_late_ms), out);
}

static void write_deletions(const struct database_words *w, struct strbuf *out)
{
    write_count("tranche_deletions_waiting", "gauge",
                "Files of batches, and batches with files, that are to be deleted at their "
                "providers (delete_after), due or not",
                load_relaxed(&w->deletions), out);
    write_seconds("tranche_deletions_late_seconds",
                  "Seconds that the first of these is there beyond its time",
                  (int64_t)load_relaxed(&w->deletions_late_ms), out);
}

void metrics_database_write(const struct database_words *w, uint64_t now_ms, struct strbuf *out)
{
    if (load_relaxed_32(&w->configured) == 0)
        return;
    write_state(w, now_ms, out);
    if (load_relaxed_32(&w->journal) == 0)
        return;
    write_reservations(w, out);
    write_fleet(w, out);
    write_leases(w, out);
    write_batches(w, out);
    write_hooks(w, out);
    write_deletions(w, out);
}
