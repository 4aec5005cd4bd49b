/* The ids that a client sees: a native id as its provider wrote it, or with a tag that pins its
 * account and its owner. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/ids.h"
#include "json/json.h"
#include "common/strbuf.h"
#include "core/named.h"
#include "core/runtime.h"

/* Who sees an object. All borrowed. */
struct viewer {
    struct runtime *rt;
    uint64_t owner;            /* whose ids it sees: of the tenant that asks; 0: the master's */
    const struct named *named; /* the id that its request names; NULL: none */
    /* The master, by an id of some form: what the answer names has that form, too */
    bool echoes;
    uint64_t moment; /* polls_moment() from before it was asked for; 0: not known */
    bool is_tenant;  /* who looks hears no names of the host */
};

/** Whether new objects on this deployment's account get tagged ids. */
bool client_ids_are_tagged(const struct viewer *viewer, uint32_t deployment);

/** Append the client's form of a native id. Nothing where it cannot carry the tag without which a
 * tenant sees no id. */
void client_ids_text(const struct viewer *viewer, uint32_t deployment, enum id_kind kind,
                     bool tagged, const char *native, struct strbuf *out);

/** The same of an account that is not configured any more, by its fingerprint. */
void client_ids_text_of_lost(const struct viewer *viewer, uint32_t fingerprint, enum id_kind kind,
                             const char *native, struct strbuf *out);

/** Rewrite the ids of a normalised File or Batch to the client's form. */
void client_ids_show_file(const struct viewer *viewer, uint32_t deployment, bool tagged,
                          struct json_doc *doc, struct json *file);
void client_ids_show_batch(const struct viewer *viewer, uint32_t deployment, bool tagged,
                           struct json_doc *doc, struct json *batch);
