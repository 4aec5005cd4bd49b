/* The order of HTTP/2 frames and their budgets, and the count of connections for each address. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "front/guard_h2.h"
#include "front/guard_peers.h"
#include "exact.h"

static const char *why;

static struct frame_budget fresh(void)
{
    struct frame_budget b;
    struct frame settings = {.type = FRAME_SETTINGS};

    frame_budget_init(&b, 1000);
    assert_int_equal(frame_check(&b, &settings, 1000, &why), FRAME_OK);
    return b;
}

/* How many of a frame pass at one time. */
static unsigned burst_of(struct frame_budget *b, struct frame f, uint64_t now_ms)
{
    unsigned n = 0;

    while (n < 100000 && frame_check(b, &f, now_ms, &why) == FRAME_OK)
        n++;
    return n;
}

static void a_frame_header_is_read(void **state)
{
    static const uint8_t bytes[] = {0x01, 0x02, 0x03, 9, 4, 0xff, 0, 0, 7};
    struct frame f = frame_parse(bytes);

    (void)state;
    assert_int_equal(f.length, 0x010203);
    assert_int_equal(f.type, FRAME_CONTINUATION);
    assert_int_equal(f.flags, FRAME_END_HEADERS);
    assert_int_equal(f.stream_id, 0x7f000007); /* without the reserved bit */
}

static void settings_come_first(void **state)
{
    struct frame_budget b;
    struct frame ping = {8, FRAME_PING, 0, 0}, ack = {0, FRAME_SETTINGS, FRAME_ACK, 0};

    (void)state;
    frame_budget_init(&b, 1000);
    assert_int_equal(frame_check(&b, &ping, 1000, &why), FRAME_PROTOCOL_ERROR);
    assert_int_equal(frame_check(&b, &ack, 1000, &why), FRAME_PROTOCOL_ERROR);
    b = fresh();
    assert_int_equal(frame_check(&b, &ping, 1000, &why), FRAME_OK);
}

static void a_flood_of_any_kind_ends_after_some_hundred_frames(void **state)
{
    static const struct frame kinds[] = {{4, FRAME_RST_STREAM, 0, 1}, {8, FRAME_PING, 0, 0},
                                         {6, FRAME_SETTINGS, 0, 0},   {5, FRAME_PRIORITY, 0, 1},
                                         {0, FRAME_DATA, 0, 1},       {9, 0x77, 0, 1},
                                         {8, FRAME_GOAWAY, 0, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct frame_budget b = fresh();

        assert_in_range(burst_of(&b, kinds[i], 1000), 30, 500);
        assert_int_equal(frame_check(&b, &kinds[i], 1000, &why), FRAME_ENHANCE_YOUR_CALM);
    }
}

static void each_kind_has_a_burst_of_its_own_to_the_frame(void **state)
{
    static const struct {
        struct frame frame;
        unsigned burst;
    } kinds[] = {{{4, FRAME_RST_STREAM, 0, 1}, 200}, {{8, FRAME_PING, 0, 0}, 100},
                 {{6, FRAME_SETTINGS, 0, 0}, 31}, /* one came with the greeting */
                 {{5, FRAME_PRIORITY, 0, 1}, 500},   {{4, FRAME_WINDOW_UPDATE, 0, 1}, 10000},
                 {{0, FRAME_DATA, 0, 1}, 100},       {{9, FRAME_CONTINUATION + 1, 0, 1}, 100}};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct frame_budget b = fresh();

        assert_int_equal(burst_of(&b, kinds[i].frame, 1000), kinds[i].burst);
        assert_int_equal(b.left[i], 0);
    }
}

