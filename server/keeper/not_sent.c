/* See not_sent.h. */
#include "not_sent.h"

#include "common/log.h"

/* @return 0; else the database is away, and the rest waits */
static int give_back_row(struct unsent_row *row, struct intents *intents, unsigned *num)
{
    char id[UNSENT_ID + 1];
    enum unsent_kind kind;
    struct unsent_entry *entry;
    int rc;

    while ((entry = unsent_first_dead(row, &kind, id)) != NULL) {
        rc = intents_were_not_sent(intents, kind, id);
        if (rc != 0)
            return rc;
        unsent_forget(entry);
        ++*num;
    }
    return 0;
}

void not_sent_step(const struct inherited *inherited, struct intents *intents)
{
    struct shared *shared = inherited->shared;
    unsigned num = 0;
    int rc = 0;

    for (size_t i = 0; i < WORKER_ROWS && rc == 0; i++)
        if (atomic_load_explicit(&shared->slots[i].started_unix_s, memory_order_relaxed) != 0)
            rc = give_back_row(&shared->unsent[i], intents, &num);
    if (num > 0)
        log_info("journal: %u creates and uploads of a worker that died were not sent: what they "
                 "held is free",
                 num);
}
