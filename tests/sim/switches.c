/* See switches.h. */
#include "switches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum type { TYPE_BOOL, TYPE_INT, TYPE_STR, TYPE_LIST };

struct row {
    const char *name;
    enum type type;
    size_t offset;
    const char *ref;
    const char *openai;
    const char *azure;
    const char *help;
};

static const struct row rows[] = {
#define X(kind, name, ref, openai, azure, help)                                                    \
    {#name, TYPE_##kind, offsetof(struct switches, name), ref, openai, azure, help},
#include "switches.def"
#undef X
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static void *field(struct switches *sw, const struct row *r)
{
    return (char *)sw + r->offset;
}

static void set_text(struct switches *sw, const struct row *r, const char *text)
{
    if (r->type == TYPE_BOOL) {
        *(bool *)field(sw, r) = strcmp(text, "true") == 0;
    } else if (r->type == TYPE_INT) {
        *(int64_t *)field(sw, r) = strtoll(text, NULL, 10);
    } else {
        char **slot = field(sw, r);
        free(*slot);
        *slot = sim_strdup(text);
    }
}

void switches_init(struct switches *sw, bool azure)
{
    memset(sw, 0, sizeof(*sw));
    for (size_t i = 0; i < N_ROWS; i++)
        set_text(sw, &rows[i], azure ? rows[i].azure : rows[i].openai);
}

void switches_deinit(struct switches *sw)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].type == TYPE_STR || rows[i].type == TYPE_LIST)
            free(*(char **)field(sw, &rows[i]));
    }
    memset(sw, 0, sizeof(*sw));
}

void switches_copy(struct switches *to, const struct switches *from)
{
    struct switches tmp = *from;

    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].type == TYPE_STR || rows[i].type == TYPE_LIST) {
            char **slot = field(&tmp, &rows[i]);
            *slot = sim_strdup(*slot);
        }
    }
    switches_deinit(to);
    *to = tmp;
}

static const struct row *row_named(const char *name)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    }
    return NULL;
}

/* Enumerations carry their values at the front of the help text: "a|b: what for". */
static bool value_allowed(const struct row *r, const char *text)
{
    size_t len = strcspn(r->help, ": ");
    const char *bar = memchr(r->help, '|', len);

    if (bar == NULL)
        return true;
    const char *p = r->help;
    const char *end = r->help + len;
    while (p < end) {
        size_t n = strcspn(p, "|: ");
        if (strlen(text) == n && memcmp(p, text, n) == 0)
            return true;
        p += n + 1;
    }
    return false;
}

static int set_list(struct switches *sw, const struct row *r, const struct json *v)
{
    struct strbuf text = STRBUF_INIT;

    for (size_t i = 0; i < json_size(v); i++) {
        const char *item = json_str(json_at(v, i), NULL);
        if (item == NULL) {
            strbuf_deinit(&text);
            return -1;
        }
        strbuf_addf(&text, "%s%s", i > 0 ? "," : "", item);
    }
    set_text(sw, r, strbuf_str(&text));
    strbuf_deinit(&text);
    return 0;
}

static int set_value(struct switches *sw, const struct row *r, const struct json *v)
{
    int64_t n = 0;
    bool b = false;
    const char *text = json_str(v, NULL);

    if (r->type == TYPE_BOOL && json_bool(v, &b)) {
        set_text(sw, r, b ? "true" : "false");
        return 0;
    }
    if ((r->type == TYPE_INT || r->type == TYPE_STR) && json_int64(v, &n)) {
        char digits[32];
        snprintf(digits, sizeof(digits), "%lld", (long long)n);
        if (!value_allowed(r, digits))
            return -1;
        set_text(sw, r, digits);
        return 0;
    }
    if ((r->type == TYPE_STR || r->type == TYPE_LIST) && text != NULL) {
        if (!value_allowed(r, text))
            return -1;
        set_text(sw, r, text);
        return 0;
    }
    if (r->type == TYPE_LIST && json_is(v, JSON_ARRAY))
        return set_list(sw, r, v);
    return -1;
}

int switches_apply(struct switches *sw, const struct json *obj, struct strbuf *why)
{
    for (size_t i = 0; i < json_size(obj); i++) {
        const char *name = json_key_at(obj, i, NULL);
        const struct row *r = row_named(name);
        if (r == NULL) {
            strbuf_addf(why, "unknown switch '%s'", name);
            return -1;
        }
        if (set_value(sw, r, json_at(obj, i)) != 0) {
            strbuf_addf(why, "switch '%s': wrong value (%s)", name, r->help);
            return -1;
        }
    }
    return 0;
}

bool switches_has(const char *list, const char *item, size_t len)
{
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        if (n == len && memcmp(list, item, n) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

static void print_default(const struct row *r, const char *value)
{
    if (r->type == TYPE_LIST && strlen(value) > 40)
        printf(" | see switches.def");
    else
        printf(" | %s", value[0] == '\0' ? "\"\"" : value);
}

void switches_print(void)
{
    printf("| switch | OpenAI | Azure | reference | meaning |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < N_ROWS; i++) {
        const struct row *r = &rows[i];
        printf("| `%s`", r->name);
        print_default(r, r->openai);
        print_default(r, r->azure);
        printf(" | %s | ", r->ref);
        for (const char *p = r->help; *p != '\0'; p++)
            printf("%s%c", *p == '|' ? "\\" : "", *p);
        printf(" |\n");
    }
}
