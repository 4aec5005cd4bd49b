/* See replay.h. */
#include "read/replay.h"

#include <string.h>

#include "read/fetch.h"
#include "request/errors.h"

void replay_answer(struct relay *relay, enum route_kind kind, const struct idem_answer *answer)
{
    relay_header(relay, "idempotent-replayed", "true");
    if (answer->len > 0) {
        relay_made(relay, answer->id);
        relay_bytes(relay, answer->status, "application/json", answer->body, answer->len);
        return;
    }
    if (answer->id[0] == '\0') {
        struct failure failure;

        error_fill(&failure, ANSWER_NOT_KEPT, "");
        failure.should_not_retry = true;
        relay_failure(relay, &failure);
        return;
    }
    relay->route = (struct route){.kind = kind, .id_len = strlen(answer->id)};
    relay->method = METHOD_GET;
    memcpy(relay->route.id, answer->id, relay->route.id_len + 1);
    fetch_start(relay);
}
