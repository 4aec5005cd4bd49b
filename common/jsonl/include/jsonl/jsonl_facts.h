/* What there is to know about one batch line before the rules are applied. Two readers find it out,
 * jsonl_scan (fast, gives up when in doubt) and jsonl_referee (yajl, whose word counts), and where
 * both speak they say the same. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "jsonl/features.h"
#include "json/json.h"

enum jsonl_field {
    FIELD_CUSTOM_ID,
    FIELD_METHOD,
    FIELD_URL,
    FIELD_BODY,
    FIELD_MODEL, /* of the body */
    NUM_FIELDS,
    FIELD_TEXT = NUM_FIELDS, /* of the body: a member whose strings go into the prompt */
    FIELD_IDS,               /* the same, and integers in nothing but arrays are tokens */
    FIELD_SHAPE,             /* of the body: a member whose JSON as such goes into the prompt */
    FIELD_TOKENS,            /* of the body: a member that bounds the answer */
    FIELD_CHOICES,           /* of the body: how many answers there are */
    FIELD_OTHER
};

struct jsonl_value {
    bool present, repeated;
    enum json_type type;
    bool escaped; /* a string with backslashes in it */
    /* Of the first one, in the line; a string's quotes included; `len` is 0 for other types */
    size_t at, len;
    size_t repeat_at; /* of the second one's key */
};

struct jsonl_facts {
    enum json_type root;
    size_t root_at;
    struct jsonl_value fields[NUM_FIELDS];
    struct features prompt; /* its images only after jsonl_note_end() */
    uint64_t output_tokens; /* the largest of the declared ones */
    uint64_t choices;       /* answers, each of so many tokens; 0: not said, which is one */
    uint64_t image_types;   /* parts that say that they are images ... */
    uint64_t image_data;    /* ... and strings that are one: either counts, not both */
    uint64_t low_details;
};

/* Where a reader is in the prompt: what both keep. */
struct jsonl_place {
    enum jsonl_field in; /* FIELD_TEXT, FIELD_IDS, FIELD_SHAPE; FIELD_OTHER: not in the prompt */
    const char *key;     /* the last one, as it stands between its quotes; NULL: none yet */
    size_t key_len;
    size_t shape_at;        /* where the value of a FIELD_SHAPE begins ... */
    uint64_t shape_strings; /* ... and bytes of strings in it, which are counted by themselves */
};

/* Why a line is no JSON. */
struct jsonl_refusal {
    size_t at;        /* offset in the line */
    const char *code; /* constant */
    char message[160];
};

enum {
    JSONL_LONG_TEXT = 256,   /* bytes of a string from which it may be something else than text */
    JSONL_ID_DEPTH = 4,      /* of the arrays that token ids stand in: [1,2] and [[1,2],[3]] */
    JSONL_MAX_CHOICES = 128, /* more in one line no provider takes */
    JSONL_MAX_TOKENS = 1000 * 1000 * 100 /* a declared bound above this is taken for this */
};

/** What a key stands for: of the line itself, or of its body. */
enum jsonl_field jsonl_top_field(const char *key, size_t len);
enum jsonl_field jsonl_body_field(const char *key, size_t len);

/** Note the value of a field below NUM_FIELDS; the first one counts. */
void jsonl_note(struct jsonl_facts *facts, enum jsonl_field field, const struct jsonl_value *value,
                size_t key_at);

/** Note a number that bounds the answer (FIELD_TOKENS), or the number of answers (FIELD_CHOICES);
 * another field is passed over, and anything but digits left to the provider to refuse. */
void jsonl_note_bound(struct jsonl_facts *facts, enum jsonl_field field, const char *digits,
                      size_t len);

/** What the answers of a line may have in all: the tokens of one, times how many there are. */
uint64_t jsonl_all_output(const struct jsonl_facts *facts);

/** Whether a number of this field is one for jsonl_note_bound(). */
static inline bool jsonl_is_bound(enum jsonl_field field)
{
    return field == FIELD_TOKENS || field == FIELD_CHOICES;
}

/** Whether a value of this field is, or begins, a part of the prompt. */
static inline bool jsonl_is_prompt(enum jsonl_field field)
{
    return field == FIELD_TEXT || field == FIELD_IDS || field == FIELD_SHAPE;
}

/** The prompt begins, or ends: an array or object that is the value of `field`, at offset `at` of
 * the line; behind the offset `end`. */
void jsonl_enter_prompt(struct jsonl_place *place, enum jsonl_field field, bool object, size_t at);
void jsonl_leave_prompt(struct jsonl_place *place, struct jsonl_facts *facts, size_t end);

/** Note a string of the prompt: what stands between its quotes, which has no wrong escape and is
 * followed by the closing one, and how long it is decoded. */
void jsonl_note_text(struct jsonl_facts *facts, struct jsonl_place *place, const char *raw,
                     size_t raw_len, size_t decoded_len);

/** Note a number in an array of a FIELD_IDS. */
void jsonl_note_id(struct jsonl_facts *facts, const char *number, size_t len);

/** All of the line was noted. */
void jsonl_note_end(struct jsonl_facts *facts);

/** Read a line strictly and fast. @return false when in doubt, and for all that is wrong: ask the
 * referee then */
bool jsonl_scan(const char *line, size_t len, unsigned max_depth, struct jsonl_facts *facts);

/** Read a line with yajl. @return 0, ERR_SYNTAX with `refusal` filled, ERR_NOMEM */
MUST_USE int jsonl_referee(const char *line, size_t len, unsigned max_depth,
                           struct jsonl_facts *facts, struct jsonl_refusal *refusal);
