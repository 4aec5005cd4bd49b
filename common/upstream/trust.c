/* See trust.h. */
#include "trust.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#define DAY_MS   UINT64_C(86400000)
#define AGAIN_MS UINT64_C(3600000) /* the new one cannot be read: the old one goes on so long */

enum reading { READING, READ, BROKEN };

static void stop_reading(struct trust *t)
{
    loop_timer_stop(t->loop, &t->timer);
    X509_STORE_free(t->next);
    BIO_free(t->bio);
    t->next = NULL;
    t->bio = NULL;
    t->num = 0;
}

static bool begin(struct trust *t)
{
    if (t->next != NULL)
        return true;
    if (t->file == NULL)
        return false;
    t->bio = BIO_new_file(t->file, "r");
    t->next = t->bio != NULL ? X509_STORE_new() : NULL;
    /* as libcurl does: an authority of the bundle need not be a root */
    if (t->next != NULL &&
        X509_STORE_set_flags(t->next, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) == 1)
        return true;
    stop_reading(t);
    ERR_clear_error();
    return false;
}

/* Keys and lists of what was revoked are left out: nobody asks them. */
static enum reading read_one(struct trust *t)
{
    X509 *authority = PEM_read_bio_X509_AUX(t->bio, NULL, NULL, NULL);
    unsigned long error = ERR_peek_last_error();
    bool added;

    if (authority == NULL && t->num > 0 && ERR_GET_LIB(error) == ERR_LIB_PEM &&
        ERR_GET_REASON(error) == PEM_R_NO_START_LINE)
        return READ; /* the end of the file */
    added = authority != NULL && X509_STORE_add_cert(t->next, authority) == 1;
    X509_free(authority);
    t->num++;
    return added ? READING : BROKEN;
}

static void put_in_place(struct trust *t)
{
    X509_STORE_free(t->store); /* who verifies with it has a reference */
    t->store = t->next;
    t->next = NULL;
    t->due_ms = loop_now_ms(t->loop) + DAY_MS;
    stop_reading(t);
}

/* @return whether there is more */
static bool read_some(struct trust *t, unsigned most)
{
    enum reading state = READING;

    for (unsigned i = 0; i < most && state == READING; i++)
        state = read_one(t);
    ERR_clear_error();
    if (state == READ)
        put_in_place(t);
    if (state == BROKEN) {
        t->due_ms = loop_now_ms(t->loop) + AGAIN_MS;
        stop_reading(t);
    }
    return state == READING;
}

static void on_timer(struct loop_timer *timer)
{
    struct trust *t = timer->arg;

    if (t->next != NULL && read_some(t, TRUST_SLICE) &&
        loop_timer_start(t->loop, &t->timer, 0) != 0)
        stop_reading(t); /* out of memory: who needs it reads it */
}

void trust_init(struct trust *trust, struct loop *loop, const char *file)
{
    *trust = (struct trust){.loop = loop, .file = file, .timer = {.cb = on_timer, .arg = trust}};
}

void trust_deinit(struct trust *trust)
{
    if (trust->loop == NULL)
        return;
    stop_reading(trust);
    X509_STORE_free(trust->store);
    trust->store = NULL;
}

void trust_warm(struct trust *trust)
{
    if (trust->next != NULL || (trust->store != NULL && loop_now_ms(trust->loop) < trust->due_ms) ||
        !begin(trust))
        return;
    if (loop_timer_start(trust->loop, &trust->timer, 0) != 0)
        stop_reading(trust);
}

X509_STORE *trust_store(struct trust *trust)
{
    trust_warm(trust);
    while (trust->store == NULL && trust->next != NULL)
        (void)read_some(trust, TRUST_SLICE);
    return trust->store;
}
