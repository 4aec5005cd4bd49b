/* Whether a request was made before: by its Idempotency-Key (creates and uploads, 24 h), or because
 * an SDK says that it repeats a create (`x-stainless-retry-count`). A repeat gets the answer of the
 * first one, waits for it when it is under way, and is looked for among the batches upstream when
 * the gateway may have forgotten it, or another node may have had the first one. balancer/idem.h is
 * the memory behind it. Where there is a journal of batches, an Idempotency-Key that this node does
 * not know is asked for there (journal statement C32): it is one for all nodes.
 *
 * No standard defines the header for these endpoints (providers 1.8); its meaning here is that of
 * the IETF draft "The Idempotency-Key HTTP Header Field": same key and same request, same answer;
 * another request, an error. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/idem.h"
#include "core/unsent.h"
#include "journal/journal.h"
#include "once/reconcile.h"
#include "request/relay.h"

enum repeat_kind { REPEAT_CREATE, REPEAT_UPLOAD };

struct repeat_ops {
    void (*on_new)(void *arg); /* go on; nothing of it has happened */
    /* Found upstream; `doc` and `batch` are valid during the call. Creates only. */
    void (*on_found)(void *arg, uint32_t deployment, struct json_doc *doc, struct json *batch);
    /* Answered before: these bytes; or, without any, ask for the object of `answer->id`. */
    void (*on_replay)(void *arg, const struct idem_answer *answer);
    void (*on_failed)(void *arg, const struct failure *failure);
};

/* Embedded in the operation; all zero before repeat_begin(). */
struct repeat {
    struct runtime *rt; /* borrowed; NULL: not begun */
    enum repeat_kind kind;
    bool keyed;         /* by Idempotency-Key */
    bool again;         /* an SDK says that it asked before, and there is no key */
    bool announced;     /* an SDK says that it asked before */
    bool clear;         /* it is known that nothing came of the tries before this one */
    uint32_t attempt;   /* how often it asked before */
    uint32_t timeout_s; /* how long it waits for an answer; 0: it does not say */
    struct idem_key key;
    struct idem_key client; /* this request of this client's */
    struct wanted wanted;   /* what it makes, or has made */
    uint64_t asked;         /* fingerprint of the request: of all that decides what becomes of it */
    struct idem_claim claim; /* ours to answer, lose or forget; empty: nothing is kept */
    bool lost;               /* the first one's outcome is unknown */
    struct {
        struct journal_call *call;   /* owned; NULL: nothing is asked */
        struct relay *relay;         /* borrowed; as long as nobody was called back */
        struct unsent_entry *unsent; /* shared memory; an upload's, while nothing of it was sent */
        char name[WIRE_ID + 1];      /* of the key, at all nodes; "": no journal, or no key */
        char claim[WIRE_ID + 1];     /* of this request */
        uint32_t deployment;         /* to name one that it may go to */
        bool ours;                   /* the key is perhaps this request's: it hears the end */
        bool lost;                   /* ... and its first one's outcome is unknown */
        bool local;                  /* this node alone knows it */
        uint64_t asked_ms;           /* monotonic */
        uint64_t granted_ms;         /* the same; when the key was taken for all nodes; 0: not */
        uint64_t age_ms, looked_ms;  /* of the first one, when that was asked; monotonic */
    } fleet;
    uint64_t give_up_ms; /* waiting for the first one */
    uint32_t *searched;  /* owned; deployments whose accounts are searched */
    uint32_t num_searched;
    bool too_many;            /* there are more */
    struct reconcile *search; /* owned */
    struct loop_timer timer;
    const struct repeat_ops *ops;
    void *arg; /* borrowed */
};

/** The nonce for a create's marker: follows from its Idempotency-Key, so that the batch is found by
 * it, else random. @return 0, ERR_IO */
MUST_USE int repeat_nonce(const struct relay *relay, char nonce[MARKER_NONCE + 1]);

