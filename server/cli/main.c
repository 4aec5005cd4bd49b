/* The command line: `tranche [serve]`, `check`, `check-file`, `id`. LiteLLM's start flags work
 * (dashes and underscores are the same); those of its flags that mean nothing here are taken with a
 * warning, so that a start line may stay as it is. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/secret.h"
#include "config/config.h"
#include "master/certificates.h"
#include "check_file.h"
#include "explain_id.h"
#include "core/inherited.h"
#include "master/master.h"
#include "upkeep/prober.h"
#include "worker/worker.h"

#define EXIT_USAGE 2

static const struct child_role worker_role = {"worker", true, worker_run};
static const struct child_role prober_role = {"prober", false, prober_run};

enum flag_action {
    FLAG_CONFIG,
    FLAG_HOST,
    FLAG_PORT,
    FLAG_NUM_WORKERS,
    FLAG_TLS_CERT,
    FLAG_TLS_KEY,
    FLAG_DEBUG,
    FLAG_STRICT,
    FLAG_HELP,
    FLAG_VERSION,
    FLAG_IGNORED
};

struct flag {
    const char *name; /* with underscores, as LiteLLM writes it */
    char letter;      /* "-c"; 0: none */
    bool value;       /* takes one */
    enum flag_action action;
};

static const struct flag flags[] = {
    {"config", 'c', true, FLAG_CONFIG},
    {"host", 0, true, FLAG_HOST},
    {"port", 0, true, FLAG_PORT},
    {"num_workers", 0, true, FLAG_NUM_WORKERS},
    {"ssl_certfile_path", 0, true, FLAG_TLS_CERT},
    {"ssl_keyfile_path", 0, true, FLAG_TLS_KEY},
    {"debug", 0, false, FLAG_DEBUG},
    {"detailed_debug", 0, false, FLAG_DEBUG},
    {"strict", 0, false, FLAG_STRICT},
    {"help", 'h', false, FLAG_HELP},
    {"version", 'v', false, FLAG_VERSION},
    /* LiteLLM's: one-model start lines, other servers, its database and its telemetry. */
    {"add_function_to_prompt", 0, false, FLAG_IGNORED},
    {"add_key", 0, true, FLAG_IGNORED},
    {"alias", 0, true, FLAG_IGNORED},
    {"api_base", 0, true, FLAG_IGNORED},
    {"api_version", 0, true, FLAG_IGNORED},
    {"ciphers", 0, true, FLAG_IGNORED},
    {"drop_params", 0, false, FLAG_IGNORED},
    {"headers", 0, true, FLAG_IGNORED},
    {"iam_token_db_auth", 0, false, FLAG_IGNORED},
    {"keepalive_timeout", 0, true, FLAG_IGNORED},
    {"local", 0, false, FLAG_IGNORED},
    {"log_config", 0, true, FLAG_IGNORED},
    {"max_budget", 0, true, FLAG_IGNORED},
    {"max_requests_before_restart", 0, true, FLAG_IGNORED},
    {"max_tokens", 0, true, FLAG_IGNORED},
    {"model", 'm', true, FLAG_IGNORED},
    {"request_timeout", 0, true, FLAG_IGNORED},
    {"run_gunicorn", 0, false, FLAG_IGNORED},
    {"run_hypercorn", 0, false, FLAG_IGNORED},
    {"save", 0, false, FLAG_IGNORED},
    {"telemetry", 0, true, FLAG_IGNORED},
    {"temperature", 0, true, FLAG_IGNORED},
    {"use_prisma_db_push", 0, false, FLAG_IGNORED},
    {"use_prisma_migrate", 0, false, FLAG_IGNORED},
    {"use_queue", 0, false, FLAG_IGNORED},
};

#define NUM_FLAGS (sizeof(flags) / sizeof(flags[0]))

struct command_line {
    struct master_options options;
    const char *id; /* of `tranche id`; NULL: not given (yet) */
    bool wants_id;
    bool strict; /* of `tranche check` */
    bool help, version;
};

