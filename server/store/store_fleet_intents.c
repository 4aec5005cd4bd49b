/* See store_fleet.h: intents. One transaction for all that wait together (journal statement C29):
 *
 *   keys        insert, or read whose they are      in the order of their names
 *   allowance   lock and read                       in the order of their names
 *   lease       read, where leases are counted
 *   decide      in memory, one intent after the other
 *   write       reservations, keys, leases, allowance
 *
 * The rows of scopes stay locked from the reading to the commit, so that what was decided holds. One
 * statement for each intent would say the same, and take longer under the same locks. */
#include "store_fleet_book.h"

#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "common/seeded_fault.h"

#define IDEM_COLUMNS                                                                               \
    "name, owner, claim, request, state, deployment, nonce, node, epoch, created, busy_until, "    \
    "until"
#define IDEM_NUM_COLUMNS 12
#define RESERVATION_COLUMNS                                                                        \
    "id, token, nonce, claim, account, deployment, deployment_scope, key_scope, team_scope,"       \
    " tokens, nano, state, node, epoch, created, changed, expires, file"
#define RESERVATION_NUM_COLUMNS 18
#define ROWS_AT_ONCE            28 /* of one statement */

static_assert(ROWS_AT_ONCE * RESERVATION_NUM_COLUMNS <= ENGINE_MAX_VALUES, "a statement's values");
static_assert(ROWS_AT_ONCE * IDEM_NUM_COLUMNS <= ENGINE_MAX_VALUES, "a statement's values");
static_assert(FLEET_AT_ONCE <= ENGINE_MAX_VALUES, "a statement's values");

/* Whose a key is. */
enum key_state {
    KEY_NONE,  /* the intent has none */
    KEY_TAKEN, /* its row was made by this transaction */
    KEY_MINE,  /* it is the claim's since an earlier try */
    KEY_OLD,   /* what it was answered is kept no longer: as a new one */
    KEY_DONE,
    KEY_RUNNING,
    KEY_OTHER,
    KEY_LOST
};

/* What the database has of an intent. */
struct one {
    const struct fleet_intent *intent;
    struct fleet_answer *answer;
    struct holding holding;
    const struct one *twin; /* an earlier one of this turn that says the same; NULL: none */
    bool there, over;       /* its reservation is, or was */
    bool granted;           /* by this transaction */
    enum key_state key;
    char old_claim[FLEET_ID]; /* of a key that changes hands */
};

struct turn {
    struct store *store;
    const struct fleet_me *me;
    size_t num;
    int64_t now_ms;
    bool anyway; /* whatever the limits: store_fleet_put() */
    bool missing;
    struct book book;
    struct one ones[FLEET_AT_ONCE];
};

static int64_t as_number(uint64_t number)
{
    return number < INT64_MAX ? (int64_t)number : INT64_MAX;
}

static void set_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

void fleet_answer_deinit(struct fleet_answer *answer)
{
    free(answer->body);
    memset(answer, 0, sizeof(*answer));
}

/* --- what is there already --- */

static int on_id(void *arg, const struct row *row)
{
    struct turn *t = arg;

    for (size_t i = 0; i < t->num; i++) {
        struct one *one = &t->ones[i];

        if (one->intent->id == NULL || strcmp(one->intent->id, row->texts[0]) != 0)
            continue;
        one->over = row_int(row, 1) == FLEET_FREED;
        one->there = !one->over;
    }
    return 0;
}

/* An id is of one node: nobody else adds it meanwhile. */
static int read_ids(struct turn *t)
{
    struct value values[FLEET_AT_ONCE];
    struct strbuf sql = STRBUF_INIT;
    size_t num = 0;
    int rc = ERR_NOMEM;

    for (size_t i = 0; i < t->num; i++)
        if (t->ones[i].intent->id != NULL)
            values[num++] = value_text(t->ones[i].intent->id);
    if (num == 0)
        return 0;
    strbuf_adds(&sql, "select id, state from @reservation where id in ");
    sql_tuples(&sql, 1, num);
    if (!strbuf_failed(&sql))
        rc = work_run(t->store, strbuf_str(&sql), values, num, on_id, t);
    strbuf_deinit(&sql);
    return rc;
}

/* --- keys --- */

