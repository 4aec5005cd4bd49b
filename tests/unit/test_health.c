/* Whether a worker is ready, and which rows of /health a query asks for. */
#include "create_world.h"
#include "noted_answers.h"

#include "admin/health.h"
#include "request/auth.h"

/* Nothing long is answered here. */
void relay_start(struct relay *r, int status, int64_t length, void (*on_proceed)(void *arg),
                 void *arg)
{
    (void)r;
    (void)status;
    (void)length;
    (void)on_proceed;
    (void)arg;
    fail();
}

void relay_send(struct relay *r, const char *bytes, size_t len, enum relay_more more)
{
    (void)r;
    (void)bytes;
    (void)len;
    (void)more;
    fail();
}

bool auth_has_key(const struct relay *r)
{
    (void)r;
    return false;
}

static struct relay relay;
static struct tenant asking; /* anybody */
static struct probe_word probes[ACCOUNTS];

static int set_up(void **state)
{
    world_set_up(state);
    memset(&answered, 0, sizeof(answered));
    memset(&relay, 0, sizeof(relay));
    memset(probes, 0, sizeof(probes));
    sent_header[0] = NULL;
    inherited.probes = probes;
    relay.rt = &rt;
    relay.tenant = &asking;
    relay.query = "";
    return 0;
}

static int tear_down(void **state)
{
    inherited.probes = NULL;
    return world_tear_down(state);
}

static void find_unhealthy(uint32_t deployment)
{
    atomic_store(&probes[deployment].checked_unix_s, 1);
    atomic_store(&probes[deployment].healthy, 0);
}

static void open_breaker(uint32_t deployment, enum op_class op)
{
    struct breaker_view view = {
        .state = BREAKER_OPEN, .reason = OUTCOME_SERVER_ERROR, .until_ms = now_ms + 10000};

    atomic_store(state_health(inherited.state, inherited.columns[deployment], op),
                 breaker_pack(&view));
}

static void expect_status(int status, const char *code)
{
    health_readiness(&relay);
    assert_int_equal(answered.num, 1);
    assert_int_equal(answered.status, status);
    assert_string_equal(answered.failure.code, code);
}

static void a_deployment_that_was_not_looked_at_yet_counts_as_healthy(void **state)
{
    (void)state;
    expect_status(200, "");
}

static void one_healthy_deployment_of_several_is_enough(void **state)
{
    (void)state;
    for (uint32_t i = 1; i < ACCOUNTS; i++)
        find_unhealthy(i);
    expect_status(200, "");
}

static void nobody_is_ready_where_no_deployment_is_healthy(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        find_unhealthy(i);
    expect_status(503, "not_ready");
}

static void nobody_is_ready_where_all_healthy_ones_cool_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        open_breaker(i, i == 0 ? OP_UPLOAD : OP_CREATE);
    expect_status(503, "not_ready");
}

static void a_worker_that_drains_is_not_ready(void **state)
{
    (void)state;
    rt.draining = true;
    expect_status(503, "not_ready");
    assert_non_null(strstr(answered.failure.message, "shutting down"));
    rt.draining = false;
}

static void ask_for(const char *query)
{
    relay.query = query;
    relay.query_len = strlen(query);
    health_full(&relay);
    run();
    assert_int_equal(answered.num, 1);
}

static void a_model_that_is_not_there_is_a_404(void **state)
{
    (void)state;
    ask_for("model=nobody");
    assert_int_equal(answered.status, 404);
    assert_string_equal(answered.failure.param, "model");
}

static void an_id_that_is_not_there_is_a_404(void **state)
{
    (void)state;
    ask_for("model_id=nobody&model=g");
    assert_int_equal(answered.status, 404);
    assert_string_equal(answered.failure.param, "model_id");
}

static void fresh_is_true_or_false(void **state)
{
    (void)state;
    ask_for("fresh=perhaps");
    assert_int_equal(answered.status, 400);
    assert_string_equal(answered.failure.param, "fresh");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_deployment_that_was_not_looked_at_yet_counts_as_healthy),
        T(one_healthy_deployment_of_several_is_enough),
        T(nobody_is_ready_where_no_deployment_is_healthy),
        T(nobody_is_ready_where_all_healthy_ones_cool_down),
        T(a_worker_that_drains_is_not_ready),
        T(a_model_that_is_not_there_is_a_404),
        T(an_id_that_is_not_there_is_a_404),
        T(fresh_is_true_or_false),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
