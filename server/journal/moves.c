/* See moves.h. */
#include "journal/moves.h"

#include <string.h>
#include <strings.h>

#include "journal/seen.h"

/* Errors of the deployment, not of the batch. Those of the latter would come again anywhere. */
static bool is_of_place(const char *code)
{
    static const char *const codes[] = {"token_limit_exceeded", "model_not_found",
                                        "deployment_not_found", "DeploymentNotFound"};

    for (size_t i = 0; code != NULL && i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}

static bool are_of_place(const char *errors)
{
    struct json_doc *doc = *errors != '\0' ? json_doc_new() : NULL;
    struct json_error error;
    const struct json *data =
        doc != NULL ? json_get(json_parse(doc, errors, strlen(errors), &error), "data") : NULL;
    size_t num = json_size(data), of_place = 0;

    for (size_t i = 0; i < num; i++)
        of_place += is_of_place(json_get_str(json_at(data, i), "code"));
    json_doc_free(doc);
    return num > 0 && of_place == num;
}

bool moves_is_refusal(const struct wire_seen *seen)
{
    return strcasecmp(seen->status, "failed") == 0 && seen_used_nothing(seen) &&
           seen->failed == 0 && are_of_place(seen->errors);
}

bool moves_have_place(const struct table *table, uint32_t fingerprint)
{
    uint32_t row = table_find_fingerprint(table, fingerprint), num = 0;
    const uint32_t *members;

    if (row == MODEL_NO_INDEX || table_deployment(table, row)->group == MODEL_NO_INDEX)
        return false;
    members = table_group_members(table, table_deployment(table, row)->group, &num);
    for (uint32_t i = 0; i < num; i++)
        if (!table_same_deployment(table, members[i], row))
            return true;
    return false;
}

bool moves_in_time(uint64_t finished_s, uint64_t now_s, bool begins)
{
    uint64_t most_s = begins ? MOVES_LATE_S - MOVES_SLACK_S : MOVES_LATE_S;

    return finished_s == 0 || now_s < finished_s + most_s;
}

uint32_t moves_wait_ms(uint32_t tries, uint32_t watch_ms)
{
    uint64_t most_ms = (uint64_t)watch_ms * MOVES_WAIT_MOST;
    uint64_t ms = tries < 8 ? (uint64_t)watch_ms << tries : most_ms;

    ms = ms < most_ms ? ms : most_ms;
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}