static bool has_key(const struct one *one)
{
    return one->twin == NULL && one->intent->key != NULL && one->intent->claim != NULL;
}

static int on_taken(void *arg, const struct row *row)
{
    struct turn *t = arg;

    for (size_t i = 0; i < t->num; i++)
        if (has_key(&t->ones[i]) && strcmp(t->ones[i].intent->claim, row->texts[0]) == 0)
            t->ones[i].key = KEY_TAKEN;
    return 0;
}

static void fill_key(struct value *out, const struct turn *t, const struct fleet_intent *intent)
{
    const struct value values[IDEM_NUM_COLUMNS] = {value_text(intent->key),
                                                   value_int((int64_t)intent->owner),
                                                   value_text(intent->claim),
                                                   value_int((int64_t)intent->request),
                                                   value_int(FLEET_KEY_RUNNING),
                                                   value_int(intent->deployment),
                                                   value_text(intent->nonce),
                                                   value_text(t->me->node),
                                                   value_int(t->me->epoch),
                                                   value_int(t->now_ms),
                                                   value_int(t->now_ms + intent->busy_ms),
                                                   value_int(t->now_ms + FLEET_IDEM_MS)};

    memcpy(out, values, sizeof(values));
}

static int insert_keys(struct turn *t, const struct value *values, size_t num)
{
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    strbuf_adds(&sql, "insert into @idempotency(" IDEM_COLUMNS ") values");
    sql_tuples(&sql, num, IDEM_NUM_COLUMNS);
    strbuf_adds(&sql, " on conflict do nothing returning claim");
    if (!strbuf_failed(&sql))
        rc = work_run(t->store, strbuf_str(&sql), values, num * IDEM_NUM_COLUMNS, on_taken, t);
    strbuf_deinit(&sql);
    return rc;
}

static int by_key(const void *a, const void *b)
{
    const struct one *const *x = a, *const *y = b;

    return strcmp((*x)->intent->key, (*y)->intent->key);
}

/* Those that have one, in the order of their names. */
static size_t sort_keys(struct turn *t, struct one *sorted[FLEET_AT_ONCE])
{
    size_t num = 0;

    for (size_t i = 0; i < t->num; i++)
        if (has_key(&t->ones[i]))
            sorted[num++] = &t->ones[i];
    if (num > 1)
        qsort(sorted, num, sizeof(sorted[0]), by_key);
    return num;
}

static int take_keys(struct turn *t, struct one *const *sorted, size_t num)
{
    struct value values[ROWS_AT_ONCE * IDEM_NUM_COLUMNS];
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < num && rc == 0; i++) {
        fill_key(&values[n++ * IDEM_NUM_COLUMNS], t, sorted[i]->intent);
        if (n == ROWS_AT_ONCE || i + 1 == num) {
            rc = insert_keys(t, values, n);
            n = 0;
        }
    }
    return rc;
}

/* Columns of a key's row as it is read. */
enum {
    COL_NAME,
    COL_CLAIM,
    COL_REQUEST,
    COL_STATE,
    COL_STATUS,
    COL_OBJECT,
    COL_BODY,
    COL_DEPLOYMENT,
    COL_NONCE,
    COL_CREATED,
    COL_BUSY,
    COL_UNTIL,
    COL_LIVES
};

/* Whether this very question has taken the key over as LOST, and its answer was not heard: a commit
 * of which nothing came back, a keeper that was killed before it said so. Whoever asks again has not
 * looked upstream yet. hand_over() notes the question in `object`, which is none's until an end. */
static bool was_told_lost(const struct row *row, const struct fleet_intent *intent)
{
    return row->texts[COL_OBJECT] != NULL &&
           strcmp(row->texts[COL_OBJECT], intent->id != NULL ? intent->id : "") == 0;
}

/* Who has ended without a word is known by its epoch, which its node has no more; or it had more
 * time than a create or upload can take. A node of which nothing is heard may still be sending. */
