/* What the two files of webhooks share. */
#pragma once

#include "store_impl.h"

#include "json/json.h"
#include "store/store_hooks.h"
#include "webhook/hook_url.h"

/** $1 and $2 of a query that reads only what is somebody's: 1 and anything: all. */
void hooks_whom(const struct store_hook_owner *for_whom, struct value values[2]);

/** Reads a row's one number into an int64_t. */
int hooks_on_number(void *arg, const struct row *row);
