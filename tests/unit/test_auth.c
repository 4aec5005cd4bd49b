/* Who asks, where tenants' keys are configured: which credential counts, whom it names, and to the
 * letter what is answered when none is taken (tenants statements A19, A23 to A26, A35). */
#define ACCOUNTS 1
#include "handler_world.h"

#include "balancer/rights.h"
#include "common/clock.h"
#include "crypto/sha256.h"
#include "request/auth.h"

#define GOOD    "sk-good-0123456789abcdef"
#define EXPIRED "sk-expired-456789abWXYZ"
#define BLOCKED "sk-blocked-456789abcdef"
#define OF_TEAM "sk-of-a-blocked-team-1234"
#define ADMIN   "sk-admin-0123456789abcdef"
#define MASTER  "sk-master-0123456789abcdef"

static char master[] = MASTER;

#define TEXT(literal) ((char *)(uintptr_t)(literal)) /* nobody writes it */

static struct rights_key make_key(const char *text, const char *id, const char *team)
{
    const struct sha256_piece piece = {text, strlen(text)};
    struct rights_key key = {
        .id = TEXT(id), .team_id = TEXT(team), .models.all = true, .routes = RIGHTS_ALL_ROUTES};

    sha256_of(&piece, 1, key.hash);
    snprintf(key.tail, sizeof(key.tail), "%s", text + strlen(text) - RIGHTS_TAIL);
    rights_limits_init(&key.limits);
    return key;
}

static void publish(bool complete)
{
    struct rights_team teams[] = {{.id = TEXT("t1"), .models.all = true},
                                  {.id = TEXT("t2"), .models.all = true, .blocked = true}};
    struct rights_key keys[] = {make_key(GOOD, "k1", "t1"), make_key(EXPIRED, "k2", NULL),
                                make_key(BLOCKED, "k3", NULL), make_key(OF_TEAM, "k4", "t2"),
                                make_key(ADMIN, "k5", NULL)};
    struct rights_list list = {.keys = keys, .num_keys = 5, .teams = teams, .num_teams = 2};
    const struct rights_list *lists[] = {&list};

    rights_limits_init(&teams[0].limits);
    rights_limits_init(&teams[1].limits);
    keys[1].expires_unix_ms = INT64_C(1790029678096); /* 2026-09-21 22:27:58.096 */
    keys[2].blocked = true;
    keys[4].admin = true;
    keys[4].routes = RIGHTS_ALL_ROUTES | RIGHTS_MANAGEMENT | RIGHTS_OPERATOR;
    assert_int_equal(rights_publish(inherited.rights, 1, lists, 1, complete), 0);
}

static int begin(void **state)
{
    (void)state;
    (void)run_timers; /* nothing here waits or asks a provider */
    (void)answer;
    (void)assert_not_answered;
    world_begin();
    assert_int_equal(rights_table_new(64, &inherited.rights), 0);
    publish(true);
    return 0;
}

static int end(void **state)
{
    (void)state;
    client_leaves();
    rights_table_free(inherited.rights);
    inherited.rights = NULL;
    world_end();
    return 0;
}

/* A request with these headers; NULL, NULL: no second one. */
static struct relay *asks_with(const char *name, const char *value, const char *name2,
                               const char *value2)
{
    struct relay *relay;

    client_leaves();
    relay = client_asks("GET", "/v1/batches");
    if (name != NULL)
        h2o_add_header_by_str(&client.req.pool, &client.req.headers, name, strlen(name), 0, NULL,
                              value, strlen(value));
    if (name2 != NULL)
        h2o_add_header_by_str(&client.req.pool, &client.req.headers, name2, strlen(name2), 0, NULL,
                              value2, strlen(value2));
    return relay;
}

static bool has_header(const char *name)
{
    return h2o_find_header_by_str(&client.req.res.headers, name, strlen(name), -1) != -1;
}

/* The whole answer, and none of the headers that LiteLLM does not send. */
static void assert_refused(const char *name, const char *value, int status, const char *body)
{
    struct relay *relay = asks_with(name, value, NULL, NULL);

    assert_int_equal(auth_check(relay), ANSWERED);
    client.body[client.len] = '\0';
    assert_int_equal(client.req.res.status, status);
    assert_string_equal(client.body, body);
    assert_false(has_header("www-authenticate"));
    assert_int_equal(has_header("retry-after"), status == 503);
}

