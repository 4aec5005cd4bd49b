/* See run_rules.h. */
#include "run_rules.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "shown.h"

#define FIRST_MS     1000
#define UNSURE_MS    60000 /* for an error file that may never be */
#define PAUSE_MAX_MS 60000
#define ASKED_MAX_S  300
#define ROOM_MAX_MS  900000
#define LEFT_MAX_S   315576000 /* ten years: who says more knows nothing */

enum run_next run_after_send(enum client_exit code, const struct client_answer *answer, bool fresh)
{
    int status = answer->status;

    if (code == CLIENT_USAGE)
        return RUN_STOP;
    if (status == 0)
        return answer->nothing_sent ? RUN_SEND : RUN_LOOK;
    if (status == 404 && fresh)
        return RUN_SEND;
    if (status == 429)
        return answer->no_retry ? RUN_STOP : RUN_LOOK;
    if (status == 408 || status >= 500 || (status >= 200 && status <= 299))
        return RUN_LOOK;
    return RUN_STOP;
}

enum run_next run_after_look(const struct run_send *send, bool gateway, int64_t now_s,
                             int64_t settle_s, int64_t *wait_s)
{
    int64_t since_first_s = now_s - send->first_s, since_last_s = now_s - send->last_s;

    assert(settle_s >= 0);
    *wait_s = 0;
    if (send->first_s == 0)
        return RUN_SEND;
    if (gateway && since_first_s >= 0 && since_first_s < RUN_KEY_S)
        return RUN_SEND;
    if (since_last_s >= settle_s)
        return RUN_SEND;
    /* A clock that was set back says nothing: the whole time from now on. */
    *wait_s = since_last_s < 0 ? settle_s : settle_s - since_last_s;
    return RUN_LOOK;
}

/* A member of `request_counts`; -1: it does not say. */
static int64_t count_of(const struct json *batch, const char *name)
{
    int64_t n;

    return json_int64(json_get(json_get(batch, "request_counts"), name), &n) && n >= 0 ? n : -1;
}

int64_t run_completed_of(const struct json *batch)
{
    return count_of(batch, "completed");
}

/* Of a batch without an output file: whether nothing can be missing. */
static bool has_no_output(const struct json *batch, bool errors)
{
    int64_t completed = count_of(batch, "completed"), failed = count_of(batch, "failed");

    /* Each line has an answer: all failed, or there is an output file. */
    if (strcasecmp(shown_text(batch, "status"), "completed") == 0)
        return errors && completed == 0 && failed > 0 && failed >= count_of(batch, "total");
    if (completed == -1)
        return json_type(json_get(batch, "in_progress_at")) == JSON_NULL; /* nothing has run */
    return completed == 0 && (failed <= 0 || errors);
}

enum run_files run_files_of(const struct json *batch)
{
    bool output = shown_text(batch, "output_file_id")[0] != '\0';
    bool errors = shown_text(batch, "error_file_id")[0] != '\0';

    if (!output && strcasecmp(shown_text(batch, "status"), "failed") != 0 &&
        !has_no_output(batch, errors))
        return RUN_FILES_LATE;
    return output && !errors && count_of(batch, "failed") > 0 ? RUN_FILES_UNSURE : RUN_FILES_SHOWN;
}

enum run_ended run_after_end(enum run_files files, int64_t waited_ms, int64_t patience_ms)
{
    if (files == RUN_FILES_LATE)
        return waited_ms < patience_ms ? RUN_ENDED_WAIT : RUN_ENDED_LEAVE;
    if (files == RUN_FILES_UNSURE && waited_ms < patience_ms && waited_ms < UNSURE_MS)
        return RUN_ENDED_WAIT;
    return RUN_ENDED_READ;
}

uint64_t run_missing(int64_t completed, uint64_t lines)
{
    return completed > 0 && (uint64_t)completed > lines ? (uint64_t)completed - lines : 0;
}

enum run_retry run_may_retry(const struct run_state *state)
{
    if (run_state_unread(state) > 0)
        return RUN_RETRY_UNREADABLE;
    if (state->counted)
        return RUN_RETRY;
    return state->round == 0 ? RUN_RETRY_COUNT : RUN_RETRY_UNCOUNTED;
}

bool run_found_no_room(const struct json *batch)
{
    const struct json *errors = json_get(json_get(batch, "errors"), "data");
    int64_t completed = count_of(batch, "completed");

    if (strcasecmp(shown_text(batch, "status"), "failed") != 0 || json_size(errors) == 0)
        return false;
    for (size_t i = 0; i < json_size(errors); i++)
        if (strcmp(shown_text(json_at(errors, i), "code"), "token_limit_exceeded") != 0)
            return false;
    return (completed == 0 ||
            (completed == -1 && json_type(json_get(batch, "in_progress_at")) == JSON_NULL)) &&
           count_of(batch, "failed") <= 0 && shown_text(batch, "output_file_id")[0] == '\0' &&
           shown_text(batch, "error_file_id")[0] == '\0';
}

int64_t run_room_ms(unsigned remade, bool gateway, int64_t wait_s)
{
    int64_t ms = wait_s * 1000, most_ms = ms > ROOM_MAX_MS ? ms : ROOM_MAX_MS;

    assert(wait_s >= 0);
    if (gateway && remade == 0)
        return 0;
    for (unsigned i = gateway ? 1 : 0; i < remade && ms < most_ms; i++)
        ms *= 4;
    return ms > most_ms ? most_ms : ms;
}

int64_t run_pause_ms(unsigned tries, int64_t asked_s)
{
    int64_t ms = FIRST_MS;

    if (asked_s >= 0)
        return (asked_s > ASKED_MAX_S ? ASKED_MAX_S : asked_s) * 1000;
    for (unsigned i = 1; i < tries && ms < PAUSE_MAX_MS; i++)
        ms *= 2;
    return ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : ms;
}

int64_t run_poll_ms(unsigned looks, int64_t most_s)
{
    int64_t ms = FIRST_MS, most_ms = most_s * 1000;

    for (unsigned i = 0; i < looks && ms < most_ms; i++)
        ms += ms / 2;
    return ms > most_ms ? most_ms : ms;
}

void run_pace_init(struct run_pace *pace)
{
    *pace = (struct run_pace){.from_ms = -1, .left_s = -1};
}

void run_pace_look(struct run_pace *pace, int64_t done, int64_t total, int64_t now_ms)
{
    double left_s;

    assert(done >= 0 && done <= total);
    if (pace->from_ms == -1 || done < pace->from_done) {
        pace->from_ms = now_ms;
        pace->from_done = done;
    }
    pace->per_minute = 0;
    pace->left_s = -1;
    if (done > pace->from_done && now_ms > pace->from_ms) {
        pace->per_minute =
            (double)(done - pace->from_done) * 60000 / (double)(now_ms - pace->from_ms);
        left_s = total > done ? (double)(total - done) * 60 / pace->per_minute : 0;
        pace->left_s = left_s <= LEFT_MAX_S ? (int64_t)left_s : -1;
    }
}

int run_worst(int a, int b)
{
    static const int order[] = {CLIENT_STOPPED, CLIENT_USAGE, CLIENT_REFUSED, CLIENT_AWAY,
                                CLIENT_LINES_FAILED};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return CLIENT_OK;
}
