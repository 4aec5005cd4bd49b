/* A provider's Batch as a client may see it. The one place where every batch object passes on its
 * way out: the ledger sees it, the normaliser shapes it, and its ids become the client's. */
#pragma once

#include "objects/client_ids.h"

/** Turn `batch` (in `doc`, as the provider sent it) into what this client gets. A batch that was
 * moved to another deployment shows the input file that its client knows, not the copy it runs on;
 * one that has ended is shown as it ended, whatever the provider says now; its endpoint is spelled
 * as its client wrote it.
 *  @param deployment  one of the account that sent it
 *  @param tagged      answer with signed (tagged) ids
 *  @return what to show, in `doc`: `batch`, changed in place, or the one that had ended */
struct json *batch_view(const struct viewer *viewer, uint32_t deployment, bool tagged,
                        struct json_doc *doc, struct json *batch);

/** The same of what was seen before and is only answered again (polls_recall()): it is no news to
 * anybody. Changes `batch` in place. */
void batch_view_again(const struct viewer *viewer, uint32_t deployment, bool tagged,
                      struct json_doc *doc, struct json *batch);
