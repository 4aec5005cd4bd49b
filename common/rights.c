/* See rights.h. */
#include "common/rights.h"

#include <stdlib.h>
#include <string.h>

void rights_limits_init(struct rights_limits *limits)
{
    *limits = (struct rights_limits){.enqueued_tokens = RIGHTS_UNLIMITED,
                                     .open_batches = RIGHTS_UNLIMITED,
                                     .requests_per_minute = RIGHTS_UNLIMITED,
                                     .requests_per_second = RIGHTS_UNLIMITED,
                                     .request_burst = RIGHTS_UNLIMITED,
                                     .parallel_requests = RIGHTS_UNLIMITED,
                                     .uploads = RIGHTS_UNLIMITED,
                                     .spool_bytes = RIGHTS_UNLIMITED,
                                     .file_bytes = RIGHTS_UNLIMITED,
                                     .budget_nano = RIGHTS_UNLIMITED};
}

static void models_deinit(struct rights_models *models)
{
    for (size_t i = 0; i < models->num_names; i++)
        free(models->names[i]);
    free(models->names);
    for (size_t i = 0; i < models->num_aliases; i++) {
        free(models->aliases[i].name);
        free(models->aliases[i].target);
    }
    free(models->aliases);
    memset(models, 0, sizeof(*models));
}

void rights_key_deinit(struct rights_key *key)
{
    free(key->id);
    free(key->alias);
    free(key->team_id);
    free(key->user_id);
    models_deinit(&key->models);
    memset(key, 0, sizeof(*key));
}

void rights_team_deinit(struct rights_team *team)
{
    free(team->id);
    free(team->alias);
    models_deinit(&team->models);
    memset(team, 0, sizeof(*team));
}

void rights_list_deinit(struct rights_list *list)
{
    for (size_t i = 0; i < list->num_keys; i++)
        rights_key_deinit(&list->keys[i]);
    free(list->keys);
    for (size_t i = 0; i < list->num_teams; i++)
        rights_team_deinit(&list->teams[i]);
    free(list->teams);
    memset(list, 0, sizeof(*list));
}
