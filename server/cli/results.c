/* See results.h. */
#include "results.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answers.h"
#include "bar.h"
#include "client.h"
#include "columns.h"
#include "crypto/ids.h"
#include "run_rules.h"
#include "shown.h"

/* clang-format off */
static const char usage[] =
    "usage: tranche results ID -o PATH\n"
    "\n"
    "  The results of a batch that has ended: one line for each line of its input, in the order of the\n"
    "  input, out of its output and error file. A line that was not run says so.\n"
    "\n"
    "  -o, --output PATH         where they go; whole or not at all\n"
    CLIENT_HELP_AS("print what became of the lines as JSON\n")
    "\n"
    "Exit: 0 all lines have a good answer; 1 refused, or not ended yet; 2 wrong usage, or a file of this\n"
    "machine; 3 no answer now, or not the files with its answers yet, try again later; 4 some lines failed,\n"
    "the results say why.\n"
    "\n"
    "Example: tranche results batch_abc123 -o results.jsonl\n";
/* clang-format on */

struct batch {
    enum run_files files;
    char input[IDS_MAX + 1], output[IDS_MAX + 1], errors[IDS_MAX + 1], status[32];
};

static void write_batch_path(const char *id, struct strbuf *path)
{
    strbuf_adds(path, "/v1/batches/");
    client_add_segment(path, id);
}

/* Whether it can be read: what there is must not be taken for all. */
static enum client_exit look_at(const struct batch *batch, const char *id)
{
    if (!shown_has_ended(batch->status) || batch->input[0] == '\0') {
        fprintf(stderr, "tranche: %s has not ended: it is \"%s\". Look at it: tranche batch %s\n",
                id, batch->status, id);
        return CLIENT_REFUSED;
    }
    if (batch->files == RUN_FILES_LATE) {
        fprintf(stderr,
                "tranche: %s is %s, and the server does not show the files with its answers yet: "
                "nothing was written. Try again later.\n",
                id, batch->status);
        return CLIENT_AWAY;
    }
    if (batch->files == RUN_FILES_UNSURE)
        fprintf(stderr,
                "tranche: %s counts lines that failed, and the server shows no error file: the "
                "results may not say why. Try again later for that.\n",
                id);
    return CLIENT_OK;
}

static enum client_exit read_batch(struct client *client, const char *id, struct batch *out)
{
    struct strbuf path = STRBUF_INIT, body = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json *root = NULL;
    enum client_exit code = CLIENT_USAGE;

    write_batch_path(id, &path);
    if (doc != NULL && !strbuf_failed(&path))
        code = client_get_json(client, strbuf_str(&path), doc, &root, &body);
    if (code == CLIENT_OK) {
        snprintf(out->input, sizeof(out->input), "%s", shown_text(root, "input_file_id"));
        snprintf(out->output, sizeof(out->output), "%s", shown_text(root, "output_file_id"));
        snprintf(out->errors, sizeof(out->errors), "%s", shown_text(root, "error_file_id"));
        snprintf(out->status, sizeof(out->status), "%s", shown_text(root, "status"));
        out->files = run_files_of(root);
        code = look_at(out, id);
    }
    json_doc_free(doc);
    strbuf_deinit(&path);
    strbuf_deinit(&body);
    return code;
}

/* A file of the server's behind what was read before. */
static enum client_exit fetch(struct answers *a, struct client *client, const char *id)
{
    struct client_answer answer = {.status = 0};
    enum client_exit code = CLIENT_OK;

    if (id[0] != '\0')
        code = answers_fetch(a, client, id, NULL, &answer);
    if (code != CLIENT_OK)
        (void)client_tell(client, &answer, code);
    client_answer_deinit(&answer);
    return code;
}

static enum client_exit fail(const char *path, int error)
{
    fprintf(stderr, "tranche: %s: %s\n", path, strerror(error != 0 ? error : ENOMEM));
    return CLIENT_USAGE;
}

