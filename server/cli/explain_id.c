/* See explain_id.h. */
#include "explain_id.h"

#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "crypto/account_map.h"
#include "crypto/ids.h"
#include "crypto/ids_litellm.h"
#include "core/seals.h"
#include "parts/parts.h"

#define UPLOAD_PREFIX "upload_"

struct explainer {
    const struct config *config;
    struct account_map map;
    struct ids_seals seals;
};

/* What an id is as a file's, or as a batch's. */
struct opened {
    int rc;
    size_t native_len;
    bool tagged;
    struct id_tag tag;
    size_t seal; /* that verified; index */
};

static const enum id_kind kinds[] = {ID_FILE, ID_BATCH, ID_UPLOAD};
#define NUM_KINDS         (sizeof(kinds) / sizeof(kinds[0]))
#define NUM_LITELLM_KINDS 2 /* the first two: of uploads it has no ids */

static const char *kind_name(enum id_kind kind)
{
    if (kind == ID_UPLOAD)
        return "upload";
    return kind == ID_FILE ? "file" : "batch";
}

static void label(const char *name)
{
    printf("%-12s ", name);
}

static struct opened open_with(const struct ids_seals *seals, enum id_kind kind, const char *id)
{
    struct opened o = {0};

    o.rc = ids_open(seals, kind, 0, id, strlen(id), &o.native_len, &o.tagged, &o.tag);
    return o;
}

/* Each seal by itself, so that the one that fits can be named. */
static struct opened open_id(const struct explainer *e, enum id_kind kind, const char *id)
{
    struct opened o = open_with(&e->seals, kind, id);
    struct ids_seals one = {.num = 1};

    for (size_t i = 0; i < e->seals.num && o.rc == 0 && o.tagged; i++) {
        one.key[0] = e->seals.key[i];
        if (open_with(&one, kind, id).rc == 0) {
            o.seal = i;
            break;
        }
    }
    ids_seals_clear(&one);
    return o;
}

/* The accounts that a tag may mean, as requests find them. Owned by the caller.
 * @param num  0: none, or out of memory */
static uint32_t *find_accounts(const struct explainer *e, uint32_t fingerprint, uint32_t *num,
                               bool *sure)
{
    uint32_t *accounts = calloc(e->map.num + 1u, sizeof(*accounts));

    *num = accounts != NULL ? account_map_candidates(&e->map, fingerprint, accounts, sure) : 0;
    return accounts;
}

static void print_account(const struct explainer *e, uint32_t account)
{
    const struct model_account *a = &e->config->models.accounts[account];

    printf("%s (%s, %s)\n", a->name, provider_name(a->provider), a->base);
}

/* Whether an owner's name comes to this fingerprint: a team's, or a key's that has no team. */
static bool is_owner(const char *kind, const char *id, uint64_t owner)
{
    char name[RIGHTS_NAME_MAX + 8];

    return id != NULL && snprintf(name, sizeof(name), "%s:%s", kind, id) < (int)sizeof(name) &&
           ids_owner_fingerprint(name) == owner;
}

/* A stable id may be the hash of a key, which nobody has to see. */
static const char *name_of(const struct rights_key *key)
{
    return key->alias != NULL ? key->alias : "without an alias";
}

/* @return whether the owner is among these */
static bool print_owner_among(const struct rights_list *list, uint64_t owner)
{
    for (size_t i = 0; i < list->num_teams; i++)
        if (is_owner("team", list->teams[i].id, owner)) {
            printf("the team %s", list->teams[i].id);
            return true;
        }
    for (size_t i = 0; i < list->num_keys; i++) {
        const struct rights_key *key = &list->keys[i];

        if (is_owner("team", key->team_id, owner)) {
            printf("the team %s", key->team_id);
            return true;
        }
        if (key->team_id == NULL && is_owner("key", key->id, owner)) {
            printf("the key %s", name_of(key));
            return true;
        }
    }
    return false;
}

static void print_owner(const struct config *config, const struct id_tag *tag)
{
    label("owner");
    printf("%016" PRIx64 " (", tag->owner);
    if (tag->owner == 0) {
        puts("the master key)");
        return;
    }
    if (!print_owner_among(&config->keys, tag->owner) &&
        !print_owner_among(&config->file_keys, tag->owner))
        fputs("a team or key that stands in no file of this configuration", stdout);
    puts("; the master key and admin keys open it, too, for all others it is a 404)");
}

