/* The management API behind the socket: requests that workers pass on, carried out one after the
 * other (manage/manage.h). What one has changed is in the table of keys before its answer goes, so
 * that a key works in every worker of this node when its maker hears of it. */
#pragma once

#include "keeper/calls.h"
#include "manage/manage.h"

struct admin_calls {
    const struct manage *manage; /* borrowed; its clock is set with each call */
    /* The database has another state: read and publish it now */
    void (*changed)(void *arg);
    void (*answered)(void *arg); /* after each answer; NULL: nobody wants to know */
    void *arg;
};

/** Serve KEEPER_ADMIN_CALL. Status and bytes of an answer are those for the client; 500 without
 * bytes: it cannot be said.
 *  @param admin  borrowed; outlives `calls` */
void admin_calls_serve(struct admin_calls *admin, struct calls *calls);
