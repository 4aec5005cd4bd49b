/* Where one account's address and credential come from: the row's own fields, else those of
 * litellm_settings (LiteLLM's module-level ones), else the environment's (LiteLLM's names). */
#pragma once

#include "models.h"

struct accounts_source {
    enum provider provider;
    const struct raw_params *params; /* NULL: the environment alone */
    const struct node *node;         /* the map of `params`; NULL: the environment alone */
    bool compatible; /* a server with OpenAI's API: nothing of the environment's is for it */
};

/**
 * The account of a source: the one of the list that is the same place with the same credential, or
 * a new one.
 *
 * @param index           MODEL_NO_INDEX when something is missing or wrong (reported)
 *  @param url_deployment  owned by the caller afterwards; the deployment that an Azure address
 *         named, or NULL
 * @return 0, ERR_NOMEM
 */
MUST_USE int accounts_take(struct models_build *build, const struct accounts_source *source,
                           uint32_t *index, char **url_deployment);

/** Whether the environment alone names a complete account of this provider. A half one is warned
 * about when `warn` is set. */
bool accounts_in_env(struct models_build *build, enum provider provider, bool warn);

void accounts_deinit(struct model_account *account);
