/* See marker.h. `2.<owner>.<request>.<nonce>.<tokens>.<deployment>.<origin>.<file>.<seal>`:
 * fixed-width hex but for the file id, which has no dots. Version 1 had no tokens, deployment and
 * origin; version 3 is version 2 of a batch whose endpoint the client wrote without "/v1". 4 and 5
 * are 2 and 3 with `<key>.` before the file: only a key inside a team needs them, since everybody
 * else's is the owner, so that programs of before read all others. They take 4 and 5 for somebody
 * else's batch, which they leave alone. */
#include "crypto/marker.h"

#include <assert.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "common/hex.h"

#define OWNER_AT   2
#define REQUEST_AT (OWNER_AT + 16 + 1)
#define NONCE_AT   (REQUEST_AT + 16 + 1)
#define TOKENS_AT  (NONCE_AT + MARKER_NONCE + 1)
#define PLACE_AT   (TOKENS_AT + 16 + 1)
#define ORIGIN_AT  (PLACE_AT + 8 + 1)
#define FILE_AT    (ORIGIN_AT + 8 + 1)
#define FILE_AT_1  TOKENS_AT
#define KEY_AT     FILE_AT
#define FILE_AT_4  (KEY_AT + 16 + 1)

uint64_t marker_fingerprint(const char *body, size_t len)
{
    const struct sha256_piece piece = {body, len};
    unsigned char hash[SHA256_BYTES];
    uint64_t out = 0;

    sha256_of(&piece, 1, hash);
    for (int i = 0; i < 8; i++)
        out = out << 8 | hash[i];
    return out;
}

int marker_new_nonce(char nonce[MARKER_NONCE + 1])
{
    unsigned char bytes[MARKER_NONCE / 2];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return ERR_IO;
    hex_write(bytes, sizeof(bytes), nonce);
    return 0;
}

void marker_nonce_of(uint64_t owner, const char *text, size_t len, char nonce[MARKER_NONCE + 1])
{
    const struct sha256_piece pieces[] = {{&owner, sizeof(owner)}, {text, len}};
    unsigned char hash[SHA256_BYTES];

    sha256_of(pieces, 2, hash);
    hex_write(hash, MARKER_NONCE / 2, nonce);
}

bool marker_takes_file(const char *file, bool keyed)
{
    size_t file_at = keyed ? FILE_AT_4 : FILE_AT;

    return strpbrk(file, ". \t\r\n") == NULL &&
           file_at + strlen(file) + 1 + IDS_SEAL_HEX <= MARKER_MAX;
}

static void write_text(const struct marker *marker, struct strbuf *text)
{
    char version = marker->bare_endpoint ? '3' : '2';

    strbuf_addf(text, "%c.%016llx.%016llx.%s.%016llx.%08lx.%08lx.",
                marker->key != 0 ? version + 2 : version, (unsigned long long)marker->owner,
                (unsigned long long)marker->request, marker->nonce,
                (unsigned long long)marker->tokens, (unsigned long)marker->deployment,
                (unsigned long)marker->origin);
    if (marker->key != 0)
        strbuf_addf(text, "%016llx.", (unsigned long long)marker->key);
    strbuf_addf(text, "%s.", marker->file);
}

int marker_write(const struct ids_seals *seals, const struct marker *marker, struct strbuf *out)
{
    struct strbuf text = STRBUF_INIT;
    char seal[IDS_SEAL_HEX + 1];
    int rc = ERR_INVALID;

    if (strpbrk(marker->file, ". \t\r\n") != NULL || strlen(marker->nonce) != MARKER_NONCE)
        return ERR_INVALID;
    write_text(marker, &text);
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

/* `digits` hex digits, 8 or 16, and the dot behind them. */
static int read_hex(const char *text, int digits, uint64_t *out)
{
    uint64_t low = 0;

    if (!hex_read_eight(text, out) || (digits == 16 && !hex_read_eight(text + 8, &low)) ||
        text[digits] != '.')
        return ERR_SYNTAX;
    if (digits == 16)
        *out = *out << 32 | low;
    return 0;
}

static bool is_nonce(const char *text)
{
    uint64_t ignored;

    static_assert(MARKER_NONCE == 32, "four times eight digits");
    return hex_read_eight(text, &ignored) && hex_read_eight(text + 8, &ignored) &&
           hex_read_eight(text + 16, &ignored) && hex_read_eight(text + 24, &ignored) &&
           text[MARKER_NONCE] == '.';
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

static size_t file_at_of(char version)
{
    if (version == '1')
        return FILE_AT_1;
    return version <= '3' ? FILE_AT : FILE_AT_4;
}

int marker_parse(const char *text, struct marker *out)
{
    size_t len = strlen(text), file_len, file_at = file_at_of(text[0]);

    memset(out, 0, sizeof(*out));
    if (len > MARKER_MAX || len < file_at + 1 + IDS_SEAL_HEX || text[0] < '1' || text[0] > '5' ||
        text[1] != '.' || text[len - IDS_SEAL_HEX - 1] != '.')
        return ERR_SYNTAX;
    file_len = len - IDS_SEAL_HEX - 1 - file_at;
    if (read_hex(text + OWNER_AT, 16, &out->owner) != 0 ||
        read_hex(text + REQUEST_AT, 16, &out->request) != 0 || !is_nonce(text + NONCE_AT) ||
        file_len > IDS_MAX || memchr(text + file_at, '.', file_len) != NULL ||
        (text[0] != '1' && read_place(text, out) != 0) ||
        (text[0] > '3' && (read_hex(text + KEY_AT, 16, &out->key) != 0 || out->key == 0)))
        return ERR_SYNTAX;
    out->bare_endpoint = text[0] == '3' || text[0] == '5';
    memcpy(out->nonce, text + NONCE_AT, MARKER_NONCE);
    memcpy(out->file, text + file_at, file_len);
    return 0;
}

bool marker_is_ours(const struct ids_seals *seals, const char *text)
{
    return ids_text_verifies(seals, text, strlen(text));
}

int marker_read(const struct ids_seals *seals, const char *text, struct marker *out)
{
    int ret = marker_parse(text, out);

    return ret != 0 || marker_is_ours(seals, text) ? ret : ERR_FORGED;
}
