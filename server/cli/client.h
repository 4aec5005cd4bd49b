/* What a person asks a running gateway: the HTTP client of the commands that do (`tranche batches`,
 * `usage`, `run`, ...). One request at a time, no redirects, TLS verified; the key goes to nobody
 * else. Every fault is told on standard error, in one or two lines that say what to do, and comes
 * back as an exit code that scripts can use; who decides by himself what a fault means asks
 * quietly (client_ask()). */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/secret.h"
#include "common/strbuf.h"
#include "flags.h"
#include "json/json.h"

/* How a command ends. */
enum client_exit {
    CLIENT_OK = 0,
    CLIENT_REFUSED = 1, /* the gateway said no: key, id, parameter; asking again changes nothing */
    CLIENT_USAGE = 2,   /* the command line, the environment, or what it prints to */
    CLIENT_AWAY = 3,    /* no answer, or 429 or 5xx: it may work later */
    CLIENT_LINES_FAILED =
        4, /* of `run` and `results`: all was done, and some lines have no good answer */
    CLIENT_STOPPED = 130 /* by Ctrl-C or SIGTERM, as shells say it */
};

/* The flags that all these commands have; they stand in a command's own table of options, and
 * client_take() is given what flags_next() says of them. */
enum client_flag { CLIENT_BASE_URL = FLAGS_LONG + 200, CLIENT_KEY, CLIENT_JSON };
#define CLIENT_FLAGS                                                                               \
    {"base_url", required_argument, NULL, CLIENT_BASE_URL},                                        \
        {"key", required_argument, NULL, CLIENT_KEY}, {"json", no_argument, NULL, CLIENT_JSON},    \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }

/* Their part of a command's help. */
#define CLIENT_HELP                                                                                \
    CLIENT_HELP_AS("print the answer as it came\n")                                                \
    "\n"                                                                                           \
    "Exit: 0 done; 1 refused; 2 wrong usage; 3 no answer now, try again later.\n"

/* The same of one that has an end of its own, and another form of JSON. */
#define CLIENT_HELP_AS(json)                                                                       \
    "      --base-url URL        the gateway (TRANCHE_BASE_URL, OPENAI_BASE_URL,\n"                \
    "                            http://127.0.0.1:4000)\n"                                         \
    "      --key KEY             its key (TRANCHE_API_KEY; LITELLM_MASTER_KEY where the gateway\n" \
    "                            is this machine's; OPENAI_API_KEY with OPENAI_BASE_URL);\n"       \
    "                            a variable keeps it out of the shell's history;\n"                \
    "                            os.environ/NAME names another one\n"                              \
    "      --json                " json "  -h, --help                print this text\n"

struct client_options {
    const char *base_url; /* borrowed; NULL: the environment's */
    struct secret key;    /* owned; unset: the environment's */
    bool json;
    /* Any server of OpenAI's contract will do, a provider itself, too. It gets a key that was given
     * for it: --key, or OPENAI_API_KEY where OPENAI_BASE_URL names it */
    bool any_server;
};

/** Take one of CLIENT_FLAGS with its value in `optarg`. A key is copied and wiped where it stood,
 *  so that who looks at this process finds it no longer.
 *  @param flag  of flags_next()
 *  @return whether it was one of them (--help is not taken); ERR_NOMEM shows as a key that is unset,
 *          and as no key in client_open() */
bool client_take(struct client_options *options, int flag);
void client_options_deinit(struct client_options *options);

struct client; /* one gateway, and the way to it */

/** @param options  borrowed for the call
 *  @param out      written on CLIENT_OK; client_close() it
 *  @return CLIENT_OK; CLIENT_USAGE: the address will not do, told */
MUST_USE enum client_exit client_open(const struct client_options *options, struct client **out);
/** NULL is fine. */
void client_close(struct client *client);

/** The server's address as it is asked, without "/v1". Lives as long as the client. */
const char *client_base(const struct client *client);

/* --- one request, whatever it is --- */

/* The body to be sent: like read(2) of exactly `length` bytes, in order.
 * @return bytes (> 0), or a negative code, which ends the call */