/* clang-format off */
static const char usage[] =
    "usage: tranche [serve] [--config FILE] [--host HOST] [--port PORT] [--num_workers N]\n"
    "       tranche check [--strict] [--config FILE]\n"
    "       tranche check-file [--provider openai|azure] [--config FILE] FILE\n"
    "       tranche id ID [--config FILE]\n"
    "\n"
    "  serve                     start the gateway (default)\n"
    "  check                     print what the configuration means; exit 1 when it has errors\n"
    "                            (with --strict also when a row is left out because of a fault)\n"
    "  check-file                check a batch file as an upload would be; exit 1 when it is not valid\n"
    "  id                        explain an id: what it names, where that is, who sealed it, or why it\n"
    "                            is refused; exit 1 when it is, or looks like no id of a provider\n"
    "\n"
    "  -c, --config FILE         LiteLLM config.yaml; without it the environment alone\n"
    "      --host HOST           address to listen on (0.0.0.0)\n"
    "      --port PORT           port to listen on (4000); 0: any free one\n"
    "      --num_workers N       worker processes (one for each CPU)\n"
    "      --ssl_certfile_path FILE, --ssl_keyfile_path FILE\n"
    "                            serve https with this certificate and key\n"
    "      --debug               log more\n"
    "  -h, --help                print this text\n"
    "  -v, --version             print the version\n"
    "\n"
    "The command line wins over the file, the file over the environment (HOST, PORT, NUM_WORKERS).\n"
    "Signals: TERM, INT, QUIT drain, another one a second later ends; HUP loads the configuration anew;\n"
    "USR2 starts the program's file anew on the same socket.\n";
/* clang-format on */

/* Whether `text` of `len` bytes names the flag, dash or underscore. */
static bool names_flag(const struct flag *f, const char *text, size_t len)
{
    if (strlen(f->name) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((text[i] == '-' ? '_' : text[i]) != f->name[i])
            return false;
    return true;
}

static const struct flag *find_flag(const char *text, size_t len)
{
    for (size_t i = 0; i < NUM_FLAGS; i++)
        if (names_flag(&flags[i], text, len))
            return &flags[i];
    return NULL;
}

static const struct flag *find_letter(char letter)
{
    for (size_t i = 0; i < NUM_FLAGS; i++)
        if (flags[i].letter != 0 && flags[i].letter == letter)
            return &flags[i];
    return NULL;
}

/* Bytes to insert, delete or replace to turn one word into the other (Levenshtein). */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[32];

    if (b_len + 1 > sizeof(row) / sizeof(row[0]))
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_len];
}

static const struct flag *find_similar(const char *text, size_t len)
{
    const struct flag *found = NULL;
    size_t best = 3; /* a word further away than two mistakes is another word */

    for (size_t i = 0; i < NUM_FLAGS; i++) {
        size_t distance = edit_distance(text, len, flags[i].name, strlen(flags[i].name));

        if (distance < best && flags[i].action != FLAG_IGNORED) {
            best = distance;
            found = &flags[i];
        }
    }
    return found;
}

static int fail_unknown(const char *arg)
{
    const char *name = arg + strspn(arg, "-");
    const struct flag *similar = find_similar(name, strcspn(name, "="));

    fprintf(stderr, "tranche: unknown flag \"%s\"", arg);
    if (similar != NULL)
        fprintf(stderr, ", did you mean \"--%s\"?", similar->name);
    fputs("\nTry \"tranche --help\".\n", stderr);
    return EXIT_USAGE;
}

static int fail_value(const struct flag *f, const char *value, const char *wanted)
{
    fprintf(stderr, "tranche: --%s: got \"%s\", wanted %s\n", f->name, value, wanted);
    return EXIT_USAGE;
}

static bool parse_number(const char *text, long min, long max, int *out)
{
    char *end;
    long value;

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a flag that wants a value has one */
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    value = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max)
        return false;
    *out = (int)value;
    return true;
}