static enum key_state judge_key(const struct row *row, const struct fleet_intent *intent,
                                int64_t now_ms)
{
    int64_t state = row_int(row, COL_STATE);
    bool is_mine = strcmp(row->texts[COL_CLAIM], intent->claim) == 0;

    if (state == FLEET_KEY_DONE && row_int(row, COL_UNTIL) <= now_ms)
        return KEY_OLD;
    if ((uint64_t)row_int(row, COL_REQUEST) != intent->request)
        return KEY_OTHER;
    if (state == FLEET_KEY_DONE)
        return KEY_DONE;
    if (is_mine)
        return state == FLEET_KEY_RUNNING && was_told_lost(row, intent) ? KEY_LOST : KEY_MINE;
    if (state == FLEET_KEY_UNKNOWN || row_int(row, COL_LIVES) == 0 ||
        row_int(row, COL_BUSY) <= now_ms)
        return KEY_LOST;
    return KEY_RUNNING;
}

static int note_key(struct turn *t, struct one *one, const struct row *row)
{
    struct fleet_answer *answer = one->answer;

    one->key = judge_key(row, one->intent, t->now_ms);
    set_text(one->old_claim, sizeof(one->old_claim), row->texts[COL_CLAIM]);
    if (one->key != KEY_DONE && one->key != KEY_LOST)
        return 0;
    answer->deployment = (uint32_t)row_int(row, COL_DEPLOYMENT);
    set_text(answer->nonce, sizeof(answer->nonce), row->texts[COL_NONCE]);
    answer->age_ms = t->now_ms - row_int(row, COL_CREATED);
    if (one->key == KEY_LOST)
        return 0;
    answer->status = (int)row_int(row, COL_STATUS);
    set_text(answer->object, sizeof(answer->object), row->texts[COL_OBJECT]);
    free(answer->body);
    return copy_text(&answer->body, row->texts[COL_BODY]);
}

static int on_key(void *arg, const struct row *row)
{
    struct turn *t = arg;
    int rc = 0;

    for (size_t i = 0; i < t->num && rc == 0; i++)
        if (has_key(&t->ones[i]) && t->ones[i].key == KEY_NONE &&
            strcmp(t->ones[i].intent->key, row->texts[COL_NAME]) == 0)
            rc = note_key(t, &t->ones[i], row);
    return rc;
}

static int read_keys(struct turn *t, struct one *const *sorted, size_t num)
{
    struct value values[FLEET_AT_ONCE];
    struct strbuf sql = STRBUF_INIT;
    size_t n = 0;
    int rc = ERR_NOMEM;

    for (size_t i = 0; i < num; i++)
        if (sorted[i]->key != KEY_TAKEN)
            values[n++] = value_text(sorted[i]->intent->key);
    if (n == 0)
        return 0;
    strbuf_adds(&sql, "select name, claim, request, state, status, object, body, deployment, nonce,"
                      " created, busy_until, until, case when exists(select 1 from @node n"
                      " where n.id = k.node and n.epoch = k.epoch) then 1 else 0 end"
                      " from @idempotency k where name in ");
    sql_tuples(&sql, 1, n);
    strbuf_addf(&sql, " order by name%s", t->store->engine->ops->for_update);
    if (!strbuf_failed(&sql))
        rc = work_run(t->store, strbuf_str(&sql), values, n, on_key, t);
    strbuf_deinit(&sql);
    return rc;
}

/* Of two of one turn with the same key one gets it; the other one reads what the first has made. */
static int look_at_keys(struct turn *t)
{
    struct one *sorted[FLEET_AT_ONCE];
    size_t num = sort_keys(t, sorted);
    int rc = num > 0 ? take_keys(t, sorted, num) : 0;

    return rc == 0 && num > 0 ? read_keys(t, sorted, num) : rc;
}

/* --- deciding --- */

static bool goes_on(const struct one *one)
{
    return !one->over && one->twin == NULL &&
           (one->key == KEY_NONE || one->key == KEY_TAKEN || one->key == KEY_MINE ||
            one->key == KEY_OLD);
}

static bool counts(const struct one *one)
{
    return goes_on(one) && !one->there && one->intent->id != NULL;
}

/* @param leased  what other nodes may grant alone; of nothing more it keeps nothing back */
static bool refuse(struct fleet_answer *answer, unsigned scope, enum fleet_refuser by, int64_t used,
                   int64_t leased, int64_t more, int64_t limit)
{
    if (more > 0)
        used = used < INT64_MAX - leased ? used + leased : INT64_MAX;
    if (more <= limit && used <= limit - more)
        return false;
    answer->by = by;
    answer->scope = scope;
    answer->used = used;
    answer->limit = limit;
    return true;
}

