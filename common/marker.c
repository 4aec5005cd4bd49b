/* See marker.h. `1.<owner>.<request>.<nonce>.<file>.<seal>`: fixed-width hex but for the file id,
 * which has no dots. */
#include "common/marker.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define HEX "0123456789abcdef"

#define OWNER_AT   2
#define REQUEST_AT (OWNER_AT + 16 + 1)
#define NONCE_AT   (REQUEST_AT + 16 + 1)
#define FILE_AT    (NONCE_AT + MARKER_NONCE + 1)

uint64_t marker_fingerprint(const char *body, size_t len)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    uint64_t out = 0;

    /* A failure (no memory) leaves 0: a fingerprint that equals only other failures. */
    (void)EVP_Digest(body, len, digest, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 8; i++)
        out = out << 8 | digest[i];
    return out;
}

int marker_new_nonce(char nonce[MARKER_NONCE + 1])
{
    unsigned char bytes[MARKER_NONCE / 2];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return ERR_IO;
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

int marker_write(const struct ids_seals *seals, const struct marker *marker, struct strbuf *out)
{
    struct strbuf text = STRBUF_INIT;
    char seal[IDS_SEAL_HEX + 1];
    int rc = ERR_INVALID;

    if (strpbrk(marker->file, ". \t\r\n") != NULL || strlen(marker->nonce) != MARKER_NONCE)
        return ERR_INVALID;
    strbuf_addf(&text, "1.%016llx.%016llx.%s.%s.", (unsigned long long)marker->owner,
                (unsigned long long)marker->request, marker->nonce, marker->file);
    if (strbuf_failed(&text))
        rc = ERR_NOMEM;
    else if (text.len + IDS_SEAL_HEX > MARKER_MAX)
        rc = ERR_LIMIT;
    else
        rc = ids_seal_text(seals, strbuf_str(&text), text.len, seal);
    if (rc == 0) {
        strbuf_add(out, text.data, text.len);
        strbuf_adds(out, seal);
        rc = strbuf_failed(out) ? ERR_NOMEM : 0;
    }
    strbuf_deinit(&text);
    return rc;
}

static int hex64(const char *text, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < 16; i++) {
        const char *digit = text[i] != '\0' ? strchr(HEX, text[i]) : NULL;

        if (digit == NULL)
            return ERR_SYNTAX;
        *out = *out << 4 | (uint64_t)(digit - HEX);
    }
    return text[16] == '.' ? 0 : ERR_SYNTAX;
}

int marker_read(const struct ids_seals *seals, const char *text, struct marker *out)
{
    size_t len = strlen(text), file_len;

    memset(out, 0, sizeof(*out));
    if (len > MARKER_MAX || len < FILE_AT + 1 + IDS_SEAL_HEX || memcmp(text, "1.", 2) != 0 ||
        text[len - IDS_SEAL_HEX - 1] != '.')
        return ERR_SYNTAX;
    file_len = len - IDS_SEAL_HEX - 1 - FILE_AT;
    if (hex64(text + OWNER_AT, &out->owner) != 0 || hex64(text + REQUEST_AT, &out->request) != 0 ||
        strspn(text + NONCE_AT, HEX) != MARKER_NONCE || text[FILE_AT - 1] != '.' ||
        file_len > IDS_MAX || memchr(text + FILE_AT, '.', file_len) != NULL)
        return ERR_SYNTAX;
    memcpy(out->nonce, text + NONCE_AT, MARKER_NONCE);
    memcpy(out->file, text + FILE_AT, file_len);
    return ids_text_verifies(seals, text, len - IDS_SEAL_HEX, text + len - IDS_SEAL_HEX)
               ? 0
               : ERR_FORGED;
}
