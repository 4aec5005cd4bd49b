/* KEEPER_STORY: workers ask for what the journal knows of one batch (journal/wire.h), for
 * `?expand=events`. */
#pragma once

#include "keeper/calls.h"
#include "manage/manage.h"

/** Serve it from now on. @param manage  borrowed; with what store it has when it is asked */
void stories_serve(struct manage *manage, struct calls *calls);
