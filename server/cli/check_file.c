/* See check_file.h. The limits are the defaults of config.h, or those of a configuration: the same
 * that its gateway would say (POST /v1/files/validate). */
#include "check_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "core/endpoints.h"
#include "flags.h"
#include "request/route.h"
#include "upload/verdict.h"

#define READ_BYTES 65536
#define BAR_WIDTH  40

struct progress {
    uint64_t total; /* 0: unknown, or no terminal: nothing is drawn */
    unsigned percent;
};

static void draw(struct progress *p, uint64_t done)
{
    unsigned percent = p->total > 0 ? (unsigned)(done * 100 / p->total) : 0;
    int filled = (int)(percent * BAR_WIDTH / 100);

    if (p->total == 0 || percent == p->percent)
        return;
    p->percent = percent;
    fprintf(stderr, "\r[%.*s%*s] %3u %%", filled, "########################################",
            BAR_WIDTH - filled, "", percent);
}

static void end_drawing(const struct progress *p)
{
    if (p->percent > 0)
        fprintf(stderr, "\r%*s\r", BAR_WIDTH + 8, "");
}

/* Returns 0, or -1 with errno when reading failed. Problems are in the checker's report. */
static int read_all(int fd, struct jsonl *lines, const struct check_file_hook *hook,
                    struct progress *progress)
{
    char buf[READ_BYTES];
    uint64_t done = 0;
    ssize_t n;

