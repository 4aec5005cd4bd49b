/* Keepers of a fleet at one PostgreSQL: what a reservation takes, and how many there can be. Each
 * process is a keeper's client of the database and nothing else: it joins as a node, gives its sign of
 * life and reads the sums once a second, reserves deployment, key and team for creates that come at a
 * steady rate, and writes each one live. A reservation's time begins when its create comes, so that
 * one that waits for the one before it counts the wait.
 *
 *   bench_fleet URL [KEEPERS] [CREATES_PER_SECOND] [SECONDS]
 *
 * Then all of them reserve as fast as they can, many to a transaction, as a keeper merges what waits.
 * In the end everything is given back, and the sums have to be 0: else it exits 1. */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "common/rights.h"
#include "store/store.h"
#include "server/store/store_fleet_impl.h"

#define MAX_KEEPERS 200
#define MAX_CREATES 20000 /* of one keeper */
#define MERGED      16    /* intents of a transaction, at full speed */
#define TOKENS      1000
#define DEPLOYMENTS 4
#define KEYS        20
#define TEAMS       5

struct keeper {
    _Atomic uint64_t done, merged, failed;
    _Atomic uint64_t failed_at_rate; /* of these, before all went at full speed */
    uint32_t us[MAX_CREATES], live_us[MAX_CREATES];
};

struct all {
    _Atomic uint32_t ready, ended;
    _Atomic uint64_t start_us; /* 0: not yet */
    struct keeper keepers[];
};

static struct all *all;
static const char *url;
static unsigned num_keepers = 50, rate = 100, seconds = 20;

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void wait_until(uint64_t us)
{
    struct timespec t = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
        ;
}

/* --- one keeper --- */

struct client {
    struct keeper *told;
    struct store *store;
    struct fleet_me me;
    char node[32];
    unsigned number; /* ids so far */
    int64_t since;   /* of the sums */
    uint64_t beat_us;
    unsigned lives; /* the first of them are written live */
    unsigned given_back;
};

static void on_sum(void *arg, const struct fleet_sum *sum)
{
    (void)arg;
    (void)sum;
}

/* A call that failed is made again a little later, as a keeper does. */
static void note_failure(struct client *c)
{
    atomic_fetch_add(&c->told->failed, 1);
    usleep(10000);
}

static void beat(struct client *c)
{
    if (now_us() < c->beat_us)
        return;
    c->beat_us = now_us() + 1000000;
    if (store_fleet_beat(c->store, &c->me, NULL) != 0 ||
        store_fleet_sums(c->store, &c->since, on_sum, NULL) != 0)
        note_failure(c);
}

static void name_intent(const struct client *c, unsigned number, char out[FLEET_ID])
{
    snprintf(out, FLEET_ID, "%s-%u", c->node, number);
}

static struct fleet_intent intent_of(const char *id)
{
    struct fleet_intent intent = {.id = id, .tokens = TOKENS};
    const uint64_t names[FLEET_SCOPES] = {[FLEET_DEPLOYMENT] = 1 + draw(DEPLOYMENTS),
                                          [FLEET_KEY] = 100 + draw(KEYS),
                                          [FLEET_TEAM] = 200 + draw(TEAMS)};

    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        intent.scopes[i] = (struct fleet_scope){.name = names[i],
                                                .tokens = UINT64_C(1000000000000),
                                                .batches = RIGHTS_UNLIMITED,
                                                .nano = INT64_MAX};
    return intent;
}

/* @return how many were granted */
static unsigned reserve(struct client *c, unsigned num)
{
    static char ids[MERGED][FLEET_ID];
    struct fleet_intent intents[MERGED];
    struct fleet_answer answers[MERGED] = {{0}};
    unsigned granted = 0;

    for (unsigned i = 0; i < num; i++) {
        name_intent(c, c->number + i, ids[i]);
        intents[i] = intent_of(ids[i]);
    }
    while (store_fleet_intents(c->store, &c->me, intents, num, answers) != 0)
        note_failure(c);
    for (unsigned i = 0; i < num; i++) {
        granted += answers[i].verdict == FLEET_GRANTED;
        fleet_answer_deinit(&answers[i]);
    }
    c->number += num;
    return granted;
}