static enum client_exit print(const char *id, const struct batch *batch, const char *output,
                              const struct answers_tally *tally, bool as_json)
{
    struct strbuf out = STRBUF_INIT;
    enum client_exit code = tally->failed > 0 ? CLIENT_LINES_FAILED : CLIENT_OK;

    if (as_json) {
        strbuf_addc(&out, '{');
        json_write_member_string(&out, "batch_id", id);
        json_write_member_string(&out, "status", batch->status);
        json_write_member_string(&out, "output", output);
        json_write_member_int(&out, "lines", (int64_t)tally->lines);
        json_write_member_int(&out, "ok", (int64_t)tally->ok);
        json_write_member_int(&out, "failed", (int64_t)tally->failed);
        strbuf_adds(&out, "}\n");
    } else {
        columns_add_text(&out, id, COLOUR_NONE, false);
        strbuf_adds(&out, ": ");
        columns_add_text(&out, batch->status, shown_colour(batch->status), columns_may_colour());
        strbuf_addf(&out, ": %" PRIu64 " lines, %" PRIu64 " ok, %" PRIu64 " failed -> %s\n",
                    tally->lines, tally->ok, tally->failed, output);
    }
    code = client_print(&out, code);
    strbuf_deinit(&out);
    return code;
}

/* @param input    the input as a file of answers: its bytes alone are of interest
 * @param answers  what came of its lines */
static enum client_exit merge(struct answers *input, struct answers *answers,
                              const struct batch *batch, const char *output,
                              struct answers_tally *tally)
{
    assert(input->fd != -1 && answers->fd != -1);
    if (answers_count(answers, input->fd, input->len, tally) != 0 ||
        answers_write(answers, input->fd, input->len, RESULTS_ANSWERS, RESULTS_ALL, batch->status,
                      output) != 0)
        return fail(output, answers->error);
    return CLIENT_OK;
}

static enum client_exit read_all(struct client *client, const char *id, const char *output,
                                 bool as_json)
{
    struct batch batch = {.files = RUN_FILES_SHOWN};
    struct answers input = {.fd = -1}, answers = {.fd = -1};
    struct answers_tally tally;
    char *input_path = NULL, *answers_path = NULL;
    enum client_exit code = read_batch(client, id, &batch);

    if (code == CLIENT_OK && (asprintf(&input_path, "%s.input.part", output) == -1 ||
                              asprintf(&answers_path, "%s.answers.part", output) == -1))
        code = fail(output, ENOMEM);
    if (code == CLIENT_OK && answers_open(&input, input_path) != 0)
        code = fail(input_path, input.error);
    if (code == CLIENT_OK && answers_open(&answers, answers_path) != 0)
        code = fail(answers_path, answers.error);
    if (code == CLIENT_OK)
        code = fetch(&input, client, batch.input);
    if (code == CLIENT_OK)
        code = fetch(&answers, client, batch.output);
    if (code == CLIENT_OK)
        code = fetch(&answers, client, batch.errors);
    if (code == CLIENT_OK)
        code = merge(&input, &answers, &batch, output, &tally);
    if (code == CLIENT_OK)
        code = print(id, &batch, output, &tally, as_json);
    answers_close(&input);
    answers_close(&answers);
    free(input_path);
    free(answers_path);
    return code;
}

int results_main(int argc, char **argv)
{
    static const struct option own[] = {
        {"output", required_argument, NULL, 'o'}, CLIENT_FLAGS, {NULL, 0, NULL, 0}};
    struct client_options options = {.any_server = true};
    const char *id = NULL, *output = NULL;
    struct client *client = NULL;
    struct flags words;
    int code = -1;

    flags_init(&words, argc, argv, own, false);
    for (int flag; code == -1 && (flag = flags_next(&words)) != FLAGS_END;) {
        if (flag == 'h')
            code = client_help(usage);
        else if (flag == 'o')
            output = optarg;
        else if (flag == FLAGS_OPERAND && id == NULL)
            id = optarg;
        else if (flag == FLAGS_OPERAND)
            code = (int)client_fail_operand(optarg, usage);
        else if (flag == FLAGS_WRONG || !client_take(&options, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1 && (id == NULL || output == NULL)) {
        fprintf(stderr, "tranche: results wants the id of a batch, and -o PATH\n%s", usage);
        code = CLIENT_USAGE;
    }
    if (code == -1)
        code = (int)client_open(&options, &client);
    if (client != NULL)
        code = (int)read_all(client, id, output, options.json);
    client_close(client);
    client_options_deinit(&options);
    return code;
}
