/* What the files of the page share. */
#pragma once

#include "common/strbuf.h"
#include "core/runtime.h"
#include "request/relay.h"
#include "session.h"

struct state_text; /* state_text.h */

/* A worker's, made with its first request of the page; kept to the end. */
struct ui {
    struct session_keys keys;
    struct state_text *state; /* owned */
};

/** It, made when it is not there. @return NULL: it cannot be */
struct ui *ui_get(struct runtime *rt);
