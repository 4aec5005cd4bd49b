/* Answers about the whole configuration, over a real loop and a real connection: they are what a
 * tree of JSON prints, others have their turn meanwhile, and who leaves half way leaves nothing. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "upstream/failure.h"
#include "front/guard.h"
#include "admin/health.h"
#include "request/long_text.h"
#include "core/loop_h2o.h"
#include "admin/models.h"
#include "request/relay.h"

#define ROWS     3000
#define ACCOUNTS 7
#define RECEIVED (4u << 20)
#define MANY     100000 /* turns: more than anything takes */

/* --- a worker behind a front door --- */

static struct config_limits limits = {
    .max_connections = 100, .min_body_rate = 1024, .body_grace_ms = 20000};
static struct model_account accounts[ACCOUNTS];
static struct model_deployment rows[ROWS];
static char texts[ROWS][3][40];
static struct config config;
static struct probe_word probes[ROWS];
static uint32_t columns[ROWS];
static struct shared shared;

#define KNOWN_SINCE 1795946400 /* seconds; whatever the clocks say, it is what all answers say */
static struct inherited inherited;
static struct runtime worker;
static struct front *front;

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    struct relay *relay = relay_new(&worker, req);

    (void)handler;
    if (relay->route.kind == ROUTE_HEALTH)
        health_full(relay);
    else if (relay->route.kind == ROUTE_MODELS)
        models_list(relay);
    else if (relay->route.kind == ROUTE_MODEL_INFO)
        models_info(relay);
    else
        health_liveness(relay);
    return 0;
}

static h2o_globalconf_t globalconf;
static h2o_context_t ctx;

/* Rows of all kinds: with and without a version, batch or not, of a group or of none, some with
 * text that JSON has to escape; probed with and without success, or not yet. */
static void fill_rows(void)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        accounts[i] =
            (struct model_account){.provider = i % 2 == 0 ? PROVIDER_AZURE : PROVIDER_OPENAI,
                                   .base = (char *)(uintptr_t) "https://a.example/\"quoted\"\n",
                                   .api_version = i % 2 == 0 ? (char *)(uintptr_t) "v1" : NULL,
                                   .name = (char *)(uintptr_t) "a"};
    for (uint32_t i = 0; i < ROWS; i++) {
        snprintf(texts[i][0], sizeof(texts[i][0]), "group-%u", i / 2);
        snprintf(texts[i][1], sizeof(texts[i][1]), "id-%u \xc3\xa9\\", i);
        snprintf(texts[i][2], sizeof(texts[i][2]), "azure/model-%u", i);
        rows[i] = (struct model_deployment){.group = i % 10 == 9 ? NULL : texts[i][0],
                                            .id = texts[i][1],
                                            .litellm_model = texts[i][2],
                                            .account = i % 100 == 99 ? 6 : i % 6,
                                            .max_retries = UINT32_MAX,
                                            .mode = i % 3 != 0 ? (char *)(uintptr_t) "batch" : NULL,
                                            .fingerprint = 100 + i};
        atomic_store(&probes[i].checked_unix_s, i % 4 == 0 ? 0 : 1700000000 + i);
        atomic_store(&probes[i].healthy, i % 5 != 0);
        atomic_store(&probes[i].status, (int)(i % 600));
        atomic_store(&probes[i].outcome, i % OUTCOME_COUNT);
    }
}

static int set_up(void **state)
{
    h2o_evloop_t *evloop = h2o_evloop_create();
    struct table *table;
    h2o_hostconf_t *host;

    (void)state;
    fill_rows();
    config.models = (struct model_list){.accounts = accounts,
                                        .num_accounts = ACCOUNTS,
                                        .deployments = rows,
                                        .num_deployments = ROWS};
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    inherited = (struct inherited){
        .config = &config, .probes = probes, .shared = &shared, .table = table, .columns = columns};
    assert_int_equal(state_new(1, ROWS, &inherited.state), 0);
    assert_int_equal(quota_new(ROWS, 64, &inherited.quota), 0);
    assert_int_equal(slots_new(ROWS, &inherited.slots), 0);
    assert_int_equal(idem_new(64, &inherited.idem), 0);
    assert_int_equal(state_bind(inherited.state, table, columns), 0);
    worker = (struct runtime){.inherited = &inherited, .config = &config, .table = table};
    worker.loop = loop_h2o_new(evloop);
    h2o_config_init(&globalconf);
    host = h2o_config_register_host(&globalconf, h2o_iovec_init(H2O_STRLIT("x")), 65535);
    h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(h2o_handler_t))->on_req =
        on_request;
    h2o_context_init(&ctx, evloop, &globalconf);
    return guard_new(worker.loop, &ctx, &limits, NULL, NULL, -1, &front);
}

