/* Lists of keys, for the tests of rights. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rights.h"
#include "crypto/sha256.h"

static inline char *own(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;

    assert_true((copy != NULL) == (text != NULL));
    return copy;
}

static inline void hash_of(const char *text, unsigned char hash[RIGHTS_HASH_BYTES])
{
    sha256_of(&(struct sha256_piece){text, strlen(text)}, 1, hash);
}

static inline void add_model(struct rights_models *models, const char *name)
{
    models->names = realloc(models->names, (models->num_names + 1) * sizeof(*models->names));
    assert_non_null(models->names);
    models->names[models->num_names++] = own(name);
}

static inline void add_alias(struct rights_models *models, const char *name, const char *target)
{
    models->aliases =
        realloc(models->aliases, (models->num_aliases + 1) * sizeof(*models->aliases));
    assert_non_null(models->aliases);
    models->aliases[models->num_aliases++] =
        (struct rights_alias){.name = own(name), .target = own(target)};
}

/* The key of a text ("sk-..."), whose id is its text; it may use no model. */
static inline struct rights_key *add_key_of(struct rights_list *list, const char *text,
                                            const char *team)
{
    struct rights_key *key;

    list->keys = realloc(list->keys, (list->num_keys + 1) * sizeof(*list->keys));
    assert_non_null(list->keys);
    key = &list->keys[list->num_keys++];
    *key = (struct rights_key){.id = own(text), .team_id = own(team), .routes = RIGHTS_ALL_ROUTES};
    hash_of(text, key->hash);
    rights_limits_init(&key->limits);
    return key;
}

static inline struct rights_team *add_team_of(struct rights_list *list, const char *id)
{
    struct rights_team *team;

    list->teams = realloc(list->teams, (list->num_teams + 1) * sizeof(*list->teams));
    assert_non_null(list->teams);
    team = &list->teams[list->num_teams++];
    *team = (struct rights_team){.id = own(id)};
    rights_limits_init(&team->limits);
    return team;
}
