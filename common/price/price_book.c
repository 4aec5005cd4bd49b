/* See price_book.h. */
#include "price/price_book.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/iso8601.h"

#define NAME_BYTES 320

void price_book_deinit(struct price_book *book)
{
    for (size_t i = 0; i < book->num_deployments; i++) {
        free(book->deployments[i].base_model);
        free(book->deployments[i].upstream_model);
        free(book->deployments[i].litellm_model);
    }
    free(book->deployments);
    price_map_free(book->map);
    memset(book, 0, sizeof(*book));
}

static const struct price_deployment *find_deployment(const struct price_book *book,
                                                      uint32_t fingerprint)
{
    for (size_t i = 0; i < book->num_deployments; i++)
        if (book->deployments[i].fingerprint == fingerprint)
            return &book->deployments[i];
    return NULL;
}

static bool ask(const struct price_book *book, const char *name, struct price_found *out)
{
    const struct price_list *list = price_map_find(book->map, name);
    char date[ISO8601_SIZE];

    if (list == NULL || !price_of_list(list, &out->price))
        return false;
    iso8601_print(price_map_date(book->map), date);
    snprintf(out->from, sizeof(out->from), "price_map %.10s: %.120s", date, name);
    return true;
}

/* "azure/gpt-4o" and "gpt-4o" are asked for, whichever of the two it is called. */
static bool ask_both(const struct price_book *book, bool is_azure, const char *name,
                     struct price_found *out)
{
    char whole[NAME_BYTES];
    const char *bare;

    if (name == NULL || *name == '\0')
        return false;
    bare = strncmp(name, "azure/", 6) == 0    ? name + 6
           : strncmp(name, "openai/", 7) == 0 ? name + 7
                                              : name;
    if (is_azure) {
        snprintf(whole, sizeof(whole), "azure/%.300s", bare);
        if (ask(book, whole, out))
            return true;
    }
    return ask(book, name, out) || ask(book, bare, out);
}

bool price_book_find(const struct price_book *book, uint32_t fingerprint, const char *model,
                     struct price_found *out)
{
    const struct price_deployment *d = find_deployment(book, fingerprint);

    memset(out, 0, sizeof(*out));
    if (d == NULL)
        return ask_both(book, false, model, out) || ask_both(book, true, model, out);
    if (!price_list_is_empty(&d->own)) {
        snprintf(out->from, sizeof(out->from), "deployment");
        if (price_of_list(&d->own, &out->price))
            return true;
        out->from[0] = '\0';
        return false;
    }
    return ask_both(book, d->is_azure, d->base_model, out) ||
           ask_both(book, d->is_azure, model, out) ||
           ask_both(book, d->is_azure, d->litellm_model, out) ||
           ask_both(book, d->is_azure, d->upstream_model, out);
}

bool price_book_is_tiered(const struct price_book *book, uint32_t fingerprint, const char *model)
{
    struct price_found found;

    return price_book_find(book, fingerprint, model, &found) && found.price.tiered;
}