static void every_header_of_a_key_is_looked_at(void **state)
{
    static const char *const names[] = {"api-key",        "x-litellm-api-key",         "x-api-key",
                                        "x-goog-api-key", "ocp-apim-subscription-key", "x-own-key"};

    (void)state;
    config.key_header = TEXT("x-own-key");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct relay *relay = asks_with(names[i], GOOD, NULL, NULL);

        assert_int_equal(auth_check(relay), GO_ON);
        assert_int_equal(relay->tenant->kind, TENANT_KEY);
    }
    assert_int_equal(auth_check(asks_with("authorization", "Bearer " GOOD, NULL, NULL)), GO_ON);
    assert_int_equal(auth_check(asks_with("authorization", "bearer   " GOOD, NULL, NULL)), GO_ON);
    assert_int_equal(auth_check(asks_with("api-key", "Bearer " GOOD, NULL, NULL)), GO_ON);
    assert_int_equal(auth_check(asks_with("authorization", GOOD, NULL, NULL)), ANSWERED);
    assert_int_equal(auth_check(asks_with("cookie", GOOD, NULL, NULL)), ANSWERED);
}

static void one_valid_credential_is_enough(void **state)
{
    struct relay *relay;

    (void)state;
    relay = asks_with("authorization", "Bearer sk-unknown-0123456789", "api-key", GOOD);
    assert_int_equal(auth_check(relay), GO_ON);
    assert_string_equal(relay->tenant->rights.team_name, "t1");
    relay = asks_with("authorization", "Bearer " GOOD, "api-key", BLOCKED);
    assert_int_equal(auth_check(relay), GO_ON);
    relay = asks_with("authorization", "Bearer " BLOCKED, "api-key", GOOD);
    assert_int_equal(auth_check(relay), GO_ON);
}

static void the_master_key_goes_before_keys(void **state)
{
    struct relay *relay;

    (void)state;
    config.master_key = (struct secret){master, strlen(master)};
    relay = asks_with("authorization", "Bearer " GOOD, "api-key", MASTER);
    assert_int_equal(auth_check(relay), GO_ON);
    assert_int_equal(relay->tenant->kind, TENANT_MASTER);
    assert_int_equal(relay->owner, 0);
}

static void owners_are_teams_and_lone_keys(void **state)
{
    struct relay *relay = asks_with("api-key", GOOD, NULL, NULL);
    uint64_t team;

    (void)state;
    assert_int_equal(auth_check(relay), GO_ON);
    team = ids_owner_fingerprint("team:t1");
    assert_int_equal(relay->owner, team);
    relay = asks_with("api-key", ADMIN, NULL, NULL);
    assert_int_equal(auth_check(relay), GO_ON);
    assert_int_equal(relay->tenant->kind, TENANT_ADMIN);
    assert_int_equal(relay->owner, 0);
}

static void nobody_is_let_in_without_a_key(void **state)
{
    static const char none[] =
        "{\"error\":{\"message\":\"Authentication Error, No api key passed in.\","
        "\"type\":\"auth_error\",\"param\":\"None\",\"code\":\"401\"}}";

    (void)state;
    assert_refused(NULL, NULL, 401, none);
    assert_refused("authorization", "Bearer ", 401, none);
    assert_refused("authorization", "Bearer", 401, none);
    assert_refused("authorization", "Basic " GOOD, 401, none);
    assert_refused("api-key", "", 401, none);
    assert_refused("cookie", "a=b", 401, none);
}

#define ODD(shown)                                                                                 \
    "{\"error\":{\"message\":\"Authentication Error, LiteLLM Virtual Key expected. "               \
    "Received=" shown                                                                              \
    ", expected to start with 'sk-'.\",\"type\":\"auth_error\",\"param\":\"None\","                \
    "\"code\":\"401\"}}"

static void what_is_no_key_of_the_kind_is_told_so(void **state)
{
    (void)state;
    assert_refused("api-key", "not-a-litellm-key", 401, ODD("not-****-key"));
    assert_refused("api-key", "short", 401, ODD("****"));
    assert_refused("api-key", "elevenchars", 401, ODD("****"));
    assert_refused("api-key", "\x80\xff binary bytes \xff", 401, ODD("****"));
}