/* Nothing more that costs nothing is refused by a budget. */
static bool is_refused(struct book *book, const struct one *one, unsigned kind)
{
    const struct fleet_scope *scope = &one->intent->scopes[kind];
    const struct book_row *row = book_find(book, one->holding.scopes[kind]);
    struct fleet_answer *answer = one->answer;

    if (row == NULL)
        return false;
    return (scope->batches != RIGHTS_UNLIMITED &&
            refuse(answer, kind, FLEET_BY_BATCHES, row->batches, row->others.batches, 1,
                   as_number(scope->batches))) ||
           (scope->tokens != RIGHTS_UNLIMITED &&
            refuse(answer, kind, FLEET_BY_TOKENS, row->used, row->others.tokens,
                   one->holding.tokens, as_number(scope->tokens))) ||
           (scope->nano != INT64_MAX &&
            refuse(answer, kind, FLEET_BY_BUDGET, row->held_nano + row->spent_nano,
                   row->others.nano, one->holding.nano, scope->nano));
}

static void note_limits(struct book *book, const struct one *one)
{
    for (unsigned kind = 0; kind < FLEET_SCOPES; kind++) {
        const struct fleet_scope *scope = &one->intent->scopes[kind];
        struct book_row *row = book_find(book, one->holding.scopes[kind]);

        if (row == NULL)
            continue;
        row->max_tokens = as_number(scope->tokens);
        row->max_batches = as_number(scope->batches);
        row->max_nano = scope->nano;
    }
}

static void roll_all(struct turn *t, const struct one *one)
{
    for (unsigned kind = 0; kind < FLEET_SCOPES; kind++) {
        struct book_row *row = book_find(&t->book, one->holding.scopes[kind]);

        if (row != NULL)
            book_roll(row, one->intent->scopes[kind].period_ms, t->now_ms);
    }
}

/* Who asks comes first: its own limit is what it is told of, wherever there is room. */
static void decide(struct turn *t, struct one *one)
{
    static const unsigned order[FLEET_SCOPES] = {FLEET_KEY, FLEET_TEAM, FLEET_DEPLOYMENT};

    one->answer->verdict = FLEET_GRANTED;
    if (!counts(one))
        return;
    roll_all(t, one);
    for (unsigned i = 0; i < FLEET_SCOPES && !t->anyway; i++)
        if (is_refused(&t->book, one, order[i])) {
            one->answer->verdict = FLEET_REFUSED;
            return;
        }
    one->granted = true;
    if (!seeded_fault(SEEDED_FREED_RESERVATION))
        book_add(&t->book, &one->holding);
    if (!t->anyway || one->intent->of_lease)
        leases_spend(&t->book, one->intent, &one->holding);
    note_limits(&t->book, one);
}

static void decide_all(struct turn *t)
{
    static const enum fleet_verdict verdicts[] = {[KEY_DONE] = FLEET_DONE,
                                                  [KEY_RUNNING] = FLEET_RUNNING,
                                                  [KEY_OTHER] = FLEET_OTHER,
                                                  [KEY_LOST] = FLEET_LOST};

    for (size_t i = 0; i < t->num; i++) {
        struct one *one = &t->ones[i];

        if (one->twin != NULL)
            one->answer->verdict = one->twin->answer->verdict;
        else if (goes_on(one))
            decide(t, one);
        else
            one->answer->verdict = one->over ? FLEET_OVER : verdicts[one->key];
    }
}

/* --- writing --- */

static struct value scope_value(const char *scope)
{
    return value_text(*scope != '\0' ? scope : NULL);
}

static void fill_reservation(struct value *out, const struct turn *t, const struct one *one)
{
    const struct fleet_intent *intent = one->intent;
    const struct value values[RESERVATION_NUM_COLUMNS] = {
        value_text(intent->id),
        value_int((int64_t)intent->token),
        value_text(intent->nonce),
        value_text(intent->claim),
        value_int(intent->account),
        value_int(intent->deployment),
        scope_value(one->holding.scopes[FLEET_DEPLOYMENT]),
        scope_value(one->holding.scopes[FLEET_KEY]),
        scope_value(one->holding.scopes[FLEET_TEAM]),
        value_int(one->holding.tokens),
        value_int(one->holding.nano),
        value_int(FLEET_RESERVED),
        value_text(t->me->node),
        value_int(t->me->epoch),
        value_int(t->now_ms),
        value_int(t->now_ms),
        value_int(t->now_ms + FLEET_EXPIRES_MS),
        value_text(intent->file)};

    memcpy(out, values, sizeof(values));
}

