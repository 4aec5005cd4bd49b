/* How the database and the fleet are, into the words that /health and /metrics of all processes read
 * (core/database_words.h). What only a question to the database can tell is asked every few seconds,
 * while it answers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/database_words.h"
#include "store/store.h"

#define DATABASE_STATE_MS 5000 /* between two questions */

struct database_state {
    struct database_words *words; /* borrowed */
    struct store *store;          /* borrowed; NULL: there is no database */
    bool journal;                 /* whether batches are written there */
    const char *node;             /* borrowed; who claims them; NULL: nobody here */
    uint64_t ask_ms;              /* when the next question is due, monotonic */
};

/** Look, once a second.
 *  @param keys_generation  of the keys that were read last
 *  @param now_ms           monotonic */
void database_state_step(struct database_state *state, uint64_t keys_generation, uint64_t now_ms);