/** From when on a list that was read has whatever a gateway before this one had sent, so that it
 * need not be read again for that: what is slow at the provider is listed late. Pure. Both in
 * monotonic ms. */
uint64_t repeat_known_since_ms(uint64_t since_ms, uint64_t unsure_until_ms);

/** Whether a create that this node's table does not know is looked for upstream before it is made.
 * One that is announced as a repeat always is: the first one may have gone to another node. A key
 * alone says nothing of that, and is trusted to the table once that is old enough to know it. Pure.
 *  @param since_ms        idem_since_ms()
 *  @param blind_until_ms  idem_blind_until_ms() */
bool repeat_must_look(bool keyed, bool announced, uint64_t now_ms, uint64_t since_ms,
                      uint64_t blind_until_ms);

/** How long ago the first try of a repeated request can have been, in seconds: a key is good for a
 * day; who announces repeats waited for each answer as long as it says, 600 s where it does not
 * (all of OpenAI's SDKs), and a minute at most between two tries. Never more than a day. Pure.
 *  @param tries      made before
 *  @param timeout_s  of the client; 0: not known */
uint32_t repeat_age_s(bool keyed, uint32_t tries, uint32_t timeout_s);

/** Whether the request has an Idempotency-Key. */
bool repeat_is_keyed(const struct relay *relay);

/** Find out; exactly one of `ops` is called, once, perhaps before this returns.
 *  @param wanted  what is to be made; copied. Its `nonce` is that of the marker that the create
 *         will carry, and its `request` the fingerprint of what was asked; of an upload only this
 *         counts
 *  @param homes   deployments of the accounts where the batch is likely to be; copied */
void repeat_begin(struct repeat *repeat, enum repeat_kind kind, struct relay *relay,
                  const struct wanted *wanted, const uint32_t *homes, uint32_t num_homes,
                  const struct repeat_ops *ops, void *arg);

/** It goes on in another operation: after on_new, before repeat_sent(). @param to  all zero
 *  @param from  empty afterwards */
void repeat_move(struct repeat *to, struct repeat *from, const struct repeat_ops *ops, void *arg);

/** Something may happen upstream from now on; before the first byte. @param deployment fingerprint
 * @return false: the claim is gone; send nothing */
MUST_USE bool repeat_sent(struct repeat *repeat, uint32_t deployment);

/** The first byte of an upload is about to go: should this process die from now on, nobody knows what
 * came of it. Until then its key is free again at all nodes. */
void repeat_begins_to_be_sent(struct repeat *repeat);

/** All that was sent was refused, and another deployment is tried: should this process die before
 * repeat_sent() is called again, nothing has happened. */
void repeat_refused(struct repeat *repeat);

/** What refused it may have passed it on all the same: a repeat has to look. */
void repeat_doubt(struct repeat *repeat);

/** It was answered with this 2xx. An upload's answer the journal is told as well; a create tells it
 * itself. @param id  the client's form of the object's id */
void repeat_answered(struct repeat *repeat, uint32_t deployment, const char *id, int status,
                     const char *body, size_t len);

/** Nobody knows what has happened. */
void repeat_lost(struct repeat *repeat);

/* The key of a request, as the journal knows it. All "": there is none. */
struct repeat_name {
    const char *claim, *name;
    uint64_t request;
};
struct repeat_name repeat_name(const struct repeat *repeat);

/** Until when (monotonic ms) a keyed request may be sent that nobody can be asked about now: its key
 * was taken for all nodes a moment ago, or the answer says that this node alone knows it.
 *  @return UINT64_MAX: for as long as it likes; 0: it may not */
uint64_t repeat_may_go_until_ms(const struct repeat *repeat);

/** Somebody else has the key by now: its journal is told nothing by this request. */
void repeat_overtaken(struct repeat *repeat);

/** The operation ends. What was neither answered nor lost has not happened. Safe on one that was
 * never begun. */
void repeat_end(struct repeat *repeat);
