/* Any text, with a key planted in it: nothing of the key is left, the text is no longer than it
 * was, and what is left once more looks the same. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "common/mask.h"

static char key[] = "sk-proj-Zq3vR8tY1uL6wE9xN2bM5cK7dJ4hG0fSpAoI";
static char other[] = "8f3c1a9be27d40560b9d8e7f6a5c4b32";
static char tiny[] = "sk-1234";

static const struct mask *set(void)
{
    static struct mask *made;
    const struct secret secrets[] = {
        {key, sizeof(key) - 1}, {other, sizeof(other) - 1}, {tiny, sizeof(tiny) - 1}};
    const struct secret *list[] = {&secrets[0], &secrets[1], &secrets[2]};

    if (made == NULL)
        made = mask_new(list, 3);
    MUST(made != NULL);
    return made;
}

static void check(const char *text, size_t len, bool planted)
{
    char *copy = malloc(len > 0 ? len : 1);
    size_t left, again;

    MUST(copy != NULL);
    memcpy(copy, text, len);
    MUST(mask_finds(set(), copy, len) || !planted);
    left = mask_hide(set(), copy, len, len);
    MUST(left <= len && (left < len || !planted));
    MUST(memmem(copy, left, key, sizeof(key) - 1) == NULL);
    MUST(!mask_finds(set(), copy, left));
    again = mask_hide(set(), copy, left, left);
    MUST(again == left);
    left = mask_guess(copy, left, left);
    MUST(left <= again);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = size > 0 ? data[0] % size : 0;
    char *text = malloc(size + sizeof(key));

    MUST(text != NULL);
    check((const char *)data, size, false);
    memcpy(text, data, at);
    memcpy(text + at, key, sizeof(key) - 1);
    memcpy(text + at + sizeof(key) - 1, data + at, size - at);
    check(text, size + sizeof(key) - 1, true);
    free(text);
    return 0;
}
