/* See known_flags.h. The names are those of LiteLLM's start command; a missing one is an unknown
 * flag. */
#include "config/known_flags.h"

#include <stddef.h>

const struct known_flag known_flags[] = {{"add_function_to_prompt", 0, false},
                                         {"add_key", 0, true},
                                         {"alias", 0, true},
                                         {"api_base", 0, true},
                                         {"api_version", 0, true},
                                         {"ciphers", 0, true},
                                         {"drop_params", 0, false},
                                         {"headers", 0, true},
                                         {"iam_token_db_auth", 0, false},
                                         {"keepalive_timeout", 0, true},
                                         {"local", 0, false},
                                         {"log_config", 0, true},
                                         {"max_budget", 0, true},
                                         {"max_requests_before_restart", 0, true},
                                         {"max_tokens", 0, true},
                                         {"model", 'm', true},
                                         {"request_timeout", 0, true},
                                         {"run_gunicorn", 0, false},
                                         {"run_hypercorn", 0, false},
                                         {"save", 0, false},
                                         {"telemetry", 0, true},
                                         {"temperature", 0, true},
                                         {"use_prisma_db_push", 0, false},
                                         {"use_prisma_migrate", 0, false},
                                         {"use_queue", 0, false},
                                         {NULL, 0, false}};
