/* See run.h: the command line, the turns of several files, what is shown. */
#include "run.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bar.h"
#include "client.h"
#include "columns.h"
#include "common/clock.h"
#include "json/json.h"
#include "run_job.h"
#include "shown.h"

#define POLL_S     30
#define SETTLE_S   60
#define PATIENCE_S 3600
#define ROOM_TRIES 3
#define ROOM_S     60
#define MAX_FILES  1000
#define DRAW_MS    1000  /* between two looks at the clock of what waits */
#define LINE_MS    30000 /* between two plain lines of one file's progress */
#define WIDTH      80    /* of a terminal that does not say */

/* clang-format off */
static const char usage[] =
    "usage: tranche run FILE [FILE...] [-o PATH] [--model M] [--endpoint E] [--retry-failed]\n"
    "\n"
    "  Run a batch file to its end: check it, upload it, make a batch, wait, and write the results in the\n"
    "  order of the input. Against a gateway or any server of OpenAI's contract. What was sent is noted\n"
    "  beside the results (PATH.tranche): after Ctrl-C, a kill or a reboot the same command goes on, and\n"
    "  nothing is uploaded or made twice. Several files run at once.\n"
    "\n"
    "  -o, --output PATH         the results; a directory for those of several files\n"
    "                            (NAME.results.jsonl beside the input)\n"
    "      --model M             in all lines, in place of the one that they name\n"
    "      --endpoint E          that the lines have to be for, such as /v1/embeddings\n"
    "      --retry-failed        lines that failed for want of capacity or time are sent once more, in a\n"
    "                            batch of their own; also of a run that has ended. None while a line\n"
    "                            of the answers cannot be read or found: it may be paid for\n"
    "      --poll SECONDS        the longest time between two looks at a batch (30)\n"
    "      --settle SECONDS      how long a request whose answer was lost may still come to be, at a\n"
    "                            server that knows no Idempotency-Key (60)\n"
    "      --patience SECONDS    how long a server may be away, and a batch that has ended be without\n"
    "                            the files with its answers (3600): then exit 3\n"
    "      --room-tries N        how often a batch is made again that failed for want of room\n"
    "                            (token_limit_exceeded), and of which nothing has run (3; 0: it has failed)\n"
    "      --room-wait SECONDS   before that (60), then four times as long, up to 15 minutes; a gateway,\n"
    "                            which knows where there is room, is asked at once the first time\n"
    CLIENT_HELP_AS("print a line of JSON for each file\n")
    "\n"
    "Exit: 0 all lines have a good answer; 1 refused; 2 wrong usage, or a file of this machine; 3 no\n"
    "answer now: the same command goes on; 4 some lines failed, the results say why; 130 stopped.\n"
    "\n"
    "Example: tranche run requests.jsonl -o results.jsonl --base-url https://gateway.example\n";
/* clang-format on */

struct command {
    struct client_options client;
    struct run_options run;
    const char *output; /* borrowed; NULL: beside the inputs */
    char **paths;       /* owned; they are borrowed */
    size_t num;
    struct run_job *jobs; /* owned */
    struct shown *shown;  /* owned; of each job */
    bool terminal;
    size_t drawn; /* rows that stand on the terminal */
};

/* The last plain line of a job. */
struct shown {
    char status[32], note[64];
    enum run_step step;
    int64_t ms;
};

/* --- Ctrl-C --- */

static volatile sig_atomic_t stop, stop_now;

