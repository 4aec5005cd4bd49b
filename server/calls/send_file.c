/* See send_file.h. */
#include "calls/send_file.h"

#include <openssl/rand.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/names.h"

struct send_file {
    struct runtime *rt;  /* borrowed */
    struct spool *spool; /* borrowed */
    struct attempt *attempt;
    struct strbuf prologue, epilogue;
    struct jsonl_splice *splice; /* owned; NULL: the spool's bytes as they are */
    uint64_t sent;               /* bytes of prologue + file + epilogue handed out */
    uint64_t file_bytes;         /* of the file as this deployment gets it */
    void (*on_begin)(void *arg); /* or NULL */
    send_file_done_cb on_done;
    void *arg; /* borrowed */
};

static void send_file_free(struct send_file *sf)
{
    if (sf->attempt != NULL)
        attempt_cancel(sf->attempt);
    jsonl_splice_free(sf->splice);
    strbuf_deinit(&sf->prologue);
    strbuf_deinit(&sf->epilogue);
    free(sf);
}

void send_file_cancel(struct send_file *sf)
{
    send_file_free(sf);
}

static void on_sent(void *arg, const struct attempt_result *result)
{
    struct send_file *sf = arg;
    send_file_done_cb on_done = sf->on_done;
    void *owner = sf->arg;
    uint64_t file_bytes = sf->file_bytes;

    assert(sf->attempt != NULL);
    sf->attempt = NULL;
    send_file_free(sf);
    on_done(owner, result, file_bytes);
}

static ssize_t copy_from(const struct strbuf *text, uint64_t at, char *buf, size_t len)
{
    assert(at <= text->len);
    if (len > text->len - at)
        len = (size_t)(text->len - at);
    memcpy(buf, text->data + at, len);
    return (ssize_t)len;
}

/* prologue, file, epilogue: exactly the announced bytes. */
static ssize_t on_source(void *arg, char *buf, size_t len)
{
    struct send_file *sf = arg;
    uint64_t file_end = sf->prologue.len + sf->file_bytes;
    ssize_t n;

    if (sf->sent < sf->prologue.len)
        n = copy_from(&sf->prologue, sf->sent, buf, len);
    else if (sf->sent >= file_end)
        n = copy_from(&sf->epilogue, sf->sent - file_end, buf, len);
    else if (sf->splice != NULL)
        n = jsonl_splice_read(sf->splice, buf, len);
    else
        n = spool_read(sf->spool, buf, len, sf->sent - sf->prologue.len);
    if (n <= 0)
        return ERR_IO; /* shorter than announced: the spool failed */
    sf->sent += (uint64_t)n;
    return n;
}

/* The same bytes once more: the spool has them, and a new pass splices them. */
static int on_rewind(void *arg)
{
    struct send_file *sf = arg;

    sf->sent = 0;
    if (sf->splice != NULL)
        jsonl_splice_rewind(sf->splice);
    return 0;
}

static int make_boundary(char out[33])
{
    unsigned char r[16];

    if (RAND_bytes(r, sizeof(r)) != 1)
        return ERR_NOMEM;
    hex_write(r, sizeof(r), out);
    return 0;
}

static bool on_begin(void *arg)
{
    struct send_file *sf = arg;

    if (sf->on_begin != NULL)
        sf->on_begin(sf->arg);
    return true;
}

static int begin(struct send_file *sf, const struct send_file_spec *spec)
{
    struct attempt_spec attempt = {.deployment = spec->deployment,
                                   .call = CALL_FILE_CREATE,
                                   .request_id = spec->request_id,
                                   .owner = spec->owner,
                                   .source = on_source,
                                   .rewind = on_rewind,
                                   .on_begin = on_begin,
                                   .on_done = on_sent,
                                   .arg = sf};
    char boundary[33], type[96];

    if (make_boundary(boundary) != 0 ||
        provider_multipart(&spec->form, boundary, &sf->prologue, &sf->epilogue) != 0)
        return ERR_NOMEM;
    sf->file_bytes = spec->spool->size;
    if (spec->model != NULL && spec->lines != NULL) {
        sf->file_bytes = jsonl_spliced_size(spec->lines, spec->model);
        sf->splice = jsonl_splice_new(spec->lines, spec->model, spool_read, spec->spool);
        if (sf->splice == NULL)
            return ERR_NOMEM;
    }
    snprintf(type, sizeof(type), "multipart/form-data; boundary=%s", boundary);
    attempt.content_type = type;
    attempt.source_length = sf->prologue.len + sf->file_bytes + sf->epilogue.len;
    sf->attempt = attempt_start(sf->rt, &attempt);
    return sf->attempt != NULL ? 0 : ERR_NOMEM;
}

struct send_file *send_file_start(struct runtime *rt, const struct send_file_spec *spec,
                                  send_file_done_cb on_done, void *arg)
{
    struct send_file *sf = calloc(1, sizeof(*sf));

    if (sf == NULL)
        return NULL;
    sf->rt = rt;
    sf->spool = spec->spool;
    sf->on_begin = spec->on_begin;
    sf->on_done = on_done;
    sf->arg = arg;
    if (begin(sf, spec) == 0)
        return sf;
    send_file_free(sf);
    return NULL;
}

const char *send_file_name(const struct runtime *rt, uint32_t deployment, const char *pattern,
                           const char *model, char *buf, size_t size)
{
    const char *upstream =
        table_str(rt->table, table_deployment(rt->table, deployment)->upstream_model);

    if (upstream[0] == '\0')
        return NULL;
    if (strchr(upstream, '*') == NULL)
        return upstream;
    if (model == NULL || !names_fill(pattern, upstream, model, buf, size))
        return NULL;
    return names_without_hint(buf);
}
