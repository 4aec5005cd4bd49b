/* See objects.h. */
#include "objects.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bar.h"
#include "client.h"
#include "columns.h"
#include "common/clock.h"
#include "crypto/ids.h"
#include "save.h"
#include "shown.h"

#define PAGE          100
#define DEFAULT_LIMIT 20
#define MAX_LIMIT     100000

/* clang-format off */
static const char usage_cancel[] =
    "usage: tranche cancel ID [ID...]\n"
    "\n"
    "  Cancel batches. What has run until then is paid for, and can be read when the batch says\n"
    "  \"cancelled\".\n"
    "\n"
    CLIENT_HELP
    "\n"
    "Example: tranche cancel batch_abc123 && tranche batch batch_abc123\n";

static const char usage_files[] =
    "usage: tranche files [--purpose P] [--limit N] [--after ID]\n"
    "\n"
    "  Files that were uploaded or made by batches, the newest first: id, name, purpose, size, time.\n"
    "\n"
    "      --purpose P           batch, batch_output, ...\n"
    "      --limit N             rows (20)\n"
    "      --after ID            those behind this one: the last of the page before\n"
    CLIENT_HELP
    "\n"
    "Example: tranche files --purpose batch --json | jq -r '.data[].id'\n";

static const char usage_get[] =
    "usage: tranche get FILE [-o PATH]\n"
    "\n"
    "  The content of a file, to standard output or to a path, which stands there whole or not at all.\n"
    "  With --json what there is to know of the file, in place of its content.\n"
    "\n"
    "  -o, --output PATH         where it goes\n"
    CLIENT_HELP
    "\n"
    "Example: tranche get file-abc123 -o answers.jsonl\n";
/* clang-format on */

/* --- cancel --- */

static void show_cancelled(const struct json *batch, struct strbuf *out)
{
    const char *status = shown_text(batch, "status");
    char progress[96];
    bool colours = columns_may_colour();

    shown_progress(batch, progress, sizeof(progress));
    columns_add_text(out, shown_text(batch, "id"), COLOUR_NONE, colours);
    strbuf_addc(out, ' ');
    columns_add_text(out, status, shown_colour(status), colours);
    strbuf_addf(out, " %s\n", progress);
}

static enum client_exit cancel(struct client *client, const char *id, bool as_json)
{
    struct strbuf path = STRBUF_INIT, body = STRBUF_INIT, out = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json *root = NULL;
    enum client_exit code = CLIENT_USAGE;

    strbuf_adds(&path, "/v1/batches/");
    client_add_segment(&path, id);
    strbuf_adds(&path, "/cancel");
    if (doc != NULL && !strbuf_failed(&path))
        code = client_post_json(client, strbuf_str(&path), doc, &root, &body);
    if (code == CLIENT_OK && as_json)
        strbuf_addf(&out, "%s\n", strbuf_str(&body));
    else if (code == CLIENT_OK)
        show_cancelled(root, &out);
    if (code == CLIENT_OK)
        code = client_print(&out, code);
    json_doc_free(doc);
    strbuf_deinit(&path);
    strbuf_deinit(&body);
    strbuf_deinit(&out);
    return code;
}

/* Each of them, whatever became of those before; the first fault is the exit code. */
static enum client_exit cancel_all(const struct client_options *options, char **ids, size_t num)
{
    struct client *client;
    enum client_exit code = client_open(options, &client), one;

    if (code != CLIENT_OK)
        return code;
    for (size_t i = 0; i < num; i++) {
        one = cancel(client, ids[i], options->json);
        code = code == CLIENT_OK ? one : code;
    }
    client_close(client);
    return code;
}

