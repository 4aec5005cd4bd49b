/* See batch_view.h. */
#include "server/batch_view.h"

#include "common/upstream/normal.h"
#include "server/ledger.h"
#include "server/resolve.h"

/* The client's own file of a batch that runs on a copy; its account may be another one. */
static void show_origin(struct relay *relay, const struct marker *marker, struct json_doc *doc,
                        struct json *batch)
{
    uint32_t account = worker_find_account(relay->worker, marker->origin);
    struct strbuf id = STRBUF_INIT;

    if (account == MODEL_NO_INDEX)
        strbuf_adds(&id, marker->file); /* no longer configured: better its bare name than another
                                           file's */
    else
        resolve_client_id(relay, relay->worker->account_first[account], ID_FILE, true, marker->file,
                          &id);
    json_set_str(doc, batch, "input_file_id", strbuf_str(&id));
    strbuf_deinit(&id);
}

void batch_view(struct relay *relay, uint32_t deployment, bool tagged, struct json_doc *doc,
                struct json *batch, const char *client_endpoint)
{
    struct worker *w = relay->worker;
    struct marker marker;
    bool marked = ledger_marker(w->inherit->seals, batch, &marker);

    if (marked)
        (void)ledger_observe(w->inherit, w->slot, batch, &marker, loop_now_ms(w->loop));
    normal_batch(doc, batch, client_endpoint);
    resolve_show_batch(relay, deployment, tagged, doc, batch);
    if (marked && marker.origin != 0 && marker.file[0] != '\0')
        show_origin(relay, &marker, doc, batch);
}
