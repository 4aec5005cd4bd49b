/* See access_log.h. Never a query string, never a body, never a key: a path and an id say enough.
 * Nobody who reads the log slowly, or not at all, holds up those who are served: lines that find no
 * room are counted for all workers, and the next one that does says how many were lost. */
#include "core/access_log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/hex.h"
#include "crypto/ids.h"
#include "json/json.h"
#include "common/log_out.h"
#include "common/mask.h"
#include "common/random_ids.h"

#define LINE_END   64  /* what put_line() adds, at most */
#define MOST_LINES 700 /* bytes that most have */

/* The second is printed once for all lines of it. */
static void begin_line(struct strbuf *line)
{
    static time_t second;
    static char text[32];
    struct timespec ts;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (ts.tv_sec != second) {
        gmtime_r(&ts.tv_sec, &tm);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
        second = ts.tv_sec;
    }
    if (log_out_has_priority(LOG_STREAM_ACCESS))
        strbuf_adds(line, "<6>");
    strbuf_addf(line, "{\"time\":\"%s.%03ldZ\"", text, ts.tv_nsec / 1000000);
}

/* End the line and write it. */
static void put_line(struct strbuf *line)
{
    uint64_t lost = log_out_take_untold(LOG_STREAM_ACCESS);

    if (lost > 0)
        strbuf_addf(line, ",\"lines_lost\":%llu", (unsigned long long)lost);
    strbuf_adds(line, "}\n");
    if (!strbuf_failed(line)) {
        log_out_add(LOG_STREAM_ACCESS, line->data, line->len, lost);
        return;
    }
    log_out_give_back(LOG_STREAM_ACCESS, lost);
    log_out_lose(LOG_STREAM_ACCESS);
}

/* A text that would make the line longer than one write takes is left out. */
static void add_text(struct strbuf *line, const char *name, const char *text, size_t len)
{
    size_t before = line->len;

    strbuf_adds(line, ",\"");
    strbuf_adds(line, name);
    strbuf_adds(line, "\":");
    json_write_string(line, text, len);
    if (strbuf_failed(line) || line->len < LOG_OUT_LINE_MAX - LINE_END)
        return;
    line->len = before;
    line->data[before] = '\0';
}

/* RFC 9562 version 4. */
void access_log_new_id(char out[ACCESS_LOG_ID])
{
    static const unsigned char part_bytes[] = {4, 2, 2, 2, 6};
    unsigned char r[16];
    size_t at = 0;

    (void)random_ids(r, sizeof(r)); /* zeros will do, too */
    r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
    r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof(part_bytes); at += part_bytes[i++]) {
        if (i > 0)
            *out++ = '-';
        hex_write(r + at, part_bytes[i], out);
        out += 2 * part_bytes[i];
    }
}

static void add_name(struct strbuf *line, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0')
        add_text(line, name, text, strlen(text));
}

void access_log_refusal(const char *request_id, const char *client, int status, int version,
                        size_t bytes_out)
{
    struct strbuf line = STRBUF_INIT;

    begin_line(&line);
    strbuf_addf(&line,
                ",\"request_id\":\"%s\",\"route\":\"none\",\"status\":%d,\"bytes_out\":%zu,"
                "\"http\":\"%d.%d\"",
                request_id, status, bytes_out, version >> 8, version & 0xff);
    add_name(&line, "client", client);
    put_line(&line);
    strbuf_deinit(&line);
}

/* What others put into the place of an id, or of a model's name, may be a key. */
static void add_masked(struct strbuf *line, const char *name, const char *text, size_t len)
{
    char copy[IDS_MAX + 1];

    if (len > IDS_MAX)
        len = IDS_MAX;
    memcpy(copy, text, len);
    copy[len] = '\0';
    len = mask_hide(mask_installed(), copy, len, sizeof(copy));
    add_text(line, name, copy, len);
}

/* Where the time went: until the first call began, and in the last one. */
static void add_calls(struct strbuf *line, const struct live_calls *calls, uint64_t started_us)
{
    uint64_t queue_us = calls->begun_us > started_us ? calls->begun_us - started_us : 0;

    strbuf_addf(line, ",\"attempts\":%u,\"queue_us\":%llu", calls->num,
                (unsigned long long)queue_us);
    if (calls->status != 0)
        strbuf_addf(line, ",\"connect_us\":%llu,\"first_byte_us\":%llu,\"upstream_status\":%d",
                    (unsigned long long)calls->connect_us, (unsigned long long)calls->first_byte_us,
                    calls->status);
    if (calls->id[0] != '\0') /* it is the provider's text, which may quote a key */
        add_masked(line, "upstream_request_id", calls->id, strlen(calls->id));
}

void access_log_write(const struct access_line *request)
{
    struct strbuf line = STRBUF_INIT;

    (void)strbuf_reserve(&line, MOST_LINES);
    begin_line(&line);
    strbuf_addf(&line, ",\"request_id\":\"%s\",\"route\":\"%s\",\"method\":", request->request_id,
                request->route);
    json_write_string(&line, request->method, strlen(request->method));
    strbuf_addf(&line,
                ",\"path\":\"%s\",\"status\":%d,\"bytes_in\":%llu,\"bytes_out\":%zu,"
                "\"duration_us\":%llu,\"http\":\"%d.%d\"",
                request->path, request->status, (unsigned long long)request->bytes_in,
                request->bytes_out, (unsigned long long)(clock_now_us() - request->started_us),
                request->version >> 8, request->version & 0xff);
    add_name(&line, "client", request->client);
    if (request->calls != NULL && request->calls->num > 0)
        add_calls(&line, request->calls, request->started_us);
    if (request->cut_off)
        strbuf_adds(&line, ",\"cut_off\":true");
    if (request->id_len > 0)
        add_masked(&line, "id", request->id, request->id_len);
    if (request->model != NULL && request->model[0] != '\0')
        add_masked(&line, "model", request->model, strlen(request->model));
    add_name(&line, "deployment", request->deployment);
    add_name(&line, "key", request->key);
    add_name(&line, "team", request->team);
    put_line(&line);
    strbuf_deinit(&line);
}