static void a_client_within_the_rates_is_never_disturbed(void **state)
{
    struct frame_budget b = fresh();
    struct frame reset = {4, FRAME_RST_STREAM, 0, 1}, ping = {8, FRAME_PING, 0, 0};

    (void)state;
    for (uint64_t now_ms = 1000; now_ms < 1000000; now_ms += 100) {
        assert_int_equal(frame_check(&b, &reset, now_ms, &why), FRAME_OK);
        assert_int_equal(frame_check(&b, &ping, now_ms, &why), FRAME_OK);
    }
}

static void a_budget_refills_to_its_burst_and_no_further(void **state)
{
    struct frame_budget b = fresh();
    struct frame ping = {8, FRAME_PING, 0, 0};
    unsigned burst = burst_of(&b, ping, 1000);

    (void)state;
    assert_int_equal(burst_of(&b, ping, 2000), 10);
    assert_int_equal(burst_of(&b, ping, 3600000), burst);
    assert_int_equal(burst_of(&b, ping, 1000), 0); /* a clock that goes back gives nothing */
}

/* Ten thousandths of a frame are earned each millisecond; the last of them may not fit. */
static void a_bucket_holds_no_thousandth_more_than_its_burst(void **state)
{
    struct frame_budget b = fresh();
    int64_t full = b.left[COST_PING];

    (void)state;
    for (int64_t missing = 9; missing <= 11; missing++) {
        b.left[COST_PING] = full - missing;
        assert_true(frame_charge(&b, COST_RESET, b.refilled_ms + 1));
        assert_int_equal(b.left[COST_PING], missing <= 10 ? full : full - 1);
    }
}

static void a_connection_that_rested_for_ages_has_full_buckets(void **state)
{
    struct frame_budget b = fresh();
    struct frame ping = {8, FRAME_PING, 0, 0};
    unsigned burst = burst_of(&b, ping, 1000);

    (void)state;
    assert_int_equal(burst_of(&b, ping, UINT64_MAX), burst);
}

/* Bytes times 1,000 would be 0 in 64 bits. */
static void no_number_of_response_bytes_earns_nothing(void **state)
{
    struct frame_budget b = fresh();
    struct frame window = {4, FRAME_WINDOW_UPDATE, 0, 1};
    unsigned burst = burst_of(&b, window, 1000);

    (void)state;
    frame_earn(&b, UINT64_C(1) << 61);
    assert_int_equal(burst_of(&b, window, 1000), burst);
}

static void response_bytes_earn_window_updates(void **state)
{
    struct frame_budget b = fresh();
    struct frame window = {4, FRAME_WINDOW_UPDATE, 0, 1};
    unsigned burst = burst_of(&b, window, 1000);

    (void)state;
    assert_true(burst >= 1000);
    for (int i = 0; i < 100000; i++) { /* a download; two for each 4 KiB */
        frame_earn(&b, 4096);
        assert_int_equal(frame_check(&b, &window, 1000, &why), FRAME_OK);
        assert_int_equal(frame_check(&b, &window, 1000, &why), FRAME_OK);
    }
    frame_earn(&b, UINT64_MAX);
    assert_int_equal(burst_of(&b, window, 1000), burst);
}

static void an_open_header_block_takes_its_continuation_alone(void **state)
{
    struct frame open = {10, FRAME_HEADERS, 0, 1},
                 rest = {10, FRAME_CONTINUATION, FRAME_END_HEADERS, 1};
    struct frame other = {10, FRAME_CONTINUATION, 0, 3}, ping = {8, FRAME_PING, 0, 0};
    struct frame_budget b = fresh();

    (void)state;
    assert_int_equal(frame_check(&b, &rest, 1000, &why), FRAME_PROTOCOL_ERROR);
    b = fresh();
    assert_int_equal(frame_check(&b, &open, 1000, &why), FRAME_OK);
    assert_int_equal(frame_check(&b, &rest, 1000, &why), FRAME_OK);
    assert_int_equal(frame_check(&b, &ping, 1000, &why), FRAME_OK);
    assert_int_equal(frame_check(&b, &open, 1000, &why), FRAME_OK);
    assert_int_equal(frame_check(&b, &other, 1000, &why), FRAME_PROTOCOL_ERROR);
    b = fresh();
    assert_int_equal(frame_check(&b, &open, 1000, &why), FRAME_OK);
    assert_int_equal(frame_check(&b, &ping, 1000, &why), FRAME_PROTOCOL_ERROR);
}

