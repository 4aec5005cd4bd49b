/* See flags.h. */
#include "flags.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/secret.h"
#include "config/guess.h"

#define VAL_IGNORED (FLAGS_LONG - 1) /* LiteLLM's; those with a letter have that */

static void add(struct flags *flags, const char *name, bool value, int val)
{
    char *letters = flags->letters + strlen(flags->letters);

    assert(flags->num + 1 < FLAGS_MAX);
    flags->all[flags->num++] =
        (struct option){name, value ? required_argument : no_argument, NULL, val};
    if (val < VAL_IGNORED) {
        *letters++ = (char)val;
        if (value)
            *letters++ = ':';
        *letters = '\0';
    }
}

void flags_init(struct flags *flags, int argc, char **argv, const struct option *own, bool litellm)
{
    *flags = (struct flags){.argc = argc, .argv = argv, .letters = "-:"}; /* in order; we tell */
    for (; own->name != NULL; own++)
        add(flags, own->name, own->has_arg != no_argument, own->val);
    flags->num_own = flags->num;
    for (const struct known_flag *f = known_flags; litellm && f->name != NULL; f++)
        add(flags, f->name, f->value, f->letter != 0 ? f->letter : VAL_IGNORED);
    optind = 1;
    opterr = 0;
}

static bool is_long(const char *arg)
{
    return arg[0] == '-' && arg[1] == '-' && arg[2] != '\0';
}

/* Whether `text` of `len` bytes names the flag, dash or underscore. */
static bool names(const struct option *f, const char *text, size_t len)
{
    if (strlen(f->name) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((text[i] == '-' ? '_' : text[i]) != f->name[i])
            return false;
    return true;
}

/* What a long or short one on the command line, or a val, stands for. NULL: nothing. */
static const struct option *find(const struct flags *flags, const char *arg, int val)
{
    const char *name = arg + 2;

    for (size_t i = 0; i < flags->num; i++)
        if (is_long(arg) ? names(&flags->all[i], name, strcspn(name, "="))
                         : flags->all[i].val == val)
            return &flags->all[i];
    return NULL;
}

const char *flags_shown(const char *word)
{
    return secret_looks_like_one(word) ? SECRET_MASK : word;
}

int flags_fail_value(const char *name, const char *value, const char *wanted)
{
    fprintf(stderr, "tranche: --%s: got \"%s\", wanted %s\n", name, flags_shown(value), wanted);
    return FLAGS_WRONG;
}

/* One of ours with a mistake or two in its name, or one of which this is the beginning. */
static const char *find_similar(const struct flags *flags, const char *name, size_t len)
{
    char key[64];
    struct guess guess;

    snprintf(key, sizeof(key), "%.*s", (int)len, name);
    for (char *c = key; *c != '\0'; c++)
        *c = *c == '-' ? '_' : *c;
    guess_init(&guess, key);
    for (size_t i = 0; i < flags->num_own; i++)
        guess_offer(&guess, flags->all[i].name);
    for (size_t i = 0; guess.best == NULL && len > 2 && i < flags->num_own; i++)
        if (strncmp(flags->all[i].name, key, strlen(key)) == 0)
            return flags->all[i].name;
    return guess.best;
}

/* Without its value, and not when it looks like a key itself: somebody may have meant one. */
static int fail_unknown(const struct flags *flags, const char *arg)
{
    const char *name = arg + strspn(arg, "-");
    size_t len = strcspn(name, "=");
    const char *similar = find_similar(flags, name, len);

    if (secret_looks_like_one(name))
        fputs("tranche: unknown flag \"" SECRET_MASK "\"", stderr);
    else
        fprintf(stderr, "tranche: unknown flag \"%.*s\"", (int)(name + len - arg), arg);
    if (similar != NULL)
        fprintf(stderr, ", did you mean \"--%s\"?", similar);
    fputs("\nTry \"tranche --help\".\n", stderr);
    return FLAGS_WRONG;
}

/* Some take keys (--add_key, --headers), and everybody reads a command line: what has no meaning
 * here is wiped where it stands, for this program and the next one. */
static void ignore(const char *name)
{
    log_warn("--%s has no meaning here and is ignored", name);
    if (optarg != NULL)
        secret_wipe(optarg, strlen(optarg));
}

/* getopt_long() takes the beginning of a name for the name: "--mod" is nobody's model. And it knows
 * one spelling: that goes where the other one stood. @return false: there is no such flag */
static bool spell(const struct flags *flags, char *arg)
{
    const struct option *f = find(flags, arg, 0);

    if (f != NULL)
        memcpy(arg + 2, f->name, strlen(f->name));
    return f != NULL;
}

/* What getopt_long() returned for `arg`, of which `f` is the flag. */
static int fail(const struct flags *flags, const struct option *f, const char *arg, int val)
{
    if (f == NULL)
        return fail_unknown(flags, arg);
    if (val == '?')
        return flags_fail_value(f->name, strchr(arg, '=') + 1, "no value");
    fprintf(stderr, "tranche: --%s wants a value\n", f->name);
    return FLAGS_WRONG;
}

/* The next word behind "--", where nothing is a flag. */
static int next_of_rest(struct flags *flags)
{
    flags->rest = true;
    if (optind >= flags->argc)
        return FLAGS_END;
    optarg = flags->argv[optind++];
    return FLAGS_OPERAND;
}

int flags_next(struct flags *flags)
{
    while (!flags->rest && optind < flags->argc) {
        char *arg = flags->argv[optind];
        const struct option *f;
        int val, at = -1;

        if (is_long(arg) && !spell(flags, arg))
            return fail_unknown(flags, arg);
        val = getopt_long(flags->argc, flags->argv, flags->letters, flags->all, &at);
        if (val == FLAGS_OPERAND)
            return val;
        if (val == -1)
            break;
        f = at != -1 ? &flags->all[at] : find(flags, arg, val == ':' || val == '?' ? optopt : val);
        if (f == NULL || val == ':' || val == '?')
            return fail(flags, f, arg, val);
        if (f < flags->all + flags->num_own)
            return val;
        ignore(f->name);
    }
    return next_of_rest(flags);
}
