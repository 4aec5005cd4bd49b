/* The model table in shared memory: immutable once built, one per generation of workers. Offsets
 * instead of pointers, fixed-width types; group lookup by hash, flat from 10 to 10,000 deployments.
 * Secrets are not in it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/model.h"

struct table; /* the region; shared with children */

struct table_deployment {
    uint32_t fingerprint; /* ids_deployment_fingerprint() */
    uint32_t group;       /* index of its group; MODEL_NO_INDEX: an account as a whole */
    uint32_t account;     /* index of model_list's accounts; the same in this generation */
    uint32_t provider;    /* enum provider */
    uint32_t id;          /* string offsets: table_str() */
    uint32_t upstream_model;
    uint32_t litellm_model;
    uint32_t batch;       /* 1: mode batch */
    double weight;        /* 0: not given */
    int64_t rpm, tpm;     /* 0: not given */
    int32_t order;        /* 0: not given */
    uint32_t timeout_ms;  /* 0: default */
    uint32_t cooldown_ms; /* UINT32_MAX: the router's */
    uint32_t max_retries; /* UINT32_MAX: not given */
    uint32_t real;  /* fingerprint of the first row that is this very deployment, mostly itself */
    uint32_t many;  /* 1: its name at the provider is a wildcard */
    uint32_t first; /* the first deployment of its account */
    uint32_t reserved;
};

/** Copy `list` into a new sealed region. Deployment i of the list is deployment i of the table.
 *  @return 0; ERR_DUPLICATE (two equal fingerprints); ERR_NOMEM */
MUST_USE int table_build(const struct model_list *list, uint32_t generation, struct table **out);
void table_free(struct table *table); /* NULL is fine */

/** Of the configuration that it was built of, and how many rows it has. */
uint32_t table_generation(const struct table *table);
uint32_t table_num_deployments(const struct table *table);
const struct table_deployment *table_deployment(const struct table *table,
                                                uint32_t i); /* i must be in range */
const char *table_str(const struct table *table, uint32_t offset);

/** Groups in file order. */
uint32_t table_num_groups(const struct table *table);
const char *table_group_name(const struct table *table, uint32_t group);

/* What a client's name means. */
struct table_name {
    uint32_t group; /* of the name */
    uint32_t row;   /* the name is this row's id, and means it alone; MODEL_NO_INDEX: the group */
};

/** What a name means: an alias or a model_name, the id of a row, or a pattern such as "azure/" "*"
 * that fits (most literal characters first). @return false: nothing */
bool table_find_name(const struct table *table, const char *text, size_t len,
                     struct table_name *out);

/** The served group that a name means, also as the id of one of its rows; MODEL_NO_INDEX: none. */
uint32_t table_find_group(const struct table *table, const char *model, size_t len);

/** Whether a group has rows. One without is the name of rows that are not served. */
bool table_is_served(const struct table *table, uint32_t group);

/** Members of a group as deployment indexes, in file order. */
const uint32_t *table_group_members(const struct table *table, uint32_t group, uint32_t *num);

/** Whether two rows are one deployment at the provider, in two groups or with two ids. */
bool table_same_deployment(const struct table *table, uint32_t a, uint32_t b);

/** The deployment with this fingerprint; MODEL_NO_INDEX: none. */
uint32_t table_find_fingerprint(const struct table *table, uint32_t fingerprint);
