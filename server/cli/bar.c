/* See bar.h. */
#include "bar.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "shown.h"

#define WIDTH   30
#define DRAW_MS 100
#define LINE_MS 30000
#define GROUPS  "##############################"

bool bar_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) != 0 && (term == NULL || strcmp(term, "dumb") != 0);
}

void bar_begin(struct bar *bar, const char *what, uint64_t total)
{
    *bar = (struct bar){.what = what, .total = total, .terminal = bar_terminal()};
    bar->began_ms = clock_now_ms();
}

/* "12.3 MB of 200.0 MB, 10.2 MB/s" */
static void describe(const struct bar *bar, uint64_t now_ms, char *out, size_t size)
{
    char done[SHOWN_BYTES], total[SHOWN_BYTES], rate[SHOWN_BYTES];
    uint64_t ms = now_ms - bar->began_ms;

    shown_bytes(bar->done, done);
    shown_bytes(bar->total, total);
    shown_bytes(ms > 0 ? (uint64_t)((double)bar->done * 1000 / (double)ms) : 0, rate);
    snprintf(out, size, "%s%s%s, %s/s", done, bar->total > 0 ? " of " : "",
             bar->total > 0 ? total : "", rate);
}

static void draw(struct bar *bar, uint64_t now_ms)
{
    char text[96];
    uint64_t percent = bar->total > 0 ? bar->done * 100 / bar->total : 0;
    int filled = percent > 100 ? WIDTH : (int)(percent * WIDTH / 100);

    describe(bar, now_ms, text, sizeof(text));
    if (bar->terminal && bar->total > 0)
        fprintf(stderr, "\r%s [%.*s%*s] %3u%%  %s\033[K", bar->what, filled, GROUPS, WIDTH - filled,
                "", (unsigned)percent, text);
    else if (bar->terminal)
        fprintf(stderr, "\r%s  %s\033[K", bar->what, text);
    else
        fprintf(stderr, "%s: %s\n", bar->what, text);
    bar->told_ms = now_ms;
}

void bar_add(struct bar *bar, uint64_t bytes)
{
    uint64_t now_ms = clock_now_ms(), since = bar->told_ms != 0 ? bar->told_ms : bar->began_ms;

    bar->done += bytes;
    assert(now_ms >= since);
    if ((bar->terminal && bar->told_ms == 0) ||
        now_ms - since >= (bar->terminal ? DRAW_MS : LINE_MS))
        draw(bar, now_ms);
}

void bar_end(struct bar *bar)
{
    if (bar->terminal && bar->told_ms != 0)
        fputs("\r\033[K", stderr);
    bar->told_ms = 0;
}
