/* Batches at work: validation, progress, results. A batch is brought up to the simulator's clock
 * when somebody looks. */
#pragma once

#include "sim.h"

/** Begin the life of a batch that was just added to the account. */
void engine_start(struct account *acc, struct batch *b);

/** Bring one batch, or all of an account, up to now. */
void engine_advance(struct account *acc, struct batch *b);
void engine_advance_all(struct account *acc);

/** Finish all pending looking at lines, so that after a move of the clock every batch is where it
 * should be. */
void engine_settle(struct sim *sim);

/** A cancel was accepted. */
void engine_cancel(struct account *acc, struct batch *b);

/** Tokens of batches that are not terminal, without `but`, on a deployment (NULL: all). */
int64_t engine_enqueued(struct account *acc, const struct deployment *d, const struct batch *but);

/** The deployment or model of that name; NULL when there is none. */
struct deployment *engine_deployment(const struct account *acc, const char *name);
bool engine_is_batch_sku(const struct deployment *d);

/** Whether a batch still needs the content of a file. */
bool engine_reads(const struct account *acc, const struct file *f);

/** The model that the first line of a file names; "" when it names none. */
void engine_peek_model(const struct file *f, char *out, size_t size);

/** What a batch of the file enqueues: `bytes_per_token`, `tokens_per_image`. */
int64_t engine_count_tokens(const struct account *acc, const struct file *f);

/** /chat/completions and /v1/chat/completions are one thing on Azure. */
bool engine_same_endpoint(const struct account *acc, const char *a, const char *b);

void engine_free(struct account *acc, struct batch *b);

/* output.c */

/** Write output and error file. `done` lines ran; the rest is reported with `cut_code` (NULL:
 * cannot be). */
void output_write(struct account *acc, struct batch *b, int64_t at_ms, const char *cut_code);
