/* The TLS context of the front door. Made before the fork, so that a session begun with one worker
 * resumes with every other. */
#pragma once

#include <stddef.h>
#include <openssl/ssl.h>

#include "common/err.h"

/**
 * TLS 1.2 and 1.3 with forward secrecy and authenticated ciphers only, no compression, no
 * renegotiation, no early data; ALPN h2 before http/1.1 (a client that offers neither is refused
 * with no_application_protocol, RFC 7301 section 3.2; one that offers nothing is served). Sessions
 * resume by tickets; each context has ticket keys of its own, so a reload is also their rotation.
 *
 * @param cert_file  PEM, the server's certificate first, then its chain
 * @param key_file   PEM, without a passphrase
 * @param out        on 0 the context, SSL_CTX_free() by the caller
 * @param error      on failure one line that names the file and the reason
 * @return 0; ERR_INVALID (the files); ERR_NOMEM
 */
MUST_USE int tls_new(const char *cert_file, const char *key_file, SSL_CTX **out, char *error,
                     size_t error_size);
