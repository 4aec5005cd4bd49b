/* See run_job.h: begin, go on, wait for the batch, merge. What is sent is in run_send.c. */
#include "run_job.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/endpoints.h"
#include "json/json.h"
#include "shown.h"

#define MAX_TRIES 8 /* of reading results */

/* --- where it is --- */

void run_job_go(struct run_job *job, enum run_step step)
{
    job->step = step;
    job->due_ms = 0;
    job->tries = 0;
    job->note[0] = '\0';
}

void run_job_wait(struct run_job *job, enum run_step step, int64_t due_ms, const char *why)
{
    job->step = step;
    job->due_ms = due_ms;
    snprintf(job->note, sizeof(job->note), "%s", why);
}

void run_job_end(struct run_job *job, int code, const char *fmt, ...)
{
    va_list args;

    job->step = RUN_STEP_END;
    job->code = code;
    job->note[0] = '\0';
    if (fmt == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(job->note, sizeof(job->note), fmt, args);
    va_end(args);
}

void run_job_refuse_retry(struct run_job *job, enum run_retry why)
{
    struct strbuf where = STRBUF_INIT;

    assert(why != RUN_RETRY && why != RUN_RETRY_COUNT);
    for (size_t i = 0; i < RUN_FILES; i++) {
        const struct run_unread *unread = &job->state.unread[i];

        if (unread->lines > 0)
            strbuf_addf(&where, "%s%" PRIu64 " line%s of %s", where.len > 0 ? ", " : "",
                        unread->lines, unread->lines == 1 ? "" : "s", unread->file);
    }
    if (why == RUN_RETRY_UNREADABLE)
        run_job_end(job, CLIENT_REFUSED,
                    "nothing was sent once more: of its answers %s cannot be read or found. "
                    "Lines that seem to have none may have been run and paid for",
                    strbuf_str(&where));
    else
        run_job_end(job, CLIENT_REFUSED,
                    "nothing was sent once more: an older tranche merged its answers, and did not "
                    "note lines that it could not read. Lines that seem to have none may have been "
                    "run and paid for");
    strbuf_deinit(&where);
}

bool run_job_save(struct run_job *job)
{
    int error;

    if (run_state_save(job->state_path, &job->state, &error) == 0)
        return true;
    run_job_end(job, CLIENT_USAGE, "%s: %s", job->state_path, strerror(error));
    return false;
}

static void end_here(struct run_job *job, const char *path, int error)
{
    run_job_end(job, CLIENT_USAGE, "%s: %s", path, strerror(error != 0 ? error : EIO));
}

static bool output_exists(const struct run_job *job)
{
    struct stat st;

    return stat(job->output, &st) == 0;
}

/* --- one command at a time --- */

/* The file may be removed by who held it, after it was opened here and before it was locked. */
static bool is_the_one(const struct run_job *job)
{
    struct stat ours, there;

    return fstat(job->lock, &ours) == 0 && stat(job->lock_path, &there) == 0 &&
           ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

static bool lock(struct run_job *job)
{
    for (;;) {
        job->lock = open(job->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (job->lock == -1) {
            end_here(job, job->lock_path, errno);
            return false;
        }
        if (flock(job->lock, LOCK_EX | LOCK_NB) == -1) {
            close(job->lock);
            job->lock = -1;
            run_job_end(job, CLIENT_USAGE, "another tranche run works on %s", job->output);
            return false;
        }
        if (is_the_one(job))
            return true;
        close(job->lock);
    }
}

static void unlock(struct run_job *job)
{
    if (job->lock == -1)
        return;
    (void)unlink(job->lock_path);
    close(job->lock);
    job->lock = -1;
}

/* --- a later round: the lines that failed --- */

/* What of the results that stand there is not good. `answers` is left open. */
static bool read_output(struct run_job *job, struct answers *answers, int *fd)
{
    int err = answers_open(answers, job->answers_path);

    *fd = open(job->output, O_RDONLY | O_CLOEXEC);
    if (*fd == -1) {
        end_here(job, job->output, errno);
        return false;
    }
    if (err == 0)
        err = answers_add_before(answers, *fd);
    if (err == 0)
        err = answers_count(answers, job->input.fd, job->input.bytes, &job->tally);
    if (err != 0)
        end_here(job, job->output, answers->error != 0 ? answers->error : ENOMEM);
    return err == 0;
}

/* Write the lines that failed into a file of their own, and check that. */
static bool open_again(struct run_job *job)
{
    struct answers answers = {.fd = -1};
    int fd = -1;
    bool good = read_output(job, &answers, &fd);

    if (good && answers_write(&answers, job->input.fd, job->input.bytes, RESULTS_INPUT,
                              RESULTS_RETRYABLE, NULL, job->retry_path) != 0) {
        end_here(job, job->retry_path, answers.error);
        good = false;
    }
    answers_close(&answers);
    if (fd != -1)
        close(fd);
    if (good && input_open(&job->again, job->retry_path) != CLIENT_OK) {
        run_job_end(job, CLIENT_USAGE, "%s cannot be sent", job->retry_path);
        good = false;
    }
    return good;
}

static void begin_again(struct run_job *job)
{
    if (!open_again(job))
        return;
    if (run_state_begin(&job->state, job->state.round + 1, job->again.digest) != 0) {
        end_here(job, "getrandom", errno);
        return;
    }
    job->tried_again = true;
    job->merged = false;
    job->looks = 0;
    job->ended_ms = -1;
    run_pace_init(&job->pace);
    job->done = job->failed = job->total = 0;
    if (run_job_save(job))
        run_job_go(job, RUN_STEP_UPLOAD);
}

/* --- the end of a round --- */

static void show_end(struct run_job *job)
{
    run_job_end(job, job->tally.failed > 0 ? CLIENT_LINES_FAILED : CLIENT_OK, NULL);
    job->merged = true;
}

static void finish_or_again(struct run_job *job)
{
    enum run_retry may = run_may_retry(&job->state);

    if (!job->options->retry_failed || job->tried_again || job->tally.retryable == 0) {
        show_end(job);
    } else if (may == RUN_RETRY) {
        begin_again(job);
    } else if (may == RUN_RETRY_COUNT) {
        run_job_go(job, RUN_STEP_POLL);
    } else {
        run_job_refuse_retry(job, may);
        job->merged = true;
    }
}

static bool merge(struct run_job *job, struct answers *answers)
{
    bool finished = job->state.phase == RUN_FINISHED, good = false;
    int before = -1, err = 0;

    /* Of a run that had finished it may have been removed. */
    if (job->state.round > 0 || finished)
        before = open(job->output, O_RDONLY | O_CLOEXEC);
    if (before == -1 && (job->state.round > 0 || (finished && errno != ENOENT))) {
        end_here(job, job->output, errno);
        return false;
    }
    if (before != -1)
        err = answers_add_before(answers, before);
    if (err == 0)
        err = answers_count(answers, job->input.fd, job->input.bytes, &job->tally);
    if (err == 0)
        err = answers_write(answers, job->input.fd, job->input.bytes, RESULTS_ANSWERS, RESULTS_ALL,
                            job->status, job->output);
    if (err != 0)
        end_here(job, job->output, answers->error != 0 ? answers->error : ENOMEM);
    else
        good = true;
    if (before != -1)
        close(before);
    return good;
}

/* @param unread  written: what of each file cannot be read, or is not there */
static enum client_exit fetch_files(struct run_job *job, struct answers *answers,
                                    struct run_unread unread[RUN_FILES],
                                    struct client_answer *answer)
{
    const char *const ids[RUN_FILES] = {job->output_id, job->error_id};
    struct results_counts now, before = {.lines = 0};
    enum client_exit code = CLIENT_OK;
    uint64_t bad, missing;

    for (size_t i = 0; i < RUN_FILES && code == CLIENT_OK; i++) {
        client_answer_deinit(answer);
        unread[i] = (struct run_unread){.lines = 0};
        if (ids[i][0] != '\0')
            code = answers_fetch(answers, job->options->client, ids[i], job->options->stop, answer);
        now = results_index_counts(answers->index);
        bad = now.bad - before.bad;
        missing = i == 0 ? run_missing(job->completed, now.lines + bad) : 0;
        if (bad + missing > 0)
            snprintf(unread[i].file, sizeof(unread[i].file), "%s", ids[i]);
        unread[i].lines = bad + missing;
        before = now;
    }
    return code;
}

/* The results stand, and what of the answers is not in them is known. */
static void note_merged(struct run_job *job, const struct run_unread unread[RUN_FILES])
{
    job->state.phase = RUN_FINISHED;
    job->state.counted = job->state.counted || job->state.round == 0;
    memcpy(job->state.unread, unread, sizeof(job->state.unread));
}

static void fetch(struct run_job *job, int64_t now_ms)
{
    struct answers answers;
    struct client_answer answer = {.status = 0};
    struct run_unread unread[RUN_FILES] = {{.lines = 0}};
    enum client_exit code;

    if (answers_open(&answers, job->answers_path) != 0) {
        end_here(job, job->answers_path, answers.error);
        answers_close(&answers);
        return;
    }
    code = fetch_files(job, &answers, unread, &answer);
    if (code == CLIENT_OK && merge(job, &answers)) {
        note_merged(job, unread);
        (void)unlink(job->retry_path);
        answers_close(&answers);
        if (run_job_save(job))
            finish_or_again(job);
    } else if (code == CLIENT_STOPPED) {
        run_job_end(job, code, NULL);
    } else if (code == CLIENT_USAGE || (code != CLIENT_OK && ++job->tries > MAX_TRIES)) {
        run_job_end(job, code, "its results cannot be read: %s. Run the same command to go on.",
                    answer.said);
    } else if (code != CLIENT_OK) { /* also a 404: they may not be there at once */
        run_job_wait(job, RUN_STEP_FETCH, now_ms + run_pause_ms(job->tries, answer.wait_s),
                     answer.said);
    }
    client_answer_deinit(&answer);
    answers_close(&answers);
}

/* --- the batch --- */

static void take_batch(struct run_job *job, const struct json *batch, int64_t now_ms)
{
    struct shown_counts counts;

    snprintf(job->status, sizeof(job->status), "%s", shown_text(batch, "status"));
    snprintf(job->output_id, sizeof(job->output_id), "%s", shown_text(batch, "output_file_id"));
    snprintf(job->error_id, sizeof(job->error_id), "%s", shown_text(batch, "error_file_id"));
    for (char *c = job->status; *c != '\0'; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    if (shown_counts(batch, &counts))
        run_pace_look(&job->pace, counts.done, counts.total, now_ms);
    job->done = counts.done;
    job->failed = counts.failed;
    job->total = counts.total;
    job->completed = run_completed_of(batch);
}

static void refuse_batch(struct run_job *job, const struct json *batch)
{
    const struct json *first = json_at(json_get(json_get(batch, "errors"), "data"), 0);
    const char *message = shown_text(first, "message");
    int64_t line = shown_number(first, "line");
    char times[48] = "";

    job->state.phase = RUN_FAILED;
    (void)unlink(job->retry_path);
    if (!run_job_save(job))
        return;
    if (job->state.remade > 0)
        snprintf(times, sizeof(times), " (it was made %u times)", job->state.remade + 1);
    if (line > 0)
        run_job_end(job, CLIENT_REFUSED, "batch %s failed: %s: line %" PRId64 ": %s%s",
                    job->state.create.id, shown_text(first, "code"), line, message, times);
    else
        run_job_end(job, CLIENT_REFUSED, "batch %s failed: %s: %s%s", job->state.create.id,
                    shown_text(first, "code"), message[0] != '\0' ? message : "it does not say why",
                    times);
}

/* Nothing of it has run: another one, which has a number and with that a key of its own. */
static void make_again(struct run_job *job, int64_t now_ms)
{
    int64_t wait_ms = run_room_ms(job->state.remade, job->state.gateway, job->options->room_wait_s);
    char why[IDS_MAX + 128];

    snprintf(why, sizeof(why), "there was no room for batch %s, nothing of it has run: made again",
             job->state.create.id);
    job->state.create = (struct run_send){.first_s = 0};
    job->state.remade++;
    job->looks = 0;
    if (!run_job_save(job))
        return;
    run_job_go(job, RUN_STEP_CREATE);
    run_job_wait(job, RUN_STEP_CREATE, now_ms + wait_ms, why);
}

static void look_again(struct run_job *job, int64_t now_ms, const char *why)
{
    run_job_wait(job, RUN_STEP_POLL, now_ms + run_poll_ms(job->looks++, job->options->poll_s), why);
}

/* It changes no more, but for the files that it shows. */
static void end_batch(struct run_job *job, const struct json *batch, int64_t now_ms)
{
    enum run_ended next;

    if (job->ended_ms == -1) {
        job->ended_ms = now_ms;
        job->looks = 0;
    }
    next =
        run_after_end(run_files_of(batch), now_ms - job->ended_ms, job->options->patience_s * 1000);
    if (next == RUN_ENDED_READ)
        run_job_go(job, RUN_STEP_FETCH);
    else if (next == RUN_ENDED_WAIT)
        look_again(job, now_ms, "the server does not show the files with its answers yet");
    else
        run_job_end(job, CLIENT_AWAY,
                    "batch %s is %s, and the server does not show the files with its answers yet. "
                    "Nothing was sent once more. Run the same command to go on.",
                    job->state.create.id, job->status);
}

static void look_at(struct run_job *job, const struct json *batch, int64_t now_ms)
{
    job->lost_ms = -1;
    take_batch(job, batch, now_ms);
    if (run_found_no_room(batch) && job->state.remade < job->options->room_tries)
        make_again(job, now_ms);
    else if (strcmp(job->status, "failed") == 0)
        refuse_batch(job, batch);
    else if (shown_has_ended(job->status))
        end_batch(job, batch, now_ms);
    else
        look_again(job, now_ms, "");
}

static void lose_sight(struct run_job *job, int64_t now_ms, const struct client_answer *answer)
{
    if (job->lost_ms == -1)
        job->lost_ms = now_ms;
    if (now_ms - job->lost_ms >= job->options->patience_s * 1000)
        run_job_end(job, CLIENT_AWAY, "%s. Run the same command to go on.", answer->said);
    else
        run_job_wait(job, RUN_STEP_POLL, now_ms + run_pause_ms(++job->tries, answer->wait_s),
                     answer->said);
}

static void poll_batch(struct run_job *job, int64_t now_ms)
{
    struct strbuf path = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *root = NULL;
    struct client_answer answer = {.status = 0};
    struct client_request request = {.method = "GET", .stop = job->options->stop};
    enum client_exit code = CLIENT_USAGE;

    strbuf_adds(&path, "/v1/batches/");
    client_add_segment(&path, job->state.create.id);
    request.path = strbuf_str(&path);
    if (doc != NULL && !strbuf_failed(&path))
        code = client_ask(job->options->client, &request, &answer);
    if (code == CLIENT_OK) {
        root = json_parse(doc, strbuf_str(&answer.body), answer.body.len, &error);
        if (!json_is(root, JSON_OBJECT)) {
            code = CLIENT_AWAY;
            snprintf(answer.said, sizeof(answer.said), "what came is no batch");
        }
    }
    if (code == CLIENT_OK)
        look_at(job, root, now_ms);
    else if (code == CLIENT_AWAY)
        lose_sight(job, now_ms, &answer);
    else if (code == CLIENT_STOPPED)
        run_job_end(job, code, NULL);
    else
        run_job_end(job, code, "batch %s: %s", job->state.create.id, answer.said);
    client_answer_deinit(&answer);
    json_doc_free(doc);
    strbuf_deinit(&path);
}

void run_job_step(struct run_job *job, int64_t now_ms)
{
    assert(job->step != RUN_STEP_END && job->due_ms <= now_ms);
    if (job->step == RUN_STEP_POLL)
        poll_batch(job, now_ms);
    else if (job->step == RUN_STEP_FETCH)
        fetch(job, now_ms);
    else
        run_send_step(job, now_ms);
}

/* --- the beginning --- */

static bool name_files(struct run_job *job, const char *output)
{
    job->output = strdup(output);
    return job->output != NULL && asprintf(&job->state_path, "%s.tranche", output) != -1 &&
           asprintf(&job->lock_path, "%s.tranche.lock", output) != -1 &&
           asprintf(&job->retry_path, "%s.tranche.retry", output) != -1 &&
           asprintf(&job->answers_path, "%s.tranche.answers", output) != -1;
}

/* The endpoint that the batch is made for. @return false: the lines are for another one, told */
static bool choose_endpoint(struct run_job *job)
{
    const char *given = job->options->endpoint, *lines = job->input.report.url;

    assert(lines != NULL);
    if (given != NULL && !endpoints_are_same(given, lines)) {
        run_job_end(job, CLIENT_USAGE, "its lines are for %s, --endpoint says %s", lines, given);
        return false;
    }
    if (job->options->model != NULL && job->input.report.model == NULL) {
        run_job_end(job, CLIENT_USAGE,
                    "its lines name no model that --model could take the place of: "
                    "give each a body.model");
        return false;
    }
    snprintf(job->state.endpoint, sizeof(job->state.endpoint), "%s%s",
             strncmp(lines, "/v1/", 4) == 0 ? "" : "/v1", lines);
    return true;
}

/* What the command asks for, as the state would have it. */
static bool describe(struct run_job *job)
{
    const char *base = client_base(job->options->client);
    const char *model = job->options->model != NULL ? job->options->model : "";

    if (strlen(base) >= sizeof(job->state.base_url) || strlen(model) >= sizeof(job->state.model)) {
        run_job_end(job, CLIENT_USAGE, "--base-url or --model is too long");
        return false;
    }
    memcpy(job->state.base_url, base, strlen(base) + 1);
    memcpy(job->state.model, model, strlen(model) + 1);
    memcpy(job->state.digest, job->input.digest, sizeof(job->state.digest));
    job->state.bytes = job->input.bytes;
    return choose_endpoint(job);
}

static bool begin_anew(struct run_job *job)
{
    if (output_exists(job)) {
        run_job_end(job, CLIENT_USAGE, "%s is there already: remove it, or give another -o",
                    job->output);
        return false;
    }
    if (run_state_begin(&job->state, 0, job->input.digest) != 0) {
        end_here(job, "getrandom", errno);
        return false;
    }
    if (!run_job_save(job))
        return false;
    run_job_go(job, RUN_STEP_UPLOAD);
    return true;
}

/* @return whether the state is of this command */
static bool is_same(struct run_job *job, const struct run_state *found)
{
    const char *what = strcmp(found->digest, job->state.digest) != 0       ? "another input"
                       : strcmp(found->base_url, job->state.base_url) != 0 ? "another --base-url"
                       : strcmp(found->model, job->state.model) != 0       ? "another --model"
                       : strcmp(found->endpoint, job->state.endpoint) != 0 ? "another --endpoint"
                                                                           : NULL;

    if (what == NULL)
        return true;
    run_job_end(
        job, CLIENT_USAGE,
        "%s is of a run with %s%s%s (%s). Give another -o; or, if that run is not wanted any "
        "more, remove %s",
        job->output, what, found->create.id[0] != '\0' ? ", whose batch is " : "", found->create.id,
        found->base_url, job->state_path);
    return false;
}

/* The step that follows from what was sent, and what came of it. */
static bool go_on(struct run_job *job)
{
    const struct run_state *s = &job->state;

    job->tried_again = s->round > 0;
    if (s->create.id[0] != '\0')
        run_job_go(job, RUN_STEP_POLL);
    else if (s->create.first_s != 0)
        run_job_go(job, RUN_STEP_FIND_BATCH);
    else if (s->upload.id[0] != '\0')
        run_job_go(job, RUN_STEP_CREATE);
    else
        run_job_go(job, s->upload.first_s != 0 ? RUN_STEP_FIND_FILE : RUN_STEP_UPLOAD);
    if (s->round == 0 || s->upload.id[0] != '\0')
        return true;
    if (!open_again(job))
        return false;
    if (strcmp(job->again.digest, s->round_digest) == 0)
        return true;
    run_job_end(job, CLIENT_USAGE, "%s was changed while lines that failed were sent once more",
                job->output);
    return false;
}

/* The results stand there: nothing is sent, unless lines that failed shall be. */
static bool look_at_output(struct run_job *job)
{
    struct answers answers = {.fd = -1};
    int fd = -1;
    bool good;

    if (!output_exists(job)) { /* it was removed; the server may have it still */
        job->tried_again = job->state.round > 0;
        if (job->state.round == 0) {
            run_job_go(job, RUN_STEP_POLL);
            return true;
        }
        run_job_end(job, CLIENT_USAGE,
                    "%s is gone, and so are the first answers in it. To run all "
                    "lines anew remove %s",
                    job->output, job->state_path);
        return false;
    }
    good = read_output(job, &answers, &fd);
    answers_close(&answers);
    if (fd != -1)
        close(fd);
    if (good)
        finish_or_again(job);
    return good;
}

static bool find_place(struct run_job *job)
{
    struct run_state found;
    int error, err = run_state_load(job->state_path, &found, &error);

    if (err == ERR_NOT_FOUND)
        return begin_anew(job);
    if (err == ERR_IO || err == ERR_NOMEM) {
        end_here(job, job->state_path, err == ERR_IO ? error : ENOMEM);
        return false;
    }
    if (err != 0) {
        run_job_end(job, CLIENT_USAGE,
                    "%s is no state of tranche run: remove it, or give another -o",
                    job->state_path);
        return false;
    }
    /* A batch that its provider refused as a whole ran nothing: the next command begins anew. */
    if (found.phase == RUN_FAILED && found.round == 0)
        return begin_anew(job);
    if (!is_same(job, &found))
        return false;
    job->state = found;
    return found.phase == RUN_BEGUN ? go_on(job) : look_at_output(job);
}

void run_job_open(struct run_job *job, const struct run_options *options, const char *path,
                  const char *output)
{
    enum client_exit code;

    *job = (struct run_job){
        .options = options, .path = path, .lock = -1, .lost_ms = -1, .ended_ms = -1};
    job->input.fd = job->again.fd = -1;
    run_pace_init(&job->pace);
    if (!name_files(job, output)) {
        run_job_end(job, CLIENT_USAGE, "out of memory");
        return;
    }
    if (!lock(job))
        return;
    code = input_open(&job->input, path);
    if (code != CLIENT_OK)
        run_job_end(job, code, code == CLIENT_REFUSED ? "it is not valid: nothing was sent" : NULL);
    else if (describe(job))
        (void)find_place(job);
}

void run_job_close(struct run_job *job)
{
    unlock(job);
    input_close(&job->input);
    input_close(&job->again);
    free(job->output);
    free(job->state_path);
    free(job->lock_path);
    free(job->retry_path);
    free(job->answers_path);
}
