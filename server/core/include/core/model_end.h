/* When a provider ends a model: what its list of models says of it (`shutdown_date`), and how
 * people are told. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json/json.h"

#define MODEL_END_NEAR_S (60 * 86400) /* people are told so long before */

/** Read a `shutdown_date`: "2026-12-11", with or without a time behind it, or Unix seconds. Pure.
 *  @return Unix seconds, of midnight UTC; 0: there is none, or it is no date
 * Source: providers 1.3 (GET /v1/models). */
uint64_t model_end_read(const struct json *value);

/** Whether it is time to tell. @param ends_s  as model_end_read(); 0: no end is known */
bool model_end_is_near(uint64_t ends_s, int64_t now_s);

/** "The provider ends the model 'm' on 2026-12-11 ..."; `ends_s` is not 0. */
void model_end_text(const char *model, uint64_t ends_s, int64_t now_s, char *out, size_t size);
