/* See journal_look.h. The questions are those of GET /journal/batches (manage/manage_batches.c). */
#include "journal_look.h"

#include <assert.h>
#include <string.h>

#include "common/clock.h"
#include "json/json.h"

static const char *const questions[JOURNAL_QUESTIONS] = {
    [JOURNAL_OPEN] =
        "{\"method\":\"GET\",\"path\":\"/journal/batches\",\"query\":{\"open\":\"true\","
        "\"limit\":\"100\"},\"caller\":{\"admin\":true,\"name\":\"page\","
        "\"owner\":\"0000000000000000\",\"hash\":\"\"}}\n",
    [JOURNAL_LATEST] =
        "{\"method\":\"GET\",\"path\":\"/journal/batches\",\"query\":{\"limit\":\"20\"},"
        "\"caller\":{\"admin\":true,\"name\":\"page\","
        "\"owner\":\"0000000000000000\",\"hash\":\"\"}}\n",
};
static const char *const names[JOURNAL_QUESTIONS] = {
    [JOURNAL_OPEN] = "open", [JOURNAL_LATEST] = "latest"};

void journal_look_init(struct journal_look *look, struct runtime *rt)
{
    look->rt = rt;
    for (int i = 0; i < JOURNAL_QUESTIONS; i++)
        look->parts[i].look = look;
}

static void on_answer(void *arg, const struct ask_answer *answer)
{
    struct journal_part *part = arg;

    assert(part->call != NULL); /* one answer, and none from inside ask_start() */
    part->call = NULL;
    part->failed = true;
    if (answer->end != ASK_ANSWERED || answer->status != 200 || answer->len == 0 ||
        answer->bytes[0] != '{')
        return;
    strbuf_reset(&part->answer);
    strbuf_add(&part->answer, answer->bytes, answer->len);
    part->failed = strbuf_failed(&part->answer);
    if (part->failed)
        strbuf_deinit(&part->answer);
    part->came_ms = clock_now_ms();
}

void journal_look_ask(struct journal_look *look)
{
    uint64_t now_ms = clock_now_ms();

    if (!look->rt->config->journal || look->rt->ask == NULL)
        return;
    for (int i = 0; i < JOURNAL_QUESTIONS; i++) {
        struct journal_part *part = &look->parts[i];

        if (part->call != NULL ||
            (part->asked_ms != 0 && now_ms < part->asked_ms + JOURNAL_LOOK_MS))
            continue;
        part->asked_ms = now_ms;
        part->failed |=
            ask_start(look->rt->ask, KEEPER_ADMIN_CALL, questions[i], strlen(questions[i]),
                      JOURNAL_WAIT_MS, on_answer, part, &part->call) != 0;
    }
}

static void write_part(const struct journal_part *part, const char *name, struct strbuf *out)
{
    strbuf_addf(out, "\"%s\":{\"failed\":%s", name, part->failed ? "true" : "false");
    if (part->answer.len > 0) {
        json_write_member_int(out, "age_s", (int64_t)(clock_now_ms() - part->came_ms) / 1000);
        strbuf_adds(out, ",\"list\":");
        strbuf_add(out, part->answer.data, part->answer.len);
    }
    strbuf_addc(out, '}');
}

void journal_look_write(const struct journal_look *look, struct strbuf *out)
{
    strbuf_adds(out, ",\"batches\":{");
    for (int i = 0; look->rt->config->journal && i < JOURNAL_QUESTIONS; i++) {
        strbuf_adds(out, i == 0 ? "" : ",");
        write_part(&look->parts[i], names[i], out);
    }
    strbuf_addc(out, '}');
}
