/* The command line: `tranche [serve]`, `check`, `check-file`, `id`, `keys`. LiteLLM's start flags work, so
 * that a start line may stay as it is (flags.h). */
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
#include "batches.h"
#include "check_file.h"
#include "check_online.h"
#include "deployments.h"
#include "explain_id.h"
#include "flags.h"
#include "journal.h"
#include "keys.h"
#include "objects.h"
#include "results.h"
#include "run.h"
#include "usage.h"
#include "core/inherited.h"
#include "keeper/keeper.h"
#include "master/master.h"
#include "upkeep/prober.h"
#include "worker/worker.h"

#define EXIT_USAGE   2
#define EXIT_REFUSED 3 /* of `check --online`: the configuration is right, and an account refuses */

static const struct child_role worker_role = {"worker", true, worker_run, false, true};
static const struct child_role prober_role = {"prober", false, prober_run, false, true};
static const struct child_role keeper_role = {"keeper", false, keeper_run, true, false};

enum flag {
    FLAG_HOST = FLAGS_LONG,
    FLAG_PORT,
    FLAG_NUM_WORKERS,
    FLAG_TLS_CERT,
    FLAG_TLS_KEY,
    FLAG_DEBUG,
    FLAG_STRICT,
    FLAG_ONLINE
};

static const struct option flags[] = {{"config", required_argument, NULL, 'c'},
                                      {"host", required_argument, NULL, FLAG_HOST},
                                      {"port", required_argument, NULL, FLAG_PORT},
                                      {"num_workers", required_argument, NULL, FLAG_NUM_WORKERS},
                                      {"ssl_certfile_path", required_argument, NULL, FLAG_TLS_CERT},
                                      {"ssl_keyfile_path", required_argument, NULL, FLAG_TLS_KEY},
                                      {"debug", no_argument, NULL, FLAG_DEBUG},
                                      {"detailed_debug", no_argument, NULL, FLAG_DEBUG},
                                      {"strict", no_argument, NULL, FLAG_STRICT},
                                      {"online", no_argument, NULL, FLAG_ONLINE},
                                      {"help", no_argument, NULL, 'h'},
                                      {"version", no_argument, NULL, 'v'},
                                      {NULL, 0, NULL, 0}};

struct command_line {
    struct master_options options;
    const char *id; /* of `tranche id`; NULL: not given (yet) */
    bool wants_id;
    bool strict, online; /* of `tranche check` */
    bool help, version;
};

/* clang-format off */
static const char usage[] =
    "usage: tranche [serve] [--config FILE] [--host HOST] [--port PORT] [--num_workers N]\n"
    "       tranche check [--strict] [--online] [--config FILE]\n"
    "       tranche check-file [--provider openai|azure] [--config FILE] FILE\n"
    "       tranche run FILE [FILE...] [-o PATH] [--model M] [--endpoint E] [--retry-failed]\n"
    "       tranche id ID [--config FILE]\n"
    "       tranche batches | tranche batch ID [--base-url URL] [--key KEY] [--json]\n"
    "       tranche results ID -o PATH [--base-url URL] [--key KEY] [--json]\n"
    "       tranche cancel ID | tranche files | tranche get FILE [-o PATH] | tranche deployments\n"
    "       tranche journal rebuild [--base-url URL] [--key KEY] [--json]\n"
    "       tranche usage [--since-seq N] [--csv|--json] [--base-url URL] [--key KEY]\n"
    "       tranche keys hash < FILE\n"
    "       tranche keys import --from FILE|URL --to keys-file|DATABASE\n"
    "\n"
    "  serve                     start the gateway (default)\n"
    "  check                     print what the configuration means; exit 1 when it has errors\n"
    "                            (with --strict also when a row is left out because of a fault);\n"
    "                            with --online ask each account for one list, and each credential of\n"
    "                            Entra ID for one token; exit 3 when one of them refuses\n"
    "  check-file                check a batch file as an upload would be; exit 1 when it is not valid\n"
    "  run                       run a batch file to its end, against a gateway or any server of OpenAI's\n"
    "                            contract, and write its results in input order (tranche run --help)\n"
    "  id                        explain an id: what it names, where that is, who sealed it, or why it\n"
    "                            is refused; exit 1 when it is, or looks like no id of a provider\n"
    "  batches, batch            ask a running gateway: which batches there are, and the story of one\n"
    "                            (tranche batches --help)\n"
    "  results                   the results of a batch that has ended, in input order\n"
    "  cancel, files, get        cancel a batch; which files there are, and the content of one\n"
    "  deployments               what each deployment has room for, and whether it is well\n"
    "  journal rebuild           have a running gateway restore its journal from the providers' lists\n"
    "  usage                     ask a running gateway: what batches used and cost, also as CSV\n"
    "  keys hash                 read a key from standard input and print its entry for a keys file\n"
    "  keys import               take over keys and teams of LiteLLM, from its database or a file\n"
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

static bool parse_number(const char *text, long min, long max, int *out)
{
    char *end;
    long value;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    value = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max)
        return false;
    *out = (int)value;
    return true;
}

/* @return false: told */
static bool take_number(const char *name, long min, long max, int *out)
{
    char wanted[64];

    if (parse_number(optarg, min, max, out))
        return true;
    snprintf(wanted, sizeof(wanted), "a number from %ld to %ld", min, max);
    (void)flags_fail_value(name, optarg, wanted);
    return false;
}

