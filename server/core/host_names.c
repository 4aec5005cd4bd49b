/* See host_names.h. */
#include "core/host_names.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MIN_ACCOUNT 8 /* letters and digits behind "org-" */

/* --- the names --- */

struct names {
    const char **texts;
    size_t num;
    char *hosts; /* owned; the hosts and their labels, one after the other */
    size_t used;
};

static void add(struct names *n, const char *text)
{
    if (text != NULL && *text != '\0')
        n->texts[n->num++] = text;
}

static const char *keep(struct names *n, const char *text, size_t len)
{
    char *out = n->hosts + n->used;

    memcpy(out, text, len);
    out[len] = '\0';
    n->used += len + 1;
    return out;
}

/* The host of an account, and what stands in front of a provider's domain: the resource. Everybody
 * knows OpenAI's own. */
static void add_host(struct names *n, const char *base)
{
    static const char own[] = "api.openai.com";
    const char *host = strstr(base, "://");
    size_t len, label;

    host = host == NULL ? base : host + 3;
    len = strcspn(host, ":/");
    label = strcspn(host, ".");
    if (len >= strlen(own) && strncasecmp(host + len - strlen(own), own, strlen(own)) == 0)
        return;
    add(n, keep(n, host, len));
    if (label < len && memmem(host, len, ".azure.", 7) != NULL)
        add(n, keep(n, host, label));
}

/* "batch" is a word of every other sentence; "gpt-4o" and "eu_batch" are names. */
static bool is_name(const char *text)
{
    return strpbrk(text, "0123456789-_.") != NULL;
}

static void add_all(struct names *n, const struct config *config, const struct table *table)
{
    const struct model_list *models = &config->models;
    struct table_name found;

    for (size_t i = 0; i < models->num_accounts; i++) {
        add_host(n, models->accounts[i].base);
        add(n, models->accounts[i].organization);
        add(n, models->accounts[i].project);
    }
    for (size_t i = 0; i < models->num_deployments; i++) {
        const char *name = models->deployments[i].upstream_model;

        if (is_name(name) && !table_find_name(table, name, strlen(name), &found))
            add(n, name);
    }
}

struct mask *host_names_new(const struct config *config, const struct table *table)
{
    const struct model_list *models = &config->models;
    struct mask *mask = NULL;
    struct names n = {0};
    size_t bytes = 1;

    for (size_t i = 0; i < models->num_accounts; i++)
        bytes += 2 * (strlen(models->accounts[i].base) + 1);
    n.texts = calloc(4 * models->num_accounts + models->num_deployments + 1, sizeof(char *));
    n.hosts = malloc(bytes);
    if (n.texts != NULL && n.hosts != NULL) {
        add_all(&n, config, table);
        mask = mask_new_words(n.texts, n.num);
    }
    free(n.texts);
    free(n.hosts);
    return mask;
}

/* --- hiding --- */

static bool is_base62(char c)
{
    unsigned digit = (unsigned)(unsigned char)c - '0';
    unsigned letter = ((unsigned)(unsigned char)c | 0x20u) - 'a';

    return digit < 10 || letter < 26;
}

/* How many bytes are an account; 0: none begins here. */
static size_t account_at(const char *text, size_t len)
{
    static const char *const begins[] = {"org-", "org_", "proj_", "proj-"};

    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        size_t n = strlen(begins[i]), from = n;

        if (len < n || memcmp(text, begins[i], n) != 0)
            continue;
        while (n < len && is_base62(text[n]))
            n++;
        return n - from >= MIN_ACCOUNT ? n : 0;
    }
    return 0;
}

/* A mask is shorter than what it hides: what is behind moves to the front only. */
static size_t hide_accounts(char *text, size_t len)
{
    size_t used = 0;
    char before = ' ';

    for (size_t at = 0; at < len;) {
        bool joined = is_base62(before) || before == '-' || before == '_';
        size_t n = joined ? 0 : account_at(text + at, len - at);

        before = text[at + (n > 0 ? n - 1 : 0)];
        if (n == 0) {
            text[used++] = text[at++];
            continue;
        }
        memcpy(text + used, SECRET_MASK, strlen(SECRET_MASK));
        used += strlen(SECRET_MASK);
        at += n;
    }
    return used;
}

size_t host_names_hide(const struct mask *names, char *text, size_t len, size_t size)
{
    len = hide_accounts(text, mask_hide(names, text, len, size));
    if (len < size)
        text[len] = '\0';
    return len;
}

static void hide_string(const struct mask *names, struct json_doc *doc, struct json *v)
{
    size_t len = 0, shown;
    const char *text = json_str(v, &len);
    char *copy = malloc(len + 1);

    if (copy == NULL) {
        json_assign(v, json_new_cstring(doc, SECRET_MASK));
        return;
    }
    memcpy(copy, text, len);
    shown = host_names_hide(names, copy, len, len + 1);
    if (shown != len)
        json_assign(v, json_new_string(doc, copy, shown));
    free(copy);
}

/* Depth is bounded by the parser. */
void host_names_hide_json(const struct mask *names, struct json_doc *doc, struct json *v)
{
    if (json_is(v, JSON_STRING))
        hide_string(names, doc, v);
    for (size_t i = 0; (json_is(v, JSON_OBJECT) || json_is(v, JSON_ARRAY)) && i < json_size(v); i++)
        host_names_hide_json(names, doc, json_at(v, i));
}
