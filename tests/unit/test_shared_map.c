/* The map of shared memory (balancer README 5) against the regions themselves: each is made, and
 * what it begins with is what its row says; and no source makes a region that has no row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/entra_tokens.h"
#include "balancer/followed.h"
#include "balancer/idem.h"
#include "balancer/issuer_keys.h"
#include "balancer/memo.h"
#include "balancer/meters.h"
#include "balancer/poll_cache.h"
#include "balancer/registry.h"
#include "balancer/quota.h"
#include "balancer/rights.h"
#include "balancer/series.h"
#include "balancer/slots.h"
#include "balancer/state.h"
#include "balancer/table.h"
#include "common/shm_region.h"
#include "crypto/seal_cache.h"

#define MAP      SOURCE_DIR "/balancer/README.md"
#define BEGINS   "| region | "
#define MAX_ROWS 64
#define CELLS    8

enum { REGION, FILES, MAGIC, LAYOUT, WRITES, READS, LIVES, KILLED };

static char *rows[MAX_ROWS][CELLS];
static unsigned num_rows;

/* Kept until the program ends; the rows point into it. */
static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(1 << 20);
    size_t len;

    assert_non_null(file);
    assert_non_null(text);
    len = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    assert_true(len < (1 << 20) - 1);
    text[len] = '\0';
    return text;
}

static char *trim(char *cell)
{
    size_t len;

    cell += strspn(cell, " `");
    for (len = strlen(cell); len > 0 && strchr(" `", cell[len - 1]) != NULL; len--)
        ;
    cell[len] = '\0';
    return cell;
}

static void read_row(char *line)
{
    assert_true(num_rows < MAX_ROWS);
    for (unsigned i = 0; i < CELLS; i++) {
        char *cell = strsep(&line, "|");

        assert_non_null(cell);
        rows[num_rows][i] = i == FILES ? cell : trim(cell);
    }
    assert_string_equal(line, ""); /* as many cells as there are columns */
    num_rows++;
}

static int read_map(void **state)
{
    char *at = strstr(read_text(MAP), BEGINS), *line;

    (void)state;
    assert_non_null(at);
    strsep(&at, "\n");
    strsep(&at, "\n"); /* | --- | */
    while ((line = strsep(&at, "\n")) != NULL && *line == '|')
        read_row(line + 1);
    return 0;
}

/* A row is about a region when it begins with its name, which ends with it or at a colon. */
static bool is_about(const char *const *row, const char *name)
{
    size_t len = strlen(name);

    return strncmp(row[REGION], name, len) == 0 && strchr(":,", row[REGION][len]) != NULL;
}

static void check(const char *name, const void *region)
{
    const struct shm_head *head = region;
    char magic[sizeof(head->magic) + 1] = "", layout[16];
    unsigned found = 0;

    memcpy(magic, &head->magic, sizeof(head->magic));
    snprintf(layout, sizeof(layout), "%u", (unsigned)head->layout);
    for (unsigned i = 0; i < num_rows; i++) {
        if (!is_about((const char *const *)rows[i], name))
            continue;
        assert_string_equal(rows[i][MAGIC], magic);
        assert_string_equal(rows[i][LAYOUT], layout);
        rows[i][REGION] = (char *)"checked";
        found++;
    }
    assert_true(found > 0);
}

static void check_lasting(const char *name, const void *region)
{
    for (unsigned i = 0; i < num_rows; i++)
        if (is_about((const char *const *)rows[i], name))
            assert_string_equal(rows[i][LIVES], "lasting");
    assert_true(shm_fd(region) != -1);
    check(name, region);
}