/* Some take keys (--add_key, --headers), and everybody reads a command line: what has no meaning
 * here is wiped where it stands, for this program and the next one. */
static int ignore(const struct flag *f, const char *value)
{
    log_warn("--%s has no meaning here and is ignored", f->name);
    if (value != NULL)
        secret_wipe((char *)(uintptr_t)value, strlen(value));
    return 0;
}

static int apply(struct command_line *line, const struct flag *f, const char *value)
{
    struct master_options *o = &line->options;

    switch (f->action) {
    case FLAG_CONFIG:
        o->config_path = value;
        return 0;
    case FLAG_HOST:
        o->overrides.host = value;
        return 0;
    case FLAG_PORT:
        return parse_number(value, 0, 65535, &o->overrides.port)
                   ? 0
                   : fail_value(f, value, "a number from 0 to 65535");
    case FLAG_NUM_WORKERS:
        return parse_number(value, 1, MAX_WORKERS, &o->overrides.num_workers)
                   ? 0
                   : fail_value(f, value, "a number from 1 to 128");
    case FLAG_TLS_CERT:
        o->tls_cert_file = value;
        return 0;
    case FLAG_TLS_KEY:
        o->tls_key_file = value;
        return 0;
    case FLAG_DEBUG:
        o->debug = true;
        return 0;
    case FLAG_STRICT:
        line->strict = true;
        return 0;
    case FLAG_HELP:
        line->help = true;
        return 0;
    case FLAG_VERSION:
        line->version = true;
        return 0;
    case FLAG_IGNORED:
        break;
    }
    return ignore(f, value);
}

/* "--name value", "--name=value", "-c value", "-cvalue". Moves *i past a value of its own. */
static int parse_flag(struct command_line *line, int argc, char **argv, int *i)
{
    const char *arg = argv[*i], *name = arg + 2, *value = NULL;
    size_t len = strcspn(name, "=");
    const struct flag *f;

    if (arg[1] == '-') {
        f = find_flag(name, len);
        value = name[len] == '=' ? name + len + 1 : NULL;
    } else {
        f = find_letter(arg[1]);
        value = arg[2] != '\0' ? arg + 2 : NULL;
    }
    if (f == NULL)
        return fail_unknown(arg);
    if (!f->value && value != NULL)
        return fail_value(f, value, "no value");
    if (f->value && value == NULL) {
        if (*i + 1 >= argc) {
            fprintf(stderr, "tranche: --%s wants a value\n", f->name);
            return EXIT_USAGE;
        }
        value = argv[++*i];
    }
    return apply(line, f, value);
}

static int parse(struct command_line *line, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        int ret;

        if (line->wants_id && line->id == NULL && argv[i][0] != '-') {
            line->id = argv[i];
            continue;
        }
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            fprintf(stderr, "tranche: unexpected argument \"%s\"\nTry \"tranche --help\".\n",
                    secret_looks_like_one(argv[i]) ? SECRET_MASK : argv[i]);
            return EXIT_USAGE;
        }
        ret = parse_flag(line, argc, argv, &i);
        if (ret != 0)
            return ret;
    }
    if ((line->options.tls_cert_file == NULL) != (line->options.tls_key_file == NULL)) {
        fputs("tranche: --ssl_certfile_path and --ssl_keyfile_path go together\n", stderr);
        return EXIT_USAGE;
    }
    return 0;
}

static void add_lines(struct strbuf *out, const char *severity, const struct strbuf *lines)
{
    const char *line = strbuf_str(lines);

    for (size_t len; *line != '\0'; line += len + 1) {
        len = strcspn(line, "\n");
        strbuf_addf(out, "certificates: %s: %.*s\n", severity, (int)len, line);
    }
}

