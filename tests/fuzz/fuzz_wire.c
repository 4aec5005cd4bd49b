/* What goes between workers and the keeper about batches: bytes are a message or they are none, and
 * what was read is written as the very same bytes. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "journal/wire.h"

/* Both ways of one kind; its texts are C strings inside of the bytes. */
#define CHECK(name)                                                                                \
    static void check_##name(const char *bytes, size_t len)                                        \
    {                                                                                              \
        static struct wire_##name message;                                                         \
        struct strbuf text = STRBUF_INIT;                                                          \
                                                                                                   \
        if (wire_##name##_read(bytes, len, &message) != 0)                                         \
            return;                                                                                \
        MUST(wire_##name##_write(&message, &text) == 0);                                           \
        MUST(text.len == len && memcmp(text.data, bytes, len) == 0);                               \
        strbuf_deinit(&text);                                                                      \
    }

CHECK(intent)
CHECK(verdict)
CHECK(live)
CHECK(drop)
CHECK(seen)
CHECK(due_ask)
CHECK(due_list)
CHECK(story)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size > 0 ? size : 1); /* of exactly its size: nothing behind it is read */

    MUST(bytes != NULL);
    memcpy(bytes, data, size);
    check_intent(bytes, size);
    check_verdict(bytes, size);
    check_live(bytes, size);
    check_drop(bytes, size);
    check_seen(bytes, size);
    check_due_ask(bytes, size);
    check_due_list(bytes, size);
    check_story(bytes, size);
    free(bytes);
    return 0;
}
