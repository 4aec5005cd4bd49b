/* Small JSON documents (answers, create bodies, config fragments): parse over yajl into a tree,
 * read, edit, print. Numbers keep their spelling, objects their key order and unknown members, so
 * that what we do not understand passes through unchanged. Not for batch files: those are checked
 * by jsonl.h without a tree. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json;     /* one value; lives as long as its document */
struct json_doc; /* arena of all values of a tree; freed as one */

struct json_error {
    size_t line;     /* 1-based */
    size_t column;   /* 1-based, in bytes */
    bool over_limit; /* valid JSON as far as it was read, but more of it than is taken */
    /* One line without a full stop, printable, no input longer than a few characters in it */
    char message[192];
};

/* Most values (members and elements, whatever their depth, and the root) of one document, so that
 * one parse costs a turn of the loop about a millisecond and a tree at most some 100 bytes for each
 * value and twice the text. A batch has about 60, a create 40; lists are read object by object. */
#define JSON_MAX_VALUES 16384

struct json_doc *json_doc_new(void);      /* NULL when out of memory */
void json_doc_free(struct json_doc *doc); /* NULL is fine */

/** The same for one that holds a secret: its values are wiped before they are let go of. The text
 *  that was parsed is its owner's to wipe. NULL is fine. */
void json_doc_wipe(struct json_doc *doc);

/** Bytes that the document has taken from the system for its values. */
size_t json_doc_bytes(const struct json_doc *doc);

/** Whether an object of a text that was parsed into `doc` named a member twice, however the name
 *  was spelt: readers may then take different ones for it (RFC 8259, section 4). */
bool json_doc_repeats(const struct json_doc *doc);

/** Parse exactly one JSON value (RFC 8259; UTF-8 checked strictly, no BOM, nesting <= 128, at most
 * JSON_MAX_VALUES values; duplicate keys: last one wins, in the place of the first; white space
 * around the value allowed; \u escapes of half a surrogate pair refused).
 *  @return the root, owned by `doc`; NULL with `error` filled (line, column) */
struct json *json_parse(struct json_doc *doc, const char *text, size_t len,
                        struct json_error *error);

/** The same with a bound of the caller's. Nothing is read behind the first value too many, of which
 * `error` tells with `over_limit`. */
struct json *json_parse_most(struct json_doc *doc, const char *text, size_t len, size_t max_values,
                             struct json_error *error);

enum json_type json_type(const struct json *v);          /* JSON_NULL for NULL */
bool json_is(const struct json *v, enum json_type type); /* false for NULL */

/** A member of an object; NULL when `obj` is NULL, no object or lacks it. */
struct json *json_get(const struct json *obj, const char *key);

/** The decoded text of a string (NUL-terminated; may contain NUL when `len` says so); NULL when `v`
 * is NULL or no string. `len` may be NULL. */
const char *json_str(const struct json *v, size_t *len);
const char *json_get_str(const struct json *obj, const char *key); /* json_str(json_get(...)) */

/** An integral number that fits; returns false otherwise ("1e3", "1.0" and fractions are not
 * integers here). */
bool json_int64(const struct json *v, int64_t *out);
bool json_double(const struct json *v, double *out);
bool json_bool(const struct json *v, bool *out);
const char *json_number_text(const struct json *v); /* raw spelling; NULL when no number */

size_t json_size(const struct json *v); /* members or elements; 0 for others */
struct json *json_at(const struct json *v,
                     size_t i); /* i-th element or member's value; NULL past the end */
const char *json_key_at(const struct json *obj, size_t i, size_t *len);

/* Makers; NULL when out of memory (the document remembers it: json_doc_failed()). Text is copied.
 */
struct json *json_new_object(struct json_doc *doc);
struct json *json_new_array(struct json_doc *doc);
struct json *json_new_string(struct json_doc *doc, const char *text, size_t len);
struct json *json_new_cstring(struct json_doc *doc,
                              const char *text); /* NULL text gives JSON null */
struct json *json_new_int(struct json_doc *doc, int64_t value);
struct json *json_new_double(struct json_doc *doc, double value);
struct json *json_new_bool(struct json_doc *doc, bool value);
struct json *json_new_null(struct json_doc *doc);
bool json_doc_failed(const struct json_doc *doc);

/** Set a member: in place when the key exists, else appended. `value` must belong to `doc`. */
void json_set(struct json_doc *doc, struct json *obj, const char *key, struct json *value);
void json_set_str(struct json_doc *doc, struct json *obj, const char *key, const char *text);
void json_set_int(struct json_doc *doc, struct json *obj, const char *key, int64_t value);
void json_remove(struct json *obj, const char *key); /* absent is fine */
void json_append(struct json_doc *doc, struct json *array, struct json *value);

/** Put the members of an object in order: these first, null where they are missing, and all others
 * behind them as they came. Out of memory it stays as it is.
 *  @param keys  [num], no two the same; constant text, which is not copied */
void json_order(struct json_doc *doc, struct json *obj, const char *const *keys, size_t num);

/** Make a value, wherever it stands, the same as another one of its document. NULL for either
 * changes nothing. */
void json_assign(struct json *v, const struct json *from);

/** Print compactly, strings re-escaped (only what RFC 8259 demands, plus U+007F); invalid UTF-8
 * never gets in. */
void json_write(const struct json *v, struct strbuf *out);

/** Print a string literal with quotes; bytes that are no valid UTF-8 become U+FFFD. */
void json_write_string(struct strbuf *out, const char *text, size_t len);

/** Print a member of an object that is being printed, behind a comma unless it is the first one.
 *  @param key  as it goes out: nothing in it that needs an escape
 *  @param value  of _string, as json_write_string(); NULL prints null */
void json_write_member_string(struct strbuf *out, const char *key, const char *value);
void json_write_member_int(struct strbuf *out, const char *key, int64_t value);

/** Line and column (1-based, bytes) of an offset in a text; lines end with LF. */
void json_place(const char *text, size_t offset, size_t *line, size_t *column);

/** Whether the bytes are valid UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above
 * U+10FFFF). */
bool utf8_is_valid(const char *text, size_t len);

/** How many bytes the first character takes, 0 when no valid UTF-8 is there. `len` is not 0. */
size_t utf8_sequence(const char *text, size_t len);

/** How many bytes at the start are valid UTF-8: `len`, or the offset of the first sequence that is
 * not. */
size_t utf8_valid_prefix(const char *text, size_t len);

/** The offset of the first \u escape of half a surrogate pair in the text of a JSON value or
 * string; `len` when there is none. yajl lets them pass, although they stand for no character. */
size_t json_find_lone_surrogate(const char *text, size_t len);

/** Where the offending token of yajl's `message` begins, given how many bytes yajl says it
 * consumed. */
size_t json_offending_offset(const char *text, size_t len, size_t consumed, const char *message);
