/* The one error enum of the project: functions return 0 or one of these. Predicates return bool. */
#pragma once

/* Results that matter carry this, so that the compiler checks error handling too. */
#define MUST_USE __attribute__((warn_unused_result))

enum err {
    ERR_NOMEM = -1,     /* an allocation failed, or an operating-system limit was hit */
    ERR_INVALID = -2,   /* an argument or a value breaks a documented rule */
    ERR_SYNTAX = -3,    /* text that cannot be parsed; the callee's error struct says where */
    ERR_LIMIT = -4,     /* a configured or fixed limit was passed */
    ERR_NOT_FOUND = -5, /* no such thing */
    ERR_FORGED = -6,    /* a seal does not verify; to be answered exactly like ERR_NOT_FOUND */
    ERR_IO = -7,        /* a system call failed; errno tells */
    ERR_FULL = -8,      /* no room: disk, spool, table */
    ERR_BAD_STATE = -9, /* called in a state that does not allow it */
    ERR_DUPLICATE = -10 /* two things that must differ are equal */
};

/**
 * A short English text for a code of enum err ("ok" for 0).
 *
 * @return a constant string; never NULL
 */
const char *err_str(int err);