static void header_blocks_are_bounded_in_pieces_and_bytes(void **state)
{
    struct frame open = {0, FRAME_HEADERS, 0, 1}, piece = {0, FRAME_CONTINUATION, 0, 1};
    struct frame_budget b = fresh();

    (void)state;
    assert_int_equal(frame_check(&b, &open, 1000, &why), FRAME_OK);
    assert_int_equal(burst_of(&b, piece, 1000), FRAME_MAX_PIECES - 1);
    b = fresh();
    piece.length = 1000;
    assert_int_equal(frame_check(&b, &open, 1000, &why), FRAME_OK);
    assert_int_equal(burst_of(&b, piece, 1000), FRAME_MAX_BLOCK / 1000);
}

static void a_header_block_may_be_as_large_as_its_bound_and_no_byte_larger(void **state)
{
    for (uint32_t more = 0; more < 2; more++) {
        struct frame whole = {FRAME_MAX_BLOCK + more, FRAME_HEADERS, FRAME_END_HEADERS, 1};
        struct frame open = {FRAME_MAX_BLOCK - 100, FRAME_HEADERS, 0, 3};
        struct frame rest = {100 + more, FRAME_CONTINUATION, FRAME_END_HEADERS, 3};
        enum frame_error wanted = more == 0 ? FRAME_OK : FRAME_ENHANCE_YOUR_CALM;
        struct frame_budget b = fresh();

        (void)state;
        assert_int_equal(frame_check(&b, &whole, 1000, &why), wanted);
        b = fresh();
        assert_int_equal(frame_check(&b, &open, 1000, &why), FRAME_OK);
        assert_int_equal(frame_check(&b, &rest, 1000, &why), wanted);
    }
}

static void a_frame_may_be_as_large_as_was_announced_and_no_byte_larger(void **state)
{
    struct frame data = {FRAME_MAX_PAYLOAD, FRAME_DATA, 0, 1};
    struct frame_budget b = fresh();

    (void)state;
    assert_int_equal(frame_check(&b, &data, 1000, &why), FRAME_OK);
    data.length++;
    assert_int_equal(frame_check(&b, &data, 1000, &why), FRAME_SIZE_ERROR);
}

static int content(uint8_t type, uint8_t flags, uint32_t length, uint8_t first, size_t *at)
{
    char bytes[16] = {(char)first}, *copy = exact_copy(bytes, length);
    const char *payload = length != 0 ? copy : copy + 1; /* of no bytes none may be read */
    struct frame f = {length, type, flags, 1};
    int len;

    *at = 77;
    len = frame_content(&f, (const uint8_t *)payload, at);
    if (len < 0)
        assert_int_equal(*at, 77);
    free(copy);
    return len;
}

static void padding_and_priority_must_fit(void **state)
{
    size_t at;

    (void)state;
    assert_int_equal(content(FRAME_DATA, 0, 10, 99, &at), 10);
    assert_int_equal(at, 0);
    assert_int_equal(content(FRAME_DATA, FRAME_PADDED, 10, 9, &at), 0);
    assert_int_equal(content(FRAME_DATA, FRAME_PADDED, 10, 3, &at), 6);
    assert_int_equal(at, 1);
    assert_int_equal(content(FRAME_DATA, FRAME_PADDED, 10, 10, &at), -1);
    assert_int_equal(content(FRAME_DATA, FRAME_PADDED, 10, 200, &at), -1);
    assert_int_equal(content(FRAME_DATA, FRAME_PADDED, 0, 0, &at), -1);
    assert_int_equal(content(FRAME_DATA, FRAME_HAS_PRIORITY, 3, 0, &at), 3);
    assert_int_equal(content(FRAME_HEADERS, FRAME_HAS_PRIORITY, 4, 0, &at), -1);
    assert_int_equal(content(FRAME_HEADERS, FRAME_HAS_PRIORITY | FRAME_PADDED, 10, 4, &at), 0);
    assert_int_equal(at, 6);
    assert_int_equal(content(FRAME_HEADERS, FRAME_HAS_PRIORITY | FRAME_PADDED, 10, 5, &at), -1);
}

