/* See report.h. */
#include "config/report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct report_entry {
    struct config_note note;
    size_t rank; /* of the file */
    size_t seq;  /* keeps the order of what stands on one line */
};

static void note_free(struct config_note *note)
{
    free(note->file);
    free(note->field);
    free(note->text);
}

static bool grow(struct reporter *reporter)
{
    size_t cap = reporter->cap == 0 ? 16 : reporter->cap * 2;
    struct report_entry *entries;

    if (reporter->num < reporter->cap)
        return true;
    entries = realloc(reporter->entries, cap * sizeof(*entries));
    if (entries == NULL)
        return false;
    reporter->entries = entries;
    reporter->cap = cap;
    return true;
}

/* A default from the environment may be wrong for a hundred rows; it is told once. */
static bool was_told(const struct reporter *reporter, const struct config_note *note)
{
    if (note->file != NULL || note->field == NULL)
        return false;
    for (size_t i = 0; i < reporter->num; i++) {
        const struct config_note *old = &reporter->entries[i].note;

        if (old->file == NULL && old->field != NULL && strcmp(old->field, note->field) == 0 &&
            strcmp(old->text, note->text) == 0)
            return true;
    }
    return false;
}

static void __attribute__((format(printf, 6, 0)))
add(struct reporter *reporter, enum config_severity severity, const char *file, unsigned line,
    const char *field, const char *fmt, va_list args)
{
    struct config_note note = {.severity = severity, .line = line};
    struct strbuf text = STRBUF_INIT;

    reporter->num_warnings += severity == CONFIG_WARNING;
    if (severity == CONFIG_WARNING && reporter->max_warnings > 0 &&
        reporter->num_warnings > reporter->max_warnings)
        return;
    strbuf_addv(&text, fmt, args);
    note.text = strbuf_take(&text);
    note.file = file == NULL ? NULL : strdup(file);
    note.field = field == NULL || *field == '\0' ? NULL : strdup(field);
    if (note.text == NULL || (file != NULL && note.file == NULL) ||
        (field != NULL && *field != '\0' && note.field == NULL) || !grow(reporter)) {
        strbuf_deinit(&text);
        note_free(&note);
        reporter->failed = true;
        return;
    }
    if (was_told(reporter, &note)) {
        note_free(&note);
        return;
    }
    reporter->num_errors += severity == CONFIG_ERROR;
    reporter->num_skipped += severity == CONFIG_SKIPPED;
    reporter->entries[reporter->num] = (struct report_entry){.note = note, .seq = reporter->num};
    reporter->num++;
}

/* The row of model_list or files_settings that a node belongs to; NULL: none. */
static struct node *row_of(const struct node *node)
{
    for (; node != NULL && node->parent != NULL; node = node->parent) {
        const struct node *list = node->parent;

        if (list->kind != NODE_LIST || list->key == NULL || list->parent == NULL ||
            list->parent->parent != NULL ||
            (strcmp(list->key, "model_list") != 0 && strcmp(list->key, "files_settings") != 0))
            continue;
        for (size_t i = 0; i < list->num_items; i++)
            if (list->items[i] == node)
                return list->items[i];
    }
    return NULL;
}

/* A row that cannot be used is no reason to serve none. What stands outside of any row concerns all
 * of them. */
static enum config_severity severity_at(const struct node *node, enum config_severity severity)
{
    struct node *row = severity == CONFIG_SKIPPED ? row_of(node) : NULL;

    if (severity != CONFIG_SKIPPED)
        return severity;
    if (row != NULL)
        row->skipped = true;
    return row != NULL ? CONFIG_SKIPPED : CONFIG_ERROR;
}

bool report_was_unset(const struct node *node)
{
    return node != NULL && node->kind == NODE_NULL && node->variable != NULL && node->skipped;
}

void report_add(struct reporter *reporter, enum config_severity severity, const char *file,
                unsigned line, const char *field, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(reporter, severity, file, line, field, fmt, args);
    va_end(args);
}

void report_at(struct reporter *reporter, enum config_severity severity, const struct node *node,
               const char *fmt, ...)
{
    struct strbuf path = STRBUF_INIT;
    va_list args;

    severity = severity_at(node, severity);
    if (report_was_unset(node))
        return;
    node_path(node, &path);
    va_start(args, fmt);
    add(reporter, severity, node->file, node->line, strbuf_str(&path), fmt, args);
    va_end(args);
    reporter->failed |= strbuf_failed(&path);
    strbuf_deinit(&path);
}

