/* JSON strings as they stand in a text: decode, measure. Without yajl and without a tree. */
#pragma once

#include <stddef.h>

#include "common/strbuf.h"

/** Append the decoded text of what stands between the quotes of a JSON string. `raw` must be valid (a checker or yajl said so);
 *  anything else comes out as some text of at most `len` bytes. */
void json_decode_string(const char *raw, size_t len, struct strbuf *out);

/** How many bytes json_write_string() would print, quotes included. */
size_t json_string_size(const char *text, size_t len);
