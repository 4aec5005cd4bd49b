/* Bodies of the management API: what is taken for a key and a team can be shown and compiled, and
 * what an update that changes nothing leaves is what was there. Answers are JSON, whatever comes. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "server/manage/manage_impl.h"

#define HASH "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void must_be_json(struct json_doc *doc, const struct strbuf *text)
{
    struct json_error error;

    MUST(json_parse(doc, strbuf_str(text), text->len, &error) != NULL);
}

static void key_of(struct manage_job *job)
{
    struct store_key key = {.hash = HASH};
    struct rights_key rights;
    struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;

    MUST(manage_take_key(job, &key) == 0);
    if (job->num_problems == 0) {
        MUST(store_key_rights(&key, RIGHTS_OF_DATABASE, &rights) == 0);
        rights_key_deinit(&rights);
        json_write(manage_show_key(job, &key, true), &once);
        must_be_json(job->doc, &once);
        MUST(manage_take_key(job, &key) == 0);
        json_write(manage_show_key(job, &key, true), &twice);
        MUST(strcmp(strbuf_str(&once), strbuf_str(&twice)) == 0);
    }
    strbuf_deinit(&once);
    strbuf_deinit(&twice);
    store_key_deinit(&key);
}

static void team_of(struct manage_job *job)
{
    struct store_team team = {.id = strdup("t")};
    struct rights_team rights;

    MUST(team.id != NULL);
    MUST(manage_take_team(job, &team) == 0);
    if (job->num_problems == 0) {
        MUST(store_team_rights(&team, RIGHTS_OF_DATABASE, &rights) == 0);
        rights_team_deinit(&rights);
        MUST(manage_show_team(job, &team) != NULL);
    }
    store_team_deinit(&team);
}

static void whole_message(const uint8_t *data, size_t size)
{
    static const struct manage nothing = {.now_unix_ms = 1};
    struct json_doc *doc = json_doc_new();
    struct manage_answer answer;

    MUST(doc != NULL);
    if (manage_call(&nothing, (const char *)data, size, &answer) == 0)
        must_be_json(doc, &answer.body);
    strbuf_deinit(&answer.body);
    json_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manage manage = {.now_unix_ms = 1};
    struct manage_answer answer = {0};
    struct manage_job job = {.manage = &manage, .doc = json_doc_new(), .out = &answer};
    struct json_error error;

    if (job.doc == NULL)
        return 0;
    whole_message(data, size);
    job.body = json_parse(job.doc, (const char *)data, size, &error);
    if (json_is(job.body, JSON_OBJECT) && !json_doc_repeats(job.doc)) {
        key_of(&job);
        job.num_problems = 0;
        team_of(&job);
        if (manage_is_refused(&job))
            must_be_json(job.doc, &answer.body);
    }
    strbuf_deinit(&answer.body);
    json_doc_free(job.doc);
    return 0;
}
