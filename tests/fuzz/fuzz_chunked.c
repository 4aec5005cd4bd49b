/* The chunked decoder beside one that takes a byte at a time and remembers all it saw; and what is
 * encoded decodes to itself, however it is cut. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "front/chunked.h"

struct decoded {
    char *bytes; /* owned */
    size_t len, used;
    enum chunked_result result;
};

/* In pieces of exactly their size. */
static struct decoded decode(const uint8_t *data, size_t size, uint64_t *seed)
{
    struct decoded d = {.bytes = malloc(size + 1), .result = CHUNKED_MORE};
    struct chunked c = {0};

    MUST(d.bytes != NULL);
    while (d.used < size && d.result == CHUNKED_MORE) {
        size_t n = seed != NULL ? fuzz_piece(seed, size - d.used) : size, used, out;
        char *piece = malloc(n);

        MUST(piece != NULL);
        memcpy(piece, data + d.used, n);
        d.result = chunked_decode(&c, piece, n, &used, &out);
        MUST(used <= n && out <= used && (d.result != CHUNKED_MORE || used == n));
        memcpy(d.bytes + d.len, piece, out);
        d.len += out;
        d.used += used;
        free(piece);
    }
    return d;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The length of the line at `at`, its CRLF not counted; -1: it has no end here, -2: no good one. */
static long line_at(const uint8_t *data, size_t size, size_t at)
{
    for (size_t i = at; i < size; i++) {
        if (data[i] == '\r')
            return i + 1 == size ? -1 : data[i + 1] == '\n' ? (long)(i - at) : -2;
        if (data[i] == '\n')
            return -2;
    }
    return -1;
}

/* What RFC 9112 7.1 says of a body whose chunks carry no extensions and no trailers; those are left
 * to the decoder.
 * @return false: no opinion */
static bool plain_decode(const uint8_t *data, size_t size, struct decoded *out)
{
    size_t at = 0;

    for (;;) {
        long line = line_at(data, size, at);
        size_t chunk = 0;

        if (line < 1 || line > 15)
            return false;
        for (long i = 0; i < line; i++) {
            if (!is_hex(data[at + (size_t)i]))
                return false;
            chunk = chunk * 16 + (size_t)strtol((char[]){(char)data[at + (size_t)i], 0}, NULL, 16);
        }
        at += (size_t)line + 2;
        if (chunk == 0)
            break;
        if (chunk > size - at || size - at - chunk < 2 || data[at + chunk] != '\r' ||
            data[at + chunk + 1] != '\n')
            return false;
        memcpy(out->bytes + out->len, data + at, chunk);
        out->len += chunk;
        at += chunk + 2;
    }
    if (size - at < 2 || data[at] != '\r' || data[at + 1] != '\n')
        return false;
    out->used = at + 2;
    return true;
}

static void check(const uint8_t *data, size_t size, uint64_t seed)
{
    struct decoded whole = decode(data, size, NULL), cut = decode(data, size, &seed);
    struct decoded plain = {.bytes = malloc(size + 1)};

    MUST(plain.bytes != NULL);
    MUST(whole.result == cut.result && whole.len == cut.len && whole.used == cut.used);
    MUST(memcmp(whole.bytes, cut.bytes, whole.len) == 0);
    if (plain_decode(data, size, &plain)) {
        MUST(whole.result == CHUNKED_END && whole.used == plain.used && whole.len == plain.len);
        MUST(memcmp(whole.bytes, plain.bytes, plain.len) == 0);
    }
    free(plain.bytes);
    free(whole.bytes);
    free(cut.bytes);
}

/* The input as the body of a message. */
static void check_encoded(const uint8_t *data, size_t size, uint64_t seed)
{
    uint8_t *text = malloc(size * 12 + 32);
    size_t len = 0;
    struct decoded d;

    MUST(text != NULL);
    for (size_t at = 0; at < size;) {
        size_t n = fuzz_piece(&seed, size - at);

        len += (size_t)sprintf((char *)text + len, n % 2 != 0 ? "%zx\r\n" : "%zX;a=b\r\n", n);
        memcpy(text + len, data + at, n);
        memcpy(text + len + n, "\r\n", 2);
        len += n + 2;
        at += n;
    }
    memcpy(text + len, "0\r\nT: x\r\n\r\nGET", 14);
    d = decode(text, len + 14, &seed);
    MUST(d.result == CHUNKED_END && d.used == len + 11 && d.len == size);
    MUST(memcmp(d.bytes, data, size) == 0);
    free(d.bytes);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t seed = fuzz_seed(data, size);

    if (size == 0)
        return 0;
    check(data, size, seed);
    check_encoded(data, size, seed);
    return 0;
}
