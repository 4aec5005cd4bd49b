/* Growing byte buffer, doubling. */
#include "common/strbuf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

void strbuf_init(struct strbuf *sb)
{
    memset(sb, 0, sizeof(*sb));
}

void strbuf_deinit(struct strbuf *sb)
{
    free(sb->data);
    strbuf_init(sb);
}

void strbuf_reset(struct strbuf *sb)
{
    sb->len = 0;
    sb->failed = false;
    if (sb->data != NULL)
        sb->data[0] = '\0';
}

enum { LARGE = 1024 * 1024 /* from here on a buffer does not double */ };

int strbuf_reserve(struct strbuf *sb, size_t extra)
{
    size_t need, cap;
    char *data;

    if (sb->failed)
        return ERR_NOMEM;
    if (__builtin_add_overflow(sb->len, extra, &need) || need >= SIZE_MAX / 2) {
        sb->failed = true;
        return ERR_NOMEM;
    }
    if (need < sb->cap)
        return 0;
    /* The same steps each time. A line may be long, and memory has a budget. */
    for (cap = 64; cap <= need;)
        cap += cap < LARGE ? cap : cap / 4;
    data = realloc(sb->data, cap);
    if (data == NULL) {
        sb->failed = true;
        return ERR_NOMEM;
    }
    sb->data = data;
    sb->cap = cap;
    sb->data[sb->len] = '\0';
    return 0;
}

void strbuf_add(struct strbuf *sb, const void *bytes, size_t len)
{
    if (len == 0 || strbuf_reserve(sb, len) != 0)
        return;
    memcpy(sb->data + sb->len, bytes, len);
    sb->len += len;
    sb->data[sb->len] = '\0';
}

void strbuf_adds(struct strbuf *sb, const char *text)
{
    strbuf_add(sb, text, strlen(text));
}

void strbuf_addc(struct strbuf *sb, char c)
{
    if (sb->failed || sb->len + 1 >= sb->cap) {
        strbuf_add(sb, &c, 1);
        return;
    }
    sb->data[sb->len++] = c;
    sb->data[sb->len] = '\0';
}

void strbuf_addv(struct strbuf *sb, const char *fmt, va_list args)
{
    size_t room = sb->failed ? 0 : sb->cap - sb->len;
    char *end = room > 0 ? sb->data + sb->len : NULL;
    va_list copy;
    int len;

    /* Mostly there is room, and then it is printed once. */
    va_copy(copy, args);
    len = vsnprintf(end, room, fmt, copy);
    va_end(copy);
    if (len >= 0 && (size_t)len < room) {
        sb->len += (size_t)len;
        return;
    }
    if (end != NULL)
        *end = '\0';
    if (len < 0 || strbuf_reserve(sb, (size_t)len) != 0) {
        sb->failed = true;
        return;
    }
    vsnprintf(sb->data + sb->len, (size_t)len + 1, fmt, args);
    sb->len += (size_t)len;
}

void strbuf_addf(struct strbuf *sb, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    strbuf_addv(sb, fmt, args);
    va_end(args);
}

const char *strbuf_str(const struct strbuf *sb)
{
    return sb->data != NULL ? sb->data : "";
}

char *strbuf_take(struct strbuf *sb)
{
    char *data = sb->failed ? NULL : sb->data;

    if (sb->failed)
        free(sb->data);
    else if (data == NULL)
        data = calloc(1, 1);
    strbuf_init(sb);
    return data;
}

bool strbuf_failed(const struct strbuf *sb)
{
    return sb->failed;
}
