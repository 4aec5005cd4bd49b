/* See keys.h. */
#include "keys.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "common/hex.h"
#include "common/secret.h"
#include "config/keys.h"
#include "crypto/sha256.h"
#include "flags.h"
#include "keys_import.h"

#define EXIT_USAGE    2
#define MAX_KEY_BYTES 4096

/* clang-format off */
static const char usage[] =
    "usage: tranche keys hash < FILE\n"
    "       tranche keys import --from FILE|URL --to keys-file|DATABASE\n"
    "\n"
    "  hash    read a key from standard input and print its entry for \"keys:\" of the keys file, which\n"
    "          has the key's hash and not the key\n"
    "  import  take over keys and teams of LiteLLM: print them as a keys file, or put them into a database;\n"
    "          what is there already stays as it is\n"
    "\n"
    "      --from FILE           CSV (with a head line of column names) or JSON; -: standard input\n"
    "      --from os.environ/NAME\n"
    "                            the variable with the URL of LiteLLM's database (PostgreSQL), which is only\n"
    "                            read; a URL itself would show its password to every user of the machine\n"
    "      --to keys-file        print the entries\n"
    "      --to sqlite:///FILE, --to os.environ/NAME\n"
    "                            put them into this database of tranche's\n";
/* clang-format on */

/* --- a terminal that does not show what is typed --- */

static const int ends[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP};
#define NUM_ENDS (sizeof(ends) / sizeof(ends[0]))

static volatile sig_atomic_t ended; /* the signal; 0: none */

static void on_end(int signo)
{
    ended = signo;
}

struct quiet {
    struct termios before;
    bool is_terminal;
    struct sigaction old[NUM_ENDS];
};

/* A signal has to find the terminal as it was, so it ends the reading and waits for that. */
static void quiet_begin(struct quiet *q)
{
    struct sigaction action = {.sa_handler = on_end}; /* without SA_RESTART: read() ends */
    struct termios silent;

    q->is_terminal = tcgetattr(STDIN_FILENO, &q->before) == 0;
    if (!q->is_terminal)
        return;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < NUM_ENDS; i++)
        sigaction(ends[i], &action, &q->old[i]);
    silent = q->before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    silent.c_lflag |= ECHONL;
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    fputs("Key: ", stderr);
}

static void quiet_end(const struct quiet *q)
{
    if (!q->is_terminal)
        return;
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &q->before);
    for (size_t i = 0; i < NUM_ENDS; i++)
        sigaction(ends[i], &q->old[i], NULL);
    if (ended != 0)
        raise(ended);
}

/* --- reading --- */

/* Up to the end, or of a terminal one line. @return bytes; -1: told */
static ssize_t read_bytes(const struct secret *room, bool one_line)
{
    size_t len = 0;
    ssize_t n = 1;

    while (n > 0 && ended == 0 && len < room->len &&
           !(one_line && len > 0 && room->data[len - 1] == '\n')) {
        n = read(STDIN_FILENO, room->data + len, room->len - len);
        if (n == -1 && errno == EINTR && ended == 0)
            n = 1;
        else if (n > 0)
            len += (size_t)n;
    }
    if (n >= 0 && len < room->len)
        return (ssize_t)len;
    if (ended == 0)
        fprintf(stderr, "tranche: cannot read the key: %s\n",
                n == -1 ? strerror(errno) : "longer than 4096 bytes");
    return -1;
}

/* Without the line's end. Another line behind it is a mistake that nobody should guess about. */
static bool cut_line(char *text, size_t *len)
{
    if (*len > 0 && text[*len - 1] == '\n')
        (*len)--;
    if (*len > 0 && text[*len - 1] == '\r')
        (*len)--;
    text[*len] = '\0';
    return strlen(text) == *len && strchr(text, '\n') == NULL;
}

/* @param key  MAX_KEY_BYTES, zeroed @return 0, exit code: told */
static int read_key(const struct secret *key, size_t *len)
{
    struct quiet quiet;
    ssize_t n;

    quiet_begin(&quiet);
    n = read_bytes(key, quiet.is_terminal);
    quiet_end(&quiet);
    if (n == -1)
        return EXIT_USAGE;
    *len = (size_t)n;
    if (cut_line(key->data, len))
        return 0;
    fputs("tranche: wanted one line with the key\n", stderr);
    return EXIT_USAGE;
}

