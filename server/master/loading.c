/* See loading.h. */
#include "loading.h"

#include <string.h>

#include "common/log.h"
#include "common/log_out.h"
#include "config/entrance.h"
#include "master/certificates.h"
#include "posture.h"

#define REPORT_WAIT_MS 5000 /* for who reads why we do not start */

static void log_notes(const struct config_report *report, bool failed)
{
    for (size_t i = 0; i < report->num_notes; i++) {
        const struct config_note *note = &report->notes[i];
        struct strbuf text = STRBUF_INIT;

        config_note_print(note, &text);
        if (note->severity == CONFIG_ERROR)
            log_error("%s", strbuf_str(&text));
        else if (note->severity == CONFIG_SKIPPED)
            log_warn("left out: %s", strbuf_str(&text));
        else if (note->severity == CONFIG_WARNING && !failed)
            log_warn("%s", strbuf_str(&text));
        strbuf_deinit(&text);
    }
}

/* At the first start the report goes out as `tranche check` prints it; later it is the log's. */
static void tell_report(const struct config_report *report, bool failed, bool first)
{
    struct strbuf text = STRBUF_INIT;

    if (!failed || !first) {
        log_notes(report, failed);
        return;
    }
    config_report_print(report, &text);
    log_out_text(strbuf_str(&text), text.len, REPORT_WAIT_MS);
    strbuf_deinit(&text);
}

/* Each line of a text. */
static void log_lines(enum log_level level, const struct strbuf *text)
{
    const char *line = strbuf_str(text);

    for (size_t len; *line != '\0'; line += len + 1) {
        len = strcspn(line, "\n");
        log_line(level, "%.*s", (int)len, line);
    }
}

static int look_at_certificates(const struct config *config)
{
    struct strbuf errors = STRBUF_INIT, warnings = STRBUF_INIT;
    int ret;

    certificates_check(config, &errors, &warnings);
    log_lines(LOG_LEVEL_ERROR, &errors);
    log_lines(LOG_LEVEL_WARN, &warnings);
    ret = errors.len > 0 ? ERR_INVALID : 0;
    strbuf_deinit(&errors);
    strbuf_deinit(&warnings);
    return ret;
}

int loading_config(const struct master_options *options, bool first, struct config **out)
{
    struct config_report report = {0};
    int ret = config_load(options->config_path, &options->overrides, out, &report);

    tell_report(&report, ret != 0, first);
    if (ret != 0 && report.num_errors == 0)
        log_error("cannot load the configuration: %s", err_str(ret));
    config_report_free(&report);
    if (ret != 0)
        return ret;
    ret = certificates_override(options->tls_cert_file, options->tls_key_file, *out);
    if (ret == 0)
        ret = look_at_certificates(*out);
    if (ret != 0) {
        config_free(*out);
        *out = NULL;
        return ret;
    }
    if (options->debug)
        (*out)->log_level = LOG_LEVEL_DEBUG;
    posture_set_cores((*out)->core_dumps);
    if (first)
        log_set_level((enum log_level)(*out)->log_level);
    return 0;
}

/* The warning, and a line to copy that ends it. */
static void warn_about_key(const struct config *config, const char *path)
{
    const char *warning = entrance_warning(config);

    if (warning[0] == '\0')
        return;
    log_warn("%s.", warning);
    log_warn("To end this, %sstart it with a key: LITELLM_MASTER_KEY=sk-$(openssl rand -hex 24) "
             "tranche%s%s",
             config->master_key_in_file ? "take master_key out of general_settings and " : "",
             path != NULL ? " --config " : "", path != NULL ? path : "");
}

void loading_warn(const struct config *config, const char *path)
{
    warn_about_key(config, path);
    if (config->models.num_deployments == 0)
        log_warn("no deployment: set OPENAI_API_KEY, or AZURE_API_KEY and AZURE_API_BASE, or give "
                 "a model_list with --config");
}
