/* The server: one epoll loop (edge-triggered), HTTP/1.1 with keep-alive and pipelining, faults at
 * every phase. It knows how bytes come and go; what an answer says is dispatch()'s. */
#pragma once

#include "faults.h"
#include "request.h"

struct server;
struct conn;

/** Open the listening port of an account on 127.0.0.1 (acc->port 0: any, then filled). Returns 0 or
 * -1 with errno. */
int http_listen(struct server *srv, struct account *acc);

struct server *http_new(struct sim *sim);

/** Serve until *stop is set. */
void http_run(struct server *srv, volatile int *stop);
void http_free(struct server *srv);

/** Answer a request whose reply was parked. */
void http_resume(struct conn *c, const struct reply *rep);

/** Close the connections of an account (NULL: of all) that wait for a request, on the server of
 * `c`. */
void http_close_idle(struct conn *c, const struct account *acc);

/** What a fault holds for a time goes on in so long, on the server of `c`. @return how many */
unsigned http_release(struct conn *c, int64_t after_ms);

/** Close what a fault holds, on the server of `c`: what is forgotten carries nothing out. */
void http_drop_held(struct conn *c);

/** The simulator behind a connection. */
struct sim *http_sim(struct conn *c);

/* What the server needs from the others. */

/** Execute a request. May set rep->park: then http_resume() or http_gone() follows. */
void dispatch(struct conn *c, struct account *acc, struct request *req, struct reply *rep);

/** The error body that an account gives for a status (dispatch.c). */
void dispatch_error(struct account *acc, const struct request *req, int status, struct reply *rep);

/** The headers that an account puts on every answer. */
void dispatch_headers(struct account *acc, struct reply *rep);

/** A parked connection was lost. */
void control_gone(struct conn *c);

/** Something was received or answered: look at the waiters. */
void control_notify(struct sim *sim);

/** Work in small pieces between two turns; returns whether more is left. */
bool engine_idle(struct sim *sim);

/** Milliseconds until a waiter gives up; -1: none. Answers those whose time has come. */
int64_t control_deadline(struct sim *sim);
