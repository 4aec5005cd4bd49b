/* JSON strings as they stand in a text: decode, measure. Without yajl and without a tree. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

/** Append the decoded text of what stands between the quotes of a JSON string. `raw` must be valid
 * (a checker or yajl said so); anything else comes out as some text of at most `len` bytes. */
void json_decode_string(const char *raw, size_t len, struct strbuf *out);

/** How many bytes json_write_string() would print, quotes included. */
size_t json_string_size(const char *text, size_t len);

/** The offset of the first byte from `at` on that is no JSON white space; `len` when there is none.
 * For what follows a value: yajl overlooks the beginning of a string or word there (`{} "a`, `{}
 * tru`). */
size_t json_skip_blanks(const char *text, size_t len, size_t at);

/** json_find_lone_surrogate() in pieces: goes on at *at, for `work` escapes at most.
 *  @return whether *at is the answer; false: go on from there */
bool json_surrogates_some(const char *text, size_t len, size_t *at, size_t work);
