/* Cookies (RFC 6265): the little of them that the page needs. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** The value of the first cookie of this name in a Cookie header.
 *  @param value  borrowed from the header, not terminated; without the quotes of a quoted one
 *  @return false: there is none */
bool cookie_find(const char *header, size_t header_len, const char *name, const char **value,
                 size_t *len);