static int insert_reservations(struct turn *t, const struct value *values, size_t num)
{
    struct strbuf sql = STRBUF_INIT;
    int rc = ERR_NOMEM;

    strbuf_adds(&sql, "insert into @reservation(" RESERVATION_COLUMNS ") values");
    sql_tuples(&sql, num, RESERVATION_NUM_COLUMNS);
    if (!strbuf_failed(&sql))
        rc =
            work_run(t->store, strbuf_str(&sql), values, num * RESERVATION_NUM_COLUMNS, NULL, NULL);
    strbuf_deinit(&sql);
    return rc;
}

static int write_reservations(struct turn *t)
{
    struct value values[ROWS_AT_ONCE * RESERVATION_NUM_COLUMNS];
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < t->num && rc == 0; i++) {
        if (t->ones[i].granted)
            fill_reservation(&values[n++ * RESERVATION_NUM_COLUMNS], t, &t->ones[i]);
        if (n == ROWS_AT_ONCE || (n > 0 && i + 1 == t->num)) {
            rc = insert_reservations(t, values, n);
            n = 0;
        }
    }
    return rc;
}

/* A key whose request goes on, or that is this claim's from now on. Whoever had it before writes
 * nothing into it any more: it names its own claim.
 * @param lost  it is to be looked for where it was sent: was_told_lost() */
static int hand_over(struct turn *t, const struct one *one, bool lost)
{
    const struct fleet_intent *intent = one->intent;
    const char *id = intent->id != NULL ? intent->id : "";
    struct value values[] = {value_text(intent->key),
                             value_text(one->old_claim),
                             value_text(intent->claim),
                             value_int((int64_t)intent->request),
                             value_int(lost ? one->answer->deployment : intent->deployment),
                             value_text(lost ? one->answer->nonce : intent->nonce),
                             value_text(t->me->node),
                             value_int(t->me->epoch),
                             value_int(t->now_ms + intent->busy_ms),
                             value_int(t->now_ms + FLEET_IDEM_MS),
                             value_text(lost ? id : NULL)};

    return WORK_RUN(t->store,
                    "update @idempotency set claim = $3, request = $4, state = 0, status = null,"
                    " object = $11, body = null, deployment = $5, nonce = $6, node = $7,"
                    " epoch = $8, busy_until = $9, until = $10 where name = $1 and claim = $2",
                    values, NULL, NULL);
}

/* What was refused has no key: the request may go elsewhere, or come again. */
static int give_key_back(struct turn *t, const struct one *one)
{
    struct value values[] = {value_text(one->intent->key), value_text(one->intent->claim)};

    return WORK_RUN(t->store, "delete from @idempotency where name = $1 and claim = $2", values,
                    NULL, NULL);
}

static int write_key(struct turn *t, const struct one *one)
{
    bool is_refused = one->answer->verdict == FLEET_REFUSED;

    if (one->key == KEY_TAKEN && (is_refused || one->over))
        return give_key_back(t, one);
    if (one->key == KEY_LOST && !one->over && one->twin == NULL)
        return hand_over(t, one, true);
    if ((one->key == KEY_MINE || one->key == KEY_OLD) && goes_on(one) && !is_refused)
        return hand_over(t, one, false);
    return 0;
}

static int write_all(struct turn *t)
{
    int rc = write_reservations(t);

    for (size_t i = 0; i < t->num && rc == 0; i++)
        rc = write_key(t, &t->ones[i]);
    if (rc == 0 && t->me->holder != NULL)
        rc = leases_write(t->store, t->me, &t->book);
    return rc == 0 ? book_write(t->store, &t->book, t->now_ms) : rc;
}

/* --- a turn --- */

