/* See prices.h. */
#include "prices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/iso8601.h"
#include "key_fields.h"

#define MAX_TAG  64 /* bytes of a name */
#define MAX_TAGS 16
#define WITHOUT  "ignored: prices are the journal's, which needs tranche_settings.database"

/* --- rows --- */

/* model_info wins (journal statement B3). */
static const struct node *find(const struct node *row, const char *name)
{
    static const char *const places[] = {"model_info", "litellm_params"};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const struct node *node = node_get(node_get(row, places[i]), name);

        if (key_fields_given(node))
            return node;
    }
    return NULL;
}

static void take_prices(const struct node *row, struct reporter *reporter, struct price_list *out)
{
    price_list_init(out);
    for (int i = 0; i < PRICE_NAMES; i++) {
        const struct node *node = find(row, price_name((enum price_name)i));
        const char *text = node_text(node);

        if (node == NULL || report_was_unset(node))
            continue;
        if (text == NULL || price_parse(text, strlen(text), &out->of[i]) != 0) {
            out->of[i] = PRICE_NONE;
            report_wanted(reporter, node, "dollars for one token, such as 1.25e-06");
        }
    }
}

static int copy_name(const char *text, char **out)
{
    *out = text == NULL || *text == '\0' ? NULL : strdup(text);
    return text != NULL && *text != '\0' && *out == NULL ? ERR_NOMEM : 0;
}

static int take_row(const struct models_build *build, size_t i, struct price_deployment *out)
{
    const struct model_list *models = &build->config->models;
    const struct model_deployment *d = &models->deployments[i];
    const struct node *row = build->rows[i];
    int rc;

    out->fingerprint = d->fingerprint;
    out->is_azure = models->accounts[d->account].provider == PROVIDER_AZURE;
    take_prices(row, build->reporter, &out->own);
    rc = copy_name(node_text(find(row, "base_model")), &out->base_model);
    if (rc == 0)
        rc = copy_name(d->upstream_model, &out->upstream_model);
    return rc == 0 ? copy_name(d->litellm_model, &out->litellm_model) : rc;
}

int prices_of_rows(struct models_build *build)
{
    struct price_book *book = &build->config->prices;
    size_t num = build->config->models.num_deployments;
    int rc = 0;

    book->deployments = calloc(num + 1, sizeof(*book->deployments));
    if (book->deployments == NULL)
        return ERR_NOMEM;
    for (; rc == 0 && book->num_deployments < num; book->num_deployments++)
        rc = take_row(build, book->num_deployments, &book->deployments[book->num_deployments]);
    return rc;
}

/* --- the map --- */

/* @return ERR_IO: it cannot be read, errno says why; ERR_LIMIT: it is too long */
static int read_bytes(const char *path, char **text, size_t *len, int64_t *changed_ms)
{
    FILE *file = fopen(path, "rbe");
    size_t room = PRICE_MAP_BYTES + 1; /* one more says that it is too long */
    struct stat st;
    bool failed;

    if (file == NULL)
        return ERR_IO;
    *changed_ms = fstat(fileno(file), &st) == 0
                      ? (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000
                      : 0;
    *text = malloc(room);
    *len = *text != NULL ? fread(*text, 1, room, file) : 0;
    failed = ferror(file) != 0; /* of a directory */
    fclose(file);
    if (*text == NULL)
        return ERR_NOMEM;
    return failed ? ERR_IO : *len == room ? ERR_LIMIT : 0;
}

static void tell(const struct node *node, struct reporter *reporter, const struct config *config,
                 const struct price_map_faults *faults)
{
    char date[ISO8601_SIZE];

    iso8601_print(price_map_date(config->prices.map), date);
    report_at(reporter, CONFIG_HONOURED, node, "= %s of %.10s, prices of %zu models",
              config->price_map, date, price_map_size(config->prices.map));
    if (price_map_size(config->prices.map) == 0)
        report_at(reporter, CONFIG_WARNING, node, "%s has no price of any model",
                  config->price_map);
    if (faults->num > 0)
        report_at(reporter, CONFIG_WARNING, node,
                  "%zu prices in it cannot be read and count as not given; the first: %s",
                  faults->num, faults->first);
}

static int read_map(const struct node *node, struct reporter *reporter, struct config *config)
{
    struct price_map_faults faults = {0};
    struct json_error error = {0};
    int64_t changed_ms = 0;
    char *text = NULL;
    size_t len = 0;
    int rc = read_bytes(config->price_map, &text, &len, &changed_ms);

    if (rc == ERR_IO)
        report_at(reporter, CONFIG_ERROR, node, "%s cannot be read: %s", config->price_map,
                  strerror(errno));
    if (rc == ERR_LIMIT)
        report_at(reporter, CONFIG_ERROR, node, "%s has more than %d bytes", config->price_map,
                  PRICE_MAP_BYTES);
    if (rc == 0)
        rc = price_map_parse(text, len, &config->prices.map, &faults, &error);
    free(text);
    if (rc == ERR_SYNTAX)
        report_at(reporter, CONFIG_ERROR, node, "%s:%zu:%zu: %s", config->price_map, error.line,
                  error.column, error.message);
    if (rc == 0) {
        price_map_set_date(config->prices.map, changed_ms);
        tell(node, reporter, config, &faults);
    }
    return rc == ERR_NOMEM ? ERR_NOMEM : 0;
}

/* Those of litellm_params: model_info is anybody's notebook. */
static void tell_without_journal(const struct node *root, struct reporter *reporter)
{
    const struct node *list = node_get(root, "model_list");

    for (size_t i = 0; list != NULL && i < list->num_items; i++)
        for (int name = 0; name < PRICE_NAMES; name++) {
            const struct node *node = node_get(node_get(list->items[i], "litellm_params"),
                                               price_name((enum price_name)name));

            if (key_fields_given(node))
                report_at(reporter, CONFIG_WARNING, node, WITHOUT);
        }
}

int prices_take_map(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.price_map");

    if (!config->journal) {
        tell_without_journal(root, reporter);
        if (config->price_map != NULL)
            report_at(reporter, CONFIG_WARNING, node, WITHOUT);
        return 0;
    }
    return config->price_map != NULL ? read_map(node, reporter, config) : 0;
}

/* --- tags --- */

/* What OpenAI takes as the key of a metadata pair (providers 1.3). */
static bool is_tag(const char *name)
{
    size_t len = name == NULL ? 0 : strlen(name);

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return len > 0 && len <= MAX_TAG;
}

int prices_take_tags(const struct raw_config *raw, const struct node *root,
                     struct reporter *reporter, struct config *config)
{
    const struct node *list = node_find(root, "tranche_settings.usage_tags");
    uint32_t n = raw == NULL ? 0 : raw->tranche.usage_tags_count;

    if (n == 0)
        return 0;
    if (!config->journal)
        report_at(reporter, CONFIG_WARNING, list, WITHOUT);
    if (n > MAX_TAGS) {
        report_wanted(reporter, list, "16 names at most, as many as a batch's metadata has");
        return 0;
    }
    config->usage_tags = calloc(n, sizeof(*config->usage_tags));
    if (config->usage_tags == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        if (!is_tag(raw->tranche.usage_tags[i])) {
            report_wanted(reporter, list->items[i], "the key of a metadata pair");
            continue;
        }
        config->usage_tags[config->num_usage_tags] = strdup(raw->tranche.usage_tags[i]);
        if (config->usage_tags[config->num_usage_tags] == NULL)
            return ERR_NOMEM;
        config->num_usage_tags++;
    }
    return 0;
}
