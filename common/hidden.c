/* See hidden.h. */
#include "common/hidden.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LINE_MAX_BYTES 512

struct work {
    void (*body)(void *);
    void *arg;
};

/* Mappings with a name are files, the stack and the heap of everybody else. */
static bool read_range(const char *line, uintptr_t *from, uintptr_t *to)
{
    int path = 0;

    return sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %n", from, to, &path) == 2 &&
           line[path] == '\0';
}

static void leave_out_of_cores(const void *const *places, size_t num)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[LINE_MAX_BYTES];
    uintptr_t from, to;

    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
        for (size_t i = 0; i < num; i++)
            if (read_range(line, &from, &to) && (uintptr_t)places[i] >= from &&
                (uintptr_t)places[i] < to)
                (void)madvise((void *)from, to - from, MADV_DONTDUMP);
    if (maps != NULL)
        fclose(maps);
}

/* A large configuration may begin a second heap: the last piece tells where that is. */
static void *run(void *arg)
{
    struct work *work = arg;
    void *first = malloc(1), *last;

    work->body(work->arg);
    last = malloc(1);
    leave_out_of_cores((const void *const[]){first, last, &work}, 3);
    free(first);
    free(last);
    return NULL;
}

void hidden_run(void (*body)(void *), void *arg)
{
    struct work work = {body, arg};
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, &work) != 0)
        body(arg);
    else
        pthread_join(thread, NULL);
}