static void every_region_begins_with_the_magic_and_layout_that_its_row_names(void **state)
{
    static const struct model_list nothing;
    struct entra_tokens *entra;
    struct poll_cache *polls;
    struct followed *followed;
    struct issuer_keys *issuer;
    struct rights_table *rights;
    struct registry *registry;
    struct seal_cache *seals;
    struct memo *memo, *places;
    struct meters *meters;
    struct table *table;
    struct slots *slots;
    struct state *health;
    struct quota *quota;
    struct idem *idem;
    struct series *series;

    (void)state;
    assert_int_equal(series_new(1, &series), 0);
    assert_int_equal(table_build(&nothing, 1, &table), 0);
    assert_int_equal(state_new(1, 1, &health), 0);
    assert_int_equal(quota_new(1, 1, &quota), 0);
    assert_int_equal(slots_new(1, &slots), 0);
    assert_int_equal(idem_new(1, &idem), 0);
    assert_int_equal(memo_new(1, &memo), 0);
    assert_int_equal(memo_new(1, &places), 0);
    assert_int_equal(meters_new(1, 1, &meters), 0);
    assert_int_equal(poll_cache_new(1, &polls), 0);
    assert_int_equal(registry_new(1, 1, &registry), 0);
    assert_int_equal(followed_new(1, &followed), 0);
    assert_int_equal(seal_cache_new(1, &seals), 0);
    assert_int_equal(rights_table_new(1, &rights), 0);
    assert_int_equal(issuer_keys_new(&issuer), 0);
    assert_int_equal(entra_tokens_new(&entra), 0);
    check("model table", table);
    check("issuer keys", issuer);
    check("rights", rights);
    check("series", series);
    check_lasting("state", health);
    check_lasting("quota", quota);
    check_lasting("slots", slots);
    check_lasting("idem", idem);
    check_lasting("memo", memo);
    check_lasting("list places", places);
    check_lasting("meters", meters);
    check_lasting("poll cache", polls);
    check_lasting("seal cache", seals);
    check_lasting("registry", registry);
    check_lasting("followed", followed);
    check_lasting("entra tokens", entra);
    for (unsigned i = 0; i < num_rows; i++)
        if (strcmp(rows[i][REGION], "checked") != 0) /* the others have no head, and do not last */
            assert_true(strcmp(rows[i][MAGIC], "-") == 0 && strcmp(rows[i][LAYOUT], "-") == 0 &&
                        strcmp(rows[i][LIVES], "lasting") != 0);
    series_free(series);
    entra_tokens_free(entra);
    issuer_keys_free(issuer);
    rights_table_free(rights);
    seal_cache_free(seals);
    followed_free(followed);
    registry_free(registry);
    poll_cache_free(polls);
    meters_free(meters);
    memo_free(places);
    memo_free(memo);
    idem_free(idem);
    slots_free(slots);
    quota_free(quota);
    state_free(health);
    table_free(table);
}

static bool is_on_the_map(const char *file)
{
    char quoted[256];

    snprintf(quoted, sizeof(quoted), "`%s`", file);
    for (unsigned i = 0; i < num_rows; i++)
        if (strstr(rows[i][FILES], quoted) != NULL)
            return true;
    return false;
}

static bool makes_a_region(const char *text)
{
    return strstr(text, " shm_new(") != NULL || strstr(text, " shm_new_lasting(") != NULL ||
           strstr(text, " shm_region_open(") != NULL;
}

static void no_source_makes_a_region_that_has_no_row(void **state)
{
    static const char *const patterns[] = {"/balancer/*.c", "/common/*.c",   "/common/*/*.c",
                                           "/config/*.c",   "/server/*/*.c", "/server/*.c"};
    unsigned makers = 0;
    glob_t found = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        char pattern[4096];

        snprintf(pattern, sizeof(pattern), "%s%s", SOURCE_DIR, patterns[i]);
        (void)glob(pattern, i > 0 ? GLOB_APPEND : 0, NULL, &found);
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *file = found.gl_pathv[i] + strlen(SOURCE_DIR "/");
        char *text = read_text(found.gl_pathv[i]);

        if (strncmp(file, "common/shm", 10) != 0 && makes_a_region(text)) {
            makers++;
            if (!is_on_the_map(file))
                fail_msg("%s makes a region of shared memory, which balancer README 5 leaves out",
                         file);
        }
        free(text);
    }
    globfree(&found);
    assert_true(makers >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_region_begins_with_the_magic_and_layout_that_its_row_names),
        cmocka_unit_test(no_source_makes_a_region_that_has_no_row),
    };

    return cmocka_run_group_tests(tests, read_map, NULL);
}
