/* What there is to know about one batch line before the rules are applied. Two readers find it out,
 * jsonl_scan (fast, gives up when in doubt) and jsonl_referee (yajl, whose word counts), and where
 * both speak they say the same. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/json.h"

enum jsonl_field {
    FIELD_CUSTOM_ID,
    FIELD_METHOD,
    FIELD_URL,
    FIELD_BODY,
    FIELD_MODEL, /* of the body */
    NUM_FIELDS,
    FIELD_TEXT = NUM_FIELDS, /* of the body: a member whose text goes into the prompt */
    FIELD_TOKENS,            /* of the body: a member that bounds the answer */
    FIELD_OTHER
};

struct jsonl_value {
    bool present, repeated;
    enum json_type type;
    bool escaped;     /* a string with backslashes in it */
    size_t at, len;   /* of the first one, in the line; a string's quotes included; `len` is 0 for
                         other types */
    size_t repeat_at; /* of the second one's key */
};

struct jsonl_facts {
    enum json_type root;
    size_t root_at;
    struct jsonl_value fields[NUM_FIELDS];
    uint64_t prompt_bytes;
    uint64_t output_tokens; /* the largest of the declared ones */
};

/* Why a line is no JSON. */
struct jsonl_refusal {
    size_t at;        /* offset in the line */
    const char *code; /* constant */
    char message[160];
};

enum {
    JSONL_DATA_URL_BYTES = 1024, /* what a `data:` string counts, however long: some 256 tokens */
    JSONL_MAX_TOKENS = 1000 * 1000 * 100 /* a declared bound above this is taken for this */
};

/** What a key stands for: of the line itself, or of its body. */
enum jsonl_field jsonl_top_field(const char *key, size_t len);
enum jsonl_field jsonl_body_field(const char *key, size_t len);

/** Note the value of a field below NUM_FIELDS; the first one counts. */
void jsonl_note(struct jsonl_facts *facts, enum jsonl_field field, const struct jsonl_value *value,
                size_t key_at);

/** Note a number that bounds the answer; anything but digits is left to the provider to refuse. */
void jsonl_note_tokens(struct jsonl_facts *facts, const char *digits, size_t len);

/** Note a string of the prompt: what stands between its quotes, and how long it is decoded. */
void jsonl_note_text(struct jsonl_facts *facts, const char *raw, size_t raw_len,
                     size_t decoded_len);

/** Read a line strictly and fast. @return false when in doubt, and for all that is wrong: ask the
 * referee then */
bool jsonl_scan(const char *line, size_t len, unsigned max_depth, struct jsonl_facts *facts);

/** Read a line with yajl. @return 0, ERR_SYNTAX with `refusal` filled, ERR_NOMEM */
MUST_USE int jsonl_referee(const char *line, size_t len, unsigned max_depth,
                           struct jsonl_facts *facts, struct jsonl_refusal *refusal);
