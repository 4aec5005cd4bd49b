/* See part.h. */
#include "part.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "upload/upload.h"
#include "uploads.h"

struct incoming {
    struct parts parts; /* where it goes */
    struct part part;
};

void incoming_free(struct incoming *incoming)
{
    if (incoming == NULL)
        return;
    parts_close(&incoming->parts);
    free(incoming);
}

/* Above what the upload was created for: no part of it has so many bytes. */
static void reject_above(struct receiver *rc, uint64_t bytes)
{
    REJECT(rc, PARTS_ABOVE, "data", (unsigned long long)bytes,
           (unsigned long long)rc->incoming->parts.id.bytes);
}

int incoming_data(struct receiver *rc, const char *bytes, size_t len)
{
    struct upload *up = rc->up;
    struct failure why;
    int err;

    up->received += len;
    if (up->received > PARTS_PART_BYTES) {
        REJECT(rc, FILE_ABOVE, "data", (unsigned long long)PARTS_PART_BYTES);
        return ERR_LIMIT;
    }
    if (up->received > rc->incoming->parts.id.bytes) {
        reject_above(rc, up->received);
        return ERR_LIMIT;
    }
    if (!limits_upload_grows(up->op.relay, &up->limits, up->received, &why)) {
        receiver_reject(rc, &why);
        return ERR_LIMIT;
    }
    (void)EVP_DigestUpdate(up->digest, bytes, len);
    err = limits_upload_is_fair(up->op.relay, &up->limits, len, up->spool.allowance)
              ? spool_write(&up->spool, bytes, len)
              : ERR_FULL;
    return err == 0 ? 0 : receiver_reject_spool(rc, err);
}

/* --- its end --- */

/* Its bytes may have come for minutes: the upload may have ended meanwhile. */
static enum answered look_again(struct receiver *rc)
{
    struct parts *parts = &rc->incoming->parts;
    struct parts_id id = parts->id;
    int ret = parts_open(rc->rt->inherited, &id, parts);

    if (ret == 0 && !parts->ended)
        return GO_ON;
    spool_deinit(&rc->up->spool);
    uploads_fail(operation_detach(&rc->up->op), parts, ret);
    return ANSWERED;
}

static void finish_digest(struct receiver *rc)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};

    (void)EVP_DigestFinal_ex(rc->up->digest, digest, NULL);
    for (size_t i = 0; i < PARTS_DIGEST / 2; i++)
        snprintf(rc->incoming->part.digest + 2 * i, 3, "%02x", digest[i]);
}

/* A file of other bytes than its name says is what a machine's end has left of it, before it was on
 * the disk: it goes, and what was sent again takes its place. */
static const struct part *find_same(const struct parts *parts, struct parts_list *list,
                                    const struct part *part)
{
    const struct part *same = NULL;

    for (size_t i = 0; i < list->num; i++) {
        const struct part *other = &list->parts[i];

        if (strcmp(other->digest, part->digest) != 0)
            continue;
        if (other->size == part->size) {
            same = other;
        } else {
            list->bytes -= other->size / other->names;
            parts_drop(parts, other);
        }
    }
    return same;
}

/* @return 0; an error: nothing is kept */
static int keep_new(struct receiver *rc)
{
    char *path = parts_path(&rc->incoming->parts, &rc->incoming->part);
    int ret = path != NULL ? spool_keep(&rc->up->spool, path) : ERR_NOMEM;

    free(path);
    return ret;
}

static void answer(struct receiver *rc)
{
    struct relay *relay = operation_detach(&rc->up->op);
    struct json_doc *doc = json_doc_new();
    struct json *part = doc != NULL ? json_new_object(doc) : NULL;

    limits_end_upload(&rc->up->limits);
    if (part == NULL) {
        relay_error(relay, OUT_OF_MEMORY, "");
    } else {
        json_set_str(doc, part, "id", rc->incoming->part.id);
        json_set_str(doc, part, "object", "upload.part");
        json_set_int(doc, part, "created_at", clock_unix_s());
        json_set_str(doc, part, "upload_id", relay->route.id);
        relay_json(relay, 200, part);
    }
    json_doc_free(doc);
}

