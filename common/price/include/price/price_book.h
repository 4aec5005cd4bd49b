/* What a model costs at a deployment: the deployment's own prices (model_info, litellm_params), or
 * the price map's (journal statement B3). Filled by config, read by the keeper. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "price/price.h"
#include "price/price_map.h"

#define PRICE_FROM_BYTES 160

struct price_deployment {
    uint32_t fingerprint; /* model_deployment's */
    bool is_azure;
    struct price_list own; /* whole: where it says anything the map is not asked */
    /* Owned; each may be NULL: model_info.base_model, the name upstream, litellm_params.model */
    char *base_model, *upstream_model, *litellm_model;
};

struct price_book {
    struct price_deployment *deployments; /* owned */
    size_t num_deployments;
    struct price_map *map; /* owned; NULL: none */
};

/* Which price counts, and where it stands. */
struct price_found {
    struct price price;
    /* For people: "deployment"; "price_map 2026-11-01: azure/gpt-4o"; "" where none was found */
    char from[PRICE_FROM_BYTES];
};

/** Free what it holds, and empty it. */
void price_book_deinit(struct price_book *book);

/**
 * Look a price up. In the map the deployment's `base_model` is asked for first, then the model that
 * answered, then the names that the deployment has; at Azure each with "azure/" before it first.
 *
 * @param fingerprint  of the deployment; one that is not configured any more has no prices of its own
 * @param model        as the provider's answers name it; "": not known
 * @return false: there is no price
 */
bool price_book_find(const struct price_book *book, uint32_t fingerprint, const char *model,
                     struct price_found *out);

/** Whether long requests cost something else there, so that a sum over a batch is not enough.
 *  @param model  as above */
bool price_book_is_tiered(const struct price_book *book, uint32_t fingerprint, const char *model);
