/* Base64 inside strings: pictures, sound and documents, which no provider counts by the byte as it
 * does text. */
#pragma once

#include <stddef.h>

/** The next long run of base64 in a string as it stands between its quotes: in any of the two
 * alphabets, wrapped at 60 characters or more, slashes escaped or not. A run at the very beginning
 * counts from 256 characters on, another one from 2,048; words of one case, numbers in hexadecimal
 * and escaped letters are none. What is inside is looked at in samples, and its end is right to
 * some bytes.
 * @param from  where to look from, 0 at first
 * @param at    written: where the run begins
 * @return its length; 0: there is none from there on */
size_t base64_run_find(const char *text, size_t len, size_t from, size_t *at);
