/* Creates and uploads that their worker has asked the keeper for, and has not begun to send: creates
 * by the ids of their reservations, uploads by the claims of their keys, in a row of each worker. They
 * leave their place right before their first byte goes out; so what stands in the row of a worker that
 * has died was never sent, for certain, and what it reserved in the database may be given back at once.
 *
 *   FREE ─ unsent_note() ─► NOTED ─ unsent_bury(), its worker is dead ─► DEAD
 *    ▲                        │ unsent_clear()                            │ unsent_forget()
 *    └────────────────────────┴───────────────────────────────────────────┘
 *
 * A worker writes its own row, the master buries it when the worker was reaped, and a keeper forgets
 * what it has given back; each by one word. What finds no place is not noted: after its worker's death
 * it is in doubt, as what was sent. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNSENT_A_ROW 64 /* of one worker, asked for and not yet sent */
#define UNSENT_ID    32 /* letters of an id */

enum unsent_kind { UNSENT_CREATE, UNSENT_KEY };

struct unsent_entry {
    _Atomic uint64_t state; /* the drawing; 0: FREE */
    _Atomic uint64_t kind;
    _Atomic uint64_t id[UNSENT_ID / sizeof(uint64_t)];
};

struct unsent_row {
    struct unsent_entry entries[UNSENT_A_ROW];
};

/** Its worker: it is about to be asked for.
 *  @param id  UNSENT_ID letters
 *  @return NULL: there is no place */
struct unsent_entry *unsent_note(struct unsent_row *row, enum unsent_kind kind, const char *id);

/** Its worker: it is about to be sent, or is over. NULL is fine; the pointer becomes NULL. */
void unsent_clear(struct unsent_entry **entry);

/** Master: the row's worker is dead (reaped). @return how many it had not sent */
uint32_t unsent_bury(struct unsent_row *row);

/** Keeper: the first of a row whose worker is dead. @param id  written, as `kind`
 *  @return NULL: there is none */
struct unsent_entry *unsent_first_dead(struct unsent_row *row, enum unsent_kind *kind,
                                       char id[UNSENT_ID + 1]);

/** Keeper: what it held is given back. */
void unsent_forget(struct unsent_entry *entry);
