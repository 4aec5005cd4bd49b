/* See outcome.h. */
#include "calls/outcome.h"

#include <string.h>

enum op_class outcome_class_of(enum provider_call call)
{
    if (call == CALL_FILE_CREATE)
        return OP_UPLOAD;
    return call == CALL_BATCH_CREATE ? OP_CREATE : OP_READ;
}

/* The account holds as many files as it may: another one has room (providers 1.1 and 2.4). */
bool outcome_is_file_quota(const struct failure *failure)
{
    return failure->status == 400 && (strcmp(failure->code, "quotaExceeded") == 0 ||
                                      strcasestr(failure->message, "file storage quota") != NULL);
}

static enum outcome outcome_of_status(const struct upstream_result *result,
                                      const struct failure *failure)
{
    int status = result->head.status;

    if (status == 401 || status == 403 || failure_is_refused_key(failure))
        return OUTCOME_AUTH;
    if (status == 429 || failure_is_token_limit(failure) || outcome_is_file_quota(failure))
        return OUTCOME_RATE_LIMIT;
    if (status == 408)
        return OUTCOME_TIMEOUT;
    if (status >= 500)
        return OUTCOME_SERVER_ERROR;
    if (status < 200 || (status >= 300 && status < 400))
        return OUTCOME_BAD_ANSWER;
    return OUTCOME_OK; /* 2xx, and 4xx about the object */
}

enum outcome outcome_of(const struct upstream_result *result, const struct failure *failure)
{
    switch (result->end) {
    case UPSTREAM_ANSWERED:
        return outcome_of_status(result, failure);
    case UPSTREAM_CONNECT_FAILED:
        return OUTCOME_CONNECT;
    case UPSTREAM_TIMEOUT:
        return OUTCOME_TIMEOUT;
    case UPSTREAM_BROKEN:
        return OUTCOME_BROKEN;
    case UPSTREAM_TOO_LARGE:
        return OUTCOME_BAD_ANSWER;
    case UPSTREAM_SOURCE_FAILED:
    case UPSTREAM_REFUSED:
        break;
    }
    return OUTCOME_CANCELLED;
}

bool outcome_is_gone(const struct upstream_result *result)
{
    return result->end == UPSTREAM_ANSWERED &&
           (result->head.status == 404 || result->head.status == 410);
}

const char *outcome_detail(enum outcome outcome, const char *error)
{
    const char *name = outcome_name(outcome);
    size_t len = strlen(name);

    return strncmp(error, name, len) == 0 && strncmp(error + len, ": ", 2) == 0 ? error + len + 2
                                                                                : error;
}
