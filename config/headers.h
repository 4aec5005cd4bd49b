/* litellm_params.extra_headers (or `headers`): what each call of a row carries besides ours. */
#pragma once

#include "models.h"

/** Whether it is the name of a header (RFC 9110 section 5.6.2). */
bool headers_is_token(const char *text);

/** Whether all of it is visible ASCII, so that it can be sent in a header and no blank hides in it.
 * An empty text is. */
bool headers_is_visible(const char *text);

/** Take them into the account. Names that decide framing, authentication or routing, or that are no
 * names, leave the row out.
 *  @param params  the row's litellm_params; NULL: none
 *  @return 0, ERR_INVALID (reported), ERR_NOMEM */
MUST_USE int headers_take(struct models_build *build, const struct node *params,
                          struct model_account *account);

bool headers_equal(const struct model_account *a, const struct model_account *b);
void headers_deinit(struct model_account *account);
