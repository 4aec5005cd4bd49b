/* See file_model.h. A name takes as many entries as it needs; the last one has a NUL. */
#include "objects/file_model.h"

#include <string.h>

#define MEMO_MODEL  'M' /* its keys of the memo */
#define PIECE       (MEMO_WORDS * sizeof(uint64_t))
#define MOST_PIECES (FILE_MODEL_SIZE / PIECE + 1)

static uint64_t key_of(const struct runtime *rt, uint32_t deployment, const char *native,
                       uint64_t piece)
{
    uint32_t account = table_deployment(rt->table, deployment)->account;

    return memo_key(MEMO_MODEL, rt->account_fingerprint[account] | piece << 32, native,
                    strlen(native));
}

void file_model_remember(const struct runtime *rt, uint32_t deployment, const char *native,
                         const char *name)
{
    size_t size = strlen(name) + 1;

    for (size_t at = 0; size <= FILE_MODEL_SIZE && at < size; at += PIECE) {
        uint64_t words[MEMO_WORDS] = {0};

        memcpy(words, name + at, size - at < PIECE ? size - at : PIECE);
        memo_put(rt->inherited->memo, key_of(rt, deployment, native, at / PIECE), words,
                 loop_now_ms(rt->loop));
    }
}

bool file_model_recall(const struct runtime *rt, uint32_t deployment, const char *native,
                       char name[FILE_MODEL_SIZE])
{
    char text[MOST_PIECES * PIECE];

    for (size_t i = 0; i < MOST_PIECES; i++) {
        uint64_t words[MEMO_WORDS];

        if (!memo_get(rt->inherited->memo, key_of(rt, deployment, native, i), 0,
                      loop_now_ms(rt->loop), words))
            return false;
        memcpy(text + i * PIECE, words, PIECE);
        if (memchr(text + i * PIECE, '\0', PIECE) == NULL)
            continue;
        if (strlen(text) >= FILE_MODEL_SIZE)
            return false;
        strcpy(name, text);
        return true;
    }
    return false;
}
