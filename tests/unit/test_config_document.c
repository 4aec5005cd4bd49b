/* Files as documents: includes, anchors, doubled keys, and what is no configuration at all. */
#include <sys/stat.h>

#include "config_world.h"

static void includes_append_lists_and_merge_maps(void **state)
{
    struct loaded *l = *state;
    char path[128];

    snprintf(path, sizeof(path), "%s/sub", l->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(l, "a.yaml",
               "model_list:\n- {model_name: a, litellm_params: {model: openai/a}}\n"
               "include: [sub/c.yaml]\n");
    write_file(l, "sub/c.yaml",
               "model_list:\n- {model_name: c, litellm_params: {model: openai/c, rpm: x}}\n"
               "router_settings: {num_retries: 7}\n");
    load(l, "include:\n- a.yaml\n"
            "model_list:\n- {model_name: m, litellm_params: {model: openai/m}}\n"
            "router_settings: {num_retries: 1, allowed_fails: 2}\n");
    assert_int_equal(l->report.num_errors, 1);
    assert_told(l, "sub/c.yaml:2: error: model_list[2].litellm_params.rpm: got \"x\"");
    write_file(l, "sub/c.yaml",
               "model_list:\n- {model_name: c, litellm_params: {model: openai/c}}\n"
               "router_settings: {num_retries: 7}\n");
    load_with(l, NULL);
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 0)->group, "m");
    assert_string_equal(deployment(l, 1)->group, "a");
    assert_string_equal(deployment(l, 2)->group, "c");
    assert_int_equal(l->config->num_retries, 7);
    assert_int_equal(l->config->allowed_fails, 2);
    assert_told(l, "main.yaml:5: warning: ");
    assert_told(l, "the included file wins");
}

