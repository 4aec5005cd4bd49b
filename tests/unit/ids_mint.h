/* A tagged id appended to a text. */
#pragma once

#include <string.h>

#include "common/strbuf.h"
#include "crypto/ids.h"

/* @return 0, ERR_INVALID (ids_mint_text() says when), ERR_NOMEM; nothing is appended then */
static inline int ids_mint(const struct ids_seals *seals, enum id_kind kind, const char *native,
                           const struct id_tag *tag, struct strbuf *out)
{
    char text[IDS_MAX + 1];
    size_t len = ids_mint_text(seals, kind, native, strnlen(native, IDS_MAX + 1), tag, text);

    if (len == 0)
        return ERR_INVALID;
    strbuf_add(out, text, len);
    return strbuf_failed(out) ? ERR_NOMEM : 0;
}