    while ((n = read(fd, buf, sizeof(buf))) != 0) {
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -1;
        done += (uint64_t)n;
        if (hook != NULL)
            hook->on_bytes(hook->arg, buf, (size_t)n);
        if (jsonl_feed(lines, buf, (size_t)n) == ERR_NOMEM) {
            errno = ENOMEM;
            return -1;
        }
        draw(progress, done);
    }
    if (jsonl_finish(lines) == ERR_NOMEM) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

/* What is asked for. */
struct question {
    const char *path, *config_path; /* borrowed; NULL: none */
    bool each;                      /* no provider was named: what each of them would say */
    enum provider provider;
    struct config_limits limits;
    FILE *out; /* borrowed; what is told of the file */
};

static void print_problems(const struct question *q, const struct jsonl_report *report)
{
    for (size_t i = 0; i < report->num_problems; i++) {
        const struct jsonl_problem *p = &report->problems[i];

        fprintf(q->out, "%s:%llu:%llu: %s%s%s: %s\n", q->path, (unsigned long long)p->line,
                (unsigned long long)p->column, p->code, p->field[0] != '\0' ? " " : "", p->field,
                p->message);
    }
}

/* @return whether that provider would take the file; its refusal is printed */
static bool ask_provider(const struct question *q, enum provider provider,
                         const struct jsonl_report *report)
{
    struct verdict_rules rules;
    struct failure why;

    verdict_rules_of(&q->limits, provider, &rules);
    if (verdict_unfit(report, &rules, &why)) {
        fprintf(q->out, "%s: %s: %s: %s\n", q->path, provider_name(provider), why.code,
                why.message);
        return false;
    }
    return report->num_problems == 0;
}

/* Of that provider, or of each. @return whether any of them would take the file */
static bool ask_providers(const struct question *q, const struct jsonl_report *report)
{
    bool taken[PROVIDER_COUNT] = {false}, any = false;

    for (int p = 0; p < PROVIDER_COUNT; p++)
        if (q->each || q->provider == (enum provider)p)
            any |= taken[p] = ask_provider(q, (enum provider)p, report);
    for (int p = 0; p < PROVIDER_COUNT; p++)
        if (q->each && taken[p])
            fprintf(q->out, "%s: %s: valid\n", q->path, provider_name((enum provider)p));
    return any;
}

static int print_verdict(const struct question *q, const struct jsonl *lines)
{
    struct jsonl_report report;
    const char *warning;
    bool valid;

    jsonl_report(lines, &report);
    print_problems(q, &report);
    valid = ask_providers(q, &report);
    if ((warning = endpoints_warning(report.url)) != NULL)
        fprintf(q->out, "%s: warning: %s\n", q->path, warning);
    fprintf(q->out, "%s: %s, %llu requests, %llu bytes, model %s, url %s, about %llu tokens\n",
            q->path, valid ? "valid" : "not valid", (unsigned long long)report.lines,
            (unsigned long long)report.bytes, report.model != NULL ? report.model : "-",
            report.url != NULL ? report.url : "-", (unsigned long long)verdict_tokens(&report));
    return valid ? 0 : 1;
}

static void measure(int fd, struct progress *progress)
{
    struct stat st;

    if (isatty(STDERR_FILENO) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        progress->total = (uint64_t)st.st_size;
}

/* @param lines  the checker, which is the caller's; NULL: there is no memory for one */
static int judge(const struct question *q, int fd, const struct check_file_hook *hook,
                 struct jsonl *lines)
{
    struct progress progress = {0};
    int err = 0;

    if (lines == NULL || fd == -1) {
        fprintf(stderr, "tranche: %s: %s\n", q->path, strerror(lines == NULL ? ENOMEM : errno));
        return 2;
    }
    measure(fd, &progress);
    err = read_all(fd, lines, hook, &progress);
    end_drawing(&progress);
    if (err == -1) {
        fprintf(stderr, "tranche: %s: %s\n", q->path, strerror(errno));
        return 2;
    }
    return print_verdict(q, lines);
}

static struct jsonl *new_checker(const struct question *q)
{
    struct jsonl_rules rules = {.max_line_bytes = q->limits.max_line_bytes,
                                .max_lines = SIZE_MAX,
                                .max_depth = (unsigned)q->limits.max_depth,
                                .max_errors = VERDICT_MAX_PROBLEMS,
                                .endpoints = endpoints_all()};

    return jsonl_new(&rules);
}

static int check_file(const struct question *q)
{
    struct jsonl *lines = new_checker(q);
    int fd = strcmp(q->path, "-") == 0 ? STDIN_FILENO : open(q->path, O_RDONLY | O_CLOEXEC);
    int code = judge(q, fd, NULL, lines);

    if (fd > STDIN_FILENO)
        close(fd);
    jsonl_free(lines);
    return code;
}

int check_file_read(const char *path, int fd, const struct check_file_hook *hook, FILE *out,
                    struct jsonl **lines)
{
    struct question q = {.path = path, .each = true, .out = out};

    *lines = NULL;
    if (config_default_limits(&q.limits) != 0)
        return 2;
    *lines = new_checker(&q);
    return judge(&q, fd, hook, *lines);
}

static int usage(void)
{
    fputs("usage: tranche check-file [--provider openai|azure] [--config FILE] FILE\n", stderr);
    return 2;
}

/* A flag, its value or a word more than there may be. */
static int wrong(int flag)
{
    if (flag == FLAGS_LONG)
        (void)flags_fail_value("provider", optarg, "openai or azure");
    return usage();
}

/* The limits of a gateway with that configuration; without one the defaults. @return 0, or -1: told
 */
static int find_limits(struct question *q)
{
    struct config_overrides overrides = {.port = -1, .num_workers = -1};
    struct config *config = NULL;
    struct config_report report = {0};
    struct strbuf text = STRBUF_INIT;
    int ret = config_default_limits(&q->limits);

    if (ret == 0 && q->config_path != NULL)
        ret = config_load(q->config_path, &overrides, &config, &report);
    if (config != NULL)
        q->limits = config->limits;
    if (ret != 0) {
        config_report_print(&report, &text);
        fprintf(stderr, "%s", text.len > 0 ? strbuf_str(&text) : err_str(ret));
    }
    strbuf_deinit(&text);
    config_report_free(&report);
    config_free(config);
    return ret == 0 ? 0 : -1;
}

int check_file_main(int argc, char **argv)
{
    static const struct option own[] = {{"provider", required_argument, NULL, FLAGS_LONG},
                                        {"config", required_argument, NULL, 'c'},
                                        {NULL, 0, NULL, 0}};
    struct question q = {.each = true, .out = stdout};
    struct flags flags;

    flags_init(&flags, argc, argv, own, false);
    for (int flag; (flag = flags_next(&flags)) != FLAGS_END;) {
        const char *value = optarg != NULL ? optarg : "";

        if (flag == 'c')
            q.config_path = value;
        else if (flag == FLAGS_LONG && route_provider(value, strlen(value), &q.provider))
            q.each = false;
        else if (flag == FLAGS_OPERAND && q.path == NULL)
            q.path = value;
        else
            return wrong(flag);
    }
    if (q.path == NULL)
        return usage();
    return find_limits(&q) == 0 ? check_file(&q) : 2;
}
