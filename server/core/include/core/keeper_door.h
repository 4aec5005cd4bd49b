/* The socket between workers and the keeper: one SOCK_SEQPACKET listener of the program, made by
 * the master before the fork. Every worker connects, every keeper accepts; who was started again
 * finds the same door. A keeper that dies is EOF to its workers, and the kernel keeps no half
 * message of a killed sender.
 *
 * The address is abstract (unix(7)): anybody of this network namespace may knock. Both sides look
 * at whom they have before them (SO_PEERCRED), and a worker says first what only children of our
 * master know. */
#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "common/err.h"

#define KEEPER_TOKEN   32          /* bytes of a connection's first message */
#define KEEPER_MESSAGE (128 << 10) /* bytes of a question or of an answer, at most */

/* What a worker may want. The numbers mean something within one program only. */
enum keeper_kind {
    KEEPER_ECHO = 1,   /* the bytes come back, with status 0: tests, and whether it lives */
    KEEPER_KEY_LOOKUP, /* bytes: the hash of a key that is not in the table; enum keeper_lookup */
    KEEPER_ADMIN_CALL, /* an admin's request; bytes and status are the admin API's */
    /* The journal of batches: bytes and statuses are those of journal/wire.h */
    KEEPER_INTENT,   /* may this create be sent? */
    KEEPER_LIVE,     /* a provider has made this batch */
    KEEPER_DROP,     /* nothing came of an intent, or nobody knows */
    KEEPER_SEEN,     /* how a batch stands */
    KEEPER_DUE,      /* which batches shall be asked about? */
    KEEPER_STORY,    /* what is known of a batch? */
    KEEPER_DELETION, /* what became of a file that was to be deleted */
    KEEPER_MOVE,     /* a batch that failed late goes elsewhere */
    KEEPER_KINDS
};

/* Answers to KEEPER_KEY_LOOKUP. */
enum keeper_lookup {
    KEEPER_KEY_PUBLISHED = 1, /* it is in the table now: rights_find() again */
    KEEPER_KEY_UNKNOWN,       /* certainly no key */
    KEEPER_KEY_CANNOT_TELL    /* it may be one: 503 */
};

/* Statuses that no kind uses for itself. */
enum keeper_status {
    KEEPER_NO_SUCH_KIND = 0xfff0, /* this keeper does not serve it */
    KEEPER_TOO_LONG,              /* what it would answer is longer than KEEPER_MESSAGE */
    KEEPER_NO_MEMORY
};

/* Between the two themselves, with the id 0: a keeper that is about to leave says KEEPER_GOING, and
 * leaves when its workers have said KEEPER_BYE, behind which nothing comes. So no question is lost
 * in a socket that nobody reads any more. */
enum keeper_note { KEEPER_GOING = 0xffe0, KEEPER_BYE };

/* In front of the bytes, on both ways. */
struct keeper_head {
    uint64_t id;          /* the worker's number of the question; 0: enum keeper_note */
    uint64_t deadline_ms; /* monotonic: nobody waits for the answer after that; 0 in an answer */
    uint32_t kind;        /* enum keeper_kind; of an answer its status */
    uint32_t len;         /* bytes that follow */
};

struct keeper_door {
    int listen_fd; /* non-blocking; -1: closed */
    pid_t pid;     /* who listens: the master */
    struct sockaddr_un address;
    socklen_t address_len;
    unsigned char token[KEEPER_TOKEN];
};

/** Make it, in memory of the caller's that children inherit and that gets into no core.
 *  @return 0 or ERR_IO (errno) */
MUST_USE int keeper_door_open(struct keeper_door *door);
/** Its process has become another user: who connects sees that one from now on, since a second
 *  listen(2) renews what SO_PEERCRED tells of the listener (unix(7)).
 *  @return 0 or ERR_IO (errno) */
MUST_USE int keeper_door_renew(const struct keeper_door *door);
/** Close this process's copy of the listener; a second time is fine. */
void keeper_door_close(struct keeper_door *door);

/** Worker: connect and say the token.
 *  @param fd  on 0 the caller's, non-blocking, close-on-exec
 *  @return 0; ERR_FULL: too many wait at the door, try again; ERR_IO (errno): nobody listens;
 *          ERR_FORGED: another program has the address */
MUST_USE int keeper_door_connect(const struct keeper_door *door, int *fd);

/** Keeper: take who waits at the door. Others than processes of our user are sent away at once.
 *  @param fd  on 0 the caller's, non-blocking, close-on-exec; its first message has to be the token
 *  @return 0; ERR_NOT_FOUND: nobody waits; ERR_IO (errno) */
MUST_USE int keeper_door_accept(const struct keeper_door *door, int *fd);
