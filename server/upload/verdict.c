/* See verdict.h. */
#include "upload/verdict.h"

#include <stdio.h>
#include <string.h>

#include "common/model.h"

uint64_t verdict_tokens(const struct jsonl_report *report)
{
    return features_tokens(&report->prompt, NULL) + report->output_tokens;
}

static struct json *problem(struct json_doc *doc, struct json *line, struct json *column,
                            const char *field, const char *code, const char *message)
{
    struct json *p = json_new_object(doc);

    json_set(doc, p, "line", line);
    json_set(doc, p, "column", column);
    json_set(doc, p, "field", json_new_cstring(doc, field[0] != '\0' ? field : NULL));
    json_set_str(doc, p, "code", code);
    json_set_str(doc, p, "message", message);
    return p;
}

struct json *verdict_problems(struct json_doc *doc, const struct jsonl_report *report,
                              const struct failure *extra)
{
    struct json *all = json_new_array(doc);

    for (size_t i = 0; i < report->num_problems && i < VERDICT_MAX_PROBLEMS; i++) {
        const struct jsonl_problem *p = &report->problems[i];

        json_append(doc, all,
                    problem(doc, json_new_int(doc, (int64_t)p->line),
                            json_new_int(doc, (int64_t)p->column), p->field, p->code, p->message));
    }
    if (extra != NULL)
        json_append(
            doc, all,
            problem(doc, json_new_null(doc), json_new_null(doc), "", extra->code, extra->message));
    return all;
}

struct json *verdict_report(struct json_doc *doc, const struct jsonl_report *report,
                            const struct failure *extra)
{
    struct json *root = json_new_object(doc);

    json_set_str(doc, root, "object", "file.validation");
    json_set(doc, root, "valid", json_new_bool(doc, report->num_problems == 0 && extra == NULL));
    json_set_int(doc, root, "lines", (int64_t)report->lines);
    json_set_int(doc, root, "bytes", (int64_t)report->bytes);
    json_set(doc, root, "model", json_new_cstring(doc, report->model));
    json_set(doc, root, "url", json_new_cstring(doc, report->url));
    json_set_int(doc, root, "estimated_tokens", (int64_t)verdict_tokens(report));
    json_set(doc, root, "errors", verdict_problems(doc, report, extra));
    return root;
}

bool verdict_unfit(const struct jsonl_report *report, const char *provider, uint64_t max_bytes,
                   uint64_t max_lines, struct failure *why)
{
    *why = (struct failure){
        .status = 400, .type = "invalid_request_error", .param = "file", .retry_after_ms = -1};
    if (report->bytes > max_bytes) {
        snprintf(why->code, sizeof(why->code), "file_too_large");
        snprintf(why->message, sizeof(why->message),
                 "File is too large: %llu bytes, the limit for %s is %llu.",
                 (unsigned long long)report->bytes, provider, (unsigned long long)max_bytes);
        return true;
    }
    if (report->lines > max_lines) {
        snprintf(why->code, sizeof(why->code), "too_many_tasks");
        snprintf(why->message, sizeof(why->message),
                 "The file has %llu requests, the limit for %s is %llu.",
                 (unsigned long long)report->lines, provider, (unsigned long long)max_lines);
        return true;
    }
    if (report->num_problems == 0 && report->url != NULL &&
        strcmp(provider, provider_name(PROVIDER_OPENAI)) == 0 &&
        strncmp(report->url, "/v1/", 4) != 0) {
        snprintf(why->code, sizeof(why->code), "invalid_url");
        snprintf(why->message, sizeof(why->message),
                 "The lines' url is '%.64s'; expected '/v1%.64s' for %s.", report->url, report->url,
                 provider);
        return true;
    }
    return false;
}