static void circles_of_includes_end(void **state)
{
    struct loaded *l = *state;

    write_file(
        l, "a.yaml",
        "include: b.yaml\nmodel_list:\n- {model_name: a, litellm_params: {model: openai/a}}\n");
    write_file(l, "b.yaml", "include: [a.yaml, main.yaml, b.yaml]\n");
    load(l, "include: [a.yaml]\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 0)->group, "a");
    assert_told(l, "was read before; not read again");
}

static void a_missing_include_blames_the_line_that_names_it(void **state)
{
    struct loaded *l = *state;

    expect_error(l, "include:\n- nowhere.yaml\n", "main.yaml:2: error: include[0]: cannot read ");
    expect_error(l, "include: {a: b}\n",
                 ":1: error: include: got a mapping, wanted a list of files");
}

static void anchors_and_merge_keys_work_as_in_litellms_loader(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- model_name: a\n"
            "  litellm_params: &base\n"
            "    model: azure/a\n"
            "    api_base: https://eu.openai.azure.com\n"
            "    api_key: k\n"
            "    rpm: 5\n"
            "- model_name: b\n"
            "  litellm_params:\n"
            "    model: azure/b\n"
            "    <<: *base\n"
            "- model_name: c\n"
            "  litellm_params:\n"
            "    <<: [{model: azure/c}, *base]\n"
            "    rpm: 6\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(deployment(l, 1)->upstream_model, "b");
    assert_int_equal(deployment(l, 1)->rpm, 5);
    assert_string_equal(deployment(l, 2)->upstream_model, "c");
    assert_int_equal(deployment(l, 2)->rpm, 6);
    assert_int_equal(deployment(l, 0)->account, deployment(l, 2)->account);
}

static void the_last_of_doubled_keys_counts_with_a_warning(void **state)
{
    struct loaded *l = *state;

    load(l, "router_settings:\n  num_retries: 1\n  num_retries: 2\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_retries, 2);
    assert_told(l, ":3: warning: ");
    assert_told(l, "given before in line 2");
}

static void null_means_not_given(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list: ~\nfiles_settings:\nrouter_settings: {num_retries: null}\n"
            "general_settings: {master_key: }\ntranche_settings: {limits: , host: 'null'}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_retries, UINT32_MAX);
    assert_string_equal(l->config->master_key.data, "sk-master-secret");
    assert_string_equal(l->config->host, "null");
}

static void files_that_are_no_settings_are_refused(void **state)
{
    static const struct {
        const char *yaml, *told;
    } cases[] = {
        {"", ":1: error: the file is empty"},
        {"# nothing\n\n# here\n", ":1: error: the file is empty"},
        {"---\n...\n", ":1: error: the file is empty"},
        {"- a\n- b\n", ":1: error: got a list or a text, wanted a mapping"},
        {"just text\n", "wanted a mapping"},
        {"a: 1\n---\nb: 2\n", ":2: error: a second document"},
        {"a:\n\t- b\n", ":2: error: not YAML"},
        {"a: [1, 2\nb: 3\n", ": error: not YAML"},
        {"a: 'open\n", ": error: not YAML"},
        {"a: *nowhere\n", ":1: error: an alias without its anchor"},
        {"a: &x [*x]\n", ":1: error: an alias without its anchor"},
        {"a: !python/object:os.system x\n", ":1: error: got a tag"},
        {"? [a, b]\n: c\n", ":1: error: got a list or a mapping as a key"},
        {"a: \"x\\0y\"\n", ":1: error: got a NUL byte"},
        {"<<: 5\n", ":1: error: a merge key"},
    };
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_error(l, cases[i].yaml, cases[i].told);
}

static void bytes_of_a_program_are_refused(void **state)
{
    static const char elf[] = "\x7f"
                              "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
    static const char latin1[] = "a: 1\nb: caf\xe9\n";
    struct loaded *l = *state;

    load_bytes(l, elf, sizeof(elf) - 1);
    assert_told(l, ":1: error: not YAML");
    load_bytes(l, latin1, sizeof(latin1) - 1);
    assert_told(l, ":2: error: not YAML");
}

static void an_alias_bomb_is_stopped(void **state)
{
    struct loaded *l = *state;
    struct strbuf yaml = STRBUF_INIT;

    strbuf_adds(&yaml, "a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (char c = 'b'; c < 'k'; c++) {
        strbuf_addf(&yaml, "%c: &%c [", c, c);
        for (int i = 0; i < 9; i++)
            strbuf_addf(&yaml, "%s*%c", i == 0 ? "" : ",", c - 1);
        strbuf_adds(&yaml, "]\n");
    }
    expect_error(l, strbuf_str(&yaml), "aliases unfold to more than 10000 values");
    strbuf_deinit(&yaml);
}

static void depth_and_size_are_bounded(void **state)
{
    struct loaded *l = *state;
    struct strbuf yaml = STRBUF_INIT;

    strbuf_adds(&yaml, "a: ");
    for (int i = 0; i < 100000; i++)
        strbuf_addc(&yaml, '[');
    expect_error(l, strbuf_str(&yaml), ":1: error: nested deeper than 64 levels");
    strbuf_reset(&yaml);
    for (int i = 0; i < 5000; i++)
        strbuf_addf(&yaml, "k%d: 1\n", i);
    expect_error(l, strbuf_str(&yaml), ":4097: error: more than 4096 keys");
    strbuf_reset(&yaml);
    strbuf_adds(&yaml, "a:\n");
    for (int i = 0; i < 250000; i++)
        strbuf_adds(&yaml, "- x\n");
    expect_error(l, strbuf_str(&yaml), "more than 200000 values");
    strbuf_reset(&yaml);
    strbuf_adds(&yaml, "a: 1\n");
    while (yaml.len <= 8 << 20)
        strbuf_adds(&yaml, "# filling up the file line by line\n");
    expect_error(l, strbuf_str(&yaml), "longer than 8 MiB");
    strbuf_deinit(&yaml);
}

static void a_directory_is_no_file(void **state)
{
    struct loaded *l = *state;

    forget(l);
    l->rc = config_load(l->dir, NULL, &l->config, &l->report);
    config_report_print(&l->report, &l->text);
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "error: cannot read: Is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(includes_append_lists_and_merge_maps),
        TEST(circles_of_includes_end),
        TEST(a_missing_include_blames_the_line_that_names_it),
        TEST(anchors_and_merge_keys_work_as_in_litellms_loader),
        TEST(the_last_of_doubled_keys_counts_with_a_warning),
        TEST(null_means_not_given),
        TEST(files_that_are_no_settings_are_refused),
        TEST(bytes_of_a_program_are_refused),
        TEST(an_alias_bomb_is_stopped),
        TEST(depth_and_size_are_bounded),
        TEST(a_directory_is_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
