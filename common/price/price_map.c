/* See price_map.h. */
#include "price/price_map.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES (1024 * 1024) /* of a map; LiteLLM's has some 60,000 */

struct entry {
    char *model; /* owned */
    struct price_list prices;
};

struct price_map {
    struct entry *entries; /* owned; by name */
    size_t num;
    int64_t date_unix_ms;
};

void price_map_free(struct price_map *map)
{
    if (map == NULL)
        return;
    for (size_t i = 0; i < map->num; i++)
        free(map->entries[i].model);
    free(map->entries);
    free(map);
}

static void tell(struct price_map_faults *faults, const char *model, enum price_name name,
                 const char *text)
{
    if (faults->num++ == 0)
        snprintf(faults->first, sizeof(faults->first), "%.80s: %s: \"%.40s\" is no price", model,
                 price_name(name), text);
}

/* A number, or a number as a text. */
static void read_price(const char *model, enum price_name name, const struct json *value,
                       struct price_list *list, struct price_map_faults *faults)
{
    const char *text =
        json_is(value, JSON_STRING) ? json_str(value, NULL) : json_number_text(value);

    if (json_type(value) == JSON_NULL)
        return;
    if (text == NULL || price_parse(text, strlen(text), &list->of[name]) != 0) {
        list->of[name] = PRICE_NONE;
        tell(faults, model, name, text == NULL ? "something else" : text);
    }
}

static void read_prices(const char *model, const struct json *row, struct price_list *list,
                        struct price_map_faults *faults)
{
    price_list_init(list);
    for (size_t i = 0; i < json_size(row); i++) {
        size_t len;
        const char *key = json_key_at(row, i, &len);
        enum price_name name = price_name_find(key, len);

        if (name != PRICE_NAMES)
            read_price(model, name, json_at(row, i), list, faults);
    }
}

static int by_model(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->model, ((const struct entry *)b)->model);
}

/* LiteLLM's map begins with a model that explains its members. */
static bool is_model(const char *name, size_t len, const struct json *row)
{
    return len > 0 && strlen(name) == len && json_is(row, JSON_OBJECT) &&
           strcmp(name, "sample_spec") != 0;
}

static int fill(struct price_map *map, const struct json *root, struct price_map_faults *faults)
{
    map->entries = calloc(json_size(root) + 1, sizeof(*map->entries));
    if (map->entries == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < json_size(root); i++) {
        struct entry *entry = &map->entries[map->num];
        const struct json *row = json_at(root, i);
        size_t len;
        const char *name = json_key_at(root, i, &len);

        if (!is_model(name, len, row))
            continue;
        read_prices(name, row, &entry->prices, faults);
        if (price_list_is_empty(&entry->prices))
            continue;
        entry->model = strdup(name);
        if (entry->model == NULL)
            return ERR_NOMEM;
        map->num++;
    }
    qsort(map->entries, map->num, sizeof(*map->entries), by_model);
    return 0;
}

static int parse(struct json_doc *doc, const char *text, size_t len, struct price_map *map,
                 struct price_map_faults *faults, struct json_error *error)
{
    const struct json *root = json_parse_most(doc, text, len, MAX_VALUES, error);

    if (root == NULL)
        return ERR_SYNTAX;
    if (!json_is(root, JSON_OBJECT)) {
        *error = (struct json_error){.line = 1, .column = 1};
        snprintf(error->message, sizeof(error->message), "an object of models is expected");
        return ERR_SYNTAX;
    }
    return fill(map, root, faults);
}

int price_map_parse(const char *text, size_t len, struct price_map **out,
                    struct price_map_faults *faults, struct json_error *error)
{
    struct price_map *map = calloc(1, sizeof(*map));
    struct json_doc *doc = json_doc_new();
    int ret = map == NULL || doc == NULL ? ERR_NOMEM : 0;

    *faults = (struct price_map_faults){0};
    if (ret == 0)
        ret = parse(doc, text, len, map, faults, error);
    json_doc_free(doc);
    if (ret != 0) {
        price_map_free(map);
        return ret;
    }
    *out = map;
    return 0;
}

static int is_named(const void *model, const void *entry)
{
    return strcmp(model, ((const struct entry *)entry)->model);
}

const struct price_list *price_map_find(const struct price_map *map, const char *model)
{
    const struct entry *entry;

    if (map == NULL || map->num == 0)
        return NULL;
    entry = bsearch(model, map->entries, map->num, sizeof(*map->entries), is_named);
    return entry == NULL ? NULL : &entry->prices;
}

size_t price_map_size(const struct price_map *map)
{
    return map->num;
}

void price_map_set_date(struct price_map *map, int64_t unix_ms)
{
    map->date_unix_ms = unix_ms;
}

int64_t price_map_date(const struct price_map *map)
{
    return map == NULL ? 0 : map->date_unix_ms;
}
