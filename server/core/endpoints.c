/* See endpoints.h. */
#include "core/endpoints.h"

#include <stddef.h>
#include <string.h>

/* Some as in OpenAI's requests, then Azure's older spelling, still in its documentation. */
static const char *const all[] = {
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
    "/responses",
    "/chat/completions",
    "/embeddings",
    "/completions",
    NULL,
};

const char *const *endpoints_all(void)
{
    return all;
}

unsigned endpoints_number(const char *url)
{
    for (unsigned i = 0; url != NULL && all[i] != NULL; i++)
        if (strcmp(all[i], url) == 0)
            return i + 1;
    return 0;
}

const char *endpoints_of_number(unsigned number)
{
    return number > 0 && number < sizeof(all) / sizeof(all[0]) ? all[number - 1] : NULL;
}

bool endpoints_model_is_optional(const char *url)
{
    static const char *const optional[] = {"/v1/responses", "/v1/moderations",
                                           "/v1/images/generations", "/v1/images/edits",
                                           "/v1/videos"};

    for (size_t i = 0; url != NULL && i < sizeof(optional) / sizeof(optional[0]); i++)
        if (strcmp(optional[i], url) == 0)
            return true;
    return false;
}

const char *endpoints_warning(const char *url)
{
    if (url != NULL && strcmp(url, "/v1/videos") == 0)
        return "OpenAI ended /v1/videos in September 2026: expect that the provider refuses a "
               "batch of this file.";
    return NULL;
}

static const char *without_version(const char *url)
{
    return strncmp(url, "/v1/", 4) == 0 ? url + 3 : url;
}

bool endpoints_are_same(const char *a, const char *b)
{
    return strcmp(without_version(a), without_version(b)) == 0;
}
