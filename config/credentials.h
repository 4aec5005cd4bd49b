/* credential_list: keys and addresses that stand in one place, and that rows of model_list take by
 * name. */
#pragma once

#include "config/report.h"

/** Put what a row's litellm_credential_name stands for into its litellm_params; what the row says
 * itself stays. A name that credential_list does not have is an error: the row would be served with
 * another key, perhaps at another address.
 *  @param root    the file
 *  @param params  the row's litellm_params; NULL or no map: nothing happens */
void credentials_take(const struct node *root, struct node *params, struct reporter *reporter);
