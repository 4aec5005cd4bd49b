/* See check_file.h. The limits are the defaults of config.h: what a gateway was configured to is
 * that gateway's to say (POST /v1/files/validate). */
#include "check_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "upload/endpoints.h"
#include "request/route.h"
#include "upload/verdict.h"

#define READ_BYTES 65536
#define BAR_WIDTH  40

static const uint64_t default_lines[PROVIDER_COUNT] = {
    [PROVIDER_OPENAI] = 50000, [PROVIDER_AZURE] = 100000};
static const uint64_t default_bytes = 200000000;

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
static int read_all(int fd, struct jsonl *lines, struct progress *progress)
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

static int print_verdict(const char *path, enum provider provider, const struct jsonl *lines)
{
    struct jsonl_report report;
    struct failure why;
    bool over;

    jsonl_report(lines, &report);
    over = verdict_unfit(&report, provider_name(provider), default_bytes, default_lines[provider],
                         &why);
    for (size_t i = 0; i < report.num_problems; i++) {
        const struct jsonl_problem *p = &report.problems[i];

        printf("%s:%llu:%llu: %s%s%s: %s\n", path, (unsigned long long)p->line,
               (unsigned long long)p->column, p->code, p->field[0] != '\0' ? " " : "", p->field,
               p->message);
    }
    if (over)
        printf("%s: %s: %s\n", path, why.code, why.message);
    printf("%s: %s, %llu requests, %llu bytes, model %s, url %s, about %llu tokens\n", path,
           report.num_problems == 0 && !over ? "valid" : "not valid",
           (unsigned long long)report.lines, (unsigned long long)report.bytes,
           report.model != NULL ? report.model : "-", report.url != NULL ? report.url : "-",
           (unsigned long long)verdict_tokens(&report));
    return report.num_problems == 0 && !over ? 0 : 1;
}

static void measure(int fd, struct progress *progress)
{
    struct stat st;

    if (isatty(STDERR_FILENO) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        progress->total = (uint64_t)st.st_size;
}

static int check_file(const char *path, enum provider provider)
{
    struct jsonl_rules rules = {.max_lines = SIZE_MAX,
                                .max_errors = VERDICT_MAX_PROBLEMS,
                                .endpoints = endpoints_all(),
                                .model_required = true};
    struct progress progress = {0};
    struct jsonl *lines = jsonl_new(&rules);
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int code = 2;

    if (lines == NULL || fd == -1) {
        fprintf(stderr, "tranche: %s: %s\n", path, strerror(lines == NULL ? ENOMEM : errno));
        goto done;
    }
    measure(fd, &progress);
    if (read_all(fd, lines, &progress) == -1) {
        end_drawing(&progress);
        fprintf(stderr, "tranche: %s: %s\n", path, strerror(errno));
        goto done;
    }
    end_drawing(&progress);
    code = print_verdict(path, provider, lines);
done:
    if (fd > STDIN_FILENO)
        close(fd);
    jsonl_free(lines);
    return code;
}

static int usage(void)
{
    fputs("usage: tranche check-file [--provider openai|azure] FILE\n", stderr);
    return 2;
}

int check_file_main(int argc, char **argv)
{
    enum provider provider = PROVIDER_AZURE; /* the wider limits */
    const char *path = NULL;

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--provider") == 0) {
            if (++i == argc || !route_provider(argv[i], strlen(argv[i]), &provider))
                return usage();
        } else if (path != NULL || (argv[i][0] == '-' && argv[i][1] != '\0')) {
            return usage();
        } else {
            path = argv[i];
        }
    }
    return path != NULL ? check_file(path, provider) : usage();
}