/* Whether a frame of stream 7 with these bytes depends on itself. */
static bool depends(uint8_t type, uint8_t flags, const char *bytes, uint32_t length)
{
    char *copy = exact_copy(bytes, length);
    struct frame f = {length, type, flags, 7};
    bool found = frame_depends_on_itself(&f, (const uint8_t *)(length != 0 ? copy : copy + 1));

    free(copy);
    return found;
}

static void a_stream_that_depends_on_itself_is_found_in_the_bytes_that_there_are(void **state)
{
    (void)state;
    assert_true(depends(FRAME_PRIORITY, 0, "\0\0\0\7w", 5));
    assert_true(depends(FRAME_PRIORITY, 0, "\x80\0\0\7w", 5));
    assert_false(depends(FRAME_PRIORITY, 0, "\0\0\0\5w", 5));
    assert_true(depends(FRAME_HEADERS, FRAME_HAS_PRIORITY, "\0\0\0\7w", 5));
    assert_true(depends(FRAME_HEADERS, FRAME_HAS_PRIORITY | FRAME_PADDED, "\1\0\0\0\7wp", 7));
    assert_false(depends(FRAME_HEADERS, FRAME_HAS_PRIORITY | FRAME_PADDED, "\0\0\0\7wp", 6));
    assert_false(depends(FRAME_HEADERS, 0, "\0\0\0\7w", 5));
    for (uint32_t length = 0; length <= 5; length++) {
        assert_false(
            depends(FRAME_HEADERS, FRAME_HAS_PRIORITY | FRAME_PADDED, "\1\0\0\0\7w", length));
        assert_int_equal(depends(FRAME_HEADERS, FRAME_HAS_PRIORITY, "\0\0\0\7w", length),
                         length == 5);
    }
}

/* --- addresses --- */