void report_under(struct reporter *reporter, enum config_severity severity, const struct node *map,
                  const char *key, const char *fmt, ...)
{
    const struct node *child = node_get(map, key);
    struct strbuf path = STRBUF_INIT;
    va_list args;

    if (child == NULL)
        child = map;
    severity = severity_at(child, severity);
    if (report_was_unset(child))
        return;
    if (map != NULL)
        node_path(map, &path);
    if (path.len > 0)
        strbuf_addc(&path, '.');
    strbuf_adds(&path, key);
    va_start(args, fmt);
    add(reporter, severity, child == NULL ? NULL : child->file, child == NULL ? 0 : child->line,
        strbuf_str(&path), fmt, args);
    va_end(args);
    reporter->failed |= strbuf_failed(&path);
    strbuf_deinit(&path);
}

bool report_unset(struct reporter *reporter, enum config_severity severity, const struct node *node)
{
    if (node == NULL || node->kind != NODE_NULL || node->variable == NULL)
        return false;
    report_at(reporter, severity, node, "the environment variable %s is not set or empty",
              node_variable_name(node));
    return true;
}

void report_wanted(struct reporter *reporter, const struct node *node, const char *wanted)
{
    struct strbuf got = STRBUF_INIT;

    if (report_unset(reporter, CONFIG_ERROR, node))
        return;
    node_show(node, &got);
    report_at(reporter, CONFIG_ERROR, node, "got %s, wanted %s", strbuf_str(&got), wanted);
    reporter->failed |= strbuf_failed(&got);
    strbuf_deinit(&got);
}

static int compare(const void *left, const void *right)
{
    const struct report_entry *a = left, *b = right;

    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    if (a->note.line != b->note.line)
        return a->note.line < b->note.line ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

static size_t rank_of(const struct tree *tree, const char *file)
{
    size_t i;

    if (file == NULL)
        return SIZE_MAX;
    for (i = 0; i < tree->num_files; i++) {
        if (strcmp(tree->files[i], file) == 0)
            break;
    }
    return i;
}

int report_finish(struct reporter *reporter, const struct tree *tree, struct config_report *out)
{
    int rc = reporter->failed ? ERR_NOMEM : 0;

    *out = (struct config_report){.num_errors = reporter->num_errors,
                                  .num_skipped = reporter->num_skipped};
    if (reporter->num > 0) {
        out->notes = calloc(reporter->num, sizeof(*out->notes));
        for (size_t i = 0; i < reporter->num; i++)
            reporter->entries[i].rank = rank_of(tree, reporter->entries[i].note.file);
        qsort(reporter->entries, reporter->num, sizeof(*reporter->entries), compare);
    }
    for (size_t i = 0; i < reporter->num; i++) {
        if (out->notes == NULL)
            note_free(&reporter->entries[i].note);
        else
            out->notes[out->num_notes++] = reporter->entries[i].note;
    }
    if (out->notes == NULL && reporter->num > 0)
        rc = ERR_NOMEM;
    free(reporter->entries);
    *reporter = (struct reporter){0};
    return rc;
}

void config_report_free(struct config_report *report)
{
    for (size_t i = 0; i < report->num_notes; i++)
        note_free(&report->notes[i]);
    free(report->notes);
    *report = (struct config_report){0};
}

static void print_place(const struct config_note *note, struct strbuf *out)
{
    if (note->file == NULL && note->field != NULL && note->field[0] == '-')
        strbuf_adds(out, "command line: ");
    else if (note->file == NULL)
        strbuf_adds(out, "environment: ");
    else if (note->line == 0)
        strbuf_addf(out, "%s: ", note->file);
    else
        strbuf_addf(out, "%s:%u: ", note->file, note->line);
}

static void print_what(const struct config_note *note, struct strbuf *out)
{
    if (note->field != NULL)
        strbuf_addf(out, "%s: ", note->field);
    strbuf_adds(out, note->text);
}

void config_note_print(const struct config_note *note, struct strbuf *out)
{
    print_place(note, out);
    print_what(note, out);
}

void config_report_print(const struct config_report *report, struct strbuf *out)
{
    static const char *const names[] = {[CONFIG_ERROR] = "error",
                                        [CONFIG_SKIPPED] = "skipped",
                                        [CONFIG_WARNING] = "warning",
                                        [CONFIG_HONOURED] = "honoured"};

    for (size_t i = 0; i < report->num_notes; i++) {
        print_place(&report->notes[i], out);
        strbuf_addf(out, "%s: ", names[report->notes[i].severity]);
        print_what(&report->notes[i], out);
        strbuf_addc(out, '\n');
    }
}
