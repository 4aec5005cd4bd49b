/* Keys and what they may, in shared memory: a table from the SHA-256 of a key to its compiled rights.
 * One process writes, all read; a look-up takes no lock and less than 300 ns.
 *
 *   word ──► copy 0 │ index, keys, teams, names │     the one that is read
 *            copy 1 │ index, keys, teams, names │     the one that is written next
 *
 * A new state is written whole into the copy that nobody reads, then the word, which has its number,
 * turns. Who read meanwhile sees at the end that the word has another number and reads again: a
 * writer that was killed leaves the word as it was. Writers exclude each other by a lock that the
 * kernel takes back from a dead one. What a request holds is a copy of a row; what it
 * asks later (a model's name) is looked up by the hash again, in the state of then. Not lasting:
 * each program makes it of its sources. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/rights.h"

struct rights_table; /* the region */

/** Room for that many keys. Pages that nobody needed yet cost nothing. Before the fork.
 *  @return 0; ERR_INVALID (0, or more than 4 million); ERR_NOMEM (also: the system has no memfd) */
MUST_USE int rights_table_new(uint32_t max_keys, struct rights_table **out);
void rights_table_free(struct rights_table *table); /* NULL is fine */

/**
 * Make `lists` the state: all of them together, the first one that has a hash or a team's id wins.
 * May take some 50 ms for 100,000 keys: not for a worker.
 *
 * @param writer  number of the writer's generation: one that a newer one has followed is refused
 * @param complete  whether these are all keys there are; false: others may exist that could not be
 *                  loaded yet, so that an unknown key is not known to be wrong
 * @return 0; ERR_LIMIT: more keys, teams or names than there is room for, or an id of more than
 *         RIGHTS_NAME_MAX; ERR_BAD_STATE: a newer writer has written, or another process writes
 *         right now: try again; ERR_NOMEM. Other than after 0, nothing changed
 */
MUST_USE int rights_publish(struct rights_table *table, uint32_t writer,
                            const struct rights_list *const *lists, size_t num_lists,
                            bool complete);

/** Let writers from this number on write again: a newer one has been dismissed. The state stays.
 *  @return 0; ERR_BAD_STATE: another process writes right now; ERR_NOT_FOUND: there is no state */
MUST_USE int rights_hand_back(struct rights_table *table, uint32_t writer);

/* A key's rights as they were at one moment. */
struct rights {
    unsigned char hash[RIGHTS_HASH_BYTES];
    uint64_t owner; /* ids_owner_fingerprint() of "team:<id>", else of "key:<id>" */
    uint64_t key;   /* of "key:<id>": whom the key's limits count */
    uint64_t team;  /* of "team:<id>": whom the team's limits count; 0: no team */
    struct rights_limits key_limits, team_limits; /* the latter all unlimited without a team */
    int64_t expires_unix_ms;                      /* 0: never */
    uint32_t routes;
    bool admin, key_blocked, team_blocked;
    enum rights_source source;
    char tail[RIGHTS_TAIL + 1];
    char alias[64],
        team_name[64]; /* for logs and refusals: the team's id; cut to 43 and 63 bytes; "": none */
};

/** Look a key up by the SHA-256 of its text. A team that no list tells of owns what its keys make,
 * and has no limits.
 *  @return false: no such key */
bool rights_find(const struct rights_table *table, const unsigned char hash[RIGHTS_HASH_BYTES],
                 struct rights *out);

/** Look a team up for somebody who has no key but speaks for it (a token): its rights are those of a
 * key of the team that is not limited itself. `hash` of them does for rights_may_use() and
 * rights_resolve_alias(), as a key's does.
 *  @param is_alias  whether the name is an alias; one that two teams have is none
 *  @return false: no such team */
bool rights_find_team(const struct rights_table *table, const char *name, size_t len, bool is_alias,
                      struct rights *out);

/** Whether an unknown key is certainly none: `complete` of the last rights_publish(). False before
 * the first one. */
bool rights_is_complete(const struct rights_table *table);

/** How many states were published, and how many keys the last one has. 0: none. */
uint64_t rights_generation(const struct rights_table *table);
uint32_t rights_num_keys(const struct rights_table *table);

/** A key by its place in the last state, 0 to rights_num_keys() - 1: to show who there is.
 *  @return false: there is none */
bool rights_at(const struct rights_table *table, uint32_t i, struct rights *out);

/** The same, of `key` and `team` alone: some nanoseconds, to look at all there are. */
bool rights_names_at(const struct rights_table *table, uint32_t i, uint64_t *key, uint64_t *team);

enum rights_verdict { RIGHTS_GOOD, RIGHTS_EXPIRED, RIGHTS_KEY_BLOCKED, RIGHTS_TEAM_BLOCKED };

/** Whether a key that was found may be used at all. Of several reasons against it: that it is
 * blocked, then that it is expired, then its team. Pure. */
enum rights_verdict rights_judge(const struct rights *rights, int64_t now_unix_ms);

enum rights_model { RIGHTS_MODEL_ALLOWED, RIGHTS_MODEL_NOT_OF_KEY, RIGHTS_MODEL_NOT_OF_TEAM };

/** Whether the key, and its team, may use a group: an exact name, or a pattern that ends in "*"
 * (tenants statement A17). A key that is gone by now may use none; an admin key all. A team that no
 * list tells of forbids nothing, and "all-team-models" of it, or of no team, are none.
 *  @param model  the group's name, after aliases */
enum rights_model rights_may_use(const struct rights_table *table, const struct rights *rights,
                                 const char *model, size_t len);

/** The group that a name stands for at this key, else at its team.
 *  @param out  RIGHTS_NAME_MAX + 1 bytes; written when true is returned
 *  @return false: it has no such alias */
bool rights_resolve_alias(const struct rights_table *table, const struct rights *rights,
                          const char *name, size_t len, char *out);

/** What a key may be asked for by, beside the groups' own names: the names of its list, its aliases,
 * then its team's: the names where the key's list leaves them to it, and the aliases. An alias that
 * key and team have comes twice. None is judged here.
 *  @param i    0, 1, ...; the longer a list, the more one costs
 *  @param out  RIGHTS_NAME_MAX + 1 bytes; "": a pattern, which is no name
 *  @return false: there are no more */
bool rights_name_at(const struct rights_table *table, const struct rights *rights, uint32_t i,
                    char *out);
