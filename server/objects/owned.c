/* See owned.h. */
#include "objects/owned.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

uint64_t owned_by(const struct inherited *inherited, uint32_t account, enum id_kind kind,
                  const char *native)
{
    struct registry_row row;

    return inherited->registry != NULL && native != NULL &&
                   registry_find(inherited->registry, kind, account, native, &row)
               ? row.owner
               : 0;
}

static int64_t number_of(const struct json *object, const char *field)
{
    int64_t n;

    return json_int64(json_get(object, field), &n) && n > 0 ? n : 0;
}

/* One that is too long for a row stays too long: the owner's lists then say that they are cut. */
static void set_native(struct registry_row *row, const char *native)
{
    size_t len = strnlen(native, sizeof(row->native));

    memcpy(row->native, native, len);
}

static void keep(const struct inherited *inherited, const struct registry_row *row)
{
    if (inherited->registry != NULL)
        (void)registry_put(inherited->registry, row, clock_unix_s());
}

/* Texts that are too long are cut by the registry, which looks at whole characters. */
static void set_text(char *out, size_t size, const char *text)
{
    if (text != NULL)
        memcpy(out, text, strnlen(text, size));
}

void owned_keep_file(const struct inherited *inherited, uint32_t account, uint64_t owner,
                     const struct json *file)
{
    const char *native = json_get_str(file, "id");
    struct registry_row row = {.kind = ID_FILE,
                               .described = true,
                               .account = account,
                               .owner = owner,
                               .created_s = number_of(file, "created_at"),
                               .expires_s = number_of(file, "expires_at"),
                               .bytes = number_of(file, "bytes")};

    if (owner == 0 || native == NULL)
        return;
    set_native(&row, native);
    set_text(row.purpose, sizeof(row.purpose), json_get_str(file, "purpose"));
    set_text(row.filename, sizeof(row.filename), json_get_str(file, "filename"));
    keep(inherited, &row);
}

/* A file that a batch names. @return whether it is the owner's, and no more than that is known */
static bool note_file(const struct inherited *inherited, uint32_t account, uint64_t owner,
                      const char *native, int64_t created_s)
{
    struct registry_row row = {
        .kind = ID_FILE, .account = account, .owner = owner, .created_s = created_s};
    struct registry_row known;

    if (native == NULL || native[0] == '\0' || inherited->registry == NULL)
        return false;
    if (registry_find(inherited->registry, ID_FILE, account, native, &known))
        return !known.described && known.owner == owner;
    set_native(&row, native);
    keep(inherited, &row);
    return true;
}

/* The files of a batch. The client's own input file: of a batch that was moved it is at another
 * account, and the copy that the batch ran on is nobody's. */
struct named_file {
    uint32_t account;
    const char *native; /* NULL: none */
    int64_t created_s;
};

#define NUM_FILES 3

static void find_files(uint32_t account, const struct marker *marker, const struct json *batch,
                       struct named_file files[NUM_FILES])
{
    bool moved = marker != NULL && marker->origin != 0 && marker->file[0] != '\0';
    int64_t ended_s = number_of(batch, "completed_at");

    files[0] = (struct named_file){moved ? marker->origin : account,
                                   moved ? marker->file : json_get_str(batch, "input_file_id"),
                                   number_of(batch, "created_at")};
    files[1] = (struct named_file){account, json_get_str(batch, "output_file_id"), ended_s};
    files[2] = (struct named_file){account, json_get_str(batch, "error_file_id"), ended_s};
}

static void keep_batch(const struct inherited *inherited, uint32_t account, uint64_t owner,
                       const struct json *batch)
{
    const char *native = json_get_str(batch, "id");
    struct registry_row row = {.kind = ID_BATCH,
                               .described = true,
                               .account = account,
                               .owner = owner,
                               .created_s = number_of(batch, "created_at")};

    if (native == NULL)
        return;
    set_native(&row, native);
    keep(inherited, &row);
}

void owned_note_batch(const struct inherited *inherited, uint32_t account, uint64_t owner,
                      const struct marker *marker, const struct json *batch)
{
    struct named_file files[NUM_FILES];

    if (owner == 0)
        return;
    if (marker == NULL)
        keep_batch(inherited, account, owner, batch);
    find_files(account, marker, batch, files);
    for (int i = 0; i < NUM_FILES; i++)
        (void)note_file(inherited, files[i].account, owner, files[i].native, files[i].created_s);
}

void owned_see_batch(struct runtime *rt, uint32_t deployment, uint64_t owner,
                     const struct marker *marker, const struct json *batch)
{
    uint32_t account = runtime_fingerprint(rt, deployment);
    struct named_file files[NUM_FILES];

    if (owner == 0)
        return;
    if (marker == NULL)
        keep_batch(rt->inherited, account, owner, batch);
    find_files(account, marker, batch, files);
    for (int i = 0; i < NUM_FILES; i++)
        if (note_file(rt->inherited, files[i].account, owner, files[i].native, files[i].created_s))
            owned_look(rt, files[i].account, owner, files[i].native);
}

#define YOUNG_S 300

void owned_missing(const struct inherited *inherited, uint32_t account, enum id_kind kind,
                   const char *native)
{
    struct registry_row row;

    if (inherited->registry != NULL &&
        registry_find(inherited->registry, kind, account, native, &row) &&
        row.created_s + YOUNG_S < clock_unix_s())
        registry_remove(inherited->registry, kind, account, native);
}

void owned_forget(const struct inherited *inherited, uint32_t account, enum id_kind kind,
                  const char *native)
{
    if (inherited->registry != NULL)
        registry_remove(inherited->registry, kind, account, native);
}
