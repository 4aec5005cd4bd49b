/* See assemble.h. POST uploads/{id}/complete. Who has the lock of the upload's record completes it:
 * who asks at the same time waits, here and in other workers, and finds the answer or tries himself.
 * A record that is locked by nobody and not done is one whose complete failed, or was cut off: its
 * parts are there, and it may be sent again. */
#include "assemble.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/log.h"
#include "core/spool_list.h"
#include "crypto/sha256.h"
#include "receiver.h"
#include "request/collect.h"
#include "upload/upload.h"
#include "upload_memory.h"
#include "uploads.h"

#define LOOK_MS 50    /* between two looks at one that somebody else completes: twice as long */
#define SLOW_MS 1000  /* after each, up to this */
#define PIECE   32768 /* bytes that are read and checked in a turn */
#define MD5_HEX 32

struct assembly {
    struct parts parts;             /* locked while it is assembled and sent */
    char (*ids)[PARTS_PART_ID + 1]; /* owned [num]; in the order of the file */
    size_t num;
    char of[2 * SHA256_BYTES + 1]; /* of these */
    char md5[MD5_HEX + 1];         /* that the file shall have; "": not told */
    EVP_MD_CTX *digest;            /* owned; NULL: not told */
    uint64_t at;                   /* bytes that were read */
    uint64_t look_ms;              /* until the next look, while somebody else completes it */
};

void assembly_free(struct assembly *a)
{
    if (a == NULL)
        return;
    parts_close(&a->parts);
    EVP_MD_CTX_free(a->digest);
    free(a->ids);
    free(a);
}

void assembly_give_up(struct assembly *a)
{
    if (a != NULL)
        parts_unlock(&a->parts);
}

static struct receiver *receiver_of(struct operation *op)
{
    return ((struct upload *)op)->receiver;
}

/* --- what the request says --- */

static enum answered take_id(struct relay *relay, struct assembly *a, size_t i,
                             const struct json *value)
{
    size_t len = 0;
    const char *id = json_str(value, &len);

    if (id == NULL) {
        relay_error(relay, PART_IDS, "part_ids");
        return ANSWERED;
    }
    if (len != PARTS_PART_ID || strlen(id) != len) {
        relay_error(relay, PART_UNKNOWN, "part_ids", i, id);
        return ANSWERED;
    }
    memcpy(a->ids[i], id, PARTS_PART_ID + 1);
    return GO_ON;
}

static void note_ids(struct assembly *a)
{
    struct sha256_piece all = {a->ids, a->num * sizeof(a->ids[0])};
    unsigned char digest[SHA256_BYTES];

    sha256_of(&all, 1, digest);
    for (size_t i = 0; i < SHA256_BYTES; i++)
        snprintf(a->of + 2 * i, 3, "%02x", digest[i]);
}

static enum answered take_ids(struct relay *relay, struct assembly *a)
{
    const struct json *ids = json_get(relay->request, "part_ids");

    a->num = json_size(ids);
    if (ids == NULL)
        relay_error(relay, MISSING_PARAMETER, "part_ids", "part_ids");
    else if (!json_is(ids, JSON_ARRAY) || a->num == 0)
        relay_error(relay, PART_IDS, "part_ids");
    else if (a->num > PARTS_MAX)
        relay_error(relay, PARTS_MANY, "part_ids", PARTS_MAX);
    else if ((a->ids = calloc(a->num, sizeof(a->ids[0]))) == NULL)
        relay_error(relay, OUT_OF_MEMORY, "");
    else {
        for (size_t i = 0; i < a->num; i++)
            if (take_id(relay, a, i, json_at(ids, i)) == ANSWERED)
                return ANSWERED;
        note_ids(a);
        return GO_ON;
    }
    return ANSWERED;
}

static enum answered take_md5(struct relay *relay, struct assembly *a)
{
    const struct json *md5 = json_get(relay->request, "md5");
    size_t len = 0;
    const char *text = json_str(md5, &len);

    if (md5 == NULL || json_type(md5) == JSON_NULL)
        return GO_ON;
    if (text == NULL || len != MD5_HEX || strspn(text, "0123456789abcdefABCDEF") != len) {
        relay_error(relay, MD5_TYPE, "md5");
        return ANSWERED;
    }
    for (size_t i = 0; i < len; i++)
        a->md5[i] = (char)tolower((unsigned char)text[i]);
    a->digest = EVP_MD_CTX_new();
    if (a->digest != NULL && EVP_DigestInit_ex(a->digest, EVP_md5(), NULL) == 1)
        return GO_ON;
    relay_error(relay, OUT_OF_MEMORY, "");
    return ANSWERED;
}

/* --- it was completed --- */