static void print_places(const struct explainer *e, const uint32_t *accounts, uint32_t num,
                         bool sure, const struct id_tag *tag)
{
    label("account");
    if (num == 0)
        printf("fingerprint %08" PRIx32 ", which is none of this configuration\n", tag->deployment);
    else if (num > 1 || !sure)
        printf("%s, so the object is looked for at %" PRIu32 ":\n",
               sure ? "one of several that share what ids say of them" : "unknown here", num);
    for (uint32_t i = 0; i < num; i++) {
        if (num > 1 || !sure)
            label("");
        print_account(e, accounts[i]);
    }
}

static void print_seal(const struct explainer *e, size_t seal)
{
    size_t keys = seals_num_keys(e->config);

    printf("%zu of %zu%s%s\n", seal % keys + 1, keys,
           seal >= keys ? ", as older versions made of it" : "",
           seal == 0 ? ", which mints" : ", which only opens: the answers show another id");
}

static int explain_tagged(const struct explainer *e, enum id_kind kind, const char *id,
                          const struct opened *o)
{
    bool sure = true;
    uint32_t num, *accounts = find_accounts(e, o->tag.deployment, &num, &sure);

    label("kind");
    printf("%s\n", kind_name(kind));
    label("native id");
    printf("%.*s\n", (int)o->native_len, id);
    print_places(e, accounts, num, sure, &o->tag);
    free(accounts);
    print_owner(e->config, &o->tag);
    label("seal");
    print_seal(e, o->seal);
    if (num > 0)
        return 0;
    label("refused");
    puts("its account is not configured here: the answer is 404");
    return 1;
}

static void print_node(const struct config *config, uint32_t node)
{
    label("node");
    printf("fingerprint %08" PRIx32 ", which is %sthis machine at %s:%d%s\n", node,
           node == parts_node(config) ? "" : "not ", config->host, config->port,
           node == parts_node(config) ? "" : ": there the answer is 404 upload_elsewhere");
}

/* Its begin and its bytes stand in the id itself: as is told here, so it is served. */
static int explain_upload(const struct explainer *e, const char *id, const struct opened *o)
{
    const char *native = id + strlen(UPLOAD_PREFIX);
    char text[PARTS_ID + 1] = "", begun[32] = "";
    struct parts_id upload;
    struct tm tm;

    if (o->native_len == strlen(UPLOAD_PREFIX) + PARTS_ID)
        memcpy(text, native, PARTS_ID);
    label("kind");
    printf("%s\n", kind_name(ID_UPLOAD));
    label("native id");
    printf("%.*s\n", (int)o->native_len, id);
    if (strncmp(id, UPLOAD_PREFIX, strlen(UPLOAD_PREFIX)) != 0 || !parts_read_id(text, &upload)) {
        label("refused");
        puts("it does not tell when it began: the answer is 404");
        return 1;
    }
    gmtime_r(&(time_t){(time_t)upload.created_s}, &tm);
    strftime(begun, sizeof(begun), "%Y-%m-%dT%H:%M:%SZ", &tm);
    label("begun");
    printf("%s, for a file of %" PRIu64 " bytes\n", begun, upload.bytes);
    print_node(e->config, o->tag.deployment);
    print_owner(e->config, &o->tag);
    label("seal");
    print_seal(e, o->seal);
    if (!parts_is_expired(&upload, clock_unix_s()))
        return 0;
    label("refused");
    puts("its hour is over: the answer is 400 upload_expired");
    return 1;
}

/* It looks sealed, and is not: tell what it says of itself, for what that is worth. */
static int explain_forged(const struct explainer *e, const char *id)
{
    struct id_tag tag;
    uint32_t account;

    if (ids_claim(id, strlen(id), &tag)) {
        account = account_map_find(&e->map, tag.deployment);
        label("it claims");
        printf("account fingerprint %08" PRIx32 "%s%s, owner %016" PRIx64 "\n", tag.deployment,
               account == MODEL_NO_INDEX ? "" : ", which is ",
               account == MODEL_NO_INDEX ? "" : e->config->models.accounts[account].name,
               tag.owner);
    }
    label("refused");
    if (e->seals.num == 0)
        puts("neither tranche_settings.seal_keys nor a master key is set: what a process sealed is "
             "understood by itself only");
    else
        printf(
            "no seal key of this configuration (%zu) made this tag, neither for a file nor for a "
            "batch or an upload: it is forged, damaged, or of a gateway with other keys\n",
            seals_num_keys(e->config));
    return 1;
}

