/* The TLS context of the front door. Made before the fork. */
#pragma once

#include <stddef.h>
#include <openssl/ssl.h>

#include "common/err.h"
#include "tickets.h"

/**
 * TLS 1.2 and 1.3 with forward secrecy and authenticated ciphers only, no compression, no
 * renegotiation, no early data; ALPN h2 before http/1.1 (a client that offers neither is refused
 * with no_application_protocol, RFC 7301 section 3.2; one that offers nothing is served). Sessions
 * resume by tickets.
 *
 * @param cert_file  PEM, the server's certificate first, then its chain
 * @param key_file   PEM, without a passphrase
 * @param tickets    what seals them; borrowed, outlives the context. NULL: a key of its own, for
 *                   ever
 * @param out        on 0 the context, SSL_CTX_free() by the caller
 * @param error      on failure one line that names the file and the reason
 * @return 0; ERR_INVALID (the files); ERR_NOMEM
 */
MUST_USE int tls_new(const char *cert_file, const char *key_file, const struct tickets *tickets,
                     SSL_CTX **out, char *error, size_t error_size);
