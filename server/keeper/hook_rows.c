/* See hook_rows.h. */
#include "hook_rows.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/log.h"
#include "crypto/sha256.h"
#include "journal/wire.h"
#include "store/store_hooks.h"

#define OLD_SECRET_MS ((int64_t)24 * 3600 * 1000)
#define PAGE          100
#define WHAT_BYTES    (STORE_HOOK_ID + 32)

static void what_of(const char *hook_id, char out[WHAT_BYTES])
{
    snprintf(out, WHAT_BYTES, "webhook secret of %s", hook_id);
}

int hook_rows_open(const struct vault *vault, const char *hook_id, const char *sealed,
                   char out[HOOK_SECRET_MAX + 1])
{
    char what[WHAT_BYTES];

    what_of(hook_id, what);
    return vault_open(vault, what, sealed, out, HOOK_SECRET_MAX + 1);
}

static int seal(const struct vault *vault, const char *hook_id, const char *secret, char **out)
{
    struct strbuf text = STRBUF_INIT;
    char what[WHAT_BYTES];
    int ret;

    what_of(hook_id, what);
    ret = vault_seal(vault, what, secret, strlen(secret), &text);
    *out = ret == 0 ? strbuf_take(&text) : NULL;
    strbuf_deinit(&text);
    return ret;
}

/* ---- endpoints of the configuration ---- */

/* The same for the same URL and owner, on each node and after each start. */
static void id_of(const struct config_webhook *w, char out[STORE_HOOK_ID + 1])
{
    static const char use[] = "tranche webhook of the configuration";
    const char *owner = w->all ? "" : w->owner_name;
    const struct sha256_piece pieces[] = {
        {use, sizeof(use)}, {w->url, strlen(w->url) + 1}, {owner, strlen(owner)}};
    unsigned char hash[SHA256_BYTES];
    char *at = stpcpy(out, "wh_");

    sha256_of(pieces, 3, hash);
    static_assert((STORE_HOOK_ID - 3) % 2 == 0, "whole bytes behind wh_");
    hex_write(hash, (STORE_HOOK_ID - 3) / 2, at);
}

static int fill(const struct config_webhook *w, const struct vault *vault, struct store_hook *out)
{
    char id[STORE_HOOK_ID + 1];

    id_of(w, id);
    out->id = strdup(id);
    out->url = strdup(w->url);
    out->owner_name = w->owner_name != NULL ? strdup(w->owner_name) : NULL;
    out->of = (struct store_hook_owner){.all = w->all, .owner = w->owner};
    out->types = w->types;
    out->from_config = out->enabled = true;
    if (out->id == NULL || out->url == NULL || (w->owner_name != NULL && out->owner_name == NULL))
        return ERR_NOMEM;
    return seal(vault, id, w->secret.data, &out->secret);
}

static bool is_same(void *arg, const char *id, const char *a, const char *b)
{
    char first[HOOK_SECRET_MAX + 1], second[HOOK_SECRET_MAX + 1];
    bool same = hook_rows_open(arg, id, a, first) == 0 && hook_rows_open(arg, id, b, second) == 0 &&
                strcmp(first, second) == 0;

    OPENSSL_cleanse(first, sizeof(first));
    OPENSSL_cleanse(second, sizeof(second));
    return same;
}

int hook_rows_configure(struct store *store, const struct config *config, const struct vault *vault)
{
    struct store_hook_list list = {.hooks = calloc(config->num_webhooks + 1, sizeof(*list.hooks))};
    int ret = list.hooks != NULL ? 0 : ERR_NOMEM;

    for (size_t i = 0; ret == 0 && i < config->num_webhooks; i++)
        ret = fill(&config->webhooks[i], vault, &list.hooks[list.num++]);
    if (ret == 0)
        ret = store_hooks_configure(store, list.hooks, list.num, is_same, (void *)(uintptr_t)vault,
                                    clock_unix_ms() + OLD_SECRET_MS);
    store_hook_list_deinit(&list);
    return ret;
}

/* ---- endpoints of single batches ---- */

/* Its id is the reservation's: an intent may be said twice. */
static void id_of_intent(const struct wire_intent *intent, char out[STORE_HOOK_ID + 1])
{
    snprintf(out, STORE_HOOK_ID + 1, "wh_%s", intent->id);
}

int hook_rows_seal(const struct vault *vault, struct wire_intent *intent, char **sealed)
{
    char id[STORE_HOOK_ID + 1];
    int ret;

    *sealed = NULL;
    if (intent->hook_url == NULL || intent->hook_url[0] == '\0')
        return 0;
    id_of_intent(intent, id);
    ret = seal(vault, id, intent->hook_secret, sealed);
    if (ret == 0)
        intent->hook_secret = *sealed;
    return ret;
}

int hook_rows_expect(struct store *store, const struct wire_intent *intent)
{
    char id[STORE_HOOK_ID + 1], what[sizeof(STORE_HOOK_INTENT) + WIRE_ID];
    struct store_hook hook = {.id = id,
                              .of = {.owner = intent->who.owner},
                              .url = (char *)(uintptr_t)intent->hook_url,
                              .secret = (char *)(uintptr_t)intent->hook_secret,
                              .types = intent->hook_types,
                              .batch_id = what,
                              .enabled = true};

    if (intent->hook_url == NULL || intent->hook_url[0] == '\0')
        return 0;
    id_of_intent(intent, id);
    snprintf(what, sizeof(what), STORE_HOOK_INTENT "%s", intent->id);
    return store_hook_expect(store, &hook);
}

/* ---- secrets ---- */

static int reseal_text(const struct vault *vault, const char *hook_id, const char *sealed,
                       char **out)
{
    char secret[HOOK_SECRET_MAX + 1];
    int ret = hook_rows_open(vault, hook_id, sealed, secret);

    if (ret == 0)
        ret = seal(vault, hook_id, secret, out);
    OPENSSL_cleanse(secret, sizeof(secret));
    return ret;
}

/* @return an error of the store */
static int reseal(struct store *store, const struct vault *vault, const struct store_hook *hook)
{
    char *secret = NULL, *old = NULL;
    int ret = 0;

    if (vault_is_current(vault, hook->secret) &&
        (hook->old_secret == NULL || vault_is_current(vault, hook->old_secret)))
        return 0;
    if (hook->old_secret != NULL && reseal_text(vault, hook->id, hook->old_secret, &old) != 0)
        old = NULL; /* it signs for a day, and nobody can open it */
    if (reseal_text(vault, hook->id, hook->secret, &secret) == 0)
        ret = store_hook_reseal(store, hook, secret, old);
    else
        log_warn("webhook %s cannot be told of events: no seal key of the configuration opens its "
                 "secret; give it another one by POST /webhooks/%s/rotate",
                 hook->id, hook->id);
    free(secret);
    free(old);
    return ret;
}

int hook_rows_reseal(struct store *store, const struct vault *vault)
{
    char behind[STORE_HOOK_ID + 1] = "";
    struct store_hook_list list;
    size_t num = PAGE;
    int ret = 0;

    while (ret == 0 && num == PAGE) {
        ret = store_hooks_sealed(store, behind, PAGE, &list);
        if (ret != 0)
            return ret;
        num = list.num;
        for (size_t i = 0; ret == 0 && i < num; i++)
            ret = reseal(store, vault, &list.hooks[i]);
        if (num > 0)
            snprintf(behind, sizeof(behind), "%s", list.hooks[num - 1].id);
        store_hook_list_deinit(&list);
    }
    return ret;
}
