/* See marker.h. `2.<owner>.<request>.<nonce>.<tokens>.<deployment>.<origin>.<file>.<seal>`:
 * fixed-width hex but for the file id, which has no dots. Version 1 had no tokens, deployment and
 * origin. */
#include "common/marker.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define HEX "0123456789abcdef"

#define OWNER_AT   2
#define REQUEST_AT (OWNER_AT + 16 + 1)
#define NONCE_AT   (REQUEST_AT + 16 + 1)
#define TOKENS_AT  (NONCE_AT + MARKER_NONCE + 1)
#define PLACE_AT   (TOKENS_AT + 16 + 1)
#define ORIGIN_AT  (PLACE_AT + 8 + 1)
#define FILE_AT    (ORIGIN_AT + 8 + 1)
#define FILE_AT_1  TOKENS_AT

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

void marker_nonce_of(uint64_t owner, const char *text, size_t len, char nonce[MARKER_NONCE + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    /* A failure (no memory) leaves zeroes: a nonce that equals only other failures'. */
    if (ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
        EVP_DigestUpdate(ctx, &owner, sizeof(owner)) == 1 && EVP_DigestUpdate(ctx, text, len) == 1)
        (void)EVP_DigestFinal_ex(ctx, digest, NULL);
    EVP_MD_CTX_free(ctx);
    for (int i = 0; i < MARKER_NONCE / 2; i++)
        snprintf(nonce + 2 * i, 3, "%02x", digest[i]);
}

int marker_write(const struct ids_seals *seals, const struct marker *marker, struct strbuf *out)
{
    struct strbuf text = STRBUF_INIT;
    char seal[IDS_SEAL_HEX + 1];
    int rc = ERR_INVALID;

    if (strpbrk(marker->file, ". \t\r\n") != NULL || strlen(marker->nonce) != MARKER_NONCE)
        return ERR_INVALID;
    strbuf_addf(&text, "2.%016llx.%016llx.%s.%016llx.%08lx.%08lx.%s.",
                (unsigned long long)marker->owner, (unsigned long long)marker->request,
                marker->nonce, (unsigned long long)marker->tokens,
                (unsigned long)marker->deployment, (unsigned long)marker->origin, marker->file);
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

/* `digits` hex digits and the dot behind them. */
static int read_hex(const char *text, int digits, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++) {
        const char *digit = text[i] != '\0' ? strchr(HEX, text[i]) : NULL;

        if (digit == NULL)
            return ERR_SYNTAX;
        *out = *out << 4 | (uint64_t)(digit - HEX);
    }
    return text[digits] == '.' ? 0 : ERR_SYNTAX;
}

static int read_place(const char *text, struct marker *out)
{
    uint64_t deployment, origin;

    if (read_hex(text + TOKENS_AT, 16, &out->tokens) != 0 ||
        read_hex(text + PLACE_AT, 8, &deployment) != 0 ||
        read_hex(text + ORIGIN_AT, 8, &origin) != 0)
        return ERR_SYNTAX;
    out->deployment = (uint32_t)deployment;
    out->origin = (uint32_t)origin;
    return 0;
}

int marker_read(const struct ids_seals *seals, const char *text, struct marker *out)
{
    size_t len = strlen(text), file_len, file_at = text[0] == '1' ? FILE_AT_1 : FILE_AT;

    memset(out, 0, sizeof(*out));
    if (len > MARKER_MAX || len < file_at + 1 + IDS_SEAL_HEX ||
        (text[0] != '1' && text[0] != '2') || text[1] != '.' || text[len - IDS_SEAL_HEX - 1] != '.')
        return ERR_SYNTAX;
    file_len = len - IDS_SEAL_HEX - 1 - file_at;
    if (read_hex(text + OWNER_AT, 16, &out->owner) != 0 ||
        read_hex(text + REQUEST_AT, 16, &out->request) != 0 ||
        strspn(text + NONCE_AT, HEX) != MARKER_NONCE || text[NONCE_AT + MARKER_NONCE] != '.' ||
        file_len > IDS_MAX || memchr(text + file_at, '.', file_len) != NULL ||
        (text[0] == '2' && read_place(text, out) != 0))
        return ERR_SYNTAX;
    memcpy(out->nonce, text + NONCE_AT, MARKER_NONCE);
    memcpy(out->file, text + file_at, file_len);
    return ids_text_verifies(seals, text, len - IDS_SEAL_HEX, text + len - IDS_SEAL_HEX)
               ? 0
               : ERR_FORGED;
}
