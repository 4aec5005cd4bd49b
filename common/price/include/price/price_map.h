/* LiteLLM's price map, the JSON file model_prices_and_context_window.json: an object with a member
 * for each model, whose members of price.h's names are what it costs. All else is passed over. The
 * map is an operator's to fetch and to renew: it ages within weeks, so none comes with us
 * (journal statement B3). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "json/json.h"
#include "price/price.h"

#define PRICE_MAP_BYTES (16 * 1024 * 1024) /* of a file; LiteLLM's has some 1.5 MB */

struct price_map;

/* What was passed over although it has a name that counts. */
struct price_map_faults {
    size_t num;
    char first[256]; /* "gpt-4o: input_cost_per_token: \"free\" is no price" */
};

/**
 * Read a map. Takes some 100 ms for LiteLLM's: for who starts, not for a loop.
 *
 * @param out     on 0 free with price_map_free()
 * @param faults  filled on 0: prices that are none. They count as not given
 * @param error   filled on ERR_SYNTAX
 * @return 0; ERR_SYNTAX: it is no JSON object; ERR_NOMEM
 */
MUST_USE int price_map_parse(const char *text, size_t len, struct price_map **out,
                             struct price_map_faults *faults, struct json_error *error);
void price_map_free(struct price_map *map); /* NULL is fine */

/** @return the prices of a model, borrowed from the map; NULL: it has none of it, or is NULL */
const struct price_list *price_map_find(const struct price_map *map, const char *model);

/** Models with a price. */
size_t price_map_size(const struct price_map *map);

/** When the map was made, Unix milliseconds: the file's last change. Kept for people; 0: unknown */
void price_map_set_date(struct price_map *map, int64_t unix_ms);
int64_t price_map_date(const struct price_map *map); /* NULL is fine */