int cancel_main(int argc, char **argv)
{
    static const struct option own[] = {CLIENT_FLAGS, {NULL, 0, NULL, 0}};
    struct client_options options = {.any_server = true};
    char **ids = calloc((size_t)argc + 1, sizeof(*ids));
    struct flags words;
    size_t num = 0;
    int code = ids == NULL ? CLIENT_USAGE : -1;

    flags_init(&words, argc, argv, own, false);
    for (int flag; code == -1 && (flag = flags_next(&words)) != FLAGS_END;) {
        if (flag == 'h')
            code = client_help(usage_cancel);
        else if (flag == FLAGS_OPERAND)
            ids[num++] = optarg;
        else if (flag == FLAGS_WRONG || !client_take(&options, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1 && num == 0) {
        fprintf(stderr, "tranche: cancel wants the id of a batch\n%s", usage_cancel);
        code = CLIENT_USAGE;
    }
    if (code == -1)
        code = (int)cancel_all(&options, ids, num);
    client_options_deinit(&options);
    free(ids);
    return code;
}

/* --- files --- */

struct question {
    struct client_options client;
    const char *purpose, *after; /* borrowed; NULL: any */
    int64_t limit;
};

struct output {
    struct strbuf text;     /* owned */
    struct columns table;   /* owned */
    char last[IDS_MAX + 1]; /* id of the last row */
    int64_t rows;
    bool more; /* there are others behind it */
};

static void add_row(struct columns *table, const struct json *file)
{
    int64_t bytes = shown_number(file, "bytes"), expires_s = shown_number(file, "expires_at");
    char created[ISO8601_SIZE], expires[ISO8601_SIZE], size[SHOWN_BYTES];

    shown_time(shown_number(file, "created_at"), created);
    shown_time(expires_s, expires);
    columns_add(table, shown_text(file, "id"), COLOUR_NONE);
    columns_add(table, shown_text(file, "filename"), COLOUR_NONE);
    columns_add(table, shown_text(file, "purpose"), COLOUR_NONE);
    columns_add(table, shown_bytes(bytes > 0 ? (uint64_t)bytes : 0, size), COLOUR_NONE);
    columns_add(table, created, COLOUR_DIM);
    columns_add(table, expires, COLOUR_DIM);
}

static void write_path(const struct question *q, const struct output *out, struct strbuf *path)
{
    int64_t left = q->limit - out->rows;
    char number[24];

    snprintf(number, sizeof(number), "%" PRId64, left < PAGE ? left : PAGE);
    strbuf_adds(path, "/v1/files");
    client_add_parameter(path, "limit", number);
    client_add_parameter(path, "order", "desc");
    client_add_parameter(path, "purpose", q->purpose);
    client_add_parameter(path, "after", out->rows > 0 ? out->last : q->after);
}

static void take_page(const struct question *q, const struct json *root, const struct strbuf *body,
                      struct output *out)
{
    const struct json *data = json_get(root, "data");

    out->more = false;
    (void)json_bool(json_get(root, "has_more"), &out->more);
    for (size_t i = 0; i < json_size(data); i++) {
        if (!q->client.json)
            add_row(&out->table, json_at(data, i));
        snprintf(out->last, sizeof(out->last), "%s", shown_text(json_at(data, i), "id"));
    }
    out->rows += (int64_t)json_size(data);
    out->more = out->more && json_size(data) > 0 && out->last[0] != '\0';
    if (q->client.json)
        strbuf_addf(&out->text, "%s\n", strbuf_str(body));
}

/* @return whether to go on */
static bool read_page(struct client *client, const struct question *q, struct output *out,
                      enum client_exit *code)
{
    struct strbuf path = STRBUF_INIT, body = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json *root = NULL;

    write_path(q, out, &path);
    *code =
        doc == NULL ? CLIENT_USAGE : client_get_json(client, strbuf_str(&path), doc, &root, &body);
    if (*code == CLIENT_OK)
        take_page(q, root, &body, out);
    json_doc_free(doc);
    strbuf_deinit(&path);
    strbuf_deinit(&body);
    return *code == CLIENT_OK && out->more && out->rows < q->limit;
}

static enum client_exit list(const struct question *q)
{
    static const char *const heads[] = {"ID", "NAME", "PURPOSE", "SIZE", "CREATED", "EXPIRES"};
    struct output out = {.text = STRBUF_INIT};
    struct client *client;
    enum client_exit code = client_open(&q->client, &client);

    if (code != CLIENT_OK)
        return code;
    columns_init(&out.table, heads, sizeof(heads) / sizeof(heads[0]));
    while (read_page(client, q, &out, &code))
        ;
    if (!q->client.json && (code == CLIENT_OK || out.rows > 0) &&
        columns_print(&out.table, columns_may_colour(), &out.text) != 0)
        out.text.failed = true;
    code = client_print(&out.text, code);
    if (code == CLIENT_OK && out.more && !q->client.json)
        fprintf(stderr, "More: tranche files --after %s\n", out.last);
    columns_deinit(&out.table);
    strbuf_deinit(&out.text);
    client_close(client);
    return code;
}

enum flag { FLAG_PURPOSE = FLAGS_LONG, FLAG_LIMIT, FLAG_AFTER };

/* @return false: told */
static bool take(struct question *q, int flag)
{
    switch (flag) {
    case FLAG_PURPOSE:
        q->purpose = optarg;
        return true;
    case FLAG_AFTER:
        q->after = optarg;
        return true;
    case FLAG_LIMIT:
        return client_take_number("limit", optarg, 1, MAX_LIMIT, &q->limit);
    case FLAGS_OPERAND:
        return client_fail_operand(optarg, usage_files) == CLIENT_OK;
    default:
        return client_take(&q->client, flag);
    }
}

int files_main(int argc, char **argv)
{
    static const struct option own[] = {{"purpose", required_argument, NULL, FLAG_PURPOSE},
                                        {"limit", required_argument, NULL, FLAG_LIMIT},
                                        {"after", required_argument, NULL, FLAG_AFTER},
                                        CLIENT_FLAGS,
                                        {NULL, 0, NULL, 0}};
    struct question q = {.limit = DEFAULT_LIMIT, .client.any_server = true};
    struct flags words;
    int code = -1;

    flags_init(&words, argc, argv, own, false);
    for (int flag; code == -1 && (flag = flags_next(&words)) != FLAGS_END;) {
        if (flag == 'h')
            code = client_help(usage_files);
        else if (flag == FLAGS_WRONG || !take(&q, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1)
        code = (int)list(&q);
    client_options_deinit(&q.client);
    return code;
}

/* --- get --- */

struct download {
    struct save *save; /* borrowed; NULL: to standard output */
    struct bar bar;
    const struct client_answer *answer; /* borrowed; its length is there when bytes are */
    bool shows;                         /* the bar: nothing else is being written to the terminal */
};

static bool on_bytes(void *arg, const char *bytes, size_t len)
{
    struct download *d = arg;

    d->bar.total = d->answer->length > 0 ? (uint64_t)d->answer->length : 0;
    if (d->shows)
        bar_add(&d->bar, len);
    return d->save != NULL ? save_write(d->save, bytes, len) : fwrite(bytes, 1, len, stdout) == len;
}

static void write_file_path(const char *id, bool content, struct strbuf *path)
{
    strbuf_adds(path, "/v1/files/");
    client_add_segment(path, id);
    strbuf_adds(path, content ? "/content" : "");
}

static enum client_exit fail_output(const char *path, int error)
{
    fprintf(stderr, "tranche: %s: %s\n", path != NULL ? path : "standard output", strerror(error));
    return CLIENT_USAGE;
}

static enum client_exit finish(const char *output, struct save *save)
{
    if (output != NULL)
        return save_commit(save) == 0 ? CLIENT_OK : fail_output(output, save->error);
    return fflush(stdout) == 0 ? CLIENT_OK : fail_output(NULL, errno);
}

static enum client_exit download(struct client *client, const char *id, const char *output)
{
    struct strbuf path = STRBUF_INIT;
    struct save save = {.fd = -1};
    struct download d = {.save = output != NULL ? &save : NULL,
                         .shows = output != NULL || !isatty(STDOUT_FILENO)};
    struct client_request request = {.method = "GET", .on_data = on_bytes, .arg = &d};
    struct client_answer answer = {.status = 0};
    enum client_exit code = CLIENT_OK;

    d.answer = &answer;
    write_file_path(id, true, &path);
    request.path = strbuf_str(&path);
    if (output != NULL && save_begin(&save, output) != 0)
        code = fail_output(output, save.error != 0 ? save.error : ENOMEM);
    if (code == CLIENT_OK) {
        bar_begin(&d.bar, "reading", 0);
        code = client_ask(client, &request, &answer);
        bar_end(&d.bar);
        if (code == CLIENT_OK)
            code = finish(output, &save);
        else if (code == CLIENT_USAGE)
            code = fail_output(output, save.error != 0 ? save.error : errno);
        else
            (void)client_tell(client, &answer, code);
    }
    client_answer_deinit(&answer);
    save_end(&save);
    strbuf_deinit(&path);
    return code;
}

static enum client_exit describe(struct client *client, const char *id)
{
    struct strbuf path = STRBUF_INIT, body = STRBUF_INIT;
    enum client_exit code;

    write_file_path(id, false, &path);
    code = client_get(client, strbuf_str(&path), &body);
    strbuf_addc(&body, '\n');
    if (code == CLIENT_OK)
        code = client_print(&body, code);
    strbuf_deinit(&path);
    strbuf_deinit(&body);
    return code;
}

int get_main(int argc, char **argv)
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
            code = client_help(usage_get);
        else if (flag == 'o')
            output = optarg;
        else if (flag == FLAGS_OPERAND && id == NULL)
            id = optarg;
        else if (flag == FLAGS_OPERAND)
            code = (int)client_fail_operand(optarg, usage_get);
        else if (flag == FLAGS_WRONG || !client_take(&options, flag))
            code = CLIENT_USAGE;
    }
    if (code == -1 && id == NULL) {
        fprintf(stderr, "tranche: get wants the id of a file\n%s", usage_get);
        code = CLIENT_USAGE;
    }
    if (code == -1)
        code = (int)client_open(&options, &client);
    if (client != NULL)
        code = (int)(options.json ? describe(client, id) : download(client, id, output));
    client_close(client);
    client_options_deinit(&options);
    return code;
}