static int lock_scopes(struct turn *t)
{
    int rc;

    for (size_t i = 0; i < t->num; i++)
        if (counts(&t->ones[i]))
            book_name_all(&t->book, &t->ones[i].holding);
    rc = book_lock(t->store, &t->book);
    t->missing = rc == 0 && !book_is_whole(&t->book);
    if (rc == 0 && !t->missing && t->me->holder != NULL && !seeded_fault(SEEDED_IGNORED_LEASE))
        rc = leases_read(t->store, t->me, t->now_ms, &t->book);
    return t->missing ? ERR_LIMIT : rc;
}

static int run_turn(struct turn *t)
{
    int rc = read_ids(t);

    if (rc == 0 && !t->anyway)
        rc = look_at_keys(t);
    if (rc == 0)
        rc = lock_scopes(t);
    if (rc != 0)
        return rc;
    decide_all(t);
    return write_all(t);
}

/* A question may be put twice, when its asker thinks that the first one was lost. */
static const struct one *twin_of(const struct turn *t, size_t at)
{
    const struct fleet_intent *intent = t->ones[at].intent;

    for (size_t i = 0; i < at && intent->id != NULL; i++)
        if (t->ones[i].intent->id != NULL && strcmp(t->ones[i].intent->id, intent->id) == 0)
            return &t->ones[i];
    return NULL;
}

static void fill_one(struct one *one, const struct fleet_intent *intent,
                     struct fleet_answer *answer)
{
    fleet_answer_deinit(answer);
    *one = (struct one){.intent = intent, .answer = answer};
    one->holding.tokens = as_number(intent->tokens);
    one->holding.nano = intent->nano;
    for (unsigned i = 0; i < FLEET_SCOPES && intent->id != NULL; i++)
        scope_name(one->holding.scopes[i], i, intent->scopes[i].name);
}

static int try_turn(struct turn *t, const struct fleet_intent *intents,
                    struct fleet_answer *answers)
{
    int rc = fleet_begin(t->store, t->me, &t->now_ms);

    t->book.num = 0;
    t->missing = false;
    for (size_t i = 0; i < t->num; i++) {
        fill_one(&t->ones[i], &intents[i], &answers[i]);
        t->ones[i].twin = twin_of(t, i);
    }
    return rc == 0 ? work_end(t->store, run_turn(t)) : rc;
}

/* A scope that is new gets its row in a transaction of its own, once; then all is done again. */
static int take_turn(struct turn *t, const struct fleet_intent *intents,
                     struct fleet_answer *answers)
{
    int rc = try_turn(t, intents, answers);

    if (rc == ERR_LIMIT && t->missing) {
        rc = book_make(t->store, &t->book);
        if (rc == 0)
            rc = try_turn(t, intents, answers);
    }
    return rc == ERR_LIMIT ? ERR_IO : rc;
}

static int run_intents(struct store *store, const struct fleet_me *me,
                       const struct fleet_intent *intents, size_t num, bool anyway,
                       struct fleet_answer *answers)
{
    struct turn *t = calloc(1, sizeof(*t));
    int rc;

    assert(num <= FLEET_AT_ONCE);
    if (t == NULL)
        return ERR_NOMEM;
    t->store = store;
    t->me = me;
    t->num = num;
    t->anyway = anyway;
    rc = take_turn(t, intents, answers);
    free(t);
    for (size_t i = 0; rc != 0 && i < num; i++)
        fleet_answer_deinit(&answers[i]);
    return rc;
}

int store_fleet_intents(struct store *store, const struct fleet_me *me,
                        const struct fleet_intent *intents, size_t num,
                        struct fleet_answer *answers)
{
    memset(answers, 0, num * sizeof(answers[0]));
    return num > 0 ? run_intents(store, me, intents, num, false, answers) : 0;
}

int store_fleet_put(struct store *store, const struct fleet_me *me,
                    const struct fleet_intent *intents, size_t num)
{
    struct fleet_answer *answers = calloc(num + 1, sizeof(*answers));
    int rc = answers != NULL ? 0 : ERR_NOMEM;

    if (rc == 0 && num > 0)
        rc = run_intents(store, me, intents, num, true, answers);
    for (size_t i = 0; answers != NULL && i < num; i++)
        fleet_answer_deinit(&answers[i]);
    free(answers);
    return rc;
}
