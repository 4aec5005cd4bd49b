/* A client that creates batches in the world of create_world.h: what it sends, and what becomes of
 * it. */
#pragma once

#include "create_world.h"
#include "noted_answers.h"

#include "create/create.h"
#include "objects/client_ids.h"
#include "objects/file_model.h"

#define FULL                                                                                       \
    "{\"error\":{\"code\":\"token_limit_exceeded\",\"message\":\"Too many tokens enqueued.\"}}"
#define WRONG "{\"error\":{\"code\":\"invalidPayload\",\"message\":\"No.\"}}"
#define BODY                                                                                       \
    "{\"input_file_id\":\"%s\",\"endpoint\":\"/v1/chat/completions\","                             \
    "\"completion_window\":\"24h\"}"

static struct relay relay;
static struct tenant asking;      /* who asks; zero: anybody */
static char file_id[IDS_MAX + 1]; /* as the client knows it: with its tag */

/* The file's lines are those of the first account's deployment. */
static void remember_facts(void)
{
    struct facts facts = {.deployment = 0, .model = facts_model("g", 1), .lines = 1, .bytes = 100};

    facts.prompt.units[FEATURE_TEXT] = (uint64_t)4 * TOKENS;
    facts_remember(&rt, 0, FILE_ID, &facts);
}

static void mint_file_id(void)
{
    struct viewer viewer = {.rt = &rt, .owner = tenant_owner(&asking)};
    struct strbuf text = STRBUF_INIT;

    client_ids_text(&viewer, 0, ID_FILE, true, FILE_ID, &text);
    snprintf(file_id, sizeof(file_id), "%s", strbuf_str(&text));
    strbuf_deinit(&text);
}

static int set_up(void **state)
{
    world_set_up(state);
    memset(&asking, 0, sizeof(asking));
    memset(&answered, 0, sizeof(answered));
    sent_header[0] = NULL;
    mint_file_id();
    remember_facts();
    return 0;
}

static void forget_request(void)
{
    json_doc_free(relay.doc);
    memset(&relay, 0, sizeof(relay));
}

static int tear_down(void **state)
{
    forget_request();
    rights_table_free(inherited.rights);
    inherited.rights = NULL;
    return world_tear_down(state);
}

/* A client asks. */
static void begin_with(const char *body)
{
    struct json_error error;

    forget_request();
    relay.rt = &rt;
    relay.tenant = &asking;
    relay.owner = tenant_owner(&asking);
    relay.deployment = MODEL_NO_INDEX;
    relay.method = METHOD_POST;
    relay.route.kind = ROUTE_BATCHES;
    snprintf(relay.request_id, sizeof(relay.request_id), "r-1");
    relay.doc = json_doc_new();
    relay.request = json_parse(relay.doc, body, strlen(body), &error);
    assert_non_null(relay.request);
    create_start(&relay);
}

static inline void begin_for(const char *id)
{
    char body[1024];

    snprintf(body, sizeof(body), BODY, id);
    begin_with(body);
}

static inline void begin(void)
{
    begin_for(file_id);
}

static inline void leave(void)
{
    void *op = relay.op;

    assert_non_null(op);
    relay.op = NULL;
    relay.on_gone(op);
    relay.answered = true; /* whoever answers it now fails the test */
}

static inline void refuses(unsigned account, unsigned times, int status, const char *body)
{
    provider[account].refusals = times;
    provider[account].refusal = status;
    provider[account].refusal_body = body;
}

static void is_answered(int status, const char *code)
{
    assert_int_equal(answered.num, 1);
    assert_int_equal(answered.status, status);
    assert_string_equal(answered.failure.code, code);
    assert_null(relay.op);
}

static inline unsigned creates(void)
{
    return num_asked[0][ASKED_CREATE] + num_asked[1][ASKED_CREATE] + num_asked[2][ASKED_CREATE];
}

static inline void holds_nothing(void)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        assert_int_equal(sum_of(i).reserved, 0);
}

/* From now on a tenant asks whose key has this list of one. */
static inline void ask_as(const char *model)
{
    char *names[] = {(char *)(uintptr_t)model};
    struct rights_key key = {.hash = {1},
                             .id = (char *)(uintptr_t) "k",
                             .routes = RIGHTS_ALL_ROUTES,
                             .models = {.names = names, .num_names = 1}};
    struct rights_list list = {.keys = &key, .num_keys = 1};
    const struct rights_list *lists[] = {&list};

    rights_limits_init(&key.limits);
    if (inherited.rights == NULL)
        assert_int_equal(rights_table_new(4, &inherited.rights), 0);
    assert_int_equal(rights_publish(inherited.rights, 1, lists, 1, true), 0);
    asking.kind = TENANT_KEY;
    assert_true(rights_find(inherited.rights, key.hash, &asking.rights));
    mint_file_id();
}
