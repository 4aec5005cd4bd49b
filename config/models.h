/* The model list: rows of model_list, files_settings and the environment's keys become accounts and
 * deployments. */
#pragma once

#include "account_index.h"
#include "config/config.h"
#include "config/env.h"
#include "config/report.h"
#include "schema.h"

/* One building of a list. */
struct models_build {
    struct config *config;        /* written: models */
    const struct raw_config *raw; /* NULL: no file */
    const struct node *root;      /* NULL: no file */
    const struct env *env;
    struct reporter *reporter;
    uint32_t default_timeout_ms;
    size_t cap_accounts, cap_deployments; /* room in config->models */
    struct account_index accounts;        /* config->models.accounts, by what they are */
    struct account_index hosts;           /* the first one of each host ... */
    uint32_t *twins; /* owned [cap_accounts]; ... and how many accounts that has: of others 0 */
    const struct node **rows; /* owned; where each deployment was written, NULL: the environment */
    char how[400];            /* "by the key of api_key": what the last account is called upon by */
    size_t missed;            /* accounts that were named but are not complete; reported */
};

/** Build config->models. Faults are reported. @return 0, ERR_NOMEM */
MUST_USE int models_build(struct models_build *build);

/** Append a name. @param name  its texts are the list's on 0 @return 0, ERR_NOMEM */
MUST_USE int models_add_name(struct model_list *models, const struct model_name *name);

/** Whether a deployment of the list is in that group. */
bool models_has_group(const struct model_list *models, const char *group);

/** Whether the file has a row of that model_name, served or not. */
bool models_names_group(const struct node *root, const char *group);

/** Whether the model_name of a row was to come from a variable that is not set: it may be any. */
bool models_lacks_name(const struct node *root);

/** Whether the file has a row, served or not, with that model_info.id or that name upstream, or
 *  one where these were to come from a variable that is not set.
 *  @param group  of that model_name; NULL: any */
bool models_names_deployment(const struct node *root, const char *name, const char *group);

/** Free what a deployment owns. */
void models_deployment_deinit(struct model_deployment *deployment);
