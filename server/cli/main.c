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
#include "check_file.h"
#include "explain_id.h"
#include "flags.h"
#include "keys.h"
#include "core/inherited.h"
#include "keeper/keeper.h"
#include "master/master.h"
#include "upkeep/prober.h"
#include "worker/worker.h"

#define EXIT_USAGE 2

static const struct child_role worker_role = {"worker", true, worker_run};
static const struct child_role prober_role = {"prober", false, prober_run};
static const struct child_role keeper_role = {"keeper", false, keeper_run, true};

enum flag {
    FLAG_HOST = FLAGS_LONG,
    FLAG_PORT,
    FLAG_NUM_WORKERS,
    FLAG_TLS_CERT,
    FLAG_TLS_KEY,
    FLAG_DEBUG,
    FLAG_STRICT
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
                                      {"help", no_argument, NULL, 'h'},
                                      {"version", no_argument, NULL, 'v'},
                                      {NULL, 0, NULL, 0}};

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
    "       tranche keys hash < FILE\n"
    "       tranche keys import --from FILE|URL --to keys-file|DATABASE\n"
    "\n"
    "  serve                     start the gateway (default)\n"
    "  check                     print what the configuration means; exit 1 when it has errors\n"
    "                            (with --strict also when a row is left out because of a fault)\n"
    "  check-file                check a batch file as an upload would be; exit 1 when it is not valid\n"
    "  id                        explain an id: what it names, where that is, who sealed it, or why it\n"
    "                            is refused; exit 1 when it is, or looks like no id of a provider\n"
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
                    .prober = &prober_role,
                    .keeper = &keeper_role}};
    int named = argc > 1 && argv[1][0] != '-', ret;
    const char *command = named ? argv[1] : "serve";

    if (strcmp(command, "check-file") == 0)
        return printed(check_file_main(argc - named, argv + named));
    if (strcmp(command, "keys") == 0)
        return printed(keys_main(argc - named, argv + named));
    line.wants_id = strcmp(command, "id") == 0;
    if (!line.wants_id && strcmp(command, "serve") != 0 && strcmp(command, "check") != 0) {
        fprintf(stderr,
                "tranche: unknown command \"%s\", wanted serve, check, check-file, id or keys\nTry "
                "\"tranche --help\".\n",
                flags_shown(command));
        return EXIT_USAGE;
    }
    if (strcmp(command, "serve") == 0)
        master_keep_signals();
    ret = parse(&line, argc - named, argv + named);
    return ret != 0 ? ret : run_command(command, &line);
}
