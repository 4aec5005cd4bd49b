/* What must hold of any answer of a provider once it was read: for the targets that make answers of
 * their input. A byte PLANT_KEY in the input stands for the account's key, which must not come out.
 */
#pragma once

#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "json/json.h"
#include "common/mask.h"
#include "common/secret.h"
#include "upstream/failure.h"
#include "upstream/normal.h"

#define PLANTED_KEY "sk-proj-7Qm2Xv9Rk4Tz8Wb1Yc5Nd3"
#define PLANT_KEY   0x02 /* the whole of it */
#define PLANT_PIECE 0x03 /* MASK_PIECE bytes out of it */

static inline const struct mask *answer_mask(void)
{
    static struct mask *mask;
    struct secret key = SECRET_NONE;
    const struct secret *keys[] = {&key};

    if (mask == NULL) {
        MUST(secret_set(&key, PLANTED_KEY, strlen(PLANTED_KEY)) == 0);
        mask = mask_new(keys, 1);
        MUST(mask != NULL);
        mask_install(mask);
        secret_clear(&key);
    }
    return mask;
}

/* The input with its keys in place; the caller's. */
static inline void answer_plant(const uint8_t *data, size_t size, struct strbuf *out)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == PLANT_KEY)
            strbuf_adds(out, PLANTED_KEY);
        else if (data[i] == PLANT_PIECE)
            strbuf_add(out, &PLANTED_KEY[size % 10], MASK_PIECE);
        else
            strbuf_addc(out, (char)data[i]);
    }
}

static inline void answer_holds_no_key(const char *text, size_t len)
{
    MUST(!mask_finds(answer_mask(), text, len));
}

/* A text for people: valid, and no control bytes. */
static inline void answer_check_text(const char *text, size_t size)
{
    size_t len = strnlen(text, size);

    MUST(len < size && utf8_is_valid(text, len));
    for (size_t i = 0; i < len; i++)
        MUST((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
    answer_holds_no_key(text, len);
}

static inline void answer_check_failure(const struct upstream_result *result)
{
    struct json_doc *doc = json_doc_new();
    struct strbuf text = STRBUF_INIT;
    struct json_error error;
    struct failure failure;
    struct json *root;

    MUST(doc != NULL);
    (void)answer_mask();
    failure_from_result(result, 1790000000, &failure);
    MUST(failure.status >= 400 && failure.status <= 599);
    MUST(failure.type[0] != '\0' && failure.message[0] != '\0');
    MUST(failure.code[0] == '\0' || failure.code_is_number ||
         strspn(failure.code, "0123456789") < strlen(failure.code));
    MUST(failure.retry_after_ms >= -1 && failure.retry_after_ms <= 300000);
    answer_check_text(failure.type, sizeof(failure.type));
    answer_check_text(failure.code, sizeof(failure.code));
    answer_check_text(failure.param, sizeof(failure.param));
    answer_check_text(failure.message, sizeof(failure.message));
    failure_write(&failure, &text);
    answer_holds_no_key(strbuf_str(&text), text.len);
    root = json_parse(doc, text.data, text.len, &error);
    MUST(json_is(json_get(root, "error"), JSON_OBJECT));
    MUST(json_size(json_get(root, "error")) == 4);
    strbuf_deinit(&text);
    json_doc_free(doc);
}

enum answer_shape { ANSWER_FILE, ANSWER_BATCH, ANSWER_DELETION, ANSWER_SHAPES };

static inline struct json *answer_normal(struct json_doc *doc, struct json *v,
                                         enum answer_shape shape)
{
    if (shape == ANSWER_FILE)
        normal_file(doc, v, 5);
    else if (shape == ANSWER_BATCH)
        normal_batch(doc, v, NULL);
    else
        v = normal_deletion(doc, v, "file-abc");
    MUST(v != NULL);
    return v;
}

/* Once is enough: the second time changes nothing, but that more may be hidden; and what is printed
 * is read back. */
static inline void answer_check_normal(const char *body, size_t len, enum answer_shape shape)
{
    struct json_doc *doc = json_doc_new();
    struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
    struct json_error error;
    struct json *v;

    MUST(doc != NULL);
    (void)answer_mask();
    v = json_parse(doc, body, len, &error);
    if (v != NULL) {
        v = answer_normal(doc, v, shape);
        json_write(v, &once);
        v = answer_normal(doc, v, shape);
        json_write(v, &twice);
        /* What guesses has hidden a word already may guess at its neighbours the next time. */
        MUST((once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0) ||
             memmem(once.data, once.len, "***", 3) != NULL);
        MUST(json_parse(doc, once.data, once.len, &error) != NULL);
        if (json_is(v, JSON_OBJECT))
            answer_holds_no_key(once.data, once.len);
        if (json_is(v, JSON_OBJECT))
            MUST(shape != ANSWER_BATCH || json_get(json_get(v, "metadata"), "tranche") == NULL);
    }
    strbuf_deinit(&once);
    strbuf_deinit(&twice);
    json_doc_free(doc);
}
