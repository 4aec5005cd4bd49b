/* See loading.h. */
#include "loading.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
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

/* The first error of a report. */
static void note_fault(const struct config_report *report, int error, struct loading_fault *fault)
{
    const struct config_note *note = NULL;

    for (size_t i = 0; i < report->num_notes && note == NULL; i++)
        if (report->notes[i].severity == CONFIG_ERROR)
            note = &report->notes[i];
    if (note == NULL) {
        snprintf(fault->text, sizeof(fault->text), "%s", err_str(error));
        return;
    }
    fault->line = note->line;
    snprintf(fault->file, sizeof(fault->file), "%s", note->file != NULL ? note->file : "");
    snprintf(fault->text, sizeof(fault->text), "%s%s%s", note->field != NULL ? note->field : "",
             note->field != NULL ? ": " : "", note->text);
}

static int look_at_certificates(const struct config *config, struct loading_fault *fault)
{
    struct strbuf errors = STRBUF_INIT, warnings = STRBUF_INIT;
    int ret;

    certificates_check(config, &errors, &warnings);
    log_lines(LOG_LEVEL_ERROR, &errors);
    log_lines(LOG_LEVEL_WARN, &warnings);
    ret = errors.len > 0 ? ERR_INVALID : 0;
    if (ret != 0)
        snprintf(fault->text, sizeof(fault->text), "%.*s", (int)strcspn(strbuf_str(&errors), "\n"),
                 strbuf_str(&errors));
    strbuf_deinit(&errors);
    strbuf_deinit(&warnings);
    return ret;
}

/* Before the first fork; at a reload the streams stay where they are. */
static int open_logs(const struct config *config, struct loading_fault *fault)
{
    const char *const files[LOG_STREAMS] = {
        [LOG_STREAM_ACCESS] = config->access_log, [LOG_STREAM_ERROR] = config->error_log};

    log_out_set_priority((enum log_priority)config->log_priority);
    for (int i = 0; i < LOG_STREAMS; i++) {
        if (log_out_use_file((enum log_stream)i, files[i]) == 0)
            continue;
        snprintf(fault->text, sizeof(fault->text), "cannot open the log %.150s: %.60s", files[i],
                 strerror(errno));
        log_error("%s", fault->text);
        return ERR_IO;
    }
    return 0;
}

int loading_config(const struct master_options *options, bool first, struct config **out,
                   struct loading_fault *fault)
{
    struct config_report report = {0};
    int ret = config_load(options->config_path, &options->overrides, out, &report);

    tell_report(&report, ret != 0, first);
    if (ret != 0 && report.num_errors == 0)
        log_error("cannot load the configuration: %s", err_str(ret));
    if (ret != 0)
        note_fault(&report, ret, fault);
    config_report_free(&report);
    if (ret != 0)
        return ret;
    ret = certificates_override(options->tls_cert_file, options->tls_key_file, *out);
    if (ret == 0)
        ret = look_at_certificates(*out, fault);
    if (ret != 0) {
        if (fault->text[0] == '\0')
            snprintf(fault->text, sizeof(fault->text), "%s", err_str(ret));
        config_free(*out);
        *out = NULL;
        return ret;
    }
    if (first)
        ret = open_logs(*out, fault);
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

void loading_publish(struct shared *shared, const struct loading_fault *fault)
{
    problem_clear(&shared->reload.file);
    if (fault->file[0] != '\0')
        problem_set(&shared->reload.file, fault->file);
    problem_set(&shared->reload.text, fault->text[0] != '\0' ? fault->text : "the log says why");
    atomic_store(&shared->reload.line, fault->line);
    atomic_store(&shared->reload.at_unix_s, clock_unix_s());
    atomic_store(&shared->reload_failed, 1);
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
