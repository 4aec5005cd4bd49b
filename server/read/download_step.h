/* How far a download is. Pure.
 *
 *           ┌──────┐ has a place, and its account is known ┌─────┐ head    ┌────────┐
 *   begin ─►│ FIND ├─────────────────────────────────────►│ ASK ├────────►│ STREAM │◄────────┐
 *           └──────┘                                      └─────┘         └─┬────▲─┘         │
 *                                       (again after a fault)      too much │    │ it reads  │
 *                                                                   waits   ▼    │           │
 *                                room, the rest is asked for  lasts      ┌───────┴─┐         │
 *                           ┌────────┐       ┌──────┐◄───────────────────┤  PAUSE  │         │
 *                           │ RESUME │◄──────┤ LEFT │                    └─────────┘         │
 *                           └───┬────┘       └──────┘                                        │
 *                               └──── head of the rest ──────────────────────────────────────┘
 *
 * From STREAM, PAUSE, LEFT and RESUME it comes to its end: WHOLE when the client has all that it
 * needs, SHORT when some is missing, which breaks the client's transfer off. Before the head went
 * out it just answers, and there is no step for that. */
#pragma once

#include <stdbool.h>

enum download_step {
    DOWNLOAD_FIND,   /* waits for a place, or for the file's account to be found */
    DOWNLOAD_ASK,    /* the provider is asked; nothing went to the client */
    DOWNLOAD_STREAM, /* the response head is out, and bytes come */
    DOWNLOAD_PAUSE,  /* the provider waits for the client */
    DOWNLOAD_LEFT, /* ... no more: the call was ended, and the rest is asked for when there is room */
    DOWNLOAD_RESUME, /* the rest was asked for, and no head of it came yet */
    DOWNLOAD_WHOLE,  /* no more bytes will come */
    DOWNLOAD_SHORT   /* ... because the transfer failed */
};

#define DOWNLOAD_STEPS 8

const char *download_step_name(enum download_step step);

/** Whether a download may go from one step to the other. To stay is none. */
bool download_step_may(enum download_step from, enum download_step to);
