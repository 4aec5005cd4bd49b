/* Which provider a model name of LiteLLM's means: "azure/x", "openai/x", a bare name that is one of
 * OpenAI's, or another provider's, whose key must never be sent to OpenAI. */
#pragma once

#include <stdbool.h>

#include "common/model.h"

enum row_kind {
    ROW_OWN, /* OpenAI's or Azure's own */
    /* A server with OpenAI's API and credentials of its own: the row has to name address and key,
     * the environment's OpenAI key is not for it */
    ROW_COMPATIBLE,
    ROW_FOREIGN, /* another provider's */
    ROW_UNKNOWN  /* a bare name that is nobody's */
};

/** Read "azure/gpt-4o" as PROVIDER_AZURE and "gpt-4o".
 *  @param custom    custom_llm_provider; NULL or "": not given
 *  @param has_base  the row has an api_base: a bare name that is nobody's is then served there
 *  @param rest      points into `model`: the name at the provider, without LiteLLM's path hints
 *  @return ROW_OWN or ROW_COMPATIBLE: `provider` and `rest` are set */
enum row_kind row_provider(const char *custom, const char *model, bool has_base,
                           enum provider *provider, const char **rest);

/** The provider whose keys begin like this one, "Anthropic"; NULL: it may be OpenAI's or Azure's. */
const char *row_foreign_key(const char *key);