/* Keep it under its name, once for all parts of the same bytes. */
static void keep(struct receiver *rc, struct parts_list *list)
{
    const struct parts *parts = &rc->incoming->parts;
    const struct part *same = find_same(parts, list, &rc->incoming->part);
    uint64_t bytes = list->bytes + rc->up->received;
    int ret;

    if (same == NULL && bytes > parts->id.bytes) {
        reject_above(rc, bytes);
        return;
    }
    if (list->num >= PARTS_MAX) {
        REJECT(rc, PARTS_MANY, "data", PARTS_MAX);
        return;
    }
    ret = same != NULL ? parts_same(parts, same, &rc->incoming->part) : keep_new(rc);
    spool_deinit(&rc->up->spool);
    if (ret != 0)
        (void)receiver_reject_spool(rc, ret);
    else
        answer(rc);
}

void incoming_end(struct receiver *rc)
{
    struct parts_list list;
    int ret;

    if (!rc->have_file)
        REJECT(rc, MISSING_PARAMETER, "data", "data");
    else if (rc->up->received == 0)
        REJECT(rc, PART_EMPTY, "data");
    if (receiver_is_answered(rc) || look_again(rc) == ANSWERED)
        return;
    ret = parts_list(&rc->incoming->parts, &list);
    if (ret != 0) {
        (void)receiver_reject_spool(rc, ret);
        return;
    }
    finish_digest(rc);
    rc->incoming->part.size = rc->up->received;
    keep(rc, &list);
    parts_list_deinit(&list);
}

/* --- its begin --- */

/* @return NULL: answered */
static struct incoming *incoming_new(struct relay *relay)
{
    struct incoming *incoming = calloc(1, sizeof(*incoming));

    if (incoming == NULL) {
        relay_error(relay, OUT_OF_MEMORY, "");
        return NULL;
    }
    if (uploads_find(relay, &incoming->parts) == ANSWERED) {
        free(incoming);
        return NULL;
    }
    if (!incoming->parts.ended)
        return incoming;
    uploads_fail(relay, &incoming->parts, 0);
    incoming_free(incoming);
    return NULL;
}

/* Where it is written: room for it is reserved, as far as no other part has taken that. */
static int open_spool(struct receiver *rc)
{
    const struct parts *parts = &rc->incoming->parts;
    struct upload *up = rc->up;
    struct parts_list list;
    uint64_t left;
    char *path;
    int ret = parts_list(parts, &list);

    if (ret != 0)
        return ret;
    left = parts->id.bytes > list.bytes ? parts->id.bytes - list.bytes : 0;
    parts_list_deinit(&list);
    path = parts_new_part(parts, rc->incoming->part.id);
    if (path == NULL)
        return ERR_NOMEM;
    ret = spool_init_named(&up->spool, rc->rt->inherited, rc->rt->slot, rc->rt->loop, path, left);
    free(path);
    return ret;
}

/* No descriptor is held while its bytes come. */
static void let_go(struct parts *parts)
{
    struct parts_id id = parts->id;

    parts_close(parts);
    parts->id = id;
}

void uploads_part(struct relay *relay)
{
    struct body *body = front_body(relay->req);
    struct incoming *incoming;
    struct receiver *rc;
    int ret;

    if (body == NULL) {
        relay_error(relay, NO_FORM, "data", "data");
        return;
    }
    incoming = incoming_new(relay);
    if (incoming == NULL)
        return;
    rc = receiver_new(relay, false);
    if (rc == NULL) {
        incoming_free(incoming);
        return;
    }
    rc->incoming = incoming;
    ret = upload_hashes(rc->up) == 0 ? open_spool(rc) : ERR_NOMEM;
    let_go(&incoming->parts);
    if (ret == 0) {
        receiver_receive(rc, body);
        return;
    }
    (void)receiver_reject_spool(rc, ret);
    receiver_end(rc);
}
