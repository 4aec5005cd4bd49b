/* What the check of a batch file found, as people and programs see it: for POST /v1/files/validate,
 * ?validate=all, and `tranche check-file`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "json/json.h"
#include "jsonl/jsonl.h"
#include "common/model.h"
#include "upstream/failure.h"
#include "config/config.h"

#define VERDICT_MAX_PROBLEMS 50

/** Estimated tokens that the file will enqueue: its prompts as a gateway counts them that has
 * learned nothing yet (features.h), plus the declared output. */
uint64_t verdict_tokens(const struct jsonl_report *report);

/** The envelope of a refusal, {"error"}, with all problems in its `errors`:
 * [{"line","column","field","code","message"}].
 * @param first  the answer's own message and code
 * @param extra  a problem of the file as a whole (line and column null); NULL: none */
struct json *verdict_refusal(struct json_doc *doc, const struct jsonl_report *report,
                             const struct failure *first, const struct failure *extra);

/** {"object","valid","lines","bytes","model","url","estimated_tokens","errors","warnings"}.
 * @param extra          as above
 * @param model_warning  what to say of the model although the file is good; NULL or "": nothing */
struct json *verdict_report(struct json_doc *doc, const struct jsonl_report *report,
                            const struct failure *extra, const char *model_warning);

/* What a provider, or the operator in its place, wants of a file as a whole. */
struct verdict_rules {
    enum provider provider; /* provider_rules() of the account */
    uint64_t max_bytes, max_lines;
    uint64_t max_inputs; /* to embed; 0: no limit */
};

/** What the limits of the configuration say for files of this provider. */
void verdict_rules_of(const struct config_limits *limits, enum provider provider,
                      struct verdict_rules *rules);

/** Whether a provider would not take the file: it is too large or too long, its lines have no model
 * where they need one, or its urls are of another provider's form, which OpenAI says hours later
 * (providers 1.3, 1.6, 2.5); `why` then says so. Uploads, validation and check-file all ask here,
 * so that they say the same of one file. */
bool verdict_unfit(const struct jsonl_report *report, const struct verdict_rules *rules,
                   struct failure *why);