static void print_accounts_of(const struct explainer *e, const struct litellm_id *name)
{
    const struct model_list *models = &e->config->models;
    const struct model_deployment *found = NULL;

    for (size_t i = 0; i < models->num_deployments && found == NULL; i++)
        if (strcmp(models->deployments[i].id, name->model) == 0)
            found = &models->deployments[i];
    label("account");
    if (found != NULL)
        print_account(e, found->account);
    else
        puts("no model_info.id here is that; the accounts of the group of that name, else all, are "
             "asked");
}

static void print_litellm(const struct litellm_id *name)
{
    label("form");
    printf("LiteLLM's, %s\n", ids_litellm_form_name(name->form));
    if (name->model[0] != '\0') {
        label("model");
        puts(name->model);
    }
    if (name->targets[0] != '\0') {
        label("targets");
        puts(name->targets);
    }
    if (name->provider[0] != '\0') {
        label("provider");
        puts(name->provider);
    }
}

/* OpenAI's and Azure's, and all servers' that were tried behind the gateway. */
static bool looks_native(const char *id)
{
    static const char *const beginnings[] = {"file-", "file_", "assistant-", "batch_", "batch-"};

    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        if (strncmp(id, beginnings[i], strlen(beginnings[i])) == 0 &&
            id[strlen(beginnings[i])] != '\0')
            return true;
    return false;
}

static int explain_native(const char *native)
{
    label("native id");
    puts(native);
    label("owner");
    puts("no tag: the master key and admin keys only; for all others a 404");
    if (looks_native(native))
        return 0;
    label("doubtful");
    puts("files of OpenAI and Azure begin with file- or assistant-, batches with batch_: the "
         "provider is asked for it, and will hardly know it");
    return 1;
}

static int explain_sealed_or_native(const struct explainer *e, const char *id)
{
    struct opened o = {.rc = ERR_INVALID};

    for (size_t i = 0; i < NUM_KINDS; i++) {
        o = open_id(e, kinds[i], id);
        if (o.rc == 0 && o.tagged && kinds[i] == ID_UPLOAD)
            return explain_upload(e, id, &o);
        if (o.rc == 0 && o.tagged)
            return explain_tagged(e, kinds[i], id, &o);
    }
    if (o.rc == 0)
        return explain_native(id);
    if (o.rc == ERR_FORGED)
        return explain_forged(e, id);
    label("refused");
    printf("no id: wanted 1 to %d bytes of A-Z a-z 0-9 . _ = : @ + ~ -\n", IDS_MAX);
    return 1;
}

static int explain_litellm(const struct explainer *e, const char *id)
{
    struct litellm_id name;
    bool known = false;

    for (size_t i = 0; i < NUM_LITELLM_KINDS; i++) {
        int rc = ids_litellm_read(kinds[i], id, strlen(id), &name);

        known |= rc != ERR_INVALID;
        if (rc != 0)
            continue;
        print_litellm(&name);
        label("kind");
        puts(kind_name(kinds[i]));
        if (name.model[0] != '\0')
            print_accounts_of(e, &name);
        return explain_sealed_or_native(e, name.native);
    }
    if (!known)
        return -1;
    print_litellm(&name);
    label("refused");
    puts("it names no file or batch at a provider (what it stands for is in LiteLLM's database "
         "only)");
    return 1;
}

int explain_id(const struct config *config, const char *id)
{
    struct explainer e = {.config = config};
    const struct secret none = {0};
    struct opened o;
    int code = 2;

    if (account_map_init(&e.map, &config->models, config->balance_batches) != 0 ||
        seals_derive(config, &none, &e.seals) != 0) {
        fputs("tranche: out of memory\n", stderr);
        goto done;
    }
    o = open_with(&e.seals, ID_FILE, id);
    label("id");
    puts(o.rc == ERR_INVALID ? "(not shown)" : id); /* it may hold what a terminal obeys */
    code = o.rc == 0 && !o.tagged ? explain_litellm(&e, id) : -1;
    if (code == -1)
        code = explain_sealed_or_native(&e, id);
done:
    ids_seals_clear(&e.seals);
    account_map_deinit(&e.map);
    return code;
}