static int add_certificates(const struct config *config, struct strbuf *out)
{
    struct strbuf errors = STRBUF_INIT, warnings = STRBUF_INIT;
    int ret;

    certificates_check(config, &errors, &warnings);
    add_lines(out, "error", &errors);
    add_lines(out, "warning", &warnings);
    ret = errors.len > 0 ? ERR_INVALID : 0;
    strbuf_deinit(&errors);
    strbuf_deinit(&warnings);
    return ret;
}

static int check(const struct master_options *options, bool strict)
{
    struct config *config;
    struct config_report report = {0};
    struct strbuf text = STRBUF_INIT;
    int ret = config_load(options->config_path, &options->overrides, &config, &report);

    config_report_print(&report, &text);
    if (config != NULL)
        ret = certificates_override(options->tls_cert_file, options->tls_key_file, config);
    if (config != NULL && ret == 0)
        ret = add_certificates(config, &text);
    if (config != NULL)
        config_describe(config, &text);
    else if (report.num_errors == 0)
        strbuf_addf(&text, "cannot load the configuration: %s\n", err_str(ret));
    fputs(strbuf_str(&text), stdout);
    strbuf_deinit(&text);
    if (strict && report.num_skipped > 0)
        ret = ERR_INVALID;
    config_report_free(&report);
    config_free(config);
    return ret != 0;
}

/* 2: the configuration or the command line is wrong, so that nothing can be said of the id. */
static int explain(const struct command_line *line)
{
    const struct master_options *options = &line->options;
    struct config *config;
    struct config_report report = {0};
    struct strbuf text = STRBUF_INIT;
    int ret;

    if (line->id == NULL) {
        fputs("tranche: id wants the id to explain\nTry \"tranche --help\".\n", stderr);
        return EXIT_USAGE;
    }
    ret = config_load(options->config_path, &options->overrides, &config, &report);
    if (config != NULL) {
        ret = explain_id(config, line->id);
    } else {
        config_report_print(&report, &text);
        fputs(strbuf_failed(&text) || text.len == 0 ? err_str(ret) : strbuf_str(&text), stderr);
        ret = EXIT_USAGE;
    }
    strbuf_deinit(&text);
    config_report_free(&report);
    config_free(config);
    return ret;
}

/* What was printed has to have arrived: a full disk is no success. */
static int printed(int code)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return code;
    fputs("tranche: cannot write to standard output\n", stderr);
    return code == 0 ? EXIT_USAGE : code;
}

static int run_command(const char *command, struct command_line *line)
{
    if (line->strict && strcmp(command, "check") != 0) {
        fputs("tranche: --strict belongs to check\nTry \"tranche --help\".\n", stderr);
        return EXIT_USAGE;
    }
    if (line->help || line->version) {
        fputs(line->help ? usage : "tranche " TRANCHE_VERSION "\n", stdout);
        return printed(0);
    }
    if (line->wants_id)
        return printed(explain(line));
    if (strcmp(command, "check") == 0)
        return printed(check(&line->options, line->strict));
    return master_run(&line->options);
}

int main(int argc, char **argv)
{
    struct command_line line = {
        .options = {.overrides = {.host = NULL, .port = -1, .num_workers = -1},
                    .argv = argv,
                    .worker = &worker_role,
                    .prober = &prober_role}};
    const char *command = argc > 1 && argv[1][0] != '-' ? argv[1] : "serve";
    int skip = argc > 1 && argv[1][0] != '-' ? 2 : 1, ret;

    if (strcmp(command, "check-file") == 0)
        return printed(check_file_main(argc - skip, argv + skip));
    line.wants_id = strcmp(command, "id") == 0;
    if (!line.wants_id && strcmp(command, "serve") != 0 && strcmp(command, "check") != 0) {
        fprintf(stderr,
                "tranche: unknown command \"%s\", wanted serve, check, check-file or id\nTry "
                "\"tranche --help\".\n",
                command);
        return EXIT_USAGE;
    }
    if (strcmp(command, "serve") == 0)
        master_keep_signals();
    ret = parse(&line, argc - (argc > 0 ? skip : 0), argv + skip);
    return ret != 0 ? ret : run_command(command, &line);
}
