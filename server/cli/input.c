/* See input.h. */
#include "input.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_file.h"

/* --- reading and checking --- */

static void digest_bytes(void *arg, const char *bytes, size_t len)
{
    (void)EVP_DigestUpdate(arg, bytes, len);
}

static void finish_digest(EVP_MD_CTX *context, char out[INPUT_DIGEST + 1])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    out[0] = '\0';
    if (EVP_DigestFinal_ex(context, bytes, &len) != 1 || len != INPUT_DIGEST / 2)
        return;
    for (unsigned int i = 0; i < len; i++)
        snprintf(out + (size_t)i * 2, 3, "%02x", bytes[i]);
}

/* What is wrong is told where progress is; a file that is good needs no words. */
static int check(struct input *input, const char *path, const struct check_file_hook *hook)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    int code;

    if (out == NULL)
        return 2;
    code = check_file_read(path, input->fd, hook, out, &input->lines);
    if (fclose(out) == 0 && code == 1)
        fputs(text, stderr);
    free(text);
    return code;
}

enum client_exit input_open(struct input *input, const char *path)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    struct check_file_hook hook = {digest_bytes, context};
    off_t end;
    int code = 2;

    *input = (struct input){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1)
        code = check(input, path, &hook);
    if (code == 0) {
        finish_digest(context, input->digest);
        end = lseek(input->fd, 0, SEEK_END);
        jsonl_report(input->lines, &input->report);
        input->bytes = input->report.bytes;
        if (end == -1 || (uint64_t)end != input->bytes || input->digest[0] == '\0') {
            fprintf(stderr, "tranche: %s: no ordinary file, or it changed while it was read\n",
                    path);
            code = 2;
        }
    }
    EVP_MD_CTX_free(context);
    return code == 0 ? CLIENT_OK : code == 1 ? CLIENT_REFUSED : CLIENT_USAGE;
}

void input_close(struct input *input)
{
    if (input->fd != -1)
        close(input->fd);
    jsonl_free(input->lines);
    *input = (struct input){.fd = -1};
}

/* --- the body of an upload --- */

void input_name(const char *path, const char *nonce, char out[INPUT_NAME])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    const char *base = strrchr(path, '/');
    size_t len;

    base = base != NULL ? base + 1 : path;
    len = strlen(base);
    if (len > 6 && strcmp(base + len - 6, ".jsonl") == 0)
        len -= 6;
    if (len > 40)
        len = 40;
    snprintf(out, INPUT_NAME, "%.*s-%s.jsonl", (int)len, base, nonce);
    for (char *c = out; *c != '\0'; c++)
        if (strchr(plain, *c) == NULL)
            *c = '_';
}

static ssize_t read_at(void *arg, char *buf, size_t len, uint64_t offset)
{
    const struct input *input = arg;
    ssize_t n;

    do
        n = pread(input->fd, buf, len, (off_t)offset);
    while (n == -1 && errno == EINTR);
    return n;
}

int input_body_init(struct input_body *body, struct input *input, const char *name,
                    const char *nonce, const char *model, struct bar *bar)
{
    const char *other = model != NULL && model[0] != '\0' ? model : NULL;

    *body = (struct input_body){.bar = bar};
    strbuf_addf(&body->type, "multipart/form-data; boundary=tranche-%s", nonce);
    strbuf_addf(&body->head,
                "--tranche-%s\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
                "--tranche-%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\n"
                "Content-Type: application/octet-stream\r\n\r\n",
                nonce, nonce, name);
    snprintf(body->tail, sizeof(body->tail), "\r\n--tranche-%s--\r\n", nonce);
    body->splice = jsonl_splice_new(input->lines, other, read_at, input);
    if (body->splice == NULL || strbuf_failed(&body->head) || strbuf_failed(&body->type))
        return ERR_NOMEM;
    body->length =
        body->head.len + strlen(body->tail) +
        (other != NULL && input->report.model != NULL ? jsonl_spliced_size(input->lines, other)
                                                      : input->bytes);
    return 0;
}

void input_body_deinit(struct input_body *body)
{
    jsonl_splice_free(body->splice);
    strbuf_deinit(&body->head);
    strbuf_deinit(&body->type);
    body->splice = NULL;
}

static ssize_t take(const char *text, size_t text_len, size_t *at, char *buf, size_t len)
{
    size_t n = text_len - *at < len ? text_len - *at : len;

    memcpy(buf, text + *at, n);
    *at += n;
    return (ssize_t)n;
}

ssize_t input_body_read(void *arg, char *buf, size_t len)
{
    struct input_body *body = arg;
    ssize_t n;

    assert(len > 0);
    if (body->head_at < body->head.len)
        n = take(body->head.data, body->head.len, &body->head_at, buf, len);
    else
        n = jsonl_splice_read(body->splice, buf, len);
    if (n == 0)
        n = take(body->tail, strlen(body->tail), &body->tail_at, buf, len);
    if (n > 0)
        bar_add(body->bar, (uint64_t)n);
    return n > 0 ? n : ERR_IO;
}
