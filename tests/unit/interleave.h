/* Every order of steps that several processes could take, and a death of one of them at any step.
 * The code under test is compiled into the test with its atomic steps as calls of
 * interleave_step(); processes are coroutines, and at each step a scheduler decides who goes on.
 *
 *   world = (struct world){.region = q, .size = q->size, .always = check_always};
 *   crew(0, do_this, -1);
 *   crew(1, do_that, 3);                      it dies in place of its fourth step
 *   runs = in_every_order(2, 4, check);       up to four preemptions
 *
 * Each order begins with the region as it was at the call. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#define PROCESSES  3
#define MAX_STEPS  256
#define STACK_SIZE (64 * 1024)

struct process {
    void (*body)(struct process *self);
    ucontext_t context;
    char *stack;
    bool done;
    int kill_after; /* steps; -1: never */
    int steps;
    int result; /* this and the next: the body's, 0 and false at first */
    bool flag;
};

/* What all processes share. */
static struct world {
    void *region;
    size_t size;
    void (*always)(void); /* what must be true after each step */
} world;

static _Thread_local struct process *self_process; /* NULL: everything runs straight on */
static struct process processes[PROCESSES];
static ucontext_t scheduler;

static void interleave_step(void)
{
    if (self_process != NULL)
        swapcontext(&self_process->context, &scheduler);
}

static void run_process(void)
{
    self_process->body(self_process);
    self_process->done = true;
    swapcontext(&self_process->context, &scheduler);
}

static void go_on(struct process *p)
{
    if (p->kill_after >= 0 && p->steps >= p->kill_after) {
        p->done = true;
        return;
    }
    p->steps++;
    self_process = p;
    swapcontext(&scheduler, &p->context);
    self_process = NULL;
}

static void begin_process(struct process *p)
{
    if (p->stack == NULL)
        p->stack = malloc(STACK_SIZE);
    assert_non_null(p->stack);
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(p->stack, STACK_SIZE); /* of one who died there */
#endif
    getcontext(&p->context);
    p->context.uc_stack.ss_sp = p->stack;
    p->context.uc_stack.ss_size = STACK_SIZE;
    p->context.uc_link = NULL;
    makecontext(&p->context, run_process, 0);
    p->done = p->flag = false;
    p->result = p->steps = 0;
}

/* Of those alive the one that ran last comes first; the others cost one of the `bound` preemptions.
 */
static int run_schedule(int num, int bound, int *choices, int *alive)
{
    int steps = 0, last = -1, preemptions = 0;

    for (int i = 0; i < num; i++)
        begin_process(&processes[i]);
    for (;; steps++) {
        int order[PROCESSES], n = 0;
        bool running = last >= 0 && !processes[last].done;

        if (running)
            order[n++] = last;
        for (int i = 0; i < num && !(running && preemptions >= bound); i++) {
            if (i != last && !processes[i].done)
                order[n++] = i;
        }
        alive[steps] = n;
        if (n == 0)
            return steps;
        assert_true(steps + 1 < MAX_STEPS);
        preemptions += running && choices[steps] != 0;
        last = order[choices[steps]];
        go_on(&processes[last]);
        world.always();
    }
}

/* Run `num` processes on the region as it is now in every order with at most `bound` preemptions.
 * Returns how many orders there were. */
static int in_every_order(int num, int bound, void (*check)(int num))
{
    int choices[MAX_STEPS] = {0}, alive[MAX_STEPS], runs = 0;
    char *snapshot = malloc(world.size);

#ifdef __SANITIZE_THREAD__
    free(snapshot);
    skip(); /* it does not follow coroutines */
#endif
    assert_non_null(snapshot);
    memcpy(snapshot, world.region, world.size);
    for (;;) {
        int steps = run_schedule(num, bound, choices, alive);

        check(num);
        memcpy(world.region, snapshot, world.size);
        runs++;
        while (steps > 0 && choices[steps - 1] + 1 >= alive[steps - 1])
            choices[--steps] = 0;
        if (steps == 0)
            break;
        choices[steps - 1]++;
    }
    free(snapshot);
    return runs;
}

static void crew(int nth, void (*body)(struct process *), int kill_after)
{
    processes[nth].body = body;
    processes[nth].kill_after = kill_after;
}

static inline uint32_t holder_of_process(const struct process *p)
{
    return 10 + (uint32_t)(p - processes);
}

static inline int num_flags(int num)
{
    int n = 0;

    for (int i = 0; i < num; i++)
        n += processes[i].flag;
    return n;
}