/* @return false: told */
static bool take_operand(struct command_line *line)
{
    if (line->wants_id && line->id == NULL) {
        line->id = optarg;
        return true;
    }
    fprintf(stderr, "tranche: unexpected argument \"%s\"\nTry \"tranche --help\".\n",
            flags_shown(optarg));
    return false;
}

/* @return false: told */
static bool take(struct command_line *line, int flag)
{
    struct master_options *o = &line->options;

    switch (flag) {
    case FLAGS_OPERAND:
        return take_operand(line);
    case FLAGS_WRONG:
        return false;
    case FLAG_PORT:
        return take_number("port", 0, 65535, &o->overrides.port);
    case FLAG_NUM_WORKERS:
        return take_number("num_workers", 1, MAX_WORKERS, &o->overrides.num_workers);
    case 'c':
        o->config_path = optarg;
        break;
    case FLAG_HOST:
        o->overrides.host = optarg;
        break;
    case FLAG_TLS_CERT:
        o->tls_cert_file = optarg;
        break;
    case FLAG_TLS_KEY:
        o->tls_key_file = optarg;
        break;
    case FLAG_DEBUG:
        o->debug = true;
        break;
    case FLAG_STRICT:
        line->strict = true;
        break;
    case FLAG_ONLINE:
        line->online = true;
        break;
    case 'h':
        line->help = true;
        break;
    case 'v':
        line->version = true;
        break;
    default:
        break;
    }
    return true;
}

static int parse(struct command_line *line, int argc, char **argv)
{
    struct flags words;

    flags_init(&words, argc, argv, flags, true);
    for (int flag; (flag = flags_next(&words)) != FLAGS_END;)
        if (!take(line, flag))
            return EXIT_USAGE;
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

/* What the accounts say, behind what the file says: it may take a while, so that is out by then. */
static int ask_online(const struct config *config)
{
    struct strbuf text = STRBUF_INIT;
    bool good = false;
    int ret;

    fflush(stdout);
    ret = check_online(config, &text, &good);
    if (ret == 0 && !strbuf_failed(&text))
        fputs(strbuf_str(&text), stdout);
    else
        fprintf(stderr, "tranche: cannot ask the accounts: %s\n",
                err_str(ret != 0 ? ret : ERR_NOMEM));
    if (ret == 0 && strbuf_failed(&text))
        ret = ERR_NOMEM;
    strbuf_deinit(&text);
    return ret != 0 ? 1 : good ? 0 : EXIT_REFUSED;
}

static int check(const struct master_options *options, bool strict, bool online)
{
    struct config *config;
    struct config_report report = {0};
    struct strbuf text = STRBUF_INIT;
    int ret = config_load(options->config_path, &options->overrides, &config, &report), code;

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
    code = ret != 0;
    if (online && code == 0)
        code = ask_online(config);
    config_report_free(&report);
    config_free(config);
    return code;
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
    if ((line->strict || line->online) && strcmp(command, "check") != 0) {
        fprintf(stderr, "tranche: --%s belongs to check\nTry \"tranche --help\".\n",
                line->strict ? "strict" : "online");
        return EXIT_USAGE;
    }
    if (line->help || line->version) {
        fputs(line->help ? usage : "tranche " TRANCHE_VERSION "\n", stdout);
        return printed(0);
    }
    if (line->wants_id)
        return printed(explain(line));
    if (strcmp(command, "check") == 0)
        return printed(check(&line->options, line->strict, line->online));
    return master_run(&line->options);
}

/* Those that read their own words. */
static const struct command {
    const char *name;
    int (*main)(int argc, char **argv);
    bool prints; /* by stdio, and does not look whether it arrived */
} commands[] = {{"check-file", check_file_main, true},
                {"run", run_main, false},
                {"results", results_main, false},
                {"batches", batches_main, false},
                {"batch", batch_main, false},
                {"cancel", cancel_main, false},
                {"files", files_main, false},
                {"get", get_main, false},
                {"deployments", deployments_main, false},
                {"journal", journal_main, false},
                {"usage", usage_main, false},
                {"keys", keys_main, true}};

int main(int argc, char **argv)
{
    struct command_line line = {
        .options = {.overrides = {.host = NULL, .port = -1, .num_workers = -1},
                    .argv = argv,
                    .worker = &worker_role,
                    .prober = &prober_role,
                    .keeper = &keeper_role}};
    int named = argc > 1 && argv[1][0] != '-', ret;
    const char *command = named ? argv[1] : "serve";

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(command, commands[i].name) == 0) {
            ret = commands[i].main(argc - named, argv + named);
            return commands[i].prints ? printed(ret) : ret;
        }
    line.wants_id = strcmp(command, "id") == 0;
    if (!line.wants_id && strcmp(command, "serve") != 0 && strcmp(command, "check") != 0) {
        fprintf(
            stderr,
            "tranche: unknown command \"%s\", wanted serve, check, check-file, run, id, batches, "
            "batch, results, cancel, files, get, deployments, usage, journal or keys\nTry "
            "\"tranche --help\".\n",
            flags_shown(command));
        return EXIT_USAGE;
    }
    if (strcmp(command, "serve") == 0)
        master_keep_signals();
    ret = parse(&line, argc - named, argv + named);
    return ret != 0 ? ret : run_command(command, &line);
}
