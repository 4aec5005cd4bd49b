/* See logging.h. */
#include "logging.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "common/log_out.h"

struct word {
    const char *name;
    int value;
};

/* @param wanted  what the text could be, for people */
static void take_word(const struct settings_input *in, const char *path, const char *text,
                      const struct word *words, size_t num, const char *wanted, int *out)
{
    const struct node *node = node_find(in->root, path);

    if (text == NULL)
        return;
    for (size_t i = 0; i < num; i++) {
        if (strcasecmp(words[i].name, text) == 0) {
            *out = words[i].value;
            report_at(in->reporter, CONFIG_HONOURED, node, "= %s", words[i].name);
            return;
        }
    }
    report_wanted(in->reporter, node, wanted);
}

static void take_level(const struct settings_input *in, struct config *config)
{
    static const struct word levels[] = {{"error", LOG_LEVEL_ERROR},
                                         {"warn", LOG_LEVEL_WARN},
                                         {"warning", LOG_LEVEL_WARN},
                                         {"info", LOG_LEVEL_INFO},
                                         {"debug", LOG_LEVEL_DEBUG}};

    take_word(in, "tranche_settings.log_level", in->raw->tranche.log_level, levels,
              sizeof(levels) / sizeof(levels[0]), "error, warn, info or debug", &config->log_level);
}

static void take_priority(const struct settings_input *in, struct config *config)
{
    static const struct word words[] = {
        {"auto", LOG_PRIORITY_AUTO}, {"true", LOG_PRIORITY_ALWAYS}, {"false", LOG_PRIORITY_NEVER}};

    take_word(in, "tranche_settings.log_priority", in->raw->tranche.log_priority, words,
              sizeof(words) / sizeof(words[0]), "auto, true or false", &config->log_priority);
}

static void take_seccomp(const struct settings_input *in, struct config *config)
{
    /* `off` is a boolean in YAML 1.1, and stands as it was written here */
    static const struct word words[] = {{"off", CONFIG_SECCOMP_OFF},
                                        {"false", CONFIG_SECCOMP_OFF},
                                        {"log", CONFIG_SECCOMP_LOG},
                                        {"kill", CONFIG_SECCOMP_KILL}};

    take_word(in, "tranche_settings.seccomp", in->raw->tranche.seccomp, words,
              sizeof(words) / sizeof(words[0]), "log, kill or off", &config->seccomp);
}

/* A file, relative to the one that names it. */
static int take_file(const struct settings_input *in, const char *path, const char *text,
                     char **field)
{
    const struct node *node = node_find(in->root, path);

    if (text == NULL)
        return 0;
    if (*text == '\0') {
        report_wanted(in->reporter, node, "the name of a file");
        return 0;
    }
    *field = node_beside(node, text);
    if (*field == NULL)
        return ERR_NOMEM;
    report_at(in->reporter, CONFIG_HONOURED, node, "= %s", *field);
    return 0;
}

int logging_take(const struct settings_input *in, struct config *config)
{
    int ret;

    take_level(in, config);
    take_priority(in, config);
    take_seccomp(in, config);
    ret = take_file(in, "tranche_settings.access_log", in->raw->tranche.access_log,
                    &config->access_log);
    if (ret == 0)
        ret = take_file(in, "tranche_settings.error_log", in->raw->tranche.error_log,
                        &config->error_log);
    return ret;
}