static uint64_t key_of(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return guard_peers_key((struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return guard_peers_key((struct sockaddr *)&v6);
}

static void an_address_is_an_ipv4_address_or_an_ipv6_network(void **state)
{
    (void)state;
    assert_true(key_of("192.0.2.1") != key_of("192.0.2.2"));
    assert_true(key_of("192.0.2.1") == key_of("::ffff:192.0.2.1"));
    assert_true(key_of("2001:db8::1") == key_of("2001:db8::ffff:1:2"));
    assert_true(key_of("2001:db8::1") != key_of("2001:db8:0:1::1"));
    assert_true(key_of("::1") != 0);
}

static bool is_loopback(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return guard_peers_is_loopback((struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return guard_peers_is_loopback((struct sockaddr *)&v6);
}

static void the_loopback_is_known_in_each_of_its_forms(void **state)
{
    struct sockaddr_in6 local = {.sin6_family = AF_UNIX};

    (void)state;
    assert_true(is_loopback("127.0.0.1"));
    assert_true(is_loopback("127.255.255.255"));
    assert_true(is_loopback("::1"));
    assert_true(is_loopback("::ffff:127.0.0.1"));
    assert_false(is_loopback("126.255.255.255"));
    assert_false(is_loopback("128.0.0.1"));
    assert_false(is_loopback("10.0.0.127"));
    assert_false(is_loopback("::ffff:128.0.0.1"));
    assert_false(is_loopback("::2"));
    assert_false(is_loopback("7f00:1::"));
    assert_false(guard_peers_is_loopback((struct sockaddr *)&local));
}

static void the_table_is_twice_as_large_as_there_can_be_connections(void **state)
{
    static const struct {
        size_t max, slots;
    } cases[] = {{1, 16}, {8, 16}, {9, 32}, {16, 32}, {17, 64}, {1000, 2048}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct guard_peers peers;

        assert_int_equal(guard_peers_init(&peers, cases[i].max), 0);
        assert_int_equal(peers.mask + 1, cases[i].slots);
        guard_peers_deinit(&peers);
    }
}

static void an_address_that_was_never_counted_can_leave_without_a_trace(void **state)
{
    struct guard_peers peers;

    (void)state;
    assert_int_equal(guard_peers_init(&peers, 8), 0);
    for (int i = 0; i < 3; i++)
        guard_peers_remove(&peers, key_of("192.0.2.1"));
    assert_int_equal(guard_peers_add(&peers, key_of("192.0.2.1")), 1);
    assert_int_equal(guard_peers_add(&peers, key_of("192.0.2.1")), 2);
    assert_int_equal(guard_peers_add(&peers, 0), 0);
    guard_peers_remove(&peers, 0);
    guard_peers_deinit(&peers);
}

static void connections_are_counted_for_each_address(void **state)
{
    struct guard_peers peers;
    unsigned counts[500] = {0};
    uint32_t seed = 7;

    (void)state;
    assert_int_equal(guard_peers_init(&peers, 1000), 0);
    for (int i = 0, total = 0; i < 200000; i++) { /* against a plain array */
        unsigned who;
        char text[32];
        uint64_t key;

        seed = seed * 1664525 + 1013904223;
        who = (seed >> 8) % 500;
        snprintf(text, sizeof(text), "10.0.%u.%u", who / 256, who % 256);
        key = key_of(text);
        if (counts[who] == 0 || ((seed >> 20) % 2 == 0 && total < 1000)) {
            assert_int_equal(guard_peers_add(&peers, key), ++counts[who]);
            total++;
        } else {
            guard_peers_remove(&peers, key);
            counts[who]--;
            total--;
        }
    }
    guard_peers_deinit(&peers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_header_is_read),
        cmocka_unit_test(settings_come_first),
        cmocka_unit_test(a_flood_of_any_kind_ends_after_some_hundred_frames),
        cmocka_unit_test(each_kind_has_a_burst_of_its_own_to_the_frame),
        cmocka_unit_test(a_client_within_the_rates_is_never_disturbed),
        cmocka_unit_test(a_budget_refills_to_its_burst_and_no_further),
        cmocka_unit_test(a_bucket_holds_no_thousandth_more_than_its_burst),
        cmocka_unit_test(a_connection_that_rested_for_ages_has_full_buckets),
        cmocka_unit_test(no_number_of_response_bytes_earns_nothing),
        cmocka_unit_test(response_bytes_earn_window_updates),
        cmocka_unit_test(an_open_header_block_takes_its_continuation_alone),
        cmocka_unit_test(header_blocks_are_bounded_in_pieces_and_bytes),
        cmocka_unit_test(a_header_block_may_be_as_large_as_its_bound_and_no_byte_larger),
        cmocka_unit_test(a_frame_may_be_as_large_as_was_announced_and_no_byte_larger),
        cmocka_unit_test(padding_and_priority_must_fit),
        cmocka_unit_test(a_stream_that_depends_on_itself_is_found_in_the_bytes_that_there_are),
        cmocka_unit_test(an_address_is_an_ipv4_address_or_an_ipv6_network),
        cmocka_unit_test(the_loopback_is_known_in_each_of_its_forms),
        cmocka_unit_test(the_table_is_twice_as_large_as_there_can_be_connections),
        cmocka_unit_test(an_address_that_was_never_counted_can_leave_without_a_trace),
        cmocka_unit_test(connections_are_counted_for_each_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
