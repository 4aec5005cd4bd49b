/* See store_engine.h: what both engines share. */
#include "store_engine.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/strbuf.h"

struct value value_int(int64_t number)
{
    return (struct value){.type = VALUE_INT, .number = number};
}

struct value value_text(const char *text)
{
    return (struct value){.type = text != NULL ? VALUE_TEXT : VALUE_NULL, .text = text};
}

struct value value_time(int64_t unix_ms)
{
    return (struct value){.type = unix_ms != 0 ? VALUE_INT : VALUE_NULL, .number = unix_ms};
}

int64_t row_int(const struct row *row, size_t column)
{
    return row->texts[column] != NULL ? strtoll(row->texts[column], NULL, 10) : 0;
}

int engine_fail(struct engine *engine, int rc, enum store_state state, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(engine->why, sizeof(engine->why), fmt, args);
    va_end(args);
    for (char *p = engine->why; *p != '\0'; p++) /* one line, whatever a library says */
        if ((unsigned char)*p < ' ')
            *p = ' ';
    engine->state = state;
    return rc;
}

int engine_run(struct engine *engine, const char *sql, const struct value *values, size_t num,
               uint64_t until_ms, row_cb on_row, void *arg)
{
    struct strbuf text = STRBUF_INIT;
    int rc;

    for (const char *p = sql; *p != '\0'; p++) {
        if (*p == '@')
            strbuf_adds(&text, engine->ops->table_prefix);
        else
            strbuf_addc(&text, *p);
    }
    engine->constraint[0] = '\0';
    if (strbuf_failed(&text))
        rc = engine_fail(engine, ERR_NOMEM, engine->state, "out of memory");
    else
        rc = engine->ops->run(engine, strbuf_str(&text), values, num, until_ms, on_row, arg);
    strbuf_deinit(&text);
    return rc;
}
