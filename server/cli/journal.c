/* See journal.h. */
#include "journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client.h"

#define LOOK_MS 500 /* between two looks how far it is */

/* clang-format off */
static const char usage[] =
    "usage: tranche journal rebuild [--base-url URL] [--key KEY] [--json]\n"
    "\n"
    "  rebuild  put every batch that the providers list, and that carries a marker of this gateway, into\n"
    "           the journal, unless it is there: after the database was lost, or was put back from an old\n"
    "           copy. Batches that run hold their tokens again, those that have ended are measured. The\n"
    "           gateway goes on meanwhile; a second run changes nothing. For administrators.\n"
    "\n"
    CLIENT_HELP;
/* clang-format on */

/* A count; 0 for what is none. */
static int64_t number_of(const struct json *root, const char *name)
{
    int64_t value = 0;

    return json_int64(json_get(root, name), &value) && value > 0 ? value : 0;
}

static void report(const struct json *root, struct strbuf *out)
{
    int64_t found = number_of(root, "batches_found"), added = number_of(root, "batches_added");
    int64_t unread = number_of(root, "accounts_unread");

    strbuf_addf(out,
                "batches with a marker of this gateway: %" PRId64 "\n"
                "put into the journal:                  %" PRId64 "\n"
                "there already:                         %" PRId64 "\n",
                found, added, found - added);
    if (unread > 0)
        strbuf_addf(out,
                    "accounts that could not be read whole: %" PRId64
                    ": see the gateway's log, and "
                    "run it again\n",
                    unread);
}

/* What came, while it runs; the number says whether it is still the one that was begun. */
struct state {
    struct json_doc *doc; /* owned */
    struct json *root;
    struct strbuf text; /* owned */
};

static void state_deinit(struct state *s)
{
    json_doc_free(s->doc);
    strbuf_deinit(&s->text);
    *s = (struct state){.text = STRBUF_INIT};
}

static enum client_exit ask(struct client *client, bool begin, struct state *s)
{
    state_deinit(s);
    s->doc = json_doc_new();
    if (s->doc == NULL)
        return CLIENT_AWAY;
    return begin ? client_post_json(client, "/journal/rebuild", s->doc, &s->root, &s->text)
                 : client_get_json(client, "/journal/rebuild/status", s->doc, &s->root, &s->text);
}

static bool is_running(const struct state *s)
{
    const char *status = json_get_str(s->root, "status");

    return status != NULL && strcmp(status, "running") == 0;
}

static enum client_exit wait_for(struct client *client, struct state *s)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    int64_t number = number_of(s->root, "number");
    enum client_exit code = CLIENT_OK;

    while (code == CLIENT_OK && is_running(s)) {
        nanosleep(&pause, NULL);
        code = ask(client, false, s);
    }
    if (code != CLIENT_OK || number_of(s->root, "number") == number)
        return code;
    fputs("tranche: the gateway was started again meanwhile: run it once more\n", stderr);
    return CLIENT_AWAY;
}

static enum client_exit rebuild(const struct client_options *options)
{
    struct state s = {.text = STRBUF_INIT};
    struct strbuf out = STRBUF_INIT;
    struct client *client = NULL;
    enum client_exit code = client_open(options, &client);

    if (code == CLIENT_OK)
        code = ask(client, true, &s);
    if (code == CLIENT_OK)
        code = wait_for(client, &s);
    if (code == CLIENT_OK && options->json)
        strbuf_addf(&out, "%s\n", strbuf_str(&s.text));
    else if (code == CLIENT_OK)
        report(s.root, &out);
    if (code == CLIENT_OK)
        code = client_print(&out, number_of(s.root, "accounts_unread") > 0 ? CLIENT_AWAY : code);
    strbuf_deinit(&out);
    state_deinit(&s);
    client_close(client);
    return code;
}

/* @return CLIENT_OK: go on; else the exit code, told */
static int take_flags(int argc, char **argv, struct client_options *options, bool *named,
                      bool *help)
{
    static const struct option own[] = {CLIENT_FLAGS, {0}};
    struct flags flags;
    int flag;

    flags_init(&flags, argc, argv, own, false);
    while ((flag = flags_next(&flags)) != FLAGS_END) {
        if (client_take(options, flag))
            continue;
        if (flag == 'h') {
            *help = true;
        } else if (flag == FLAGS_OPERAND && !*named && strcmp(optarg, "rebuild") == 0) {
            *named = true;
        } else {
            if (flag == FLAGS_OPERAND)
                fprintf(stderr, "tranche: unknown subcommand \"%s\" of journal, wanted rebuild\n",
                        flags_shown(optarg));
            return CLIENT_USAGE;
        }
    }
    return CLIENT_OK;
}

int journal_main(int argc, char **argv)
{
    struct client_options options = {0};
    bool named = false, help = false;
    int code = take_flags(argc, argv, &options, &named, &help);

    if (code == CLIENT_OK && help)
        fputs(usage, stdout);
    else if (code == CLIENT_OK && !named) {
        fputs(usage, stderr);
        code = CLIENT_USAGE;
    } else if (code == CLIENT_OK)
        code = (int)rebuild(&options);
    client_options_deinit(&options);
    return code;
}
