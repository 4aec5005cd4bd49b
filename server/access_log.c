/* See access_log.h. Never a query string, never a body, never a key: a path and an id say enough.
 * Nobody who reads the log slowly, or not at all, holds up those who are served: lines that find no
 * room are counted, and the next one that does says how many were lost. */
#include "server/access_log.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "common/clock.h"
#include "common/json.h"
#include "server/relay.h"

static unsigned long long lost; /* lines since the last one that was written */

static void add_time(struct strbuf *line)
{
    char text[40];
    struct timespec ts;
    struct tm tm;
    size_t len;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + len, sizeof(text) - len, ".%03ldZ", ts.tv_nsec / 1000000);
    strbuf_addf(line, "{\"time\":\"%s\"", text);
}

/* A pipe that has room has it for PIPE_BUF bytes (pipe(7)), more than a line has; files always do.
 */
static bool has_room(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

/* End the line and write it. */
static void put_line(struct strbuf *line)
{
    if (lost > 0)
        strbuf_addf(line, ",\"lines_lost\":%llu", lost);
    strbuf_adds(line, "}\n");
    if (strbuf_failed(line) || !has_room() || write(STDOUT_FILENO, line->data, line->len) < 0)
        lost++;
    else
        lost = 0;
}

/* RFC 9562 version 4. */
void access_log_new_id(char out[ACCESS_LOG_ID])
{
    unsigned char r[16];

    if (RAND_bytes(r, sizeof(r)) != 1)
        memset(r, 0, sizeof(r));
    r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
    r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
    snprintf(out, ACCESS_LOG_ID,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1],
             r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
             r[15]);
}

void access_log_refusal(const char *request_id, int status, int version, size_t bytes_out)
{
    struct strbuf line = STRBUF_INIT;

    add_time(&line);
    strbuf_addf(&line,
                ",\"request_id\":\"%s\",\"route\":\"none\",\"status\":%d,\"bytes_out\":%zu,"
                "\"http\":\"%d.%d\"",
                request_id, status, bytes_out, version >> 8, version & 0xff);
    put_line(&line);
    strbuf_deinit(&line);
}

void access_log_write(const struct relay *relay)
{
    const h2o_req_t *req = relay->req;
    struct strbuf line = STRBUF_INIT;
    char name[64];

    route_allow(relay->method, name, sizeof(name));
    add_time(&line);
    strbuf_addf(&line, ",\"request_id\":\"%s\",\"route\":\"%s\",\"method\":", relay->request_id,
                route_name(relay->route.kind, relay->method));
    json_write_string(&line, name, strlen(name));
    strbuf_addf(&line, ",\"status\":%d,\"bytes_out\":%zu,\"duration_us\":%llu,\"http\":\"%d.%d\"",
                relay->answered ? req->res.status : 499, req->bytes_sent,
                (unsigned long long)(clock_now_us() - relay->started_us), req->version >> 8,
                req->version & 0xff);
    if (relay->route.id_len > 0) {
        strbuf_adds(&line, ",\"id\":");
        json_write_string(&line, relay->route.id, relay->route.id_len);
    }
    if (relay->deployment != MODEL_NO_INDEX) {
        const char *id = table_str(relay->worker->table,
                                   table_deployment(relay->worker->table, relay->deployment)->id);

        strbuf_adds(&line, ",\"deployment\":");
        json_write_string(&line, id, strlen(id));
    }
    put_line(&line);
    strbuf_deinit(&line);
}
