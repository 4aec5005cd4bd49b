/* Ids that LiteLLM handed out, read so that the batches which are under way when a gateway is
 * replaced can still be asked for by the ids their clients hold. Pure; nothing is sealed in them,
 * so whoever asks here must be one who may send any provider's own id (the master key).
 *
 * The forms, all of them URL-safe base64 (RFC 4648 section 5) without padding; LiteLLM's
 * proxy/openai_files_endpoints/common_utils.py and types/utils.py (SpecialEnums) say so:
 *   encoded        `file-` or `batch_`, then  litellm:<native>;model,<model_name>
 *   managed file   litellm_proxy:<content type>;unified_id,<uuid>;target_model_names,<a>,<b>;
 *                  llm_output_file_id,<native>;llm_output_file_model_id,<model_info.id>
 *   managed batch  litellm_proxy;model_id:<model_info.id>;llm_batch_id:<native>
 *                  and, in older versions, ;llm_output_file_id:<native file> behind it
 *   passthrough    litellm_proxy:passthrough;provider:<name>;unified_id,<uuid>;raw_id,<native>
 *
 * Managed file ids of the first versions end after unified_id: what they name stood in LiteLLM's
 * database only, and is not found. */
#pragma once

#include <stddef.h>

#include "crypto/ids.h"

enum litellm_form { LITELLM_ENCODED = 1, LITELLM_MANAGED, LITELLM_PASSTHROUGH };

struct litellm_id {
    enum litellm_form form;
    char native[IDS_MAX + 1]; /* as the provider gave it; not yet checked by ids_open() */
    /* A model_name or a model_info.id, which of the two the id does not say; "" none */
    char model[IDS_MAX + 1];
    char targets[IDS_MAX + 1];  /* target_model_names, with commas between; "" none */
    char provider[IDS_MAX + 1]; /* as LiteLLM writes it; "" none */
};

/** Take an id apart.
 *  @return 0; ERR_INVALID: not of LiteLLM's making; ERR_NOT_FOUND: it is, but what it names is of
 *         another kind (a batch asked for as a file, a fine-tuning job), or it does not say where
 *         that is
 */
MUST_USE int ids_litellm_read(enum id_kind kind, const char *id, size_t len,
                              struct litellm_id *out);

/** "encoded", "managed", "passthrough". */
const char *ids_litellm_form_name(enum litellm_form form);
