/* What an account was asked: the last 1000 requests in full, and how often each method and path
 * came since the last reset. */
#pragma once

#include "request.h"

#define JOURNAL_SIZE 1000

struct journal *journal_new(void);
void journal_free(struct journal *j);
void journal_reset(struct journal *j);

/** A request head has arrived. Fills req->journal_seq. `order` numbers requests of all accounts. */
void journal_begin(struct journal *j, struct request *req, uint64_t order);

/** The answer's last byte is written (or the connection was ended instead: status 0). */
void journal_end(struct journal *j, const struct request *req, int status);

/** Attach JSON about the parts of a multipart body. */
void journal_parts(struct journal *j, const struct request *req, const char *json);

/** How many requests matched since the last reset. */
uint64_t journal_count(const struct journal *j, const char *method, const char *path,
                       bool answered);

/** Print the calls object of the ledger: {"GET /files":n}. Ids in paths are printed as {id}. */
void journal_write_calls(const struct journal *j, struct strbuf *out);

/** Print requests in order. With several journals the caller merges: `order_of` and `write_at` go
 * over the ring. */
size_t journal_size(const struct journal *j);
uint64_t journal_order_at(const struct journal *j, size_t i);
void journal_write_at(const struct journal *j, size_t i, const char *account, struct strbuf *out);
