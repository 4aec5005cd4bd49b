/* Which credential of Entra ID an Azure row has that has no key: LiteLLM's names and order, without
 * what it gets wrong (entra statements 1 to 8, 21, 25, 26). Nothing is asked of the network. */
#pragma once

#include "entra_fields.h"
#include "common/entra_credential.h"

/* By what a row came here. */
enum entra_way {
    ENTRA_WAY_OWN,     /* it names one in fields of its own */
    ENTRA_WAY_SECRET,  /* the environment has tenant, client and secret */
    ENTRA_WAY_REFRESH, /* litellm_settings.enable_azure_ad_token_refresh */
    ENTRA_WAY_TOKEN    /* azure_ad_token is an oidc/ reference */
};

/** Whether a text is such a reference. */
bool entra_is_reference(const char *text);

/** Whether the environment has tenant, client and secret. */
bool entra_in_environment(const struct entra_row *row);

/** Whether the environment has a user's name or password, which LiteLLM would use (entra statement
 * 26). */
bool entra_user_in_environment(const struct env *env);

/**
 * The credential of a row.
 *
 * @param token  of ENTRA_WAY_TOKEN: the reference, and where it stands
 * @param out    empty; on 0 sealed, entra_credential_deinit() it
 * @return 0; ERR_INVALID (reported); ERR_NOMEM
 */
MUST_USE int entra_take(const struct entra_row *row, enum entra_way way,
                        const struct entra_value *token, struct entra_credential *out);

/** Hand a credential over to the list, or away when it is there already.
 *  @return 0 and *index; ERR_NOMEM, and it stays the caller's */
MUST_USE int entra_put(struct models_build *build, struct entra_credential *credential,
                       uint32_t *index);

/** Warn that a row's fields are not used. @param why  "the row has an api_key as well" */
void entra_ignored(const struct entra_row *row, const char *why);
