/* Texts of the project's error codes. */
#include "common/err.h"

const char *err_str(int err)
{
    switch (err) {
    case 0:
        return "ok";
    case ERR_NOMEM:
        return "out of memory";
    case ERR_INVALID:
        return "invalid value";
    case ERR_SYNTAX:
        return "syntax error";
    case ERR_LIMIT:
        return "limit exceeded";
    case ERR_NOT_FOUND:
        return "not found";
    case ERR_FORGED:
        return "seal does not verify";
    case ERR_IO:
        return "input/output error";
    case ERR_FULL:
        return "no room left";
    case ERR_BAD_STATE:
        return "not possible in this state";
    case ERR_DUPLICATE:
        return "duplicate";
    default:
        return "unknown error";
    }
}
