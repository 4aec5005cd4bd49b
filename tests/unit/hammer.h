/* Threads that stand in for processes, all at one shared table. */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define HAMMER_THREADS 4

/* Run `work` in each, with its number; it returns how often something was wrong. */
static inline void hammer(void *(*work)(void *))
{
    pthread_t threads[HAMMER_THREADS];
    void *wrong;

    for (uintptr_t i = 0; i < HAMMER_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (uintptr_t i = 0; i < HAMMER_THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}