#define UNKNOWN(tail)                                                                              \
    "{\"error\":{\"message\":\"Authentication Error, Invalid proxy server token passed. "          \
    "Received API Key = sk-..." tail ", Key Hash (Token) =***. Unable to find token in cache "     \
    "or `LiteLLM_VerificationTokenTable`\",\"type\":\"token_not_found_in_db\","                    \
    "\"param\":\"key\",\"code\":\"401\"}}"

static void an_unknown_key_shows_its_end_and_no_hash(void **state)
{
    (void)state;
    assert_refused("api-key", "sk-nobody-knows-thisGTNw", 401, UNKNOWN("GTNw"));
    assert_refused("api-key", "sk-short", 401, UNKNOWN(""));
    assert_refused("api-key", "sk-", 401, UNKNOWN(""));
    assert_refused("api-key", GOOD "x", 401, UNKNOWN("defx"));
}

static void an_unknown_key_may_be_a_new_one_while_not_all_are_loaded(void **state)
{
    (void)state;
    publish(false);
    assert_refused("api-key", "sk-nobody-knows-thisGTNw", 503,
                   "{\"error\":{\"message\":\"Service Unavailable, the authentication database is "
                   "temporarily unreachable. Please retry shortly.\",\"type\":\"no_db_connection\","
                   "\"param\":\"None\",\"code\":\"503\"}}");
    assert_refused("api-key", "not-a-litellm-key", 401, ODD("not-****-key"));
    assert_int_equal(auth_check(asks_with("api-key", GOOD, NULL, NULL)), GO_ON);
}

static void an_expired_key_is_told_when(void **state)
{
    static const char begin_of[] =
        "{\"error\":{\"message\":\"Authentication Error - Expired Key. Key Expiry time 2026-09-21 "
        "22:27:58.096000+00:00 and current time 20";
    static const char end_of[] = "+00:00\",\"type\":\"expired_key\",\"param\":\"sk-...WXYZ\","
                                 "\"code\":\"401\"}}";

    (void)state;
    assert_int_equal(auth_check(asks_with("api-key", EXPIRED, NULL, NULL)), ANSWERED);
    client.body[client.len] = '\0';
    assert_int_equal(client.req.res.status, 401);
    assert_memory_equal(client.body, begin_of, strlen(begin_of));
    assert_string_equal(client.body + client.len - strlen(end_of), end_of);
    assert_string_equal(client.relay->tenant->rights.tail, "WXYZ"); /* the log says whose it was */
    assert_int_equal(client.relay->owner, 0);
}

static void blocked_keys_and_teams_are_told_so(void **state)
{
    (void)state;
    assert_refused(
        "api-key", BLOCKED, 401,
        "{\"error\":{\"message\":\"Authentication Error, Key is blocked. Update via "
        "`/key/unblock` if you're an admin.\",\"type\":\"auth_error\",\"param\":\"None\","
        "\"code\":\"401\"}}");
    assert_refused("api-key", OF_TEAM, 401,
                   "{\"error\":{\"message\":\"Authentication Error, Team=t2 is blocked. Update via "
                   "`/team/unblock` if you're an admin.\",\"type\":\"auth_error\",\"param\":"
                   "\"None\",\"code\":\"401\"}}");
}

static void without_keys_all_is_as_it_was(void **state)
{
    struct rights_table *table = inherited.rights;
    struct relay *relay;

    (void)state;
    inherited.rights = NULL;
    relay = asks_with("api-key", GOOD, NULL, NULL);
    assert_int_equal(auth_check(relay), GO_ON);
    assert_int_equal(relay->tenant->kind, TENANT_ANYBODY);
    config.master_key = (struct secret){master, strlen(master)};
    assert_int_equal(auth_check(asks_with("api-key", GOOD, NULL, NULL)), ANSWERED);
    assert_true(has_header("www-authenticate"));
    assert_answered(401, "\"code\":\"invalid_api_key\"");
    inherited.rights = table;
}

/* --- routes --- */

static void assert_route_of(struct tenant tenant, const char *method, const char *path,
                            const char *refusal)
{
    struct relay *relay;

    client_leaves();
    relay = client_asks(method, path);
    relay->tenant = &tenant;
    assert_int_equal(auth_check_route(relay), refusal == NULL ? GO_ON : ANSWERED);
    client.body[client.len] = '\0';
    if (refusal != NULL)
        assert_string_equal(client.body, refusal);
    client_leaves(); /* its log line needs the tenant */
}

