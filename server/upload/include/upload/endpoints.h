/* The endpoints that batches may name: data, not code. Source: OpenAI CreateBatchRequest (2026-08),
 * Azure "batch" how-to (bare forms). */
#pragma once

/** NULL-terminated, constant. */
const char *const *endpoints_all(void);
