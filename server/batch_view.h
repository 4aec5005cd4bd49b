/* A provider's Batch as a client may see it. The one place where every batch object passes on its
 * way out: the ledger sees it, the normaliser shapes it, and its ids become the client's. */
#pragma once

#include "server/relay.h"

/** Turn `batch` (in `doc`, as the provider sent it) into what this client gets. A batch that was
 * moved to another deployment shows the input file that its client knows, not the copy it runs on.
 *  @param deployment       one of the account that sent it
 *  @param tagged           its ids carry their place
 *  @param client_endpoint  as in normal_batch() */
void batch_view(struct relay *relay, uint32_t deployment, bool tagged, struct json_doc *doc,
                struct json *batch, const char *client_endpoint);