static void answer_again(struct upload *up)
{
    const struct assembly *a = up->assembly;
    struct json_doc *doc = json_doc_new();
    struct json *done = uploads_read(&a->parts, "done", doc);
    const char *of = json_get_str(done, "of");
    struct relay *relay = operation_detach(&up->op);

    if (of != NULL && strcmp(of, a->of) == 0)
        relay_json(relay, 200, json_get(done, "upload"));
    else if (of != NULL && of[0] != '\0')
        relay_error(relay, OTHER_PARTS, "part_ids");
    else
        uploads_fail(relay, &a->parts, 0);
    json_doc_free(doc);
    operation_free(&up->op);
}

struct json *assembly_stored(struct upload *up, struct json_doc *doc, struct json *file)
{
    struct assembly *a = up->assembly;
    struct strbuf done = STRBUF_INIT;
    struct json *upload = uploads_done(&a->parts, doc, a->of, file, &done);
    int ret = upload != NULL ? parts_end(&a->parts, &done, up->op.rt->loop, clock_unix_s()) : 0;

    if (ret != 0) /* a repeat would store the file again; the client has its answer */
        log_warn("upload: that it is completed cannot be noted: %s", err_str(ret));
    strbuf_deinit(&done);
    return upload;
}

/* --- reading the parts --- */

static void fail_reading(struct receiver *rc)
{
    REJECT(rc, SPOOL_BROKEN, "");
    receiver_end(rc);
}

