/* A growing byte buffer that is always NUL-terminated. An allocation that fails is remembered, not
 * returned: append as often as needed, then ask strbuf_failed() once. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct strbuf {
    char *data;  /* owned; NULL while nothing was appended */
    size_t len;  /* bytes, without the terminating NUL */
    size_t cap;  /* bytes allocated */
    bool failed; /* an append ran out of memory; the content is then incomplete */
};

#define STRBUF_INIT                                                                                \
    {                                                                                              \
        0                                                                                          \
    }

/** Make `sb` empty; nothing is allocated. Pair with strbuf_deinit(). */
void strbuf_init(struct strbuf *sb);

/** Free the content and make `sb` empty again. */
void strbuf_deinit(struct strbuf *sb);

/** Forget the content, keep the memory. */
void strbuf_reset(struct strbuf *sb);

/** Make room for `extra` more bytes. Returns 0 or ERR_NOMEM (also remembered in `failed`). */
int strbuf_reserve(struct strbuf *sb, size_t extra);

/** Append `len` bytes. */
void strbuf_add(struct strbuf *sb, const void *bytes, size_t len);

/** Append a NUL-terminated string. */
void strbuf_adds(struct strbuf *sb, const char *text);

/** Append one byte. */
void strbuf_addc(struct strbuf *sb, char c);

/** Append formatted text. */
void strbuf_addf(struct strbuf *sb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_addv(struct strbuf *sb, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

/** The content as a NUL-terminated string; "" when empty. Valid until the next change. */
const char *strbuf_str(const struct strbuf *sb);

/** Hand the content over as a malloc'ed string (the caller frees it) and make `sb` empty.
 *  NULL when an append failed. */
char *strbuf_take(struct strbuf *sb);

/** Whether an append ran out of memory. */
bool strbuf_failed(const struct strbuf *sb);