static int tear_down(void **state)
{
    h2o_evloop_t *evloop = ctx.loop;
    void *queue = ctx.queue;

    (void)state;
    assert_int_equal(front->num_conns, 0);
    assert_null(worker.slices.first);
    guard_free(front);
    h2o_context_dispose(&ctx);
    free(queue); /* which libh2o forgets */
    h2o_config_dispose(&globalconf);
    loop_h2o_free(worker.loop);
    h2o_evloop_destroy(evloop);
    idem_free(inherited.idem);
    quota_free(inherited.quota);
    slots_free(inherited.slots);
    state_free(inherited.state);
    table_free((struct table *)(uintptr_t)worker.table);
    return 0;
}

static void turn(void)
{
    assert_int_equal(h2o_evloop_run(ctx.loop, 0), 0);
}

/* --- a client --- */

struct client {
    int fd;
    char *bytes; /* received, NUL-terminated */
    size_t len;
};

static void client_open(struct client *c, const char *request)
{
    const struct sockaddr none = {.sa_family = AF_UNIX};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(guard_adopt(front, fds[1], &none), 0);
    *c = (struct client){.fd = fds[0], .bytes = malloc(RECEIVED + 1)};
    assert_non_null(c->bytes);
    c->bytes[0] = '\0';
    assert_int_equal(send(c->fd, request, strlen(request), 0), strlen(request));
}

static void client_read(struct client *c)
{
    ssize_t n = recv(c->fd, c->bytes + c->len, RECEIVED - c->len, MSG_DONTWAIT);

    if (n > 0)
        c->bytes[c->len += (size_t)n] = '\0';
}

static void client_close(struct client *c)
{
    close(c->fd);
    free(c->bytes);
    for (unsigned i = 0; front->num_conns > 0; i++) {
        assert_in_range(i, 0, MANY);
        turn();
    }
}

/* The body of an answer that has come whole; NULL: not yet. */
static const char *whole_body(const struct client *c, size_t *len)
{
    const char *body = strstr(c->bytes, "\r\n\r\n"),
               *length = strcasestr(c->bytes, "content-length: ");

    if (body == NULL)
        return NULL;
    assert_non_null(length);
    *len = strtoul(length + 16, NULL, 10);
    return (size_t)(c->bytes + c->len - (body + 4)) == *len ? body + 4 : NULL;
}

/* @return the turns that it took until the answer was there */
static unsigned ask(struct client *c, const char *request)
{
    unsigned turns = 0;
    size_t len;

    client_open(c, request);
    while (whole_body(c, &len) == NULL) {
        assert_in_range(turns++, 0, MANY);
        turn();
        client_read(c);
    }
    return turns;
}

