/* Files of credentials, and the one that Azure Arc's challenge may name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entra/entra_challenge.h"
#include "entra/entra_file.h"

static char folder[] = "/tmp/tranche-entra-XXXXXX";
static char path[256];

static const char *at(const char *name)
{
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void make(const char *name, size_t size)
{
    FILE *file = fopen(at(name), "w");

    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
        fputc('a' + (int)(i % 26), file);
    fclose(file);
}

static int set_up(void **unused)
{
    (void)unused;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **unused)
{
    static const char *const names[] = {"good",     "empty", "large",   "full",     "link",
                                        "a.key",    "b.key", "big.key", "link.key", "pipe.key",
                                        "most.key", "pipe",  "tokens"};

    (void)unused;
    unlink(at("deep/x.key"));
    rmdir(at("deep"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(at(names[i]));
    return rmdir(folder);
}

static void assert_refused(const char *name, int code, const char *why)
{
    struct secret out = SECRET_NONE;
    struct entra_error error = {""};
    char wanted[512];

    snprintf(wanted, sizeof(wanted), "%s: %s", at(name), why);
    assert_int_equal(entra_file_read(path, &out, &error), code);
    assert_string_equal(error.message, wanted);
    assert_null(out.data);
}

static void test_entra_6_a_file_is_read_whole_and_through_links(void **unused)
{
    struct secret out = SECRET_NONE;
    struct entra_error error;

    (void)unused;
    make("good", 30);
    assert_int_equal(symlink("good", at("link")), 0);
    assert_int_equal(entra_file_read(at("link"), &out, &error), 0);
    assert_int_equal(out.len, 30);
    assert_string_equal(out.data, "abcdefghijklmnopqrstuvwxyzabcd");
    secret_clear(&out);
    make("full", ENTRA_MAX_FILE);
    assert_int_equal(entra_file_read(at("full"), &out, &error), 0);
    assert_int_equal(out.len, ENTRA_MAX_FILE);
    secret_clear(&out);
}

static void test_entra_6_what_cannot_be_read_is_told_with_its_name(void **unused)
{
    (void)unused;
    make("empty", 0);
    make("large", ENTRA_MAX_FILE + 1);
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    assert_refused("missing", ERR_IO, "cannot be read: No such file or directory");
    assert_refused("empty", ERR_INVALID, "is empty");
    assert_refused("large", ERR_LIMIT, "has more than 65536 bytes");
    assert_refused("pipe", ERR_INVALID, "is no regular file"); /* and nobody waits for it */
    assert_refused(".", ERR_INVALID, "is no regular file");
}

/* --- Azure Arc --- */

static int arc_key(const char *of, struct secret *out, struct entra_error *error)
{
    return entra_file_arc_key(of, folder, out, error);
}

static void test_entra_9_a_key_file_directly_in_the_directory_is_read(void **unused)
{
    struct secret out = SECRET_NONE;
    struct entra_error error;

    (void)unused;
    make("a.key", 10);
    make("most.key", ENTRA_MAX_ARC_KEY);
    assert_int_equal(arc_key(at("a.key"), &out, &error), 0);
    assert_string_equal(out.data, "abcdefghij");
    secret_clear(&out);
    assert_int_equal(arc_key(at("most.key"), &out, &error), 0);
    assert_int_equal(out.len, ENTRA_MAX_ARC_KEY);
    secret_clear(&out);
}

static void test_entra_9_any_other_path_is_refused_unread(void **unused)
{
    static const char *const names[] = {"deep/x.key", "../etc/x.key", "./a.key",
                                        "a.key/",     "a.txt",        ".key",
                                        "",           "a.key.txt",    "/a.key"};
    struct secret out = SECRET_NONE;
    struct entra_error error;

    (void)unused;
    make("a.key", 10);
    assert_int_equal(mkdir(at("deep"), 0700), 0);
    make("deep/x.key", 10);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(arc_key(at(names[i]), &out, &error), ERR_INVALID);
        assert_non_null(strstr(error.message, "is not what Azure Arc's challenge may name"));
    }
    assert_int_equal(arc_key("/etc/shadow", &out, &error), ERR_INVALID);
    assert_int_equal(arc_key("/etc/x.key", &out, &error), ERR_INVALID);
    assert_int_equal(arc_key("a.key", &out, &error), ERR_INVALID);
    snprintf(path, sizeof(path), "%s2/a.key", folder);
    assert_int_equal(arc_key(path, &out, &error), ERR_INVALID);
    snprintf(path, sizeof(path), "%sXa.key", folder);
    assert_int_equal(arc_key(path, &out, &error), ERR_INVALID);
    assert_null(out.data);
}

