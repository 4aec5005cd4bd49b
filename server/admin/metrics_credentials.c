/* See metrics_credentials.h. */
#include "metrics_credentials.h"

#include "metrics_text.h"

struct metric {
    const char *name, *type, *help;
    void (*write)(const struct metric *m, const struct credential_report *r, struct strbuf *out);
};

static void begin(const struct metric *m, const struct credential_report *r, struct strbuf *out)
{
    strbuf_adds(out, m->name);
    metrics_add_label(out, '{', "credential", r->label);
    metrics_add_label(out, ',', "kind", entra_kind_name(r->credential->kind));
}

static void write_value(const struct metric *m, const struct credential_report *r, int64_t value,
                        struct strbuf *out)
{
    begin(m, r, out);
    strbuf_addf(out, "} %lld\n", (long long)value);
}

static void usable(const struct metric *m, const struct credential_report *r, struct strbuf *out)
{
    write_value(m, r, r->ends_unix_s != 0, out);
}

static void age(const struct metric *m, const struct credential_report *r, struct strbuf *out)
{
    if (r->ends_unix_s != 0)
        write_value(m, r, (int64_t)r->age_s, out);
}

static void end(const struct metric *m, const struct credential_report *r, struct strbuf *out)
{
    if (r->ends_unix_s != 0)
        write_value(m, r, r->ends_unix_s, out);
}

/* A series for each outcome that was met. */
static void calls(const struct metric *m, const struct credential_report *r, struct strbuf *out)
{
    for (unsigned i = 0; i < ENTRA_OUTCOMES; i++) {
        if (r->calls.calls[i] == 0)
            continue;
        begin(m, r, out);
        metrics_add_label(out, ',', "outcome", entra_outcome_name((enum entra_outcome)i));
        strbuf_addf(out, "} %llu\n", (unsigned long long)r->calls.calls[i]);
    }
}

static void failures(const struct metric *m, const struct credential_report *r, struct strbuf *out)
{
    write_value(m, r, r->calls.failures, out);
}

static void error_number(const struct metric *m, const struct credential_report *r,
                         struct strbuf *out)
{
    write_value(m, r, (int64_t)r->calls.error.number, out);
}

static const struct metric metrics[] = {
    {"tranche_entra_token_usable", "gauge", "1: the credential of Entra ID has a token that lives",
     usable},
    {"tranche_entra_token_age_seconds", "gauge", "Age of the token", age},
    {"tranche_entra_token_end_timestamp_seconds", "gauge", "Unix time at which the token ends",
     end},
    {"tranche_entra_token_calls_total", "counter", "Calls for a token that ended, and how", calls},
    {"tranche_entra_token_failures", "gauge", "Calls for a token that failed in a row", failures},
    {"tranche_entra_token_error_number", "gauge",
     "Number (AADSTS) that the last failed call for a token was answered with; 0: none",
     error_number},
};

size_t metrics_credentials_count(void)
{
    return sizeof(metrics) / sizeof(metrics[0]);
}

void metrics_credentials_head(size_t n, struct strbuf *out)
{
    metrics_add_head(metrics[n].name, metrics[n].type, metrics[n].help, out);
}

void metrics_credentials_write(size_t n, const struct credential_report *report, struct strbuf *out)
{
    metrics[n].write(&metrics[n], report, out);
}