typedef ssize_t (*client_source_cb)(void *arg, char *buf, size_t len);
/* Bytes of a 2xx answer as they come. @return false: they could not be taken, the call ends */
typedef bool (*client_data_cb)(void *arg, const char *bytes, size_t len);

struct client_request {
    const char *method, *path;   /* the path as in client_get() */
    const char *content_type;    /* of the body; NULL: there is none */
    const char *body;            /* a small one, NUL-terminated; NULL: `source` has it, or none */
    client_source_cb source;     /* or NULL */
    uint64_t length;             /* of the source */
    const char *idempotency_key; /* or NULL */
    bool repeat;                 /* it was sent before: said as SDKs say it */
    client_data_cb on_data;      /* NULL: the body is collected */
    void *arg;                   /* borrowed; of both callbacks */
    bool once; /* never sent a second time, not even below HTTP: creates and uploads */
    const volatile sig_atomic_t *stop; /* borrowed; set: the call is given up. NULL: never */
};

struct client_answer {
    int status;         /* 0: no whole answer came */
    bool nothing_sent;  /* known: the server has not seen a byte of it */
    bool no_retry;      /* x-should-retry: false */
    bool gateway;       /* it is one of ours that answered */
    int64_t wait_s;     /* Retry-After; -1: none */
    int64_t length;     /* Content-Length of what was streamed; -1: unknown */
    struct strbuf body; /* owned; collected */
    char code[64];      /* of a refusal: `error.code`; "" */
    char said[512];     /* one line for people, without a key: why it is no 2xx; "" */
};

/** Ask and wait: small requests for 30 s (creates 120 s), files for as long as bytes move. Nothing
 * is told.
 *  @param answer  all zero before; client_answer_deinit() it in any case
 *  @return CLIENT_OK: a 2xx; CLIENT_REFUSED, _AWAY as a command would end; CLIENT_USAGE: the source
 *          or on_data failed, or no memory (said); CLIENT_STOPPED */
MUST_USE enum client_exit client_ask(struct client *client, const struct client_request *request,
                                     struct client_answer *answer);
void client_answer_deinit(struct client_answer *answer);

/** Tell a fault that client_ask() returned, as the other functions do. @return `code` */
enum client_exit client_tell(const struct client *client, const struct client_answer *answer,
                             enum client_exit code);

/* --- what commands ask --- */

/** Ask for one resource and wait for it, at most 30 s.
 *  @param path    below the gateway's root, with its query: "/journal/batches?limit=20"
 *  @param answer  the body of a 2xx, up to 64 MiB, as it came; empty before
 *  @return CLIENT_OK, or why not, told */
MUST_USE enum client_exit client_get(struct client *client, const char *path,
                                     struct strbuf *answer);

/** The same, read as JSON.
 *  @param doc   the caller's; owns what is returned
 *  @param root  written on CLIENT_OK: an object
 *  @param text  the body as it came; empty before */
MUST_USE enum client_exit client_get_json(struct client *client, const char *path,
                                          struct json_doc *doc, struct json **root,
                                          struct strbuf *text);

/** The same as a POST with an empty body. */
MUST_USE enum client_exit client_post_json(struct client *client, const char *path,
                                           struct json_doc *doc, struct json **root,
                                           struct strbuf *text);

/** Append a parameter to a path: "?" or "&", the name, "=", and the value percent-encoded.
 *  @param value  NULL: nothing is appended */
void client_add_parameter(struct strbuf *path, const char *name, const char *value);

/** Append a part of a path, percent-encoded. */
void client_add_segment(struct strbuf *path, const char *text);

/** Print to standard output, and see that it arrives. @return `code`, or CLIENT_USAGE: told */
enum client_exit client_print(const struct strbuf *text, enum client_exit code);

/** The same with a command's help. */
enum client_exit client_help(const char *text);

/** Read a flag's number. @return false: it is none, or not within the bounds; told */
bool client_take_number(const char *name, const char *text, int64_t min, int64_t max, int64_t *out);

/** Tell that a word is one too many, and the command's help. @return CLIENT_USAGE */
enum client_exit client_fail_operand(const char *word, const char *help);
