/* See coding.h. */
#include "request/coding.h"

#include <string.h>
#include <strings.h>

#include "front/front.h"

enum answered coding_check(struct relay *relay)
{
    const char *value;
    size_t len;

    if (!relay_request_header(relay, "content-encoding", &value, &len) || len == 0 ||
        (len == strlen("identity") && strncasecmp(value, "identity", len) == 0) ||
        !front_has_body(relay->req))
        return GO_ON;
    relay_header(relay, "accept-encoding", "identity");
    relay_problem(relay, 415, "invalid_request_error", "unsupported_content_encoding", "",
                  "The request has Content-Encoding: %.*s. The gateway takes bodies as they are: "
                  "send it without compression and without that header.",
                  len > 64 ? 64 : (int)len, value);
    return ANSWERED;
}
