/* The front door with HTTP/1: heads that are refused before any handler, and noise. */
#include "front_h1_world.h"

/* Everything that libh2o would let through or answer in its own way (front README 2). */
static const struct {
    int status;
    const char *request;
} odd[] = {
    {400, "POST /a HTTP/1.1\r\n" HOST
          "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST
          "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: \r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5.0\r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 9999999999999999999\r\n\r\nhello"},
    {400, "POST /a HTTP/1.1\r\n" HOST
          "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST
          "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding:\x0b"
          "chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"},
    {400, "POST /a HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST "X-A: b\r\n folded\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST "X-A: b\r\n\tfolded\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n " HOST "\r\n"},
    {400, "GET /a HTTP/1.1\n"
          "Host: x\n\n"},
    {400, "GET /a HTTP/1.1\r\n"
          "Host: x\nX-A: b\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST "X-A: b\rX-B: c\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\r\n" HOST "\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST "X-A: b\x01\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST "X-A: b\x7f\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST HOST "\r\n"},
    {400, "GET /a HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\nHost: x y\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\nHost: u@x\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST "Space : b\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST ": b\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST "nocolon\r\n\r\n"},
    {400, "GET /a HTTP/1.1\r\n" HOST "a(b: c\r\n\r\n"},
    {400, "get /a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GE T /a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET  /a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /a  HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /a HTTP/1.1 \r\n" HOST "\r\n"},
    {400, "GET /a\tHTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /a\r\n" HOST "\r\n"},
    {400, "GET\r\n" HOST "\r\n"},
    {400, "GET /a b HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET http://x/a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"},
    {400, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n"},
    {400, "CONNECT x:1 HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /a HTTP/11\r\n" HOST "\r\n"},
    {400, "GET /a HTTPS/1.1\r\n" HOST "\r\n"},
    {400, "GET /a http/1.1\r\n" HOST "\r\n"},
    {505, "GET /a HTTP/1.2\r\n" HOST "\r\n"},
    {505, "GET /a HTTP/2.0\r\n" HOST "\r\n"},
    {505, "GET /a HTTP/0.9\r\n" HOST "\r\n"},
    {400, "PRI * HTTP/2.0\r\n\r\nSX"},
    {417, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: something\r\n\r\nhello"},
    {417, "POST /a HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n"},
    {400, "\x16\x03\x01\x02"},
    {400, "\r\n\r\nGET /a HTTP/1.1\r\n" HOST "\r\n"},
    {400, "\nGET /a HTTP/1.1\r\n" HOST "\r\n"},
};

static void check_odd_heads_are_refused_before_any_handler(bool tls)
{
    char wanted[32];

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct client c = open_h1(tls);

        client_push(&c, odd[i].request, strlen(odd[i].request));
        client_push_text(&c, "GET /smuggled HTTP/1.1\r\n" HOST "\r\n");
        settle(&c);
        snprintf(wanted, sizeof(wanted), "HTTP/1.1 %d ", odd[i].status);
        if (strncmp(c.bytes, wanted, strlen(wanted)) != 0)
            fail_msg("%s\nwas answered\n%s", odd[i].request, c.bytes);
        assert_int_equal(world.calls, 0);
        assert_int_equal(count_of(&c, "Content-Length: "), 1);
        assert_int_equal(count_of(&c, "\"invalid_request_error\""), 1);
        client_close(&c);
    }
}
BOTH(odd_heads_are_refused_before_any_handler)

/* As h2spec asks of whoever sends a wrong HTTP/2 preface: an answer in HTTP/1 would be noise. */
static void check_a_peer_that_does_not_speak_http_is_hung_up_on(bool tls)
{
    struct client c = open_h1(tls);

    client_push_text(&c, "INVALID CONNECTION PREFACE\r\n\r\n");
    settle(&c);
    assert_true(c.eof);
    assert_int_equal(c.len, 0);
    client_close(&c);
}
BOTH(a_peer_that_does_not_speak_http_is_hung_up_on)

static void check_large_heads_are_refused(bool tls)
{
    static char text[GUARD_H1_MAX_HEAD + 4096];
    struct client c;
    size_t len;

    for (int i = 0; i < 3; i++) {
        strcpy(text, i == 0 ? "GET /" : "GET / HTTP/1.1\r\n" HOST);
        len = strlen(text);
        if (i == 0) { /* target */
            memset(text + len, 'a', 9000);
            strcpy(text + len + 9000, " HTTP/1.1\r\n" HOST "\r\n");
        } else if (i == 1) { /* one field */
            strcpy(text + len, "X: ");
            memset(text + len + 3, 'a', GUARD_H1_MAX_HEAD);
            text[len + 3 + GUARD_H1_MAX_HEAD] = '\0';
        } else {
            for (int n = 0; n < GUARD_H1_MAX_FIELDS; n++)
                strcat(text, "X: y\r\n");
            strcat(text, "\r\n");
        }
        c = open_h1(tls);
        client_push(&c, text, strlen(text));
        settle(&c);
        assert_int_equal(strncmp(c.bytes, i == 0 ? "HTTP/1.1 414 " : "HTTP/1.1 431 ", 13), 0);
        assert_int_equal(world.calls, 0);
        client_close(&c);
    }
}
BOTH(large_heads_are_refused)

static uint32_t seed = 12345;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % sides;
}

/* Change some bytes, cut, double and repeat pieces. */
static size_t mutate(char *text, size_t len, size_t max)
{
    static const char spice[] = "\r\n\t :;,0123456789abcdefxX\0\x7f\xff/GPOST";

    for (uint32_t n = dice(6); n > 0 && len > 8; n--) {
        size_t at = dice((uint32_t)len), size = dice(20);

        size = size < len - at ? size : len - at;
        switch (dice(4)) {
        case 0:
            text[at] = spice[dice(sizeof(spice) - 1)];
            break;
        case 1:
            memmove(text + at, text + at + size, len - at - size);
            len -= size;
            break;
        case 2:
            if (len + size > max)
                break;
            memmove(text + at + size, text + at, len - at);
            len += size;
            break;
        default:
            text[at] ^= (char)(1 << dice(8));
        }
    }
    return len;
}

static void twenty_thousand_mutated_requests_do_no_harm(void **state)
{
    static const char *const seeds[] = {
        "POST /a HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\nhello world",
        "POST /a HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5;x=y\r\nhello\r\n06\r\n "
        "world\r\n0\r\nX: z\r\n\r\n",
        "GET /final HTTP/1.1\r\n" HOST "Connection: keep-alive\r\n\r\n",
        "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc",
        "POST /stop=2 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /limit=2 HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
        "GET /break HTTP/1.1\r\n" HOST "\r\n",
        "GET /download=100 HTTP/1.1\r\n" HOST "\r\n",
    };
    char text[2048];

    (void)state;
    for (int i = 0; i < 20000;) {
        struct client c = open_h1(i % 16 == 0);

        for (int n = 0; n < 8 && !c.eof; n++, i++) {
            const char *one = seeds[dice(sizeof(seeds) / sizeof(seeds[0]))];
            size_t len = strlen(one), at = 0;

            memcpy(text, one, len);
            len = mutate(text, len, sizeof(text));
            while (at < len && !c.eof) {
                size_t piece = 1 + dice((uint32_t)(dice(4) == 0 ? 10 : len - at));

                piece = piece < len - at ? piece : len - at;
                client_push(&c, text + at, piece);
                at += piece;
            }
            client_read(&c);
            if (c.len > RECEIVED_MAX / 2)
                c.len = 0;
        }
        client_close(&c);
        pass_ms(500);
    }
    pass_ms(GUARD_LINGER_MS * 4);
    assert_int_equal(front_connections(world.clear), 0);
    assert_int_equal(front_connections(world.tls), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(odd_heads_are_refused_before_any_handler),
        TEST(a_peer_that_does_not_speak_http_is_hung_up_on),
        TEST(large_heads_are_refused),
        TEST(twenty_thousand_mutated_requests_do_no_harm),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
