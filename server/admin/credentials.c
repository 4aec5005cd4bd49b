/* See credentials.h. */
#include "credentials.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "json/json.h"

const char *credential_state_name(enum credential_state state)
{
    static const char *const names[CREDENTIAL_STATES] = {[CREDENTIAL_OK] = "ok",
                                                         [CREDENTIAL_RENEWING] = "renewal_fails",
                                                         [CREDENTIAL_STARTING] = "starting",
                                                         [CREDENTIAL_FAILED] = "no_token"};

    return (unsigned)state < CREDENTIAL_STATES ? names[state] : "unknown";
}

/* --- read --- */

/* Two credentials may be one for people: another scope, or a secret that was changed in one row
 * alone. */
static void name_it(const struct model_list *models, size_t i, char *label, size_t size)
{
    unsigned nth = 1;

    for (size_t k = 0; k < i; k++)
        nth += strcmp(models->credentials[k].name, models->credentials[i].name) == 0;
    if (nth > 1)
        snprintf(label, size, "%.140s #%u", models->credentials[i].name, nth);
    else
        snprintf(label, size, "%.140s", models->credentials[i].name);
}

static enum credential_state state_of(bool token, uint32_t failures)
{
    if (token)
        return failures == 0 ? CREDENTIAL_OK : CREDENTIAL_RENEWING;
    return failures == 0 ? CREDENTIAL_STARTING : CREDENTIAL_FAILED;
}

void credentials_read(const struct runtime *rt, size_t i, struct credential_report *out)
{
    const struct model_list *models = &rt->config->models;
    const struct entra_tokens_cell *cell =
        entra_tokens_find(rt->inherited->entra_tokens, models->credentials[i].fingerprint);
    uint64_t now_ms = clock_now_ms();
    struct entra_tokens_view view;
    bool token;

    *out = (struct credential_report){.credential = &models->credentials[i],
                                      .state = CREDENTIAL_STARTING};
    name_it(models, i, out->label, sizeof(out->label));
    if (cell == NULL)
        return;
    entra_tokens_report(cell, &out->calls);
    token = entra_tokens_read(cell, now_ms, NULL, &view) && !view.refused;
    out->state = state_of(token, out->calls.failures);
    out->wait_s = (entra_tokens_wait_ms(cell, now_ms) + 999) / 1000;
    if (token) {
        out->age_s = (now_ms - view.obtained_ms) / 1000;
        out->ends_unix_s = clock_unix_s() + (int64_t)((view.ends_ms - now_ms) / 1000);
    }
}

/* --- written --- */

static void write_calls(const struct credential_report *r, struct strbuf *out)
{
    strbuf_adds(out, ",\"calls\":{");
    for (unsigned i = 0, n = 0; i < ENTRA_OUTCOMES; i++)
        if (r->calls.calls[i] > 0)
            strbuf_addf(out, "%s\"%s\":%llu", n++ > 0 ? "," : "",
                        entra_outcome_name((enum entra_outcome)i),
                        (unsigned long long)r->calls.calls[i]);
    strbuf_addc(out, '}');
}

static void write_error(const struct entra_tokens_error *e, struct strbuf *out)
{
    strbuf_adds(out, ",\"last_error\":{");
    json_write_member_int(out, "at", e->unix_s);
    json_write_member_string(out, "kind", entra_outcome_name((enum entra_outcome)e->outcome));
    json_write_member_int(out, "status", e->status);
    if (e->code[0] != '\0')
        json_write_member_string(out, "error", e->code);
    if (e->number != 0)
        json_write_member_int(out, "number", (int64_t)e->number);
    json_write_member_string(out, "message", e->line);
    if (e->correlation[0] != '\0')
        json_write_member_string(out, "correlation_id", e->correlation);
    strbuf_addc(out, '}');
}

void credentials_write(const struct credential_report *r, struct strbuf *out)
{
    const struct entra_credential *c = r->credential;

    strbuf_addc(out, '{');
    json_write_member_string(out, "credential", r->label);
    json_write_member_string(out, "kind", entra_kind_name(c->kind));
    if (c->kind == ENTRA_MANAGED)
        json_write_member_string(out, "source", entra_source_name(c->source));
    json_write_member_string(out, "scope", c->scope);
    json_write_member_string(out, "state", credential_state_name(r->state));
    if (r->ends_unix_s != 0) {
        json_write_member_int(out, "token_age_s", (int64_t)r->age_s);
        json_write_member_int(out, "token_ends_at", r->ends_unix_s);
    }
    if (r->calls.failures > 0) {
        json_write_member_int(out, "failures_in_a_row", r->calls.failures);
        json_write_member_int(out, "next_call_in_s", (int64_t)r->wait_s);
    }
    write_calls(r, out);
    if (r->calls.error.unix_s != 0)
        write_error(&r->calls.error, out);
    strbuf_addc(out, '}');
}

static int add(char *text, size_t size, int len, const char *before, const char *part)
{
    if (part[0] == '\0' || len < 0 || (size_t)len >= size)
        return len;
    return len + snprintf(text + len, size - (size_t)len, "%s%s", before, part);
}

bool credentials_explain(const struct runtime *rt, uint32_t account, char *text, size_t size)
{
    const struct model_account *a = &rt->config->models.accounts[account];
    struct credential_report r;
    const struct entra_tokens_error *e = &r.calls.error;
    char status[32] = "", number[32] = "";
    int len;

    if (a->auth != ACCOUNT_AUTH_ENTRA)
        return false;
    credentials_read(rt, a->entra, &r);
    if (r.state != CREDENTIAL_FAILED)
        return false;
    if (e->status != 0)
        snprintf(status, sizeof(status), "status %d", (int)e->status);
    if (e->number != 0)
        snprintf(number, sizeof(number), "AADSTS%llu", (unsigned long long)e->number);
    len = snprintf(text, size, "no token of Entra ID");
    len = add(text, size, len, ", ", status);
    len = add(text, size, len, ", ", e->code);
    len = add(text, size, len, ", ", number);
    len = add(text, size, len, ": ", e->line);
    (void)add(text, size, len, ", correlation id ", e->correlation);
    return true;
}
