/* Markers in a batch's metadata: what parses is written again to the same text but for its seal;
 * what was written reads back; and no byte of it may be changed. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "crypto/marker.h"

static const struct ids_seals *seals(void)
{
    static struct ids_seals made;

    if (made.num == 0)
        MUST(ids_seals_add(&made, "a seal key for the fuzzer", 25, "fuzz") == 0);
    return &made;
}

/* In memory of exactly its size. */
static char *exact(const void *bytes, size_t len)
{
    char *text = malloc(len + 1);

    MUST(text != NULL);
    memcpy(text, bytes, len);
    text[len] = '\0';
    return text;
}

static bool same(const struct marker *a, const struct marker *b)
{
    return a->owner == b->owner && a->request == b->request && a->tokens == b->tokens &&
           a->deployment == b->deployment && a->origin == b->origin && a->key == b->key &&
           a->bare_endpoint == b->bare_endpoint && strcmp(a->nonce, b->nonce) == 0 &&
           strcmp(a->file, b->file) == 0;
}

/* A sealed marker says what it was made of, and nothing once a byte of it is another. */
static void check_written(const struct marker *marker, const uint8_t *data, size_t size)
{
    struct strbuf text = STRBUF_INIT;
    struct marker again;
    char *copy;

    if (marker_write(seals(), marker, &text) != 0) {
        strbuf_deinit(&text);
        return;
    }
    MUST(text.len <= MARKER_MAX);
    copy = exact(text.data, text.len);
    MUST(marker_read(seals(), copy, &again) == 0 && same(marker, &again));
    if (size >= 2 && data[1] != 0) {
        copy[data[0] % text.len] = (char)(copy[data[0] % text.len] ^ data[1]);
        MUST(marker_read(seals(), copy, &again) != 0);
    }
    free(copy);
    strbuf_deinit(&text);
}

static void check_parsed(const uint8_t *data, size_t size)
{
    char *text = exact(data, size);
    struct marker marker;
    int rc = marker_parse(text, &marker);

    MUST(rc == 0 || rc == ERR_SYNTAX);
    MUST(rc != 0 || (strlen(text) <= MARKER_MAX && strlen(marker.nonce) == MARKER_NONCE));
    MUST(marker_read(seals(), text, &marker) != 0 || marker_is_ours(seals(), text));
    if (rc == 0)
        check_written(&marker, data, size);
    free(text);
}

/* A marker of the input's bytes. */
static void check_made(const uint8_t *data, size_t size)
{
    struct marker marker = {0};
    size_t len = size < 32 ? 0 : size - 32;

    if (size < 32)
        return;
    memcpy(&marker.owner, data, 8);
    memcpy(&marker.request, data + 8, 8);
    memcpy(&marker.tokens, data + 16, 5);
    memcpy(&marker.deployment, data + 21, 4);
    memcpy(&marker.origin, data + 25, 4);
    marker_nonce_of(marker.owner, (const char *)data, size, marker.nonce);
    marker.bare_endpoint = (data[29] & 1) != 0;
    memcpy(&marker.key, data + 30, 2);
    memcpy(marker.file, data + 32, len < IDS_MAX ? len : IDS_MAX);
    check_written(&marker, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_parsed(data, size);
    check_made(data, size);
    return 0;
}
