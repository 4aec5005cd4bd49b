/* What is known about an input file: which deployment its lines name, and how many tokens a batch
 * of it is. An upload's checker finds it out and the memo keeps it for all workers; when it is not
 * there (a restart, another node's upload) the first lines are read from the provider. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/memo.h"
#include "balancer/slots.h"
#include "jsonl/jsonl.h"
#include "core/runtime.h"

struct facts {
    uint32_t deployment;    /* that the lines name; MODEL_NO_INDEX: none of ours */
    uint64_t model;         /* facts_model() of the group's name: whose learned rates count */
    struct features prompt; /* struct jsonl_report, as the next one */
    uint64_t output_tokens;
    uint64_t lines, bytes;
    bool guessed;         /* which of the deployment's rows: the file was not seen when it came */
    bool counted;         /* among the account's files (file_slots.h), by an upload of ours ... */
    enum slots_kind slot; /* ... as one of these */
    bool expected; /* its tokens are expected (quota_add_expected()): no batch of it was begun */
};

/** A number for a model's name; never 0. */
uint64_t facts_model(const char *name, size_t len);

/** Of a checked file. @param deployment  where it went */
void facts_fill(struct facts *facts, const struct runtime *rt, uint32_t deployment,
                const struct jsonl_report *report);

/** Tokens that a batch of this file will probably count at a provider: its prompts at what was
 * learned of the model, and declared output where that counts. At least 1. */
uint64_t facts_tokens(const struct runtime *rt, const struct facts *facts, enum provider provider);

/** ... and what no provider counts less than: a final refusal may rest on it. 0 for a file of which
 * only the beginning was seen. */
uint64_t facts_least(const struct runtime *rt, const struct facts *facts, enum provider provider);

/** The words of the memo that facts are kept in, and back; the deployment by its fingerprint, the
 * model not at all. Numbers that are too large for their place become the largest that is not.
 * Pure. */
void facts_pack(const struct facts *facts, uint32_t fingerprint, uint64_t words[MEMO_WORDS]);
uint32_t facts_unpack(const uint64_t words[MEMO_WORDS], struct facts *facts);

/** What the job of this file is known by to refusals.h. Never 0.
 *  @param owner  fingerprint of who asks for it */
uint64_t facts_job(const struct facts *facts, uint64_t owner);

/** The same of a file that is kept. @param account  fingerprint of the one that holds it
 *  @return 0: it is not known */
uint64_t facts_job_of(const struct memo *memo, uint32_t account, const char *native, uint64_t owner,
                      uint64_t now_ms);

/** Keep for all workers. @param deployment  one of the account that holds the file */
void facts_remember(struct runtime *rt, uint32_t deployment, const char *native,
                    const struct facts *facts);

/** @return whether they are known */
bool facts_recall(const struct runtime *rt, uint32_t deployment, const char *native,
                  struct facts *facts);

/** Whether a batch of this file may run at another deployment: one of the group that it came for.
 * Where that is a guess, of every group that it may have come for. Pure. */
bool facts_may_go(const struct table *table, const struct facts *facts, uint32_t deployment);

/** The file is gone, or is going. */
void facts_forget(const struct runtime *rt, uint32_t deployment, const char *native);

/** Its batch is being created, or never will be: nothing is expected of it any more. Does nothing
 * where nothing was. @param deployment  one of the account that holds the file */
void facts_take_expected(struct runtime *rt, uint32_t deployment, const char *native,
                         struct facts *facts);

/** The same for the prober. @param account  fingerprint @return whether it was counted among the
 * account's files, and as which kind */
bool facts_take_slot(struct memo *memo, uint32_t account, const char *native, uint64_t now_ms,
                     enum slots_kind *kind);

/** Estimate of a whole file of which the first `sample->bytes` were checked. Pure. */
void facts_extrapolate(struct facts *facts, const struct jsonl_report *sample, uint64_t file_bytes);

struct facts_peek;

/** `facts` is NULL when nothing could be learned: no lines, none of our deployments, no answer.
 * Once unless cancelled, never from inside facts_peek_start(). What was learned is in the memo. */
typedef void (*facts_peek_cb)(void *arg, const struct facts *facts);

/** Read the beginning of a file (about 256 KiB, at least one line) from the account of
 * `deployment`.
 * @param owner  attempt_spec.owner
 * @return NULL: out of memory, on_done will not run */
struct facts_peek *facts_peek_start(struct runtime *rt, uint64_t owner, uint32_t deployment,
                                    const char *native, facts_peek_cb on_done, void *arg);
void facts_peek_cancel(struct facts_peek *peek);
