/* The block `tranche` of GET /health: the node, its workers, its last reload, and what is known of each
 * deployment. From shared memory alone. */
#pragma once

#include "common/strbuf.h"
#include "core/runtime.h"

/** Whether something can serve: the worker does not drain, and at least one deployment is healthy and
 * admitted by its breakers, or rests by hand. */
bool health_is_ready(const struct runtime *rt);

/** Whether the last look at a deployment's account found nothing wrong, or there was none yet. */
bool health_is_healthy(const struct runtime *rt, uint32_t deployment);

/** Append what is of the node: members without braces around them. */
void health_tranche_node(const struct runtime *rt, struct strbuf *out);

/** Append the object of a deployment. */
void health_tranche_deployment(const struct runtime *rt, uint32_t deployment, struct strbuf *out);
