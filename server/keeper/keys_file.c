/* See keys_file.h. The directory is watched, not the file: an editor, `mv` and Kubernetes put
 * another file in its place (the latter turns a link named ..data beside it). Whatever happens there
 * is only a reason to look; and a look every other second is for file systems that tell nobody, and
 * for links that lead elsewhere. */
#include "keys_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/log.h"
#include "common/strbuf.h"
#include "config/keys.h"

#define LOOK_MS     2000 /* between two looks */
#define RESTLESS_MS 200  /* the same while it is changing */
#define EVENTS                                                                                     \
    (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_MODIFY |            \
     IN_ATTRIB | IN_ONLYDIR)

static const char *path_of(const struct keys_file *file)
{
    return file->inherited->config->keys_file;
}

static struct settle_look look_at(const struct keys_file *file)
{
    struct stat st;

    return settle_look_of(stat(path_of(file), &st) == 0 ? &st : NULL);
}

/* --- what is told --- */

/* `file:line: field`, which is no secret whatever stands there. */
static void show_place(const struct keys_file *file, const struct config_note *note)
{
    struct strbuf text = STRBUF_INIT;

    strbuf_adds(&text, note->file != NULL ? note->file : path_of(file));
    if (note->line > 0)
        strbuf_addf(&text, ":%u", note->line);
    if (note->field != NULL)
        strbuf_addf(&text, ": %s", note->field);
    problem_set(&file->inherited->shared->keys_problem, strbuf_str(&text));
    strbuf_deinit(&text);
}

static void print_errors(const struct config_report *report, struct strbuf *out)
{
    for (size_t i = 0; i < report->num_notes; i++) {
        if (report->notes[i].severity != CONFIG_ERROR)
            continue;
        if (out->len > 0)
            strbuf_addc(out, '\n');
        config_note_print(&report->notes[i], out);
    }
}

static void log_lines(const char *text)
{
    for (size_t len; *text != '\0'; text += len + (text[len] != '\0')) {
        len = strcspn(text, "\n");
        log_error("%.*s", (int)len, text);
    }
}

/* One fault is logged once, however often the file is read with it. */
static void tell_faults(struct keys_file *file, const struct config_report *report, int ret)
{
    const struct config_note *first = NULL;
    struct strbuf text = STRBUF_INIT;

    for (size_t i = 0; i < report->num_notes && first == NULL; i++)
        if (report->notes[i].severity == CONFIG_ERROR)
            first = &report->notes[i];
    show_place(file, first != NULL ? first : &(struct config_note){.file = NULL});
    print_errors(report, &text);
    if (text.len == 0)
        strbuf_addf(&text, "%s: %s", path_of(file), err_str(ret));
    if (file->told == NULL || strcmp(file->told, strbuf_str(&text)) != 0) {
        log_lines(strbuf_str(&text));
        log_error("the keys of %s stay as they were", path_of(file));
        free(file->told);
        file->told = strdup(strbuf_str(&text)); /* NULL: it is logged again */
    }
    strbuf_deinit(&text);
}

static void tell_read(struct keys_file *file)
{
    problem_clear(&file->inherited->shared->keys_problem);
    log_info("%s: %zu keys, %zu teams", path_of(file), file->list.num_keys, file->list.num_teams);
    free(file->told);
    file->told = NULL;
}

/* --- reading --- */

static void read_file(struct keys_file *file, const struct settle_look *look)
{
    struct config_report report;
    struct rights_list list;
    int ret = config_keys_read(file->inherited->config, &list, &report);

    settle_read(&file->settle, look);
    if (ret != 0) {
        tell_faults(file, &report, ret);
    } else {
        rights_list_deinit(&file->list);
        file->list = list;
        file->known = true;
        tell_read(file);
    }
    config_report_free(&report);
    if (ret == 0)
        file->on_read(file->arg);
}

static void look(struct keys_file *file)
{
    struct settle_look now = look_at(file);

    if (settle_is_due(&file->settle, &now, loop_now_ms(file->loop)))
        read_file(file, &now);
    (void)loop_timer_start(file->loop, &file->timer,
                           settle_is_restless(&file->settle) ? RESTLESS_MS : LOOK_MS);
}

/* --- watching --- */

/* Once more costs nothing, and finds a directory that was made anew. */
static void watch_directory(struct keys_file *file)
{
    if (file->inotify_fd != -1 &&
        inotify_add_watch(file->inotify_fd, file->directory, EVENTS) == -1)
        log_debug("cannot watch %s: %s", file->directory, strerror(errno));
}

static void on_timer(struct loop_timer *timer)
{
    struct keys_file *file = timer->arg;

    watch_directory(file);
    look(file);
}

static void on_event(void *arg)
{
    struct keys_file *file = arg;
    char events[4096];

    while (read(file->inotify_fd, events, sizeof(events)) > 0)
        ; /* what happened to what does not matter */
    look(file);
}

static void open_inotify(struct keys_file *file)
{
    file->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (file->inotify_fd == -1)
        log_warn("%s is looked at every %d s: cannot be told of changes: %s", path_of(file),
                 LOOK_MS / 1000, strerror(errno));
    else if (loop_watch(file->loop, file->inotify_fd, on_event, file) != 0) {
        close(file->inotify_fd);
        file->inotify_fd = -1;
    }
}

static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

int keys_file_start(struct keys_file *file, struct loop *loop, const struct inherited *inherited,
                    keys_file_cb on_read, void *arg)
{
    struct settle_look first;

    *file = (struct keys_file){.loop = loop,
                               .inherited = inherited,
                               .on_read = on_read,
                               .arg = arg,
                               .timer = {.cb = on_timer, .arg = file},
                               .inotify_fd = -1};
    file->directory = directory_of(path_of(file));
    if (file->directory == NULL)
        return ERR_NOMEM;
    open_inotify(file);
    watch_directory(file); /* before it is read: what changes meanwhile is seen */
    first = look_at(file);
    read_file(file, &first);
    return loop_timer_start(loop, &file->timer, LOOK_MS);
}
