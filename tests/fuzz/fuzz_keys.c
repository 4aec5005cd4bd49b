/* Keys files of any content: keys that may be published or errors, never both or neither, no leak,
 * and no key in what is told. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/keys.h"

/* What names of models are held against: a group, a pattern, an alias, an access group, a key. */
static struct config *make_config(void)
{
    static const char yaml[] =
        "model_list:\n"
        "- {model_name: gpt-4o-batch, litellm_params: {model: azure/a, api_base: 'https://a.test', "
        "api_key: k}, model_info: {access_groups: [cheap]}}\n"
        "- {model_name: 'openai/*', litellm_params: {model: 'openai/*', api_key: k}}\n"
        "router_settings: {model_group_alias: {gpt4: gpt-4o-batch}}\n"
        "tranche_settings: {max_keys: 1000, keys_file: keys.yaml, keys: [{hash: "
        "'sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', models: "
        "['*']}]}\n";
    char dir[] = "/tmp/tranche-fuzz-XXXXXX", path[64], keys[64];
    struct config_report report;
    struct config *config;
    FILE *file;

    setenv("LITELLM_MASTER_KEY", "sk-9f86d081884c7d659a2feaa0c55ad015", 1);
    MUST(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/config.yaml", dir);
    snprintf(keys, sizeof(keys), "%s/keys.yaml", dir);
    file = fopen(path, "w");
    MUST(file != NULL && fputs(yaml, file) >= 0 && fclose(file) == 0);
    file = fopen(keys, "w");
    MUST(file != NULL && fputs("keys:\n", file) >= 0 && fclose(file) == 0);
    MUST(config_load(path, NULL, &config, &report) == 0);
    config_report_free(&report);
    unlink(path);
    unlink(keys);
    rmdir(dir);
    return config;
}

static void check_name(const char *name)
{
    MUST(name == NULL || (*name != '\0' && strlen(name) <= RIGHTS_NAME_MAX));
}

static void check_models(const struct rights_models *models)
{
    for (size_t i = 0; i < models->num_names; i++)
        check_name(models->names[i]);
    for (size_t i = 0; i < models->num_aliases; i++) {
        check_name(models->aliases[i].name);
        check_name(models->aliases[i].target);
    }
}

static void check_limits(const struct rights_limits *limits)
{
    MUST(limits->enqueued_tokens > 0 && limits->uploads > 0 && limits->file_bytes > 0);
    MUST(limits->request_burst == RIGHTS_UNLIMITED ||
         limits->requests_per_second != RIGHTS_UNLIMITED);
    MUST(limits->file_expiry_s == 0 || limits->file_expiry_s >= 3600);
    MUST(limits->delete_after_s == 0 || limits->delete_after_s >= 3600);
}

static void check_list(const struct rights_list *list)
{
    for (size_t i = 0; i < list->num_keys; i++) {
        const struct rights_key *key = &list->keys[i];

        MUST(key->id != NULL && key->hash[0] != 0xaa);
        check_name(key->id);
        check_name(key->alias);
        check_name(key->team_id);
        check_models(&key->models);
        check_limits(&key->limits);
        MUST(key->expires_unix_ms >= 0 && key->source == RIGHTS_OF_FILE);
        MUST(key->admin || (key->routes & ~(uint32_t)RIGHTS_ALL_ROUTES) == 0);
        MUST((key->routes & RIGHTS_OWN_KEY) != 0);
        MUST(!key->models.of_team || key->team_id != NULL);
    }
    for (size_t i = 0; i < list->num_teams; i++) {
        MUST(list->teams[i].id != NULL);
        check_name(list->teams[i].id);
        check_models(&list->teams[i].models);
        check_limits(&list->teams[i].limits);
    }
    MUST(list->num_keys < 1000 && list->num_teams <= 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config *config;
    struct config_report report = {0};
    struct strbuf text = STRBUF_INIT;
    struct rights_list list;
    char path[64];
    int fd = memfd_create("keys", 0), rc;

    if (config == NULL)
        config = make_config();
    MUST(fd != -1 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    free(config->keys_file);
    config->keys_file = strdup(path);
    rc = config_keys_read(config, &list, &report);
    MUST(rc == 0 || rc == ERR_INVALID);
    MUST((rc == ERR_INVALID) == (report.num_errors > 0));
    MUST(rc == 0 || (list.num_keys == 0 && list.num_teams == 0));
    check_list(&list);
    config_report_print(&report, &text);
    /* a name of a field may hold these very words: it is no value */
    MUST(memmem(data, size, "got \"sk-", 8) != NULL ||
         strstr(strbuf_str(&text), "got \"sk-") == NULL);
    strbuf_deinit(&text);
    config_report_free(&report);
    rights_list_deinit(&list);
    close(fd);
    return 0;
}
