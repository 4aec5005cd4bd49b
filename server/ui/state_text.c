/* See state_text.h. One writing at a time, a step in each slice; who asks while it goes on waits for its end,
 * and who asks within a second of that end gets the same text. */
#include "state_text.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "journal_look.h"
#include "request/errors.h"
#include "request/operation.h"
#include "state_parts.h"

/* One that waits for the text. */
struct viewer_waits {
    struct operation op; /* first */
    struct state_text *state;
    bool late; /* asked after a change that the text being written may lack; those are the last */
    TAILQ_ENTRY(viewer_waits) link;
};

enum step { STEP_NODE, STEP_CHOOSE, STEP_COUNT, STEP_ROWS, STEP_LEDGER, STEP_TENANTS, STEP_END };

struct state_text {
    struct runtime *rt; /* borrowed */
    struct journal_look journal;
    struct strbuf text; /* owned; whole */
    uint64_t made_ms;   /* monotonic; 0: there is none yet */
    bool writing;
    bool stale; /* something was changed while it is written */
    enum step step;
    struct strbuf next; /* owned; being written, as what follows */
    struct state_rows rows;
    struct state_ledger ledger;
    struct state_tenants tenants;
    struct slice slice;
    TAILQ_HEAD(, viewer_waits) waiting;
};

static void on_slice(struct slice *slice);

struct state_text *state_text_new(struct runtime *rt)
{
    struct state_text *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->rt = rt;
    s->slice = (struct slice){.cb = on_slice, .arg = s};
    TAILQ_INIT(&s->waiting);
    journal_look_init(&s->journal, rt);
    return s;
}

/* --- viewers --- */

static void free_viewer(struct operation *op)
{
    struct viewer_waits *v = (struct viewer_waits *)op;

    TAILQ_REMOVE(&v->state->waiting, v, link);
    free(v);
}

static const struct operation_ops viewer_ops = {.free = free_viewer};

static void send_text(const struct state_text *s, struct relay *relay)
{
    relay_header(relay, "cache-control", "no-store");
    relay_bytes(relay, 200, "application/json", s->text.data, s->text.len);
}

static void answer_waiting(struct state_text *s)
{
    struct viewer_waits *v;

    while ((v = TAILQ_FIRST(&s->waiting)) != NULL && !v->late)
        send_text(s, operation_end(&v->op));
}

static void fail_waiting(struct state_text *s)
{
    struct viewer_waits *v;

    while ((v = TAILQ_FIRST(&s->waiting)) != NULL)
        operation_fail_memory(&v->op);
}

/* --- writing --- */

static void end_writing(struct state_text *s)
{
    assert(s->writing);
    state_rows_end(&s->rows);
    s->writing = s->stale = false;
    s->next = (struct strbuf)STRBUF_INIT;
}

static void fail(struct state_text *s)
{
    strbuf_deinit(&s->next);
    end_writing(s);
    fail_waiting(s);
}

static bool begin(struct state_text *s);

/* Who asked after a change gets the next text. */
static void write_again(struct state_text *s)
{
    struct viewer_waits *v;

    for (v = TAILQ_FIRST(&s->waiting); v != NULL; v = TAILQ_NEXT(v, link))
        v->late = false;
    if (!TAILQ_EMPTY(&s->waiting) && !s->writing && !begin(s))
        fail_waiting(s);
}

static void finish(struct state_text *s)
{
    strbuf_deinit(&s->text);
    s->text = s->next;
    s->made_ms = s->stale ? 0 : clock_now_ms();
    end_writing(s);
    answer_waiting(s);
    write_again(s);
}

/* @return whether this step has more to do */
static bool do_step(struct state_text *s)
{
    switch (s->step) {
    case STEP_NODE:
        state_node_write(s->rt, &s->next);
        state_minutes_write(s->rt, &s->next);
        state_events_write(&s->next);
        return false;
    case STEP_CHOOSE:
        return state_rows_choose(&s->rows);
    case STEP_COUNT:
        return state_rows_count(&s->rows);
    case STEP_ROWS:
        return state_rows_write(&s->rows, &s->next);
    case STEP_LEDGER:
        return state_ledger_write(&s->ledger, s->rt, &s->next);
    case STEP_TENANTS:
        return state_tenants_write(&s->tenants, s->rt, &s->next);
    case STEP_END:
        break;
    }
    journal_look_write(&s->journal, &s->next);
    strbuf_addc(&s->next, '}');
    return false;
}

static void on_slice(struct slice *slice)
{
    struct state_text *s = slice->arg;
    bool last = s->step == STEP_END;

    if (!do_step(s) && !last)
        s->step++;
    if (!last && !strbuf_failed(&s->next) && slices_add(&s->rt->slices, s->rt->loop, slice) == 0)
        return;
    if (last && !strbuf_failed(&s->next))
        finish(s);
    else
        fail(s);
}

/* @return false: out of memory */
static bool begin(struct state_text *s)
{
    assert(!s->writing && s->next.len == 0);
    if (!state_rows_begin(&s->rows, s->rt))
        return false;
    s->ledger = (struct state_ledger){0};
    s->tenants = (struct state_tenants){0};
    s->step = STEP_NODE;
    s->writing = true;
    journal_look_ask(&s->journal);
    if (slices_add(&s->rt->slices, s->rt->loop, &s->slice) == 0)
        return true;
    fail(s);
    return false;
}

void state_text_outdate(struct state_text *s)
{
    s->made_ms = 0;
    s->stale = s->writing;
}

void state_text_answer(struct state_text *s, struct relay *relay)
{
    struct viewer_waits *v;

    if (s->made_ms != 0 && clock_now_ms() < s->made_ms + STATE_FRESH_MS) {
        send_text(s, relay);
        return;
    }
    if (!s->writing && !begin(s)) {
        relay_error(relay, OUT_OF_MEMORY, "");
        return;
    }
    v = operation_new(sizeof(*v), relay, &viewer_ops);
    if (v == NULL)
        return;
    v->state = s;
    v->late = s->stale;
    TAILQ_INSERT_TAIL(&s->waiting, v, link);
}
