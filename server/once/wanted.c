/* See wanted.h. */
#include "once/wanted.h"

#include <stdio.h>
#include <string.h>

#include "crypto/sha256.h"

/* OpenAI shows the endpoint as it was sent, Azure without its /v1 (providers statement 58). */
static const char *bare_endpoint(const char *endpoint)
{
    return strncmp(endpoint, "/v1/", 4) == 0 ? endpoint + 3 : endpoint;
}

/* An address without its query, where a signature may stand that differs each time. */
static uint64_t blob_fingerprint(const char *url)
{
    uint64_t fingerprint = marker_fingerprint(url, strcspn(url, "?#"));

    return fingerprint != 0 ? fingerprint : 1;
}

static bool is_said(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static uint64_t word_at(const unsigned char *bytes)
{
    uint64_t word = 0;

    for (int i = 0; i < 8; i++)
        word = word << 8 | bytes[i];
    return word;
}

/* What a batch's metadata, or a create's, comes to. */
static struct wanted_pairs pairs_of(const struct json *metadata)
{
    struct wanted_pairs pairs = {0};

    for (size_t i = 0; json_is(metadata, JSON_OBJECT) && i < json_size(metadata); i++) {
        size_t key_len, len = 0;
        const char *key = json_key_at(metadata, i, &key_len);
        const char *value = json_str(json_at(metadata, i), &len);
        const struct sha256_piece pieces[] = {{&key_len, sizeof(key_len)},
                                              {key, key_len},
                                              {&len, sizeof(len)},
                                              {value != NULL ? value : "", len}};
        unsigned char hash[SHA256_BYTES];

        sha256_of(pieces, sizeof(pieces) / sizeof(pieces[0]), hash);
        pairs.num++;
        pairs.hash[0] += word_at(hash);
        pairs.hash[1] += word_at(hash + 8);
    }
    return pairs;
}

void wanted_describe(struct wanted *wanted, const char *file, const struct json *body)
{
    const char *endpoint = json_get_str(body, "endpoint");
    const char *blob = json_get_str(body, "input_blob");

    snprintf(wanted->file, sizeof(wanted->file), "%s", file);
    snprintf(wanted->endpoint, sizeof(wanted->endpoint), "%s",
             endpoint != NULL ? bare_endpoint(endpoint) : "");
    wanted->blob = file[0] == '\0' && is_said(blob) ? blob_fingerprint(blob) : 0;
    wanted->pairs = pairs_of(json_get(body, "metadata"));
}

/* Each pair with its lengths, so that no two of them run into each other; a sum, since a provider
 * keeps no order. */
bool wanted_marker(const struct json *batch, struct marker *out)
{
    const char *text = json_get_str(json_get(batch, "metadata"), MARKER_KEY);

    return text != NULL && marker_parse(text, out) == 0;
}

static bool same_pairs(const struct wanted_pairs *a, const struct wanted_pairs *b)
{
    return a->num == b->num && a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

static enum wanted_match match_marker(const struct wanted *wanted, const struct marker *marker)
{
    bool same = marker->owner == wanted->owner && marker->request == wanted->request;

    if (wanted->nonce[0] == '\0')
        return same ? WANTED_YES : WANTED_NO;
    if (strcmp(marker->nonce, wanted->nonce) != 0)
        return WANTED_NO;
    return same ? WANTED_YES : WANTED_CONFLICT;
}

/* A batch of the same file whose marker was dropped on the way, or is of a kind that only a newer
 * program can read. One that kept other metadata would have kept the marker. */
static enum wanted_match match_stripped(const struct wanted *wanted, const struct json *batch)
{
    const char *file = json_get_str(batch, "input_file_id");
    const struct json *metadata = json_get(batch, "metadata");

    if (wanted->file[0] == '\0' || file == NULL || strcmp(file, wanted->file) != 0)
        return WANTED_NO;
    return json_size(metadata) == 0 || json_get(metadata, MARKER_KEY) != NULL ? WANTED_MAYBE
                                                                              : WANTED_NO;
}

/* Azure keeps no metadata of these (providers 2.5): two creates from one blob look the same. */
static enum wanted_match match_blob(const struct wanted *wanted, const struct json *batch)
{
    const char *blob = json_get_str(batch, "input_blob");

    if (is_said(json_get_str(batch, "input_file_id")))
        return WANTED_NO;
    return is_said(blob) && blob_fingerprint(blob) != wanted->blob ? WANTED_NO : WANTED_MAYBE;
}

static enum wanted_match match_looks(const struct wanted *wanted, const struct json *batch)
{
    const struct json *id = json_get(batch, "input_file_id");
    const char *file = json_str(id, NULL), *endpoint = json_get_str(batch, "endpoint");
    struct wanted_pairs pairs;

    if (wanted->file[0] == '\0')
        return match_blob(wanted, batch);
    if (id == NULL)
        return WANTED_MAYBE; /* this list does not say what its batches are made from */
    if (file == NULL || strcmp(file, wanted->file) != 0)
        return WANTED_NO;
    pairs = pairs_of(json_get(batch, "metadata"));
    return endpoint != NULL && strcmp(bare_endpoint(endpoint), wanted->endpoint) == 0 &&
                   same_pairs(&pairs, &wanted->pairs)
               ? WANTED_YES
               : WANTED_MAYBE;
}

enum wanted_match wanted_match(const struct wanted *wanted, const struct json *batch,
                               const struct marker *marker)
{
    if (wanted->unmarked)
        return marker != NULL ? WANTED_NO : match_looks(wanted, batch);
    return marker != NULL ? match_marker(wanted, marker) : match_stripped(wanted, batch);
}
