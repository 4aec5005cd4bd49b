/* What the check of a batch file found, as people and programs see it: for POST /v1/files/validate,
 * ?validate=all, and `tranche check-file`. */
#pragma once

#include <stdint.h>

#include "json/json.h"
#include "jsonl/jsonl.h"
#include "upstream/failure.h"

#define VERDICT_MAX_PROBLEMS 50

/** Estimated tokens that the file will enqueue: its prompts as a gateway counts them that has
 * learned nothing yet (features.h), plus the declared output. */
uint64_t verdict_tokens(const struct jsonl_report *report);

/** The problems as [{"line","column","field","code","message"}]. `extra`: a problem of the file as
 * a whole (line and column null); NULL: none. */
struct json *verdict_problems(struct json_doc *doc, const struct jsonl_report *report,
                              const struct failure *extra);

/** {"object","valid","lines","bytes","model","url","estimated_tokens","errors"}. */
struct json *verdict_report(struct json_doc *doc, const struct jsonl_report *report,
                            const struct failure *extra);

/** Whether a provider would not take the file: it is too large or too long, or its urls are of
 * another provider's form, which OpenAI says hours later (providers 1.6, 2.5); `why` then says so.
 */
bool verdict_unfit(const struct jsonl_report *report, const char *provider, uint64_t max_bytes,
                   uint64_t max_lines, struct failure *why);
