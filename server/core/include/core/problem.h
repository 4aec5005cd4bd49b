/* A fault that a child has found and that /health shows until it is mended: one line of text in
 * shared memory. One process writes at a time; a line that was written half is told from a whole one
 * by its checksum. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PROBLEM_BYTES 256 /* with the NUL; longer texts are cut */

struct problem {
    _Atomic uint64_t text[PROBLEM_BYTES / sizeof(uint64_t)];
    _Atomic uint64_t sum;   /* of the text */
    _Atomic uint32_t found; /* 0: there is none */
};

/** @param text  one line, without secrets, not empty */
void problem_set(struct problem *problem, const char *text);
void problem_clear(struct problem *problem);

/** @param text  filled when true is returned
 *  @return whether there is a problem */
bool problem_get(const struct problem *problem, char text[PROBLEM_BYTES]);