static bool answers(const char *request, const struct json *wanted)
{
    struct strbuf text = STRBUF_INIT;
    struct client c;
    const char *body;
    size_t len;
    bool same;

    json_write(wanted, &text);
    ask(&c, request);
    body = whole_body(&c, &len);
    /* What /health tells beyond LiteLLM, in `tranche` at its end, is not compared */
    same = len >= text.len && memcmp(body, strbuf_str(&text), text.len - 1) == 0 &&
           (len == text.len ? body[len - 1] == '}'
                            : strncmp(body + text.len - 1, ",\"tranche\":{", 12) == 0);
    assert_non_null(strstr(c.bytes, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strcasestr(c.bytes, "content-type: application/json\r\n"));
    client_close(&c);
    strbuf_deinit(&text);
    return same;
}

/* --- the same as a tree --- */

static void add_place(struct json_doc *doc, struct json *to, uint32_t i)
{
    const struct model_account *account = &accounts[rows[i].account];

    json_set_str(doc, to, "model", rows[i].litellm_model);
    json_set_str(doc, to, "api_base", account->base);
    if (account->api_version != NULL)
        json_set_str(doc, to, "api_version", account->api_version);
}

static bool is_healthy(uint32_t i)
{
    return atomic_load(&probes[i].checked_unix_s) == 0 || atomic_load(&probes[i].healthy) != 0;
}

static struct json *health_row(struct json_doc *doc, uint32_t i)
{
    struct json *row = json_new_object(doc);
    char text[96];

    add_place(doc, row, i);
    json_set_str(doc, row, "model_id", rows[i].id);
    if (rows[i].mode != NULL)
        json_set_str(doc, row, "mode", "batch");
    if (!is_healthy(i)) {
        snprintf(text, sizeof(text), "list batches failed: %s, status %d",
                 outcome_name((enum outcome)atomic_load(&probes[i].outcome)),
                 (int)atomic_load(&probes[i].status));
        json_set_str(doc, row, "error", text);
    }
    json_set_int(doc, row, "checked_at", (int64_t)atomic_load(&probes[i].checked_unix_s));
    return row;
}

/* Account 6 is named by no group: its rows are shown all the same. */
static struct json *health_tree(struct json_doc *doc)
{
    struct json *root = json_new_object(doc), *lists[2];

    for (int healthy = 0; healthy < 2; healthy++) {
        lists[healthy] = json_new_array(doc);
        for (uint32_t i = 0; i < ROWS; i++)
            if ((rows[i].group != NULL || rows[i].account == 6) && is_healthy(i) == (healthy == 1))
                json_append(doc, lists[healthy], health_row(doc, i));
    }
    json_set(doc, root, "healthy_endpoints", lists[1]);
    json_set(doc, root, "unhealthy_endpoints", lists[0]);
    json_set_int(doc, root, "healthy_count", (int64_t)json_size(lists[1]));
    json_set_int(doc, root, "unhealthy_count", (int64_t)json_size(lists[0]));
    json_set(doc, root, "reload_failed", json_new_bool(doc, true));
    json_set_int(doc, root, "creates_known_since", KNOWN_SINCE);
    json_set_int(doc, root, "repeats_unknown_for_s", 0);
    return root;
}

static struct json *models_tree(struct json_doc *doc)
{
    struct json *root = json_new_object(doc), *data = json_new_array(doc);

    for (uint32_t i = 0; i < table_num_groups(worker.table); i++) {
        struct json *model = json_new_object(doc);

        json_set_str(doc, model, "id", table_group_name(worker.table, i));
        json_set_str(doc, model, "object", "model");
        json_set_int(doc, model, "created", 1677610602);
        json_set_str(doc, model, "owned_by", "openai");
        json_append(doc, data, model);
    }
    json_set_str(doc, root, "object", "list");
    json_set(doc, root, "data", data);
    return root;
}

static struct json *info_tree(struct json_doc *doc)
{
    struct json *root = json_new_object(doc), *data = json_new_array(doc);

    for (uint32_t i = 0; i < ROWS; i++) {
        struct json *row = json_new_object(doc), *params = json_new_object(doc),
                    *info = json_new_object(doc);

        if (rows[i].group == NULL)
            continue;
        json_set_str(doc, row, "model_name", rows[i].group);
        add_place(doc, params, i);
        json_set(doc, row, "litellm_params", params);
        json_set_str(doc, info, "id", rows[i].id);
        if (rows[i].mode != NULL)
            json_set_str(doc, info, "mode", "batch");
        json_set_str(doc, info, "litellm_provider",
                     provider_name(accounts[rows[i].account].provider));
        json_set(doc, row, "model_info", info);
        json_append(doc, data, row);
    }
    json_set(doc, root, "data", data);
    return root;
}

/* --- the tests --- */

static void an_answer_in_slices_is_what_one_tree_prints(void **state)
{
    struct json_doc *doc = json_doc_new();

    (void)state;
    atomic_store(&shared.reload_failed, 1);
    shared.creates_known_unix_s = KNOWN_SINCE;
    assert_true(answers("GET /health HTTP/1.1\r\nhost: x\r\n\r\n", health_tree(doc)));
    assert_true(answers("GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n", models_tree(doc)));
    assert_true(answers("GET /v1/model/info HTTP/1.1\r\nhost: x\r\n\r\n", info_tree(doc)));
    json_doc_free(doc);
}

static void head_tells_the_length_and_sends_nothing(void **state)
{
    static const char *const paths[] = {"/health", "/v1/models", "/v1/model/info"};
    struct client get, head;
    char request[128];
    size_t len = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nhost: x\r\n\r\n", paths[i]);
        ask(&get, request);
        assert_non_null(whole_body(&get, &len));
        snprintf(request, sizeof(request),
                 "HEAD %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", paths[i]);
        client_open(&head, request);
        for (unsigned n = 0; front->num_conns > 1; n++) { /* until it was closed behind the head */
            assert_in_range(n, 0, MANY);
            turn();
        }
        client_read(&head);
        snprintf(request, sizeof(request), "content-length: %zu\r\n", len);
        assert_non_null(strcasestr(head.bytes, request));
        assert_string_equal(strstr(head.bytes, "\r\n\r\n"), "\r\n\r\n");
        client_close(&get);
        close(head.fd);
        free(head.bytes);
    }
}