static void write_live(struct client *c)
{
    char id[FLEET_ID], native[FLEET_ID + 8];
    struct fleet_live live = {.of = {.id = id}, .native = native};

    name_intent(c, c->number - 1, id);
    snprintf(native, sizeof(native), "batch_%s", id);
    if (store_fleet_live(c->store, &c->me, &live, 1, NULL) != 0)
        note_failure(c);
}

/* Creates come at `rate`, of which each keeper has its part, not in step with the others. */
static void at_a_steady_rate(struct client *c, unsigned keeper)
{
    uint64_t each_us = (uint64_t)num_keepers * 1000000 / rate;
    uint64_t due_us = atomic_load(&all->start_us) + each_us * keeper / num_keepers;
    uint64_t end_us = atomic_load(&all->start_us) + (uint64_t)seconds * 1000000;

    for (unsigned n = 0; due_us < end_us && n < MAX_CREATES; n++, due_us += each_us) {
        uint64_t made_us, begun_us;

        wait_until(due_us);
        if (reserve(c, 1) != 1)
            _exit(1);
        made_us = now_us();
        c->told->us[n] = (uint32_t)(made_us - due_us);
        begun_us = made_us;
        write_live(c);
        c->told->live_us[n] = (uint32_t)(now_us() - begun_us);
        atomic_fetch_add(&c->told->done, 1);
        beat(c);
    }
    wait_until(end_us);
}

static void at_full_speed(struct client *c)
{
    uint64_t end_us = atomic_load(&all->start_us) + (uint64_t)seconds * 1000000 * 3 / 2;

    while (now_us() < end_us) {
        atomic_fetch_add(&c->told->merged, reserve(c, MERGED));
        beat(c);
    }
}

/* As the end of its batch does. */
static bool end_one(struct client *c, unsigned number)
{
    char id[FLEET_ID];
    const struct fleet_name name = {.id = id};
    int rc = work_begin(c->store, WORK_WRITE);

    name_intent(c, number, id);
    return rc == 0 && work_end(c->store, work_free_reservation(c->store, &name, 0, NULL)) == 0;
}

static void end_lives(struct client *c)
{
    while (c->given_back < c->lives)
        if (end_one(c, c->given_back))
            c->given_back++;
        else
            note_failure(c);
}

static void give_back(struct client *c)
{
    static char ids[FLEET_AT_ONCE][FLEET_ID];
    struct fleet_drop drops[FLEET_AT_ONCE];

    while (c->given_back < c->number) {
        unsigned num = 0;

        for (; num < FLEET_AT_ONCE && c->given_back + num < c->number; num++) {
            name_intent(c, c->given_back + num, ids[num]);
            drops[num] = (struct fleet_drop){.of = {.id = ids[num]}, .end = FLEET_NOT_MADE};
        }
        if (store_fleet_drop(c->store, &c->me, drops, num) == 0)
            c->given_back += num;
        else
            note_failure(c);
    }
}

static void join(struct client *c)
{
    char why[STORE_WHY_BYTES];

    must(store_new(url, NULL, &c->store, why));
    c->me.node = c->node;
    for (int tries = 0;; tries++) { /* the first one makes the tables, and others wait for it */
        if (store_fleet_join(c->store, (uint64_t)getpid(), "127.0.0.1", "bench", &c->me) == 0)
            return;
        if (tries > 100) {
            fprintf(stderr, "bench_fleet: %s\n", store_why(c->store));
            _exit(1);
        }
        usleep(200000);
    }
}

