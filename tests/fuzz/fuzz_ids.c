/* Ids and markers from strangers: nothing but what was sealed here opens, and what opens mints to
 * itself. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "crypto/ids.h"
#include "tests/unit/ids_mint.h"
#include "crypto/marker.h"

static const struct ids_seals *seals(void)
{
    static struct ids_seals made;

    if (made.num == 0) {
        MUST(seal_cache_new(64, &made.cache) == 0);
        MUST(ids_seals_add(&made, "a seal key for the fuzzer", 25, "fuzz") == 0);
    }
    return &made;
}

/* Twice: what is computed and what is remembered say the same. */
static int open_twice(const char *text, size_t len, enum id_kind kind, size_t *native_len,
                      bool *tagged, struct id_tag *tag)
{
    int ret = ids_open(seals(), kind, 0, text, len, native_len, tagged, tag);
    struct id_tag again = {0};

    if (ret == 0 && *tagged) {
        MUST(ids_open(seals(), kind, tag->owner, text, len, native_len, tagged, &again) == 0);
        MUST(ids_open(seals(), kind, tag->owner, text, len, native_len, tagged, &again) == 0);
        MUST(again.deployment == tag->deployment && again.aged == tag->aged);
    }
    return ret;
}

static void check_id(const char *text, size_t len, enum id_kind kind)
{
    struct strbuf again = STRBUF_INIT;
    char native[IDS_MAX + 1];
    struct id_tag tag;
    size_t native_len;
    bool tagged;

    if (open_twice(text, len, kind, &native_len, &tagged, &tag) != 0)
        return;
    MUST(native_len > 0 && native_len <= len && len <= IDS_MAX);
    if (!tagged)
        return;
    memcpy(native, text, native_len);
    native[native_len] = '\0';
    MUST(ids_mint(seals(), kind, native, &tag, &again) == 0);
    MUST(again.len == len && memcmp(again.data, text, len) == 0);
    strbuf_deinit(&again);
}

static void check_marker(const char *text)
{
    struct strbuf again = STRBUF_INIT;
    struct marker marker;

    if (marker_read(seals(), text, &marker) != 0 || text[0] == '1')
        return; /* version 1 is read, not written */
    MUST(marker_write(seals(), &marker, &again) == 0);
    MUST(strcmp(strbuf_str(&again), text) == 0);
    strbuf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    MUST(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    check_id(text, size, ID_FILE);
    check_id(text, size, ID_BATCH);
    check_marker(text);
    free(text);
    return 0;
}
