/* See keys_import.h. */
#include "keys_import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/strbuf.h"
#include "store/import.h"
#include "store/litellm.h"
#include "store/store.h"

#define EXIT_USAGE  2
#define IN_VARIABLE "os.environ/"
#define MAX_BYTES   ((size_t)1 << 30)
#define LONG_MS     30000 /* of a statement: nobody else waits */

/* A place as it is written, or out of a variable. @return NULL: told */
static const char *place_of(const char *text)
{
    const char *name = text + strlen(IN_VARIABLE), *value;

    if (strncmp(text, IN_VARIABLE, strlen(IN_VARIABLE)) != 0)
        return text;
    value = getenv(name);
    if (value == NULL || *value == '\0')
        fprintf(stderr, "tranche: the variable %s is not set\n", name);
    return value == NULL || *value == '\0' ? NULL : value;
}

static bool is_postgres(const char *place)
{
    return strncmp(place, "postgresql://", strlen("postgresql://")) == 0 ||
           strncmp(place, "postgres://", strlen("postgres://")) == 0;
}

/* ---- reading ---- */

static int read_all(int fd, const char *name, struct strbuf *out)
{
    char piece[65536];
    ssize_t n;

    while ((n = read(fd, piece, sizeof(piece))) > 0 && out->len <= MAX_BYTES)
        strbuf_add(out, piece, (size_t)n);
    if (n == 0 && !strbuf_failed(out))
        return 0;
    fprintf(stderr, "tranche: %s: %s\n", name,
            n == -1              ? strerror(errno)
            : strbuf_failed(out) ? "out of memory"
                                 : "more than 1 GiB");
    return EXIT_USAGE;
}

static int read_file(const char *name, struct litellm_rows *rows)
{
    struct strbuf text = STRBUF_INIT;
    char why[STORE_WHY_BYTES];
    int fd = strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC), ret;

    if (fd == -1) {
        fprintf(stderr, "tranche: %s: %s\n", name, strerror(errno));
        return EXIT_USAGE;
    }
    ret = read_all(fd, name, &text);
    if (fd != STDIN_FILENO)
        close(fd);
    if (ret == 0 && import_read(strbuf_str(&text), text.len, rows, why) != 0) {
        fprintf(stderr, "tranche: %s: %s\n", name, why[0] != '\0' ? why : "out of memory");
        ret = EXIT_USAGE;
    }
    strbuf_deinit(&text);
    return ret;
}

static int read_database(const char *url, struct litellm_rows *rows)
{
    struct litellm *litellm = NULL;
    char why[STORE_WHY_BYTES];
    int rc = litellm_new(url, LONG_MS, &litellm, why);

    if (rc != 0) {
        fprintf(stderr, "tranche: --from: %s\n", why[0] != '\0' ? why : err_str(rc));
        return EXIT_USAGE;
    }
    rc = litellm_read(litellm, rows);
    if (rc != 0)
        fprintf(stderr, "tranche: %s: %s\n", litellm_place(litellm), litellm_why(litellm));
    litellm_free(litellm);
    return rc == 0 ? 0 : EXIT_USAGE;
}

static void tell_left_out(const struct litellm_rows *rows)
{
    const struct litellm_counts *left_out = &rows->left_out;

    if (left_out->without_hash != 0)
        fprintf(stderr, "tranche: %zu rows left out: their token is no SHA-256 of a key\n",
                left_out->without_hash);
    if (left_out->of_pages != 0)
        fprintf(stderr, "tranche: %zu rows left out: sessions of LiteLLM's own pages\n",
                left_out->of_pages);
    if (left_out->with_budget != 0)
        fprintf(stderr,
                "tranche: warning: %zu keys and teams have a budget in money, which is enforced "
                "only by a gateway with a journal (tranche_settings.database)\n",
                left_out->with_budget);
    if (rows->num_unknown != 0)
        fprintf(stderr, "tranche: %zu values of other columns ignored\n", rows->num_unknown);
}

/* ---- writing ---- */

static void on_refused(void *arg, const char *what, const char *why)
{
    (void)arg;
    fprintf(stderr, "tranche: %s: refused: %s\n", what, why);
}

static int write_database(const char *url, const struct litellm_rows *rows)
{
    static const struct store_actor by = {.who = "cli: keys import"};
    struct store_options options = {.deadline_ms = LONG_MS};
    struct import_counts counts;
    struct store *store = NULL;
    char why[STORE_WHY_BYTES];
    int rc = store_new(url, &options, &store, why);

    if (rc != 0) {
        fprintf(stderr, "tranche: --to: %s\n", why[0] != '\0' ? why : err_str(rc));
        return EXIT_USAGE;
    }
    rc = import_into(store, rows, &by, &counts, on_refused, NULL);
    if (rc != 0)
        fprintf(stderr, "tranche: %s: %s\n", store_place(store), store_why(store));
    fprintf(stderr, "tranche: %s: %zu added, %zu already there, %zu refused\n", store_place(store),
            counts.added, counts.there, counts.refused);
    store_free(store);
    return rc != 0 ? EXIT_USAGE : counts.refused != 0;
}

static int write_keys_file(const struct litellm_rows *rows)
{
    struct strbuf text = STRBUF_INIT;
    int rc = import_print(rows, &text);

    if (rc == 0)
        fputs(strbuf_str(&text), stdout);
    else
        fputs("tranche: out of memory\n", stderr);
    strbuf_deinit(&text);
    if (rows->num_graces != 0)
        fprintf(stderr, "tranche: %zu old hashes in their grace left out: a keys file has none\n",
                rows->num_graces);
    fprintf(stderr, "tranche: %zu keys and %zu teams printed\n", rows->num_keys, rows->num_teams);
    return rc == 0 ? 0 : EXIT_USAGE;
}

int keys_import(const char *from, const char *to)
{
    struct litellm_rows rows = {0};
    const char *source = place_of(from), *goal = place_of(to);
    int ret;

    if (source == NULL || goal == NULL)
        return EXIT_USAGE;
    ret = is_postgres(source) ? read_database(source, &rows) : read_file(source, &rows);
    if (ret != 0)
        return ret;
    tell_left_out(&rows);
    ret = strcmp(goal, "keys-file") == 0 ? write_keys_file(&rows) : write_database(goal, &rows);
    litellm_rows_deinit(&rows);
    return ret;
}
