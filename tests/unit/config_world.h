/* What tests of configuration files stand on: a directory to write them into, a clean environment
 * with one key of OpenAI and a master key, and what loading said. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"
#include "config_env.h"

struct loaded {
    struct config *config;
    struct config_report report;
    struct strbuf text; /* the report, printed */
    char dir[64];
    int rc;
};

static inline void forget(struct loaded *l)
{
    config_free(l->config);
    config_report_free(&l->report);
    strbuf_deinit(&l->text);
    l->config = NULL;
}

static inline int set_up(void **state)
{
    struct loaded *l = calloc(1, sizeof(*l));

    env_clean();
    setenv("OPENAI_API_KEY", "sk-openai-secret", 1);
    setenv("LITELLM_MASTER_KEY", "sk-master-secret", 1);
    strcpy(l->dir, "/tmp/tranche-test-XXXXXX");
    *state = l;
    return mkdtemp(l->dir) == NULL ? -1 : 0;
}

static inline int tear_down(void **state)
{
    static const char *const files[] = {"main.yaml",  "a.yaml",   "b.yaml",
                                        "sub/c.yaml", "cert.pem", "key.pem"};
    struct loaded *l = *state;
    char path[128];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", l->dir, files[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/sub", l->dir);
    rmdir(path);
    rmdir(l->dir);
    forget(l);
    free(l);
    return 0;
}

static inline void write_bytes(const struct loaded *l, const char *name, const char *bytes,
                               size_t len)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", l->dir, name);
    umask(077); /* or keys that stand in it are warned of */
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static inline void write_file(const struct loaded *l, const char *name, const char *text)
{
    write_bytes(l, name, text, strlen(text));
}

static inline void load_with(struct loaded *l, const struct config_overrides *overrides)
{
    char path[128];

    forget(l);
    snprintf(path, sizeof(path), "%s/main.yaml", l->dir);
    l->rc = config_load(path, overrides, &l->config, &l->report);
    config_report_print(&l->report, &l->text);
    assert_int_equal(l->rc == 0, l->config != NULL);
    assert_int_equal(l->rc == 0, l->report.num_errors == 0);
}

static inline void load_bytes(struct loaded *l, const char *bytes, size_t len)
{
    write_bytes(l, "main.yaml", bytes, len);
    load_with(l, NULL);
}

static inline void load(struct loaded *l, const char *yaml)
{
    load_bytes(l, yaml, strlen(yaml));
}

#define assert_told(l, part)                                                                       \
    do {                                                                                           \
        if (strstr(strbuf_str(&(l)->text), part) == NULL)                                          \
            fail_msg("\"%s\" is not in:\n%s", part, strbuf_str(&(l)->text));                       \
    } while (0)
#define assert_not_told(l, part) assert_null(strstr(strbuf_str(&(l)->text), part))

/* Loads, and there is this one error. */
static inline void expect_error(struct loaded *l, const char *yaml, const char *part)
{
    load(l, yaml);
    assert_told(l, part);
    assert_int_equal(l->report.num_errors, 1);
    assert_int_equal(l->rc, ERR_INVALID);
}

/* Loads, and this row alone is left out. */
static inline void expect_skipped(struct loaded *l, const char *yaml, const char *part)
{
    load(l, yaml);
    assert_told(l, part);
    assert_int_equal(l->report.num_skipped, 1);
    assert_int_equal(l->rc, 0);
}

static inline const struct model_deployment *deployment(const struct loaded *l, size_t i)
{
    assert_non_null(l->config);
    assert_true(i < l->config->models.num_deployments);
    return &l->config->models.deployments[i];
}

static inline const struct model_account *account_of(const struct loaded *l, size_t i)
{
    return &l->config->models.accounts[deployment(l, i)->account];
}

static inline const struct model_account *default_account(const struct loaded *l,
                                                          enum provider provider)
{
    uint32_t i = l->config->models.default_deployment[provider];

    assert_true(i != MODEL_NO_INDEX);
    assert_null(deployment(l, i)->group);
    return account_of(l, i);
}

/* One Azure row with further fields in litellm_params. */
#define AZURE_ROW(name, fields)                                                                    \
    "- model_name: g\n"                                                                            \
    "  litellm_params: {model: azure/" name ", api_base: 'https://eu.openai.azure.com',\n"         \
    "    api_key: azure-secret-1" fields "}\n"

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
