/* See client_ids.h. */
#include "objects/client_ids.h"

#include <assert.h>
#include <string.h>

bool client_ids_are_tagged(const struct viewer *viewer, uint32_t deployment)
{
    return viewer->owner != 0 ||
           viewer->rt->account_balanced[table_deployment(viewer->rt->table, deployment)->account];
}

static struct id_tag tag_at(const struct viewer *viewer, uint32_t deployment)
{
    return (struct id_tag){.deployment = runtime_fingerprint(viewer->rt, deployment),
                           .owner = viewer->owner};
}

/* Whether the request named this object. */
static bool is_named(const struct viewer *viewer, uint32_t deployment, enum id_kind kind,
                     const char *native, size_t len)
{
    const struct named *n = viewer->named;
    const struct runtime *rt = viewer->rt;

    return n != NULL && n->len > 0 && n->kind == kind && n->native_len == len &&
           memcmp(n->id, native, len) == 0 &&
           account_map_may_mean(&rt->account_map, n->deployment,
                                table_deployment(rt->table, deployment)->account);
}

/* Write the client's form of a native id: as the client wrote it where the request names it, so
 * that it knows the object again also when its account has another name by now.
 * @return characters, and a NUL behind them; 0: the id cannot carry a tag */
static size_t write_id(const struct viewer *viewer, uint32_t deployment, enum id_kind kind,
                       const char *native, size_t len, char out[IDS_MAX + 1])
{
    struct id_tag tag = tag_at(viewer, deployment);

    if (!is_named(viewer, deployment, kind, native, len))
        return ids_mint_text(viewer->rt->inherited->seals, kind, native, len, &tag, out);
    assert(viewer->named->len <= IDS_MAX);
    memcpy(out, viewer->named->id, viewer->named->len);
    out[viewer->named->len] = '\0';
    return viewer->named->len;
}

void client_ids_text(const struct viewer *viewer, uint32_t deployment, enum id_kind kind,
                     bool tagged, const char *native, struct strbuf *out)
{
    char text[IDS_MAX + 1];
    size_t len = tagged ? write_id(viewer, deployment, kind, native, strlen(native), text) : 0;

    /* A native id outside the charset of ids cannot carry a tag; to the master it is shown as it is
     * rather than lost. */
    if (len > 0)
        strbuf_add(out, text, len);
    else if (viewer->owner == 0)
        strbuf_adds(out, native);
}

void client_ids_text_of_lost(const struct viewer *viewer, uint32_t fingerprint, enum id_kind kind,
                             const char *native, struct strbuf *out)
{
    struct id_tag tag = {.deployment = fingerprint, .owner = viewer->owner};
    char text[IDS_MAX + 1];

    if (viewer->owner == 0)
        strbuf_adds(out, native);
    else
        strbuf_add(
            out, text,
            ids_mint_text(viewer->rt->inherited->seals, kind, native, strlen(native), &tag, text));
}

/* As client_ids_text(), of a field, where it is. */
static void show(const struct viewer *viewer, uint32_t deployment, enum id_kind kind, bool tagged,
                 struct json_doc *doc, struct json *object, const char *field)
{
    char text[IDS_MAX + 1];
    size_t len;
    const char *native = json_str(json_get(object, field), &len);

    if (!tagged || native == NULL || len == 0)
        return;
    len = write_id(viewer, deployment, kind, native, len, text);
    if (len > 0)
        json_set(doc, object, field, json_new_string(doc, text, len));
    else if (viewer->owner != 0)
        json_set(doc, object, field, json_new_null(doc));
}

void client_ids_show_file(const struct viewer *viewer, uint32_t deployment, bool tagged,
                          struct json_doc *doc, struct json *file)
{
    show(viewer, deployment, ID_FILE, tagged, doc, file, "id");
}

void client_ids_show_batch(const struct viewer *viewer, uint32_t deployment, bool tagged,
                           struct json_doc *doc, struct json *batch)
{
    show(viewer, deployment, ID_BATCH, tagged, doc, batch, "id");
    show(viewer, deployment, ID_FILE, tagged, doc, batch, "input_file_id");
    show(viewer, deployment, ID_FILE, tagged, doc, batch, "output_file_id");
    show(viewer, deployment, ID_FILE, tagged, doc, batch, "error_file_id");
}