static bool has_md5(struct receiver *rc)
{
    struct assembly *a = rc->up->assembly;
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    char text[MD5_HEX + 1];

    if (a->digest == NULL)
        return true;
    (void)EVP_DigestFinal_ex(a->digest, digest, NULL);
    for (size_t i = 0; i < MD5_HEX / 2; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    if (strcmp(text, a->md5) == 0)
        return true;
    REJECT(rc, MD5_DIFFERS, "md5", text);
    return false;
}

/* @return false: it was answered, or nothing is left to read */
static bool read_piece(struct receiver *rc)
{
    struct upload *up = rc->up;
    struct assembly *a = up->assembly;
    char piece[PIECE];
    ssize_t n = spool_read(&up->spool, piece, sizeof(piece), a->at);

    if (n <= 0) {
        fail_reading(rc);
        return false;
    }
    a->at += (uint64_t)n;
    up->received = a->at;
    if (a->digest != NULL)
        (void)EVP_DigestUpdate(a->digest, piece, (size_t)n);
    if (!upload_memory_has_room(up, (size_t)n))
        REJECT(rc, UPLOAD_MEMORY_FULL, "file");
    else if (receiver_lines_are_fine(rc, jsonl_feed(up->lines, piece, (size_t)n)) &&
             receiver_model_is_fine(rc)) {
        upload_memory_count(up);
        return true;
    }
    receiver_end(rc);
    return false;
}

static void wait_for_turn(struct receiver *rc)
{
    if (slices_add(&rc->rt->slices, rc->rt->loop, &rc->slice) == 0)
        return;
    REJECT(rc, OUT_OF_MEMORY, "");
    receiver_end(rc);
}

static void finish(struct receiver *rc)
{
    if (has_md5(rc))
        receiver_finish_file(rc);
    else
        receiver_end(rc);
}

static void on_slice(struct slice *slice)
{
    struct receiver *rc = slice->arg;
    struct upload *up = rc->up;

    if (jsonl_pending(up->lines)) {
        if (!receiver_lines_are_fine(rc, jsonl_continue(up->lines))) {
            receiver_end(rc);
            return;
        }
        upload_memory_count(up);
    } else if (!read_piece(rc)) {
        return;
    }
    if (up->assembly->at == up->spool.size && !jsonl_pending(up->lines))
        jsonl_end_of_file(up->lines);
    if (up->assembly->at < up->spool.size || jsonl_pending(up->lines))
        wait_for_turn(rc);
    else
        finish(rc);
}

/* --- which parts --- */

/* @return 0; ERR_INVALID: answered */
static int add_part(struct receiver *rc, const struct parts_list *all, bool *used, size_t i,
                    struct spool_list *list)
{
    const char *id = rc->up->assembly->ids[i];
    const struct part *part = parts_find(all, id);
    char name[PARTS_PART_ID + PARTS_DIGEST + 2];

    if (part == NULL) {
        REJECT(rc, PART_UNKNOWN, "part_ids", i, id);
        return ERR_INVALID;
    }
    if (used[part - all->parts]) {
        REJECT(rc, PART_REPEATED, "part_ids", i, id);
        return ERR_INVALID;
    }
    used[part - all->parts] = true;
    parts_file(part, name);
    return spool_list_add(list, name, part->size);
}

/* @return 0; ERR_INVALID: answered */
static int add_parts(struct receiver *rc, const struct parts_list *all, struct spool_list *list)
{
    const struct assembly *a = rc->up->assembly;
    bool *used = calloc(all->num + 1, sizeof(*used));
    int ret = used != NULL ? 0 : ERR_NOMEM;

    for (size_t i = 0; ret == 0 && i < a->num; i++)
        ret = add_part(rc, all, used, i, list);
    free(used);
    if (ret != 0 || spool_list_size(list) == a->parts.id.bytes)
        return ret;
    REJECT(rc, PARTS_SUM, "part_ids", (unsigned long long)spool_list_size(list),
           (unsigned long long)a->parts.id.bytes);
    return ERR_INVALID;
}

/* @return 0; ERR_INVALID: answered */
static int open_parts(struct receiver *rc)
{
    const struct parts *parts = &rc->up->assembly->parts;
    struct spool_list *list = spool_list_new(parts->dir);
    struct parts_list all;
    int ret = list != NULL ? parts_list(parts, &all) : ERR_NOMEM;

    if (ret == 0) {
        ret = add_parts(rc, &all, list);
        parts_list_deinit(&all);
    }
    if (ret != 0) {
        spool_list_free(list);
        return ret;
    }
    spool_deinit(&rc->up->spool);
    spool_of_list(&rc->up->spool, rc->rt->inherited, list);
    return 0;
}

/* --- its begin --- */

/* What the create has said, as if it stood in the form of an upload. */
static bool take_head(struct upload *up)
{
    struct json_doc *doc = json_doc_new();
    struct json *head = uploads_read(&up->assembly->parts, "head", doc);
    const char *filename = json_get_str(json_get(head, "upload"), "filename");
    const char *provider = json_get_str(head, "provider");
    const char *model = json_get_str(head, "model");
    const char *targets = json_get_str(head, "target_model_names");
    int64_t expires_s = 0;

    if (filename != NULL)
        strbuf_adds(&up->filename, filename);
    strbuf_adds(&up->purpose, "batch");
    if (provider != NULL)
        strbuf_adds(&up->provider, provider);
    if (model != NULL)
        route_hint_model(&up->op.relay->hints, model, strlen(model));
    if (targets != NULL)
        strbuf_adds(&up->target_models, targets);
    if (json_int64(json_get(head, "expires_s"), &expires_s) && expires_s > 0) {
        strbuf_adds(&up->expires_anchor, "created_at");
        strbuf_addf(&up->expires_seconds, "%lld", (long long)expires_s);
    }
    json_doc_free(doc);
    return filename != NULL;
}

static void begin(struct receiver *rc)
{
    struct upload *up = rc->up;
    int ret;

    if (!take_head(up)) {
        fail_reading(rc);
        return;
    }
    ret = open_parts(rc);
    if (ret == 0) {
        receiver_reads(rc);
        rc->slice.cb = on_slice;
        wait_for_turn(rc);
        return;
    }
    if (ret != ERR_INVALID)
        REJECT(rc, SPOOL_BROKEN, "");
    receiver_end(rc);
}

static void try_lock(struct operation *op)
{
    struct upload *up = (struct upload *)op;
    struct assembly *a = up->assembly;
    struct parts *parts = &a->parts;
    int ret = parts_lock(parts);

    a->look_ms = a->look_ms == 0 ? LOOK_MS : a->look_ms * 2 < SLOW_MS ? a->look_ms * 2 : SLOW_MS;
    if (ret == ERR_BAD_STATE && operation_wait(op, a->look_ms, try_lock))
        return;
    if (parts->ended) {
        answer_again(up);
    } else if (ret == 0) {
        begin(receiver_of(op));
    } else {
        uploads_fail(operation_detach(op), parts, ret);
        operation_free(op);
    }
}

/* @return NULL: answered */
static struct assembly *assembly_new(struct relay *relay)
{
    struct assembly *a = calloc(1, sizeof(*a));

    if (a == NULL) {
        relay_error(relay, OUT_OF_MEMORY, "");
        return NULL;
    }
    if (uploads_find(relay, &a->parts) == GO_ON && take_ids(relay, a) == GO_ON &&
        take_md5(relay, a) == GO_ON)
        return a;
    assembly_free(a);
    return NULL;
}

void uploads_complete(struct relay *relay)
{
    struct assembly *a = assembly_new(relay);
    struct receiver *rc;

    if (a == NULL)
        return;
    collect_forget(relay);
    rc = receiver_new(relay, true);
    if (rc == NULL) {
        assembly_free(a);
        return;
    }
    rc->up->assembly = a;
    rc->up->owner = a->parts.id.owner; /* also where the master completes it */
    if (!upload_memory_has_room(rc->up, UPLOAD_MEMORY_BASE)) {
        REJECT(rc, UPLOAD_MEMORY_FULL, "file");
        receiver_end(rc);
        return;
    }
    upload_memory_count(rc->up);
    try_lock(&rc->up->op);
}
