/* See coding.h. */
#include "request/coding.h"

#include <string.h>
#include <strings.h>

#include "front/front.h"
#include "request/errors.h"

enum answered coding_check(struct relay *relay)
{
    const char *value;
    size_t len;

    if (!relay_request_header(relay, "content-encoding", &value, &len) || len == 0 ||
        (len == strlen("identity") && strncasecmp(value, "identity", len) == 0) ||
        !front_has_body(relay->req))
        return GO_ON;
    relay_header(relay, "accept-encoding", "identity");
    relay_error(relay, ENCODED_BODY, "", len > 64 ? 64 : (int)len, value);
    return ANSWERED;
}
