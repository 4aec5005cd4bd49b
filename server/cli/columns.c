/* See columns.h. */
#include "columns.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json/json.h"

#define CELL_BYTES 512
#define GAP        2 /* spaces between columns */

void columns_init(struct columns *c, const char *const *heads, size_t num)
{
    assert(num > 0);
    *c = (struct columns){.heads = heads, .num = num};
}

void columns_deinit(struct columns *c)
{
    for (size_t i = 0; i < c->used; i++)
        free(c->cells[i]);
    free(c->cells);
    free(c->colours);
}

/* --- cells --- */

static void add_plain(struct strbuf *out, const char *text)
{
    size_t len = strlen(text), n;

    for (size_t i = 0; i < len; i += n) {
        n = utf8_sequence(text + i, len - i);
        if (n == 0) {
            strbuf_addc(out, '?');
            n = 1;
        } else if (n == 1) {
            strbuf_addc(out, (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i]);
        } else if (n == 2 && (unsigned char)text[i] == 0xc2 && (unsigned char)text[i + 1] < 0xa0) {
            strbuf_addc(out, ' '); /* C1: some terminals take them for escapes */
        } else {
            strbuf_add(out, text + i, n);
        }
    }
}

static bool make_room(struct columns *c)
{
    size_t room = c->room == 0 ? 64 : c->room * 2;
    char **cells;
    unsigned char *colours;

    if (c->used < c->room)
        return true;
    cells = realloc(c->cells, room * sizeof(*cells));
    if (cells != NULL)
        c->cells = cells;
    colours = cells != NULL ? realloc(c->colours, room) : NULL;
    if (colours == NULL)
        return false;
    c->colours = colours;
    c->room = room;
    return true;
}

void columns_add(struct columns *c, const char *text, enum colour colour)
{
    struct strbuf cell = STRBUF_INIT;

    add_plain(&cell, text == NULL || text[0] == '\0' ? "-" : text);
    if (strbuf_failed(&cell) || !make_room(c)) {
        c->failed = true;
        strbuf_deinit(&cell);
        return;
    }
    c->colours[c->used] = (unsigned char)colour;
    c->cells[c->used++] = strbuf_take(&cell);
}

void columns_addf(struct columns *c, enum colour colour, const char *fmt, ...)
{
    char text[CELL_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    columns_add(c, text, colour);
}

/* --- printing --- */

/* Characters, of valid UTF-8. */
static size_t width_of(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static size_t width_of_column(const struct columns *c, size_t column)
{
    size_t width = width_of(c->heads[column]);

    for (size_t i = column; i < c->used; i += c->num)
        if (width_of(c->cells[i]) > width)
            width = width_of(c->cells[i]);
    return width;
}

static void add_coloured(struct strbuf *out, const char *text, enum colour colour, bool colours)
{
    static const char *const codes[] = {
        [COLOUR_GOOD] = "32", [COLOUR_BUSY] = "36", [COLOUR_BAD] = "31", [COLOUR_DIM] = "2"};

    if (colours && colour != COLOUR_NONE)
        strbuf_addf(out, "\033[%sm%s\033[0m", codes[colour], text);
    else
        strbuf_adds(out, text);
}

/* The last column is not filled up: a line ends where its text does. */
static void add_cell(const struct columns *c, size_t column, size_t width, const char *text,
                     enum colour colour, bool colours, struct strbuf *out)
{
    add_coloured(out, text, colour, colours);
    if (column + 1 == c->num)
        strbuf_addc(out, '\n');
    else
        strbuf_addf(out, "%*s", (int)(width - width_of(text) + GAP), "");
}

int columns_print(const struct columns *c, bool colours, struct strbuf *out)
{
    size_t *widths = calloc(c->num, sizeof(*widths));

    if (widths == NULL || c->failed) {
        free(widths);
        return ERR_NOMEM;
    }
    assert(c->used % c->num == 0);
    for (size_t i = 0; i < c->num; i++)
        widths[i] = width_of_column(c, i);
    for (size_t i = 0; i < c->num; i++)
        add_cell(c, i, widths[i], c->heads[i], COLOUR_DIM, colours, out);
    for (size_t i = 0; i < c->used; i++)
        add_cell(c, i % c->num, widths[i % c->num], c->cells[i], (enum colour)c->colours[i],
                 colours, out);
    free(widths);
    return strbuf_failed(out) ? ERR_NOMEM : 0;
}

void columns_add_text(struct strbuf *out, const char *text, enum colour colour, bool colours)
{
    struct strbuf plain = STRBUF_INIT;

    add_plain(&plain, text);
    add_coloured(out, strbuf_str(&plain), colour, colours);
    out->failed |= strbuf_failed(&plain);
    strbuf_deinit(&plain);
}

bool columns_may_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) != 0 && (no == NULL || no[0] == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}
