/* Which URL an endpoint may have (webhook statement D27): a strict part of what RFC 3986 allows, so
 * that whoever connects cannot read another host in it. Pure. */
#pragma once

#include <stdbool.h>

#include "webhook/hook_address.h"

#define HOOK_URL_MAX 2048 /* bytes */

/** Look at a URL: https, no user or password, no fragment, a plain host.
 *  @param allow_http  clear text is allowed too
 *  @return NULL: it is fine; else why not, a constant */
const char *hook_url_fault(const char *url, bool allow_http);

/** The address that a URL has for its host.
 *  @return false: its host is a name, whose addresses are looked at when they are connected to */
bool hook_url_address(const char *url, unsigned char out[HOOK_ADDRESS_BYTES]);

/** How much of a URL logs and lists of others may show: scheme, host and port; the rest may be a
 * secret. @return bytes of it */
int hook_url_shown(const char *url);
