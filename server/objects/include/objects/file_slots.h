/* The files of an account, as balancer/slots.h counts them: all rows of one account show the same
 * number. */
#pragma once

#include "balancer/slots.h"
#include "core/runtime.h"

/** That many more, or less, at the account of this deployment. */
void file_slots_add(const struct runtime *rt, uint32_t deployment, enum slots_kind kind,
                    int change);

/** What a batch file counts as at the account of this deployment: Azure counts files that expire
 * apart, and there the gateway gives an expiry where the client named none (providers 2.4).
 *  @param expires  the client named one */
enum slots_kind file_slots_kind(const struct runtime *rt, uint32_t deployment, bool expires);

/** Whether one more file of that kind may go there, as far as we know. */
bool file_slots_open(const struct runtime *rt, uint32_t deployment, enum slots_kind kind);

/** A file is gone: what it was counted as is free, once, and its facts are forgotten. */
void file_slots_deleted(struct runtime *rt, uint32_t deployment, const char *native);

/** It refused one for their number. */
void file_slots_refused(const struct runtime *rt, uint32_t deployment, enum slots_kind kind);
