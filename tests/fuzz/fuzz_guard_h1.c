/* A head that the guard lets through is read the same way by libh2o's parser, with its framing
 * hidden; nothing depends on how bytes are cut; what follows the head is decoded as chunks, whole
 * and in pieces alike. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include "front/chunked.h"
#include "front/guard_h1.h"

/* libh2o's parser: exported, its header is not installed. */
struct phr_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len,
                      const char **path, size_t *path_len, int *minor_version,
                      struct phr_header *headers, size_t *num_headers, size_t last_len);

static bool is(const struct phr_header *h, const char *name)
{
    return h->name_len == strlen(name) && strncasecmp(h->name, name, h->name_len) == 0;
}

/* What libh2o would make of the head: exactly one line of framing, of nothing, where there was one.
 */
static void compare(const char *head, size_t len, const struct guard_head *info)
{
    const char *method, *path;
    size_t method_len, path_len, num = GUARD_H1_MAX_FIELDS, hosts = 0, lengths = 0;
    struct phr_header headers[GUARD_H1_MAX_FIELDS];
    int minor;

    MUST(phr_parse_request(head, len, &method, &method_len, &path, &path_len, &minor, headers, &num,
                           0) == (int)len);
    MUST(minor == (info->http10 ? 0 : 1));
    MUST(guard_h1_is_method(method, method_len) && guard_h1_is_target(path, path_len));
    for (size_t i = 0; i < num; i++) {
        MUST(headers[i].name != NULL); /* not a folded line */
        MUST(!is(&headers[i], "transfer-encoding") && !is(&headers[i], "expect"));
        MUST(headers[i].value_len == 0 || headers[i].value[headers[i].value_len - 1] > ' ' ||
             (unsigned char)headers[i].value[headers[i].value_len - 1] >= 0x80);
        hosts += is(&headers[i], "host");
        if (!is(&headers[i], "content-length"))
            continue;
        lengths++;
        MUST(headers[i].value_len > 0);
        MUST(strspn(headers[i].value, "0") >= headers[i].value_len);
    }
    MUST(hosts == 1 || (hosts == 0 && info->http10));
    MUST(lengths == (info->framing != FRAMING_NONE));
}

static int find_in_pieces(const char *bytes, size_t size, uint64_t seed)
{
    size_t scanned = 0, len = 0;
    int found = 0;

    while (found == 0 && len < size) {
        len += fuzz_piece(&seed, size - len);
        found = guard_h1_find_end(bytes, len, &scanned);
    }
    return found;
}

static void check_chunks(const uint8_t *data, size_t size, uint64_t seed)
{
    struct chunked whole = {0}, pieces = {0};
    char *a = malloc(size + 1), *b = malloc(size + 1);
    size_t used, out, at = 0, taken = 0, total = 0;
    enum chunked_result one, other = CHUNKED_MORE;

    MUST(a != NULL && b != NULL);
    memcpy(a, data, size);
    one = chunked_decode(&whole, a, size, &used, &out);
    MUST(used <= size && out <= used && (one != CHUNKED_MORE || used == size));
    while (at < size && other == CHUNKED_MORE) {
        size_t n = fuzz_piece(&seed, size - at), got;
        char *piece = malloc(n);

        MUST(piece != NULL);
        memcpy(piece, data + at, n);
        other = chunked_decode(&pieces, piece, n, &taken, &got);
        memcpy(b + total, piece, got);
        total += got;
        at += taken;
        free(piece);
    }
    MUST(one == other && total == out && at == used && memcmp(a, b, out) == 0);
    free(a);
    free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    uint64_t seed = fuzz_seed(data, size);
    struct guard_head info;
    size_t scanned = 0;
    int len = guard_h1_find_end(bytes, size, &scanned);

    MUST(find_in_pieces(bytes, size, seed) == len);
    if (size > 4 && size <= GUARD_H1_MAX_HEAD && memcmp(bytes + size - 4, "\r\n\r\n", 4) == 0) {
        int status = guard_h1_check(bytes, size, &info); /* the front door's short cut */

        MUST(status != 0 || len == (int)size);
        MUST(status != GUARD_H1_MORE || len < (int)size);
    }
    if (len <= 0) {
        check_chunks(data, size, seed);
        return 0;
    }
    if (guard_h1_check(bytes, (size_t)len, &info) == 0) {
        char *head = malloc((size_t)len);

        MUST(head != NULL);
        memcpy(head, bytes, (size_t)len);
        guard_h1_hide(head, &info);
        compare(head, (size_t)len, &info);
        free(head);
    }
    check_chunks(data + len, size - (size_t)len, seed);
    return 0;
}