/* --- hash --- */

/* @return NULL: nothing */
static const char *fault_of(const char *key, size_t len)
{
    struct secret copy = SECRET_NONE;
    bool weak;

    if (len == 0)
        return "nothing on standard input, wanted a key";
    if (!keys_has_form(key))
        return "wanted a key that begins with sk- and has 16 visible ASCII characters or more";
    weak = secret_set(&copy, key, len) != 0 || secret_is_weak(&copy);
    secret_clear(&copy);
    return weak
               ? "the key is weak (few different characters, or one that is well known): it can be "
                 "guessed; make one with: echo \"sk-$(openssl rand -hex 24)\""
               : NULL;
}

/* The alias is a placeholder, but each key's own: two entries with one alias do not load. */
static void print_entry(const char *key, size_t len)
{
    unsigned char hash[SHA256_BYTES];
    char digits[2 * SHA256_BYTES + 1];

    sha256_of(&(struct sha256_piece){key, len}, 1, hash);
    fputs("- hash: sha256:", stdout);
    hex_write(hash, sizeof(hash), digits);
    printf("%s\n  key_name: sk-...%s\n", digits, key + len - RIGHTS_TAIL);
    printf("  key_alias: key-%.8s  # a name for it in logs\n", digits);
    puts("  models: [\"*\"]  # all; or the names of some, as in [gpt-4o-batch]");
}

static int hash(void)
{
    struct secret key = SECRET_NONE;
    size_t len = 0;
    const char *fault;
    int ret;

    if (secret_room(&key, MAX_KEY_BYTES) != 0) {
        fputs("tranche: out of memory\n", stderr);
        return EXIT_USAGE;
    }
    ret = read_key(&key, &len);
    fault = ret == 0 ? fault_of(key.data, len) : NULL;
    if (fault != NULL)
        fprintf(stderr, "tranche: %s\n", fault);
    else if (ret == 0)
        print_entry(key.data, len);
    secret_clear(&key);
    return fault != NULL ? 1 : ret;
}

/* --- the command --- */

static int fail_word(const char *word)
{
    if (secret_looks_like_one(word))
        fputs(
            "tranche: a key on the command line is read by every user of this machine; give it on "
            "standard input, and take another one if this one is in use\n",
            stderr);
    else
        fprintf(stderr, "tranche: keys: got \"%s\", wanted hash or import\n%s", word, usage);
    return EXIT_USAGE;
}

static int fail_flags(const char *why)
{
    fprintf(stderr, "tranche: keys: %s\n%s", why, usage);
    return EXIT_USAGE;
}

/* @param command  NULL: none was given */
static int run(const char *command, const char *from, const char *to)
{
    if (command == NULL) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(command, "hash") == 0)
        return from == NULL && to == NULL ? hash() : fail_flags("--from and --to are of import");
    return from != NULL && to != NULL ? keys_import(from, to)
                                      : fail_flags("import needs --from and --to");
}

int keys_main(int argc, char **argv)
{
    static const struct option own[] = {{"help", no_argument, NULL, 'h'},
                                        {"from", required_argument, NULL, FLAGS_LONG},
                                        {"to", required_argument, NULL, FLAGS_LONG + 1},
                                        {NULL, 0, NULL, 0}};
    const char *command = NULL, *from = NULL, *to = NULL;
    struct flags flags;

    flags_init(&flags, argc, argv, own, false);
    for (int flag; (flag = flags_next(&flags)) != FLAGS_END;) {
        if (flag == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (flag == FLAGS_WRONG)
            return EXIT_USAGE;
        if (flag == FLAGS_LONG)
            from = optarg;
        else if (flag == FLAGS_LONG + 1)
            to = optarg;
        else if (command != NULL || (strcmp(optarg, "hash") != 0 && strcmp(optarg, "import") != 0))
            return fail_word(optarg);
        else
            command = optarg;
    }
    return run(command, from, to);
}
