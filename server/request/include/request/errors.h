/* The errors that handlers answer by themselves, by name: errors.def is the table.
 *
 *     error_fill(&failure, MODELS_ELSEWHERE, "model", provider_name(provider));
 *     relay_error(relay, OUT_OF_MEMORY, "");
 *
 * The compiler holds the arguments against the text, which is a format. */
#pragma once

#include "request/relay.h"

#define ERROR_REQUEST "invalid_request_error"
#define ERROR_SERVER  "server_error"
#define ERROR_RATE    "rate_limit_error"
#define ERROR_AUTH    "auth_error"

#define X(name, status, type, code, text)                                                          \
    enum { error_status_##name = (status) };                                                       \
    static const char error_type_##name[] = type;                                                  \
    static const char error_code_##name[] = code;                                                  \
    static const char error_text_##name[] = text;
#include "request/errors.def"
#undef X

/** Describe one. @param param  "" for null; behind it what the text asks for */
#define error_fill(failure, name, param, ...)                                                      \
    relay_fill((failure), error_status_##name, error_type_##name, error_code_##name, (param),      \
               error_text_##name __VA_OPT__(, ) __VA_ARGS__)

/** Answer with one. */
#define relay_error(relay, name, param, ...)                                                       \
    relay_problem((relay), error_status_##name, error_type_##name, error_code_##name, (param),     \
                  error_text_##name __VA_OPT__(, ) __VA_ARGS__)
