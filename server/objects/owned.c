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

/* A file that a batch names. @param at  one of its account */
static void see_file(struct runtime *rt, uint32_t at, uint64_t owner, const char *native,
                     int64_t created_s)
{
    const struct inherited *inherited = rt->inherited;
    struct registry_row row = {.kind = ID_FILE,
                               .account = runtime_fingerprint(rt, at),
                               .owner = owner,
                               .created_s = created_s};
    struct registry_row known;

    if (native == NULL || native[0] == '\0' || inherited->registry == NULL)
        return;
    if (!registry_find(inherited->registry, ID_FILE, row.account, native, &known)) {
        set_native(&row, native);
        keep(inherited, &row);
    } else if (known.described || known.owner != owner) {
        return;
    }
    owned_look(rt, at, owner, native);
}

/* The client's own file: of a batch that was moved it is at another account, and the copy that the
 * batch ran on is nobody's. */
static void see_input(struct runtime *rt, uint32_t deployment, uint64_t owner,
                      const struct marker *marker, const struct json *batch)
{
    int64_t created_s = number_of(batch, "created_at");
    uint32_t account;

    if (marker == NULL || marker->origin == 0 || marker->file[0] == '\0') {
        see_file(rt, deployment, owner, json_get_str(batch, "input_file_id"), created_s);
        return;
    }
    account = runtime_find_account(rt, marker->origin);
    if (account != MODEL_NO_INDEX && rt->account_first[account] != MODEL_NO_INDEX)
        see_file(rt, rt->account_first[account], owner, marker->file, created_s);
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

void owned_see_batch(struct runtime *rt, uint32_t deployment, uint64_t owner,
                     const struct marker *marker, const struct json *batch)
{
    static const char *const fields[] = {"output_file_id", "error_file_id"};
    int64_t ended_s = number_of(batch, "completed_at");

    if (owner == 0)
        return;
    if (marker == NULL)
        keep_batch(rt->inherited, runtime_fingerprint(rt, deployment), owner, batch);
    see_input(rt, deployment, owner, marker, batch);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        see_file(rt, deployment, owner, json_get_str(batch, fields[i]), ended_s);
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
