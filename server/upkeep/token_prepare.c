/* See token_prepare.h. A thread is told nothing and asked nothing while it runs; it hangs its job
 * into a list and writes to an eventfd. */
#include "token_prepare.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/log.h"
#include "common/secret.h"
#include "entra/entra_file.h"

struct token_job {
    STAILQ_ENTRY(token_job) link; /* of the ended ones */
    struct token_preparer *preparer;
    const struct entra_credential *credential; /* borrowed */
    char challenge[ENTRA_MAX_PATH];            /* "": none */
    int64_t now_unix_s;
    bool abandoned; /* the loop's */
    struct token_prepared prepared;
    token_prepared_cb done;
    void *arg; /* borrowed */
};

struct token_preparer {
    int event_fd;
    pthread_mutex_t lock;
    STAILQ_HEAD(, token_job) ended; /* under the lock */
};

/* --- in the thread --- */

static int read_file(const struct token_job *job, struct secret *file, struct entra_error *error)
{
    if (job->challenge[0] != '\0')
        return entra_file_arc_key(job->challenge, ENTRA_ARC_KEYS, file, error);
    return job->credential->path != NULL ? entra_file_read(job->credential->path, file, error) : 0;
}

/* A file that cannot be read may be there in a moment. One that says nothing of use, or a challenge
 * that leads astray, is somebody's mistake. */
static void prepare(struct token_job *job)
{
    struct token_prepared *p = &job->prepared;
    struct secret file = SECRET_NONE;
    int ret = read_file(job, &file, &p->error);

    p->outcome = job->challenge[0] != '\0' ? ENTRA_FINAL : ENTRA_PASSING;
    if (ret == 0) {
        ret = entra_request_build(job->credential, secret_is_set(&file) ? &file : NULL,
                                  job->now_unix_s, &p->request, &p->error);
        p->outcome = ret == ERR_NOMEM ? ENTRA_PASSING : ENTRA_FINAL;
    }
    p->ok = ret == 0;
    secret_clear(&file);
}

static void *run(void *arg)
{
    struct token_job *job = arg;
    struct token_preparer *preparer = job->preparer;
    const uint64_t one = 1;

    prepare(job);
    pthread_mutex_lock(&preparer->lock);
    STAILQ_INSERT_TAIL(&preparer->ended, job, link);
    pthread_mutex_unlock(&preparer->lock);
    if (write(preparer->event_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        log_error("tokens: an eventfd is full"); /* it would have to count to 2^64 */
    return NULL;
}

/* --- on the loop --- */

static struct token_job *take_ended(struct token_preparer *preparer)
{
    struct token_job *job;

    pthread_mutex_lock(&preparer->lock);
    job = STAILQ_FIRST(&preparer->ended);
    if (job != NULL)
        STAILQ_REMOVE_HEAD(&preparer->ended, link);
    pthread_mutex_unlock(&preparer->lock);
    return job;
}

static void on_ended(void *arg)
{
    struct token_preparer *preparer = arg;
    struct token_job *job;
    uint64_t count;

    (void)!read(preparer->event_fd, &count, sizeof(count)); /* only so that it is not readable */
    while ((job = take_ended(preparer)) != NULL) {
        struct token_prepared prepared = job->prepared;
        token_prepared_cb done = job->done;
        bool abandoned = job->abandoned;
        void *of = job->arg;

        free(job);
        done(of, abandoned ? NULL : &prepared);
        entra_request_wipe(&prepared.request);
    }
}

int token_preparer_new(struct loop *loop, struct token_preparer **out)
{
    struct token_preparer *preparer = calloc(1, sizeof(*preparer));
    int ret = ERR_IO;

    *out = NULL;
    if (preparer == NULL)
        return ERR_NOMEM;
    STAILQ_INIT(&preparer->ended);
    pthread_mutex_init(&preparer->lock, NULL);
    preparer->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (preparer->event_fd == -1 ||
        (ret = loop_watch(loop, preparer->event_fd, on_ended, preparer)) != 0) {
        if (preparer->event_fd != -1)
            close(preparer->event_fd);
        free(preparer);
        return ret;
    }
    *out = preparer;
    return 0;
}

static bool start_thread(struct token_job *job)
{
    pthread_attr_t attr;
    pthread_t thread;
    bool started;

    if (pthread_attr_init(&attr) != 0)
        return false;
    started = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0 &&
              pthread_create(&thread, &attr, run, job) == 0;
    pthread_attr_destroy(&attr);
    return started;
}

struct token_job *token_prepare_start(struct token_preparer *preparer,
                                      const struct entra_credential *credential,
                                      const char *challenge, int64_t now_unix_s,
                                      token_prepared_cb done, void *arg)
{
    struct token_job *job = calloc(1, sizeof(*job));

    if (job == NULL)
        return NULL;
    job->preparer = preparer;
    job->credential = credential;
    job->now_unix_s = now_unix_s;
    job->done = done;
    job->arg = arg;
    strncpy(job->challenge, challenge != NULL ? challenge : "", sizeof(job->challenge) - 1);
    if (start_thread(job))
        return job;
    free(job);
    return NULL;
}

void token_prepare_abandon(struct token_job *job)
{
    job->abandoned = true;
}