static void assert_route(const char *method, const char *path, uint32_t routes, const char *refusal)
{
    assert_route_of((struct tenant){.kind = TENANT_KEY, .rights.routes = routes}, method, path,
                    refusal);
}

#define DENIED(list, path)                                                                         \
    "{\"error\":{\"message\":\"Virtual key is not allowed to call this route. Only allowed to "    \
    "call routes: [" list "]. Tried to call route: " path "\",\"type\":\"auth_error\","            \
    "\"param\":\"None\",\"code\":\"403\"}}"

static void keys_may_call_what_their_routes_say(void **state)
{
    (void)state;
    assert_route("GET", "/v1/files", RIGHTS_FILES, NULL);
    assert_route("POST", "/v1/files/validate", RIGHTS_FILES, NULL);
    assert_route("GET", "/v1/batches/b", RIGHTS_BATCHES, NULL);
    assert_route("GET", "/v1/models/m", RIGHTS_MODELS, NULL);
    assert_route("GET", "/model_group/info", RIGHTS_MODEL_INFO, NULL);
    assert_route("GET", "/v1/batches", RIGHTS_FILES, DENIED("'/files'", "/v1/batches"));
    assert_route("POST", "/v1/batches/placement", RIGHTS_BATCHES | RIGHTS_FILES,
                 DENIED("'/files', '/batches'", "/v1/batches/placement"));
    assert_route("GET", "/v1/model/info", RIGHTS_LLM_ROUTES,
                 DENIED("'llm_api_routes'", "/v1/model/info"));
    assert_route("GET", "/health/liveliness", 0, NULL);
}

static void operators_routes_are_for_the_master_and_admins(void **state)
{
    (void)state;
    assert_route("GET", "/health", RIGHTS_ALL_ROUTES,
                 DENIED("'llm_api_routes', 'info_routes'", "/health"));
    assert_route("GET", "/metrics", RIGHTS_OPERATOR, DENIED("", "/metrics"));
    assert_int_equal(auth_check_route(asks_with("x", "y", NULL, NULL)), GO_ON);
}

static void an_admin_key_may_have_some_routes_alone(void **state)
{
    struct tenant admin = {.kind = TENANT_ADMIN,
                           .rights = {.admin = true, .routes = RIGHTS_OPERATOR | RIGHTS_OWN_KEY}};

    (void)state;
    assert_route_of(admin, "GET", "/health", NULL);
    assert_route_of(admin, "GET", "/metrics", NULL);
    assert_route_of(admin, "GET", "/v1/batches", DENIED("'/health', '/metrics'", "/v1/batches"));
    admin.rights = (struct rights){0}; /* by a token */
    assert_route_of(admin, "GET", "/v1/batches", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_header_of_a_key_is_looked_at, begin, end),
        cmocka_unit_test_setup_teardown(one_valid_credential_is_enough, begin, end),
        cmocka_unit_test_setup_teardown(the_master_key_goes_before_keys, begin, end),
        cmocka_unit_test_setup_teardown(owners_are_teams_and_lone_keys, begin, end),
        cmocka_unit_test_setup_teardown(nobody_is_let_in_without_a_key, begin, end),
        cmocka_unit_test_setup_teardown(what_is_no_key_of_the_kind_is_told_so, begin, end),
        cmocka_unit_test_setup_teardown(an_unknown_key_shows_its_end_and_no_hash, begin, end),
        cmocka_unit_test_setup_teardown(an_unknown_key_may_be_a_new_one_while_not_all_are_loaded,
                                        begin, end),
        cmocka_unit_test_setup_teardown(an_expired_key_is_told_when, begin, end),
        cmocka_unit_test_setup_teardown(blocked_keys_and_teams_are_told_so, begin, end),
        cmocka_unit_test_setup_teardown(without_keys_all_is_as_it_was, begin, end),
        cmocka_unit_test_setup_teardown(keys_may_call_what_their_routes_say, begin, end),
        cmocka_unit_test_setup_teardown(operators_routes_are_for_the_master_and_admins, begin, end),
        cmocka_unit_test_setup_teardown(an_admin_key_may_have_some_routes_alone, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