static void others_are_answered_while_a_long_answer_is_written(void **state)
{
    static const char *const paths[] = {"/health", "/v1/models", "/v1/model/info"};
    struct client slow, quick;
    char request[128];

    (void)state;
    for (int i = 0; i < 3; i++) {
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nhost: x\r\n\r\n", paths[i]);
        client_open(&slow, request);
        ask(&quick, "GET /health/liveliness HTTP/1.1\r\nhost: x\r\n\r\n");
        client_read(&slow);
        assert_int_equal(slow.len, 0);
        close(slow.fd);
        free(slow.bytes);
        client_close(&quick);
    }
}

/* The length of what is sent in a turn: a part, and the head. */
static void a_long_answer_goes_out_in_parts_to_a_client_who_keeps_up(void **state)
{
    struct client c;
    size_t len, before;

    (void)state;
    client_open(&c, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    for (unsigned i = 0; whole_body(&c, &len) == NULL; i++) {
        assert_in_range(i, 0, MANY);
        before = c.len;
        turn();
        client_read(&c);
        assert_in_range(c.len - before, 0, 2 * LONG_TEXT_PART + 4096);
    }
    client_close(&c);
}

/* Whatever has been written or sent by then; what it held a sanitizer would find. */
static void a_client_that_leaves_half_way_leaves_nothing(void **state)
{
    struct client c;
    unsigned turns;

    (void)state;
    turns = ask(&c, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    client_close(&c);
    assert_true(turns > 20);
    for (unsigned leave = 0; leave < turns; leave++) {
        client_open(&c, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
        for (unsigned i = 0; i < leave; i++) {
            turn();
            client_read(&c);
        }
        client_close(&c);
        assert_null(worker.slices.first);
    }
}

/* HTTP/2: the client's preface, its settings, and one request for /health on stream 1 (RFC 9113
 * section 4, RFC 7541 appendix A for the fields). */
#define H2_REQUEST                                                                                 \
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"                                                             \
    "\0\0\0\4\0\0\0\0\0"                                                                           \
    "\0\0\16\1\5\0\0\0\1\202\206\4\7/health\1\1x"
#define H2_RESET "\0\0\4\3\0\0\0\0\1\0\0\0\10"

/* The connection stays, so that nothing but the reset ends the answer, also while it is written. */
static void a_stream_that_is_reset_half_way_leaves_nothing(void **state)
{
    unsigned while_written = 0;
    struct client c;

    (void)state;
    for (unsigned leave = 1; leave < 80; leave++) {
        client_open(&c, "");
        assert_int_equal(send(c.fd, H2_REQUEST, sizeof(H2_REQUEST) - 1, 0), sizeof(H2_REQUEST) - 1);
        for (unsigned i = 0; i < leave; i++) {
            turn();
            client_read(&c);
        }
        while_written += worker.slices.first != NULL;
        assert_int_equal(send(c.fd, H2_RESET, sizeof(H2_RESET) - 1, 0), sizeof(H2_RESET) - 1);
        turn();
        turn();
        assert_null(worker.slices.first);
        client_close(&c);
    }
    assert_in_range(while_written, 5, 75);
}

static void a_client_that_never_reads_and_leaves_leaves_nothing(void **state)
{
    struct client c;

    (void)state;
    client_open(&c, "GET /v1/model/info HTTP/1.1\r\nhost: x\r\n\r\n");
    for (int i = 0; i < 200; i++)
        turn();
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_in_slices_is_what_one_tree_prints, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(head_tells_the_length_and_sends_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_are_answered_while_a_long_answer_is_written, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_long_answer_goes_out_in_parts_to_a_client_who_keeps_up,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_leaves_half_way_leaves_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_stream_that_is_reset_half_way_leaves_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_never_reads_and_leaves_leaves_nothing, set_up,
                                        tear_down),
    };

    signal(SIGPIPE, SIG_IGN); /* as the worker does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
