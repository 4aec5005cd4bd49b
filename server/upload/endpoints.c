/* See endpoints.h. */
#include "upload/endpoints.h"

#include <stddef.h>

const char *const *endpoints_all(void)
{
    static const char *const all[] = {
        "/v1/responses",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/videos",
        /* Azure's older spelling, still in its documentation */
        "/responses",
        "/chat/completions",
        "/embeddings",
        "/completions",
        NULL,
    };

    return all;
}
