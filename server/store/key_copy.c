/* See key_copy.h. */
#include "key_copy.h"

#include "store_impl.h"

#include <stdlib.h>
#include <string.h>

static int copy_models(struct rights_models *out, const struct rights_models *from)
{
    int rc = 0;

    *out = (struct rights_models){.all = from->all, .of_team = from->of_team};
    out->names = calloc(from->num_names + 1, sizeof(out->names[0]));
    out->aliases = calloc(from->num_aliases + 1, sizeof(out->aliases[0]));
    if (out->names == NULL || out->aliases == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; rc == 0 && i < from->num_names; i++, out->num_names++)
        rc = copy_text(&out->names[i], from->names[i]);
    for (size_t i = 0; rc == 0 && i < from->num_aliases; i++, out->num_aliases++) {
        rc = copy_text(&out->aliases[i].name, from->aliases[i].name);
        if (rc == 0)
            rc = copy_text(&out->aliases[i].target, from->aliases[i].target);
    }
    return rc;
}

int key_copy(struct rights_key *out, const struct rights_key *key)
{
    int rc;

    *out = *key;
    out->id = out->alias = out->team_id = out->user_id = NULL;
    rc = copy_models(&out->models, &key->models);
    return rc == 0 ? copy_names(out, key->id, key->alias, key->team_id, key->user_id) : rc;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_models(const struct rights_models *a, const struct rights_models *b)
{
    if (a->all != b->all || a->of_team != b->of_team || a->num_names != b->num_names ||
        a->num_aliases != b->num_aliases)
        return false;
    for (size_t i = 0; i < a->num_names; i++)
        if (strcmp(a->names[i], b->names[i]) != 0)
            return false;
    for (size_t i = 0; i < a->num_aliases; i++)
        if (strcmp(a->aliases[i].name, b->aliases[i].name) != 0 ||
            strcmp(a->aliases[i].target, b->aliases[i].target) != 0)
            return false;
    return true;
}

/* Between their members there may be bytes that say nothing. */
static bool same_limits(const struct rights_limits *a, const struct rights_limits *b)
{
    return a->enqueued_tokens == b->enqueued_tokens && a->open_batches == b->open_batches &&
           a->requests_per_minute == b->requests_per_minute &&
           a->requests_per_second == b->requests_per_second &&
           a->request_burst == b->request_burst && a->parallel_requests == b->parallel_requests &&
           a->uploads == b->uploads && a->spool_bytes == b->spool_bytes &&
           a->file_bytes == b->file_bytes && a->budget_nano == b->budget_nano &&
           a->budget_period_s == b->budget_period_s && a->file_expiry_s == b->file_expiry_s &&
           a->output_expiry_s == b->output_expiry_s && a->delete_after_s == b->delete_after_s;
}

bool key_is_same(const struct rights_key *a, const struct rights_key *b)
{
    return a->routes == b->routes && a->admin == b->admin && a->blocked == b->blocked &&
           a->expires_unix_ms == b->expires_unix_ms && same_text(a->alias, b->alias) &&
           same_text(a->team_id, b->team_id) && same_text(a->user_id, b->user_id) &&
           strcmp(a->tail, b->tail) == 0 && same_models(&a->models, &b->models) &&
           same_limits(&a->limits, &b->limits);
}
