/* See verdict.h. */
#include "upload/verdict.h"

#include <stdio.h>
#include <string.h>

#include "core/endpoints.h"
#include "request/errors.h"

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

/* The problems as [{"line","column","field","code","message"}]. `extra`: a problem of the file as
 * a whole (line and column null); NULL: none. */
static struct json *problems(struct json_doc *doc, const struct jsonl_report *report,
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

struct json *verdict_refusal(struct json_doc *doc, const struct jsonl_report *report,
                             const struct failure *first, const struct failure *extra)
{
    struct json *root = json_new_object(doc), *error = json_new_object(doc);

    json_set_str(doc, error, "message", first->message);
    json_set_str(doc, error, "type", "invalid_request_error");
    json_set_str(doc, error, "param", first->param);
    json_set_str(doc, error, "code", first->code);
    json_set(doc, error, "errors", problems(doc, report, extra));
    json_set(doc, root, "error", error);
    return root;
}

static void add_warning(struct json_doc *doc, struct json *all, const char *code, const char *text)
{
    struct json *one = json_new_object(doc);

    json_set_str(doc, one, "code", code);
    json_set_str(doc, one, "message", text);
    json_append(doc, all, one);
}

static struct json *warnings_of(struct json_doc *doc, const struct jsonl_report *report,
                                const char *model_warning)
{
    struct json *all = json_new_array(doc);
    const char *endpoint_warning = endpoints_warning(report->url);

    if (endpoint_warning != NULL)
        add_warning(doc, all, "endpoint_ended", endpoint_warning);
    if (model_warning != NULL && model_warning[0] != '\0')
        add_warning(doc, all, "model_ends", model_warning);
    return all;
}

struct json *verdict_report(struct json_doc *doc, const struct jsonl_report *report,
                            const struct failure *extra, const char *model_warning)
{
    struct json *root = json_new_object(doc);

    json_set_str(doc, root, "object", "file.validation");
    json_set(doc, root, "valid", json_new_bool(doc, report->num_problems == 0 && extra == NULL));
    json_set_int(doc, root, "lines", (int64_t)report->lines);
    json_set_int(doc, root, "bytes", (int64_t)report->bytes);
    json_set(doc, root, "model", json_new_cstring(doc, report->model));
    json_set(doc, root, "url", json_new_cstring(doc, report->url));
    json_set_int(doc, root, "estimated_tokens", (int64_t)verdict_tokens(report));
    json_set(doc, root, "errors", problems(doc, report, extra));
    json_set(doc, root, "warnings", warnings_of(doc, report, model_warning));
    return root;
}

void verdict_rules_of(const struct config_limits *limits, enum provider provider,
                      struct verdict_rules *rules)
{
    *rules = (struct verdict_rules){.provider = provider,
                                    .max_bytes = limits->max_file_bytes[provider],
                                    .max_lines = limits->max_lines[provider],
                                    .max_inputs = limits->max_embedding_inputs[provider]};
}

/* No line has one: the checker refuses a file where some have. */
static bool lacks_model(const struct jsonl_report *report, enum provider provider)
{
    return report->model == NULL && report->lines > 0 &&
           (provider != PROVIDER_OPENAI || !endpoints_model_is_optional(report->url));
}

static bool is_too_much(const struct jsonl_report *report, const struct verdict_rules *rules,
                        struct failure *why)
{
    const char *name = provider_name(rules->provider);

    if (report->bytes > rules->max_bytes)
        error_fill(why, FILE_TOO_MANY_BYTES, "file", (unsigned long long)report->bytes, name,
                   (unsigned long long)rules->max_bytes);
    else if (report->lines > rules->max_lines)
        error_fill(why, FILE_TOO_MANY_LINES, "file", (unsigned long long)report->lines, name,
                   (unsigned long long)rules->max_lines);
    else if (rules->max_inputs != 0 && report->inputs > rules->max_inputs)
        error_fill(why, FILE_TOO_MANY_INPUTS, "file", (unsigned long long)report->inputs, name,
                   (unsigned long long)rules->max_inputs);
    else
        return false;
    return true;
}

bool verdict_unfit(const struct jsonl_report *report, const struct verdict_rules *rules,
                   struct failure *why)
{
    const char *name = provider_name(rules->provider);

    if (is_too_much(report, rules, why))
        return true;
    if (report->num_problems != 0 || report->url == NULL)
        return false;
    if (lacks_model(report, rules->provider))
        error_fill(why, FILE_WITHOUT_MODEL, "file", name, report->url);
    else if (rules->provider == PROVIDER_OPENAI && strncmp(report->url, "/v1/", 4) != 0)
        error_fill(why, FILE_OTHER_URL, "file", report->url, report->url, name);
    else
        return false;
    return true;
}
