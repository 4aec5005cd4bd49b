/* The endpoints that batches may name, and what is to be known of them: data, not code. Source:
 * OpenAI CreateBatchRequest (2026-08), Azure "batch" how-to (bare forms). */
#pragma once

#include <stdbool.h>

/** NULL-terminated, constant. */
const char *const *endpoints_all(void);

/** A number for one of them, from 1; 0: it is none. And back; NULL: no such number. */
unsigned endpoints_number(const char *url);
const char *endpoints_of_number(unsigned number);

/** Whether OpenAI takes its requests without a model, too. Azure never does. Source: the schemas of
 * OpenAI's requests, where `model` is not among the required members. */
bool endpoints_model_is_optional(const char *url);

/** What a client should hear of it although its file is good; NULL: nothing. */
const char *endpoints_warning(const char *url);

/** Whether both name one endpoint: `/chat/completions` is `/v1/chat/completions`. */
bool endpoints_are_same(const char *a, const char *b);
