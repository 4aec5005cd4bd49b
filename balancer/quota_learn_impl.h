/* What quota_learn.c knows about a column, for quota.c, which counts the column's reservations. */
#pragma once

#include "quota_region.h"

uint64_t quota_limit_of(const struct quota_column *column, uint64_t now_ms);
uint64_t quota_foreign_of(const struct quota_column *column, uint64_t now_ms);

/* All that is enqueued there and not reserved here: other gateways', and what is nobody's of ours. */
uint64_t quota_others_of(const struct quota_column *column, uint64_t now_ms);

/* Whether jobs of that size were just refused there. */
bool quota_is_cooling_down(const struct quota_column *column, uint64_t tokens, uint64_t now_ms);

/* Nothing is known any more but E. */
void quota_forget_learned(struct quota_column *column);

/* One more was placed. */
void quota_note_placed(struct quota_column *column, uint64_t now_ms);

/* A create was accepted: if it was as large as what was refused, there is room again. */
void quota_note_accepted(struct quota_column *column, uint64_t tokens);

/* Some of what was foreign turned out to be ours. */
void quota_note_adopted(struct quota_column *column, uint64_t tokens, uint64_t now_ms);

/* A job came to its end `elapsed_ms` after its create, with `ahead` tokens before it. */
void quota_note_finished(struct quota_column *column, uint64_t ahead, uint64_t tokens,
                         uint64_t elapsed_ms);

/* It has not, and so much of it is done. */
void quota_note_progress(struct quota_column *column, uint64_t ahead, uint64_t tokens,
                         uint64_t done, uint64_t total, uint64_t elapsed_ms);
