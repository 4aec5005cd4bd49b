/* What the page `/ui` keeps for all workers of a program, in `struct shared`: who tried to log in and
 * failed, and which sessions were ended before their time. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define UI_LOGIN_PLACES 1024
#define UI_ENDED        256

struct ui_words {
    _Atomic uint64_t logins[UI_LOGIN_PLACES]; /* by address, by chance shared: ui/login_limit.h */
    _Atomic uint64_t ended[UI_ENDED]; /* names of sessions: ui/session.h; the oldest makes room */
    _Atomic uint64_t num_ended;
};
