/* What checking and splicing share: the checker's inside. Nobody else includes this. */
#pragma once

#include "jsonl/features.h"
#include "idset.h"
#include "jsonl/jsonl.h"
#include "jsonl/jsonl_reader.h"
#include "common/strbuf.h"

enum model_state { MODEL_UNKNOWN, MODEL_NAMED, MODEL_ABSENT };

struct jsonl {
    struct jsonl_rules rules;       /* defaults filled in */
    struct jsonl_problem *problems; /* owned; room for rules.max_errors */
    size_t num_problems;
    int result; /* final once not 0 */
    bool finished;

    struct strbuf carry; /* the beginning of a line whose end is still to come */
    bool skipping;       /* the rest of a line that was too long */
    uint64_t line;       /* number of the line being read, from 1 */
    uint64_t line_at;    /* its offset in the file */
    size_t base;         /* bytes of a byte order mark before what is checked of it */
    uint64_t blank_line; /* first of the blank lines just before; 0: there is none */

    struct idset ids;
    struct strbuf scratch; /* for decoding */
    enum model_state model_state;
    struct strbuf model; /* decoded */
    uint64_t model_line; /* where model_state was decided */
    struct strbuf url;   /* decoded */
    uint64_t url_line;   /* 0: none yet */

    /* Of body.model's values: varints of the gap since the last one, doubled, plus 1 where the
     * length is another than that of the last; then that length. */
    struct strbuf spans;
    uint64_t last_span_end;
    size_t last_span_len; /* 0: none yet */
    uint64_t num_spans, span_bytes;

    /* The line in `carry`, where it is read in slices; what came behind it, and where that began. */
    struct jsonl_reader reader;
    struct strbuf rest;
    uint64_t rest_at;
    bool too_large; /* the file is, behind `rest` */

    uint64_t lines, bytes;
    uint64_t inputs; /* of embeddings */
    struct features prompt;
    uint64_t output_tokens;
};
