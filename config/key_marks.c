/* See key_marks.h. */
#include "key_marks.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/sha256.h"

#define DIGEST    16 /* bytes of a digest that are kept: two that are equal by chance are none */
#define FIRST_CAP 64

struct key_marks_slot {
    unsigned char digest[DIGEST];
    struct key_place place;
    bool used;
};

void key_marks_deinit(struct key_marks *marks)
{
    free(marks->slots);
    *marks = (struct key_marks){0};
}

/* The slot that has the digest, or the free one where it goes. */
static struct key_marks_slot *find(const struct key_marks *marks, const unsigned char *digest)
{
    size_t at;

    memcpy(&at, digest, sizeof(at));
    for (;; at++) {
        struct key_marks_slot *slot = &marks->slots[at & (marks->cap - 1)];

        if (!slot->used || memcmp(slot->digest, digest, DIGEST) == 0)
            return slot;
    }
}

/* Half of the slots are free, always. */
static int grow(struct key_marks *marks)
{
    struct key_marks old = *marks;

    if (2 * (marks->num + 1) <= marks->cap)
        return 0;
    marks->cap = old.cap == 0 ? FIRST_CAP : 2 * old.cap;
    marks->slots = calloc(marks->cap, sizeof(*marks->slots));
    if (marks->slots == NULL) {
        *marks = old;
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].used)
            *find(marks, old.slots[i].digest) = old.slots[i];
    free(old.slots);
    return 0;
}

static void digest_of(enum key_mark kind, const void *text, size_t len,
                      unsigned char digest[SHA256_BYTES])
{
    unsigned char byte = (unsigned char)kind;
    const struct sha256_piece pieces[] = {{&byte, 1}, {text, len}};

    sha256_of(pieces, 2, digest);
}

int key_marks_put(struct key_marks *marks, enum key_mark kind, const void *text, size_t len,
                  struct key_place place, struct key_place *first)
{
    unsigned char digest[SHA256_BYTES];
    struct key_marks_slot *slot;

    if (grow(marks) != 0)
        return ERR_NOMEM;
    digest_of(kind, text, len, digest);
    slot = find(marks, digest);
    if (slot->used) {
        *first = slot->place;
        return ERR_DUPLICATE;
    }
    memcpy(slot->digest, digest, DIGEST);
    slot->place = place;
    slot->used = true;
    marks->num++;
    return 0;
}

bool key_marks_has(const struct key_marks *marks, enum key_mark kind, const void *text, size_t len)
{
    unsigned char digest[SHA256_BYTES];

    digest_of(kind, text, len, digest);
    return marks->cap > 0 && find(marks, digest)->used;
}