static void run(unsigned keeper)
{
    struct client c = {.told = &all->keepers[keeper]};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    seed += keeper * 7919;
    snprintf(c.node, sizeof(c.node), "bench-%u", keeper);
    join(&c);
    atomic_fetch_add(&all->ready, 1);
    while (atomic_load(&all->start_us) == 0)
        usleep(1000);
    at_a_steady_rate(&c, keeper);
    c.lives = c.number;
    atomic_store(&c.told->failed_at_rate, atomic_load(&c.told->failed));
    at_full_speed(&c);
    end_lives(&c);
    give_back(&c);
    store_free(c.store);
    _exit(0);
}

/* --- all of them --- */

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void print_times(const char *what, const uint32_t *us, size_t num)
{
    if (num > 0)
        printf("%s: %zu, p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", what, num, us[num / 2] / 1e3,
               us[num * 99 / 100] / 1e3, us[num - 1] / 1e3);
}

static void collect(bool live, const char *what)
{
    uint32_t *us = calloc((size_t)num_keepers * MAX_CREATES, sizeof(*us));
    size_t num = 0;

    must(us == NULL);
    for (unsigned i = 0; i < num_keepers; i++) {
        const struct keeper *k = &all->keepers[i];

        for (uint64_t n = 0; n < atomic_load(&k->done); n++)
            us[num++] = live ? k->live_us[n] : k->us[n];
    }
    qsort(us, num, sizeof(*us), by_size);
    print_times(what, us, num);
    free(us);
}

static void on_left_over(void *arg, const struct fleet_sum *sum)
{
    *(uint64_t *)arg += sum->tokens + sum->batches;
}

static int check_sums(void)
{
    char why[STORE_WHY_BYTES];
    struct store *store;
    uint64_t left = 0;
    int64_t since = 0;

    must(store_new(url, NULL, &store, why));
    must(store_fleet_sums(store, &since, on_left_over, &left));
    store_free(store);
    printf("left over in the sums: %" PRIu64 "\n", left);
    return left != 0;
}

static void print_rest(void)
{
    uint64_t merged = 0, failed = 0, at_rate = 0;

    for (unsigned i = 0; i < num_keepers; i++) {
        merged += atomic_load(&all->keepers[i].merged);
        failed += atomic_load(&all->keepers[i].failed);
        at_rate += atomic_load(&all->keepers[i].failed_at_rate);
    }
    printf("calls that failed at that rate and were made again: %" PRIu64 "\n", at_rate);
    printf("all at full speed, %d to a transaction, on the same rows: %.0f reservations a second "
           "(each writes four rows); calls that waited beyond their deadline: %" PRIu64 "\n",
           MERGED, (double)merged / ((double)seconds / 2), failed - at_rate);
}

int main(int argc, char **argv)
{
    size_t bytes;
    int bad = 0, status;

    if (argc < 2)
        return 2;
    url = argv[1];
    num_keepers = argc > 2 ? (unsigned)atoi(argv[2]) : num_keepers;
    rate = argc > 3 ? (unsigned)atoi(argv[3]) : rate;
    seconds = argc > 4 ? (unsigned)atoi(argv[4]) : seconds;
    if (num_keepers == 0 || num_keepers > MAX_KEEPERS || rate == 0 || seconds == 0)
        return 2;
    bytes = sizeof(*all) + num_keepers * sizeof(all->keepers[0]);
    all = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(all == MAP_FAILED);
    for (unsigned i = 0; i < num_keepers; i++)
        if (fork() == 0)
            run(i);
    while (atomic_load(&all->ready) < num_keepers && waitpid(-1, &status, WNOHANG) == 0)
        usleep(10000);
    must(atomic_load(&all->ready) < num_keepers);
    printf("%u keepers are connected\n", num_keepers); /* whoever counts connections does it now */
    fflush(stdout);
    atomic_store(&all->start_us, now_us() + 500000);
    while (wait(&status) > 0)
        bad |= status;
    collect(false, "reservation of three scopes, from the create's arrival");
    collect(true, "written live");
    print_rest();
    return check_sums() != 0 || bad != 0;
}