static void test_entra_9_links_and_large_files_and_pipes_are_refused(void **unused)
{
    struct secret out = SECRET_NONE;
    struct entra_error error;

    (void)unused;
    make("big.key", ENTRA_MAX_ARC_KEY + 1);
    assert_int_equal(symlink("/etc/passwd", at("link.key")), 0);
    assert_int_equal(mkfifo(at("pipe.key"), 0600), 0);
    assert_int_equal(arc_key(at("big.key"), &out, &error), ERR_LIMIT);
    assert_non_null(strstr(error.message, "has more than 4096 bytes"));
    assert_int_equal(arc_key(at("link.key"), &out, &error), ERR_INVALID);
    assert_non_null(strstr(error.message, "is a link, which is not followed"));
    assert_int_equal(arc_key(at("pipe.key"), &out, &error), ERR_INVALID);
    assert_non_null(strstr(error.message, "is no regular file"));
    assert_int_equal(arc_key(at("b.key"), &out, &error), ERR_IO);
    assert_non_null(strstr(error.message, "cannot be read: No such file"));
    assert_null(out.data);
}

static void test_entra_9_the_directory_itself_is_no_link(void **unused)
{
    struct secret out = SECRET_NONE;
    struct entra_error error;
    char link[256], named[300];

    (void)unused;
    make("a.key", 10);
    snprintf(link, sizeof(link), "%s", at("tokens"));
    assert_int_equal(symlink(folder, link), 0);
    snprintf(named, sizeof(named), "%s/a.key", link);
    assert_int_equal(entra_file_arc_key(named, link, &out, &error), ERR_IO);
    assert_null(out.data);
}

static void test_entra_9_a_challenge_names_a_path_with_or_without_quotes(void **unused)
{
    static const struct {
        const char *header, *path; /* NULL: none */
    } cases[] = {
        {"Basic realm=/var/opt/azcmagent/tokens/a.key", "/var/opt/azcmagent/tokens/a.key"},
        {"basic REALM=\"/var/opt/a b.key\"", "/var/opt/a b.key"},
        {" Basic realm=/a.key, charset=\"UTF-8\"", "/a.key"},
        {"Basic realm=", NULL},
        {"Basic realm=\"/a.key", NULL},
        {"Basic realm=a.key", NULL},
        {"Basic realm=\"/a\n.key\"", NULL},
        {"Bearer realm=/a.key", NULL},
        {"Basic", NULL},
        {"", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[ENTRA_MAX_PATH];
        bool good = entra_challenge_read(cases[i].header, out);

        assert_int_equal(good, cases[i].path != NULL);
        assert_string_equal(out, good ? cases[i].path : "");
    }
}

static void test_entra_9_a_path_that_is_too_long_is_none(void **unused)
{
    char header[400] = "Basic realm=/", out[ENTRA_MAX_PATH];
    size_t begin = strlen(header);

    (void)unused;
    memset(header + begin, 'a', ENTRA_MAX_PATH - 2);
    assert_true(entra_challenge_read(header, out));
    header[begin + ENTRA_MAX_PATH - 2] = 'a';
    assert_false(entra_challenge_read(header, out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entra_6_a_file_is_read_whole_and_through_links),
        cmocka_unit_test(test_entra_6_what_cannot_be_read_is_told_with_its_name),
        cmocka_unit_test(test_entra_9_a_key_file_directly_in_the_directory_is_read),
        cmocka_unit_test(test_entra_9_any_other_path_is_refused_unread),
        cmocka_unit_test(test_entra_9_links_and_large_files_and_pipes_are_refused),
        cmocka_unit_test(test_entra_9_the_directory_itself_is_no_link),
        cmocka_unit_test(test_entra_9_a_challenge_names_a_path_with_or_without_quotes),
        cmocka_unit_test(test_entra_9_a_path_that_is_too_long_is_none),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
