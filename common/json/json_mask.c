/* See json_mask.h. Depth is bounded by the parser. */
#include "json/json_mask.h"

#include <stdlib.h>
#include <string.h>

/* A string without its secrets. When memory runs out nothing of it is left. */
static struct json *clean_string(struct json_doc *doc, const char *text, size_t len,
                                 const struct mask *mask, bool guess)
{
    char *copy = malloc(len + 1);
    struct json *clean;

    if (copy == NULL)
        return json_new_string(doc, SECRET_MASK, strlen(SECRET_MASK));
    memcpy(copy, text, len);
    len = mask_hide(mask, copy, len, len);
    if (guess)
        len = mask_guess(copy, len, len);
    if (!utf8_is_valid(copy, len)) /* a piece of a secret may end within a character */
        clean = json_new_string(doc, SECRET_MASK, strlen(SECRET_MASK));
    else
        clean = json_new_string(doc, copy, len);
    free(copy);
    return clean;
}

static void mask_string(struct json_doc *doc, struct json *v, const struct mask *mask, bool guess)
{
    size_t len = 0;
    const char *text = json_str(v, &len);

    if (guess || mask_finds(mask, text, len))
        json_assign(v, clean_string(doc, text, len, mask, guess));
}

static bool names_are_clean(const struct json *obj, const struct mask *mask)
{
    for (size_t i = 0; i < json_size(obj); i++) {
        size_t len;
        const char *key = json_key_at(obj, i, &len);

        if (mask_finds(mask, key, len))
            return false;
    }
    return true;
}

/* Names that become the same are one member: the last. */
static void mask_names(struct json_doc *doc, struct json *obj, const struct mask *mask)
{
    struct json *clean;

    if (names_are_clean(obj, mask))
        return;
    clean = json_new_object(doc);
    for (size_t i = 0; clean != NULL && i < json_size(obj); i++) {
        size_t len;
        const char *key = json_key_at(obj, i, &len);
        const char *name = json_str(clean_string(doc, key, len, mask, false), NULL);

        if (name != NULL)
            json_set(doc, clean, name, json_at(obj, i));
    }
    json_assign(obj, clean);
}

void json_mask(struct json_doc *doc, struct json *v, const struct mask *mask, bool guess)
{
    if (json_is(v, JSON_STRING)) {
        mask_string(doc, v, mask, guess);
        return;
    }
    if (json_is(v, JSON_OBJECT))
        mask_names(doc, v, mask);
    for (size_t i = 0; i < json_size(v); i++)
        json_mask(doc, json_at(v, i), mask, guess);
}