static void on_signal(int number)
{
    (void)number;
    if (stop != 0)
        stop_now = 1;
    stop = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* calls end: no SA_RESTART */

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* --- progress --- */

static const char *step_name(const struct run_job *job)
{
    static const char *const names[] = {[RUN_STEP_UPLOAD] = "uploading",
                                        [RUN_STEP_FIND_FILE] = "looking for its file",
                                        [RUN_STEP_CREATE] = "making its batch",
                                        [RUN_STEP_FIND_BATCH] = "looking for its batch",
                                        [RUN_STEP_POLL] = "waiting",
                                        [RUN_STEP_FETCH] = "reading results",
                                        [RUN_STEP_END] = "ended"};

    return job->step == RUN_STEP_POLL && job->status[0] != '\0' ? job->status : names[job->step];
}

static void add_counts(const struct run_job *job, struct strbuf *out)
{
    char span[SHOWN_SPAN];

    if (job->total <= 0)
        return;
    strbuf_addf(out, "  %" PRId64 "/%" PRId64 " %d%%", job->done, job->total,
                (int)((double)job->done * 100 / (double)job->total));
    if (job->failed > 0)
        strbuf_addf(out, ", %" PRId64 " failed", job->failed);
    if (job->pace.per_minute > 0)
        strbuf_addf(out, ", %.0f/min", job->pace.per_minute);
    if (job->pace.left_s > 0) {
        shown_span(job->pace.left_s, span, sizeof(span));
        strbuf_addf(out, ", ends in %s", span);
    }
}

/* @param name  of the file */
static void describe(const struct run_job *job, const char *name, struct strbuf *out)
{
    strbuf_addf(out, "%s: %s", name, step_name(job));
    if (job->step == RUN_STEP_POLL)
        add_counts(job, out);
    if (job->state.create.id[0] != '\0' && job->step != RUN_STEP_END)
        strbuf_addf(out, "  %s", job->state.create.id);
    if (job->note[0] != '\0')
        strbuf_addf(out, "  (%s)", job->note);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* What fits into a row: one that wraps could not be drawn over. */
static void add_cut(struct strbuf *out, const char *text, size_t columns)
{
    size_t len = strlen(text), at = 0;

    for (size_t n; at < len && columns > 1; at += n, columns--) {
        n = utf8_sequence(text + at, len - at);
        n = n == 0 ? 1 : n;
    }
    strbuf_add(out, text, at);
}

static void draw(struct command *c)
{
    struct strbuf all = STRBUF_INIT, row = STRBUF_INIT, plain = STRBUF_INIT;
    struct winsize size = {.ws_col = 0};

    (void)ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
    if (c->drawn > 0)
        strbuf_addf(&all, "\033[%zuA", c->drawn);
    for (size_t i = 0; i < c->num; i++) {
        strbuf_reset(&row);
        strbuf_reset(&plain);
        describe(&c->jobs[i], base_name(c->jobs[i].path), &row);
        columns_add_text(&plain, strbuf_str(&row), COLOUR_NONE, false);
        add_cut(&all, strbuf_str(&plain), size.ws_col > 0 ? size.ws_col : WIDTH);
        strbuf_adds(&all, "\033[K\n");
    }
    c->drawn = c->num;
    if (!strbuf_failed(&all))
        fputs(strbuf_str(&all), stderr);
    strbuf_deinit(&all);
    strbuf_deinit(&row);
    strbuf_deinit(&plain);
}

static bool has_news(const struct run_job *job, const struct shown *shown, int64_t now_ms)
{
    return shown->ms == 0 || shown->step != job->step || strcmp(shown->status, job->status) != 0 ||
           strncmp(shown->note, job->note, sizeof(shown->note) - 1) != 0 ||
           (job->step == RUN_STEP_POLL && now_ms - shown->ms >= LINE_MS);
}

static void tell_line(const struct run_job *job, struct shown *shown, int64_t now_ms)
{
    struct strbuf row = STRBUF_INIT, plain = STRBUF_INIT;

    if (job->step != RUN_STEP_END && has_news(job, shown, now_ms)) {
        describe(job, job->path, &row);
        columns_add_text(&plain, strbuf_str(&row), COLOUR_NONE, false);
        fprintf(stderr, "%s\n", strbuf_str(&plain));
        shown->step = job->step;
        shown->ms = now_ms;
        snprintf(shown->status, sizeof(shown->status), "%s", job->status);
        snprintf(shown->note, sizeof(shown->note), "%.*s", (int)sizeof(shown->note) - 1, job->note);
    }
    strbuf_deinit(&row);
    strbuf_deinit(&plain);
}

static void show(struct command *c, int64_t now_ms)
{
    if (c->terminal)
        draw(c);
    else
        for (size_t i = 0; i < c->num; i++)
            tell_line(&c->jobs[i], &c->shown[i], now_ms);
}

/* --- the end --- */

static const char *status_of(const struct run_job *job)
{
    return job->merged ? job->status[0] != '\0' ? job->status : "finished" : "not finished";
}

static void add_text_or_null(struct strbuf *out, const char *name, const char *text)
{
    json_write_member_string(out, name, text[0] != '\0' ? text : NULL);
}

/* What --retry-failed would send. */
static uint64_t retryable_of(const struct run_job *job)
{
    return run_state_unread(&job->state) == 0 ? job->tally.retryable : 0;
}

static void write_json(const struct run_job *job, struct strbuf *out)
{
    strbuf_addc(out, '{');
    json_write_member_string(out, "input", job->path);
    json_write_member_string(out, "output", job->merged ? job->output : NULL);
    add_text_or_null(out, "batch_id", job->state.create.id);
    add_text_or_null(out, "status", job->status);
    json_write_member_int(out, "remade", job->state.remade);
    if (job->merged) {
        json_write_member_int(out, "lines", (int64_t)job->tally.lines);
        json_write_member_int(out, "ok", (int64_t)job->tally.ok);
        json_write_member_int(out, "failed", (int64_t)job->tally.failed);
        json_write_member_int(out, "retryable", (int64_t)retryable_of(job));
        json_write_member_int(out, "unreadable", (int64_t)run_state_unread(&job->state));
    }
    add_text_or_null(out, "error", job->note);
    json_write_member_int(out, "exit", job->code);
    strbuf_adds(out, "}\n");
}

static void write_summary(const struct run_job *job, struct strbuf *out)
{
    bool colours = columns_may_colour();
    char number[32];

    columns_add_text(out, job->path, COLOUR_NONE, colours);
    strbuf_adds(out, ": ");
    columns_add_text(out, status_of(job), shown_colour(job->status), colours);
    snprintf(number, sizeof(number), "%" PRIu64 " failed", job->tally.failed);
    strbuf_addf(out, ": %" PRIu64 " lines, %" PRIu64 " ok, ", job->tally.lines, job->tally.ok);
    columns_add_text(out, number, job->tally.failed > 0 ? COLOUR_BAD : COLOUR_NONE, colours);
    if (retryable_of(job) > 0)
        strbuf_addf(out, " (%" PRIu64 " can be sent once more: --retry-failed)", retryable_of(job));
    if (run_state_unread(&job->state) > 0)
        strbuf_addf(out, " (%" PRIu64 " of its answers cannot be read or found)",
                    run_state_unread(&job->state));
    strbuf_adds(out, " -> ");
    columns_add_text(out, job->output, COLOUR_NONE, colours);
    strbuf_addf(out, " (%s)\n", job->state.create.id);
}

static void tell_end(const struct run_job *job)
{
    struct strbuf text = STRBUF_INIT;

    strbuf_addf(&text, "%s: ", job->path);
    if (job->code == CLIENT_STOPPED && job->state.create.id[0] != '\0')
        strbuf_addf(&text,
                    "stopped; batch %s goes on at the server. Run the same command to go on, or "
                    "end it: tranche cancel %s",
                    job->state.create.id, job->state.create.id);
    else if (job->code == CLIENT_STOPPED)
        strbuf_adds(&text, "stopped. Run the same command to go on.");
    else
        strbuf_adds(&text, job->note);
    if (job->code == CLIENT_STOPPED || job->note[0] != '\0') {
        struct strbuf plain = STRBUF_INIT;

        columns_add_text(&plain, strbuf_str(&text), COLOUR_NONE, false);
        fprintf(stderr, "tranche: %s\n", strbuf_str(&plain));
        strbuf_deinit(&plain);
    }
    strbuf_deinit(&text);
}

static int finish(struct command *c)
{
    struct strbuf out = STRBUF_INIT;
    int code = CLIENT_OK;

    for (size_t i = 0; i < c->num; i++) {
        struct run_job *job = &c->jobs[i];

        if (job->step != RUN_STEP_END)
            run_job_end(job, CLIENT_STOPPED, NULL);
        code = run_worst(code, job->code);
        tell_end(job);
        if (c->client.json)
            write_json(job, &out);
        else if (job->merged)
            write_summary(job, &out);
    }
    code = (int)client_print(&out, (enum client_exit)code);
    strbuf_deinit(&out);
    return code;
}

/* --- turns --- */

/* The job whose turn is next; NULL: all have ended. */
static struct run_job *next_job(struct command *c)
{
    struct run_job *next = NULL;

    for (size_t i = 0; i < c->num; i++)
        if (c->jobs[i].step != RUN_STEP_END && (next == NULL || c->jobs[i].due_ms < next->due_ms))
            next = &c->jobs[i];
    return next;
}

static void wait_ms(int64_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&time, NULL); /* a signal ends it */
}

static void take_turns(struct command *c)
{
    struct run_job *job;
    int64_t now_ms;

    while (stop == 0 && (job = next_job(c)) != NULL) {
        now_ms = (int64_t)clock_now_ms();
        show(c, now_ms);
        if (job->due_ms > now_ms)
            wait_ms(job->due_ms - now_ms < DRAW_MS ? job->due_ms - now_ms : DRAW_MS);
        else
            run_job_step(job, now_ms);
    }
    show(c, (int64_t)clock_now_ms());
}

static int run(struct command *c, char **outputs)
{
    struct client *client = NULL;
    enum client_exit code = client_open(&c->client, &client);
    int end;

    if (code != CLIENT_OK)
        return (int)code;
    catch_signals();
    c->run.client = client;
    c->run.stop = &stop;
    c->run.now = &stop_now;
    c->terminal = bar_terminal();
    for (size_t i = 0; i < c->num; i++)
        run_job_open(&c->jobs[i], &c->run, c->paths[i], outputs[i]);
    take_turns(c);
    end = finish(c);
    for (size_t i = 0; i < c->num; i++)
        run_job_close(&c->jobs[i]);
    client_close(client);
    return end;
}

/* --- the command line --- */

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Where the results of an input go. @return owned; NULL: out of memory */
static char *output_of(const struct command *c, const char *path)
{
    const char *base = base_name(path);
    size_t len = strlen(base);
    char *out;

    if (c->output != NULL && !is_directory(c->output))
        return strdup(c->output);
    if (len > 6 && strcmp(base + len - 6, ".jsonl") == 0)
        len -= 6;
    if (c->output != NULL)
        return asprintf(&out, "%s/%.*s.results.jsonl", c->output, (int)len, base) == -1 ? NULL
                                                                                        : out;
    return asprintf(&out, "%.*s%.*s.results.jsonl", (int)(base - path), path, (int)len, base) == -1
               ? NULL
               : out;
}

static int run_files(struct command *c)
{
    char **outputs = calloc(c->num, sizeof(*outputs));
    int code = -1;

    c->jobs = calloc(c->num, sizeof(*c->jobs));
    c->shown = calloc(c->num, sizeof(*c->shown));
    for (size_t i = 0; outputs != NULL && i < c->num; i++)
        outputs[i] = output_of(c, c->paths[i]);
    for (size_t i = 0; outputs != NULL && i < c->num && code == -1; i++) {
        if (outputs[i] == NULL || c->jobs == NULL || c->shown == NULL)
            code = CLIENT_USAGE;
        for (size_t j = 0; j < i && code == -1; j++)
            if (strcmp(outputs[i], outputs[j]) == 0) {
                fprintf(stderr,
                        "tranche: %s and %s would have their results in one file, %s.\nGive a "
                        "directory with -o, and files of different names.\n",
                        c->paths[j], c->paths[i], outputs[i]);
                code = CLIENT_USAGE;
            }
    }
    if (code == -1)
        code = outputs != NULL ? run(c, outputs) : CLIENT_USAGE;
    for (size_t i = 0; outputs != NULL && i < c->num; i++)
        free(outputs[i]);
    free(outputs);
    return code;
}

enum flag {
    FLAG_MODEL = FLAGS_LONG,
    FLAG_ENDPOINT,
    FLAG_RETRY,
    FLAG_POLL,
    FLAG_SETTLE,
    FLAG_PATIENCE,
    FLAG_ROOM_TRIES,
    FLAG_ROOM_WAIT
};

/* @return false: told */
static bool take(struct command *c, int flag)
{
    switch (flag) {
    case 'o':
        c->output = optarg;
        return true;
    case FLAG_MODEL:
        c->run.model = optarg;
        return true;
    case FLAG_ENDPOINT:
        c->run.endpoint = optarg;
        return true;
    case FLAG_RETRY:
        c->run.retry_failed = true;
        return true;
    case FLAG_POLL:
        return client_take_number("poll", optarg, 1, 3600, &c->run.poll_s);
    case FLAG_SETTLE:
        return client_take_number("settle", optarg, 0, 86400, &c->run.settle_s);
    case FLAG_PATIENCE:
        return client_take_number("patience", optarg, 0, 86400, &c->run.patience_s);
    case FLAG_ROOM_TRIES:
        return client_take_number("room-tries", optarg, 0, 100, &c->run.room_tries);
    case FLAG_ROOM_WAIT:
        return client_take_number("room-wait", optarg, 0, 3600, &c->run.room_wait_s);
    case FLAGS_OPERAND:
        c->paths[c->num++] = optarg;
        return true;
    default:
        return client_take(&c->client, flag);
    }
}

int run_main(int argc, char **argv)
{
    static const struct option own[] = {{"output", required_argument, NULL, 'o'},
                                        {"model", required_argument, NULL, FLAG_MODEL},
                                        {"endpoint", required_argument, NULL, FLAG_ENDPOINT},
                                        {"retry_failed", no_argument, NULL, FLAG_RETRY},
                                        {"poll", required_argument, NULL, FLAG_POLL},
                                        {"settle", required_argument, NULL, FLAG_SETTLE},
                                        {"patience", required_argument, NULL, FLAG_PATIENCE},
                                        {"room_tries", required_argument, NULL, FLAG_ROOM_TRIES},
                                        {"room_wait", required_argument, NULL, FLAG_ROOM_WAIT},
                                        CLIENT_FLAGS,
                                        {NULL, 0, NULL, 0}};
    struct command c = {.client.any_server = true,
                        .run = {.poll_s = POLL_S,
                                .settle_s = SETTLE_S,
                                .patience_s = PATIENCE_S,
                                .room_tries = ROOM_TRIES,
                                .room_wait_s = ROOM_S},
                        .paths = calloc((size_t)argc + 1, sizeof(*c.paths))};
    struct flags words;
    int code = c.paths == NULL ? CLIENT_USAGE : -1;

    flags_init(&words, argc, argv, own, false);
    for (int flag; code == -1 && (flag = flags_next(&words)) != FLAGS_END;) {
        if (flag == 'h')
            code = client_help(usage);
        else if (flag == FLAGS_WRONG || !take(&c, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1 && (c.num == 0 || c.num > MAX_FILES)) {
        fprintf(stderr, "tranche: run wants a batch file%s\nTry \"tranche run --help\".\n",
                c.num > 0 ? ", and at most 1000 at once" : "");
        code = CLIENT_USAGE;
    }
    if (code == -1)
        code = run_files(&c);
    client_options_deinit(&c.client);
    free(c.paths);
    free(c.jobs);
    free(c.shown);
    return code;
}
