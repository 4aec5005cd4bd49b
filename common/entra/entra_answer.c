/* See entra_answer.h. Decided by status and `error`, as Microsoft asks; a few numbers count where the
 * table (entra 2.5) says so. The tree of an answer holds the token, so it is wiped. */
#include "entra/entra_answer.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/mask.h"
#include "entra_challenge.h"
#include "entra_expiry.h"
#include "json/json.h"
#include "upstream/date.h"

#define MAX_SAID    2048 /* bytes of a text of others that are looked at */
#define CLOCK_OFF_S 60   /* worth to be told of */

const char *entra_outcome_name(enum entra_outcome outcome)
{
    static const char *const names[ENTRA_OUTCOMES] = {"ok",      "challenge",   "throttled",
                                                      "passing", "out_of_time", "final"};

    return names[outcome];
}

void entra_answer_deinit(struct entra_answer *answer)
{
    secret_clear(&answer->token);
    memset(answer, 0, sizeof(*answer));
}

static void end_with(struct entra_answer *out, enum entra_outcome outcome, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void end_with(struct entra_answer *out, enum entra_outcome outcome, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(out->message, sizeof(out->message), fmt, args);
    va_end(args);
    out->outcome = outcome;
}

void entra_answer_fail(enum entra_outcome outcome, const struct entra_error *error,
                       struct entra_answer *out)
{
    memset(out, 0, sizeof(*out));
    out->retry_after_s = -1;
    end_with(out, outcome, "%.255s", error->message);
}

void entra_answer_describe(const struct entra_answer *answer, struct strbuf *out)
{
    if (answer->status != 0)
        strbuf_addf(out, "status %d, ", answer->status);
    if (answer->error[0] != '\0')
        strbuf_addf(out, "%s, ", answer->error);
    if (answer->number != 0)
        strbuf_addf(out, "AADSTS%" PRIu32 ": ", answer->number);
    strbuf_adds(out, answer->outcome == ENTRA_OK ? "a token" : answer->message);
    if (answer->correlation[0] != '\0')
        strbuf_addf(out, " (correlation id %s)", answer->correlation);
}

/* --- texts of others --- */

/* What hides our proofs: in an error that quotes them they are the client's whole identity. */
static struct mask *mask_of(const struct entra_credential *credential,
                            const struct entra_request *request)
{
    struct secret proof = {.data = (char *)request->proof, .len = request->proof_len};
    const struct secret *const secrets[] = {&credential->secret, &proof};

    return mask_new(secrets, 2);
}

static size_t make_printable(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~')
            text[i] = text[i] == '\t' ? ' ' : '?';
    return len;
}

/* The first line that says something, without what stands in members of its own. */
static void cut_line(char *text)
{
    static const char *const tails[] = {" Trace ID:", " Correlation ID:", " Timestamp:"};
    size_t len;
    char *tail;

    text[strcspn(text, "\r\n")] = '\0';
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
        if ((tail = strstr(text, tails[i])) != NULL)
            *tail = '\0';
    for (len = strlen(text); len > 0 && (text[len - 1] == ' ' || text[len - 1] == '.');)
        text[--len] = '\0';
}

/* Copy a text of others as people may see it. Looked for is in more than is shown, so that no piece
 * of a secret stands at the cut. */
static void take_text(const struct mask *mask, const char *said, size_t len, char *out, size_t size)
{
    char text[MAX_SAID + 1];

    while (len > 0 && isspace((unsigned char)*said)) {
        said++;
        len--;
    }
    len = len < MAX_SAID ? len : MAX_SAID;
    memcpy(text, said, len);
    text[len] = '\0';
    if (mask == NULL) { /* out of memory */
        out[0] = '\0';
        return;
    }
    len = mask_hide(mask, text, len, sizeof(text));
    len = mask_hide(mask_installed(), text, len, sizeof(text));
    len = mask_guess(text, len, sizeof(text));
    text[len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    (void)make_printable(text, strlen(text));
    cut_line(text);
    snprintf(out, size, "%.*s", (int)size - 1, text);
}

/* A word of a protocol: an error, an id. Others are none. */
static void take_word(const struct mask *mask, const char *said, char *out, size_t size)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    if (said != NULL && strlen(said) < size && strspn(said, good) == strlen(said))
        take_text(mask, said, strlen(said), out, size);
}

static const char *first_text(const struct json *v, const char *const *names, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        const char *text = json_get_str(v, names[i]);

        if (text != NULL)
            return text;
    }
    return NULL;
}

/* --- heads --- */

static void read_clock(const struct upstream_head *head, int64_t now_unix_s,
                       struct entra_answer *out)
{
    int64_t theirs;

    out->has_clock = date_of(head, &theirs);
    out->clock_ahead_s = out->has_clock ? theirs - now_unix_s : 0;
}

/* Seconds, or a date by the clock of who wrote it (RFC 9110 section 10.2.3). */
static void read_retry_after(const struct upstream_head *head, int64_t now_unix_s,
                             struct entra_answer *out)
{
    const char *value = upstream_header_find(head, "retry-after");
    int64_t wait, moment;

    out->retry_after_s = -1;
    if (value == NULL)
        return;
    if (value[0] != '\0' && strspn(value, "0123456789") == strlen(value))
        wait = strlen(value) < 9 ? strtoll(value, NULL, 10) : ENTRA_MAX_RETRY_S;
    else if (date_read(value, &moment))
        wait = moment - now_unix_s - out->clock_ahead_s;
    else
        return;
    out->retry_after_s = wait < 0 ? 0 : wait > ENTRA_MAX_RETRY_S ? ENTRA_MAX_RETRY_S : wait;
}

/* --- refusals (entra 2.5) --- */

static bool is_one_of(uint32_t number, const uint32_t *list, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (list[i] == number)
            return true;
    return false;
}

static enum entra_outcome class_of_refusal(const struct entra_credential *credential, int status,
                                           const char *error, uint32_t number)
{
    static const uint32_t passing[] = {90006, 90012, 90024, 90033, 90055, 90090};

    if (status == 429 || number == 50196)
        return ENTRA_THROTTLED;
    if (status >= 500 || status == 408 || strcmp(error, "temporarily_unavailable") == 0 ||
        strcmp(error, "server_error") == 0 ||
        is_one_of(number, passing, sizeof(passing) / sizeof(passing[0])))
        return ENTRA_PASSING;
    if (credential->kind == ENTRA_MANAGED && (status == 404 || status == 410))
        return ENTRA_PASSING;
    return number == 700024 ? ENTRA_OUT_OF_TIME : ENTRA_FINAL;
}

/* "AADSTS700016: ..." gives its number, and goes from the text. */
static uint32_t take_number(char *message)
{
    static const char prefix[] = "AADSTS";
    char *at = strstr(message, prefix), *end;
    unsigned long number;

    if (at == NULL || !isdigit((unsigned char)at[strlen(prefix)]))
        return 0;
    number = strtoul(at + strlen(prefix), &end, 10);
    if (number > UINT32_MAX)
        return 0;
    if (at == message && *end == ':') {
        end += 1 + strspn(end + 1, " ");
        memmove(message, end, strlen(end) + 1);
    }
    return (uint32_t)number;
}

static uint32_t listed_number(const struct json *root)
{
    int64_t number = 0;

    return json_int64(json_at(json_get(root, "error_codes"), 0), &number) && number > 0 &&
                   number <= UINT32_MAX
               ? (uint32_t)number
               : 0;
}

static void read_refusal(const struct json *root, const struct mask *mask, struct entra_answer *out)
{
    static const char *const descriptions[] = {"error_description", "message", "Message"};
    static const char *const correlations[] = {"correlation_id", "correlationId"};
    /* Entra ID has words; what stands before managed identities has objects. */
    const struct json *error = json_get(root, "error"),
                      *inner = json_is(error, JSON_OBJECT) ? error : root;
    const char *said = first_text(inner, descriptions, 3);

    take_word(mask, inner == root ? json_str(error, NULL) : json_get_str(error, "code"), out->error,
              sizeof(out->error));
    if (said != NULL)
        take_text(mask, said, strlen(said), out->message, sizeof(out->message));
    out->number = take_number(out->message);
    if (out->number == 0)
        out->number = listed_number(root);
    take_word(mask, first_text(root, correlations, 2), out->correlation, sizeof(out->correlation));
    take_word(mask, json_get_str(root, "trace_id"), out->trace, sizeof(out->trace));
}

/* Throttling is told in plain text; pages of HTML tell people nothing. */
static void read_plain(const struct upstream_result *result, const struct mask *mask,
                       struct entra_answer *out)
{
    if (result->body != NULL && result->body_len > 0 && result->body[0] != '<')
        take_text(mask, result->body, result->body_len, out->message, sizeof(out->message));
}

static void add_clock(struct entra_answer *out)
{
    int64_t off = out->clock_ahead_s < 0 ? -out->clock_ahead_s : out->clock_ahead_s;
    size_t len = strlen(out->message);

    if (out->has_clock && off >= CLOCK_OFF_S)
        snprintf(out->message + len, sizeof(out->message) - len,
                 "; our clock is %" PRId64 " s %s the service's", off,
                 out->clock_ahead_s > 0 ? "behind" : "before");
}

static void end_refusal(const struct entra_credential *credential,
                        const struct upstream_result *result, const struct json *root,
                        const struct mask *mask, struct entra_answer *out)
{
    if (json_is(root, JSON_OBJECT))
        read_refusal(root, mask, out);
    else
        read_plain(result, mask, out);
    out->outcome = class_of_refusal(credential, out->status, out->error, out->number);
    if (out->message[0] == '\0')
        end_with(out, out->outcome, "the answer says no more than that");
    if (out->outcome == ENTRA_OUT_OF_TIME)
        add_clock(out);
}

static bool is_challenge(const struct entra_credential *credential,
                         const struct entra_request *request, const struct upstream_head *head,
                         char path[ENTRA_MAX_PATH])
{
    if (credential->kind != ENTRA_MANAGED || credential->source != ENTRA_ARC ||
        head->status != 401 || request->proof_len > 0)
        return false;
    for (size_t i = 0; i < head->num_headers; i++)
        if (strcmp(head->headers[i].name, "www-authenticate") == 0 &&
            entra_challenge_read(head->headers[i].value, path))
            return true;
    return false;
}

/* --- tokens --- */

static bool is_header_safe(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

/* Old agents of Azure Arc hand out the machine's own identity when they are asked for another. */
static bool is_of_the_identity(const struct entra_credential *credential, const struct json *root)
{
    static const char *const by_client[] = {"client_id"}, *const by_object[] = {"object_id"},
                             *const by_resource[] = {"msi_res_id", "mi_res_id"};
    const char *said;

    if (credential->kind != ENTRA_MANAGED || credential->source != ENTRA_ARC ||
        credential->selector == ENTRA_SELECT_NONE)
        return true;
    if (credential->selector == ENTRA_BY_CLIENT_ID)
        said = first_text(root, by_client, 1);
    else if (credential->selector == ENTRA_BY_OBJECT_ID)
        said = first_text(root, by_object, 1);
    else
        said = first_text(root, by_resource, 2);
    return said != NULL && strcasecmp(said, credential->selector_value) == 0;
}

/* @return NULL: it is a token that can be used */
static const char *fault_of(const struct entra_credential *credential, const struct json *root)
{
    const struct json *type = json_get(root, "token_type");
    size_t len = 0;
    const char *token = json_str(json_get(root, "access_token"), &len);

    if (len > ENTRA_MAX_TOKEN)
        return "the token has more than 16384 bytes";
    if (!is_header_safe(token, len))
        return "the token has a byte in it that no header carries";
    if (type != NULL &&
        (!json_is(type, JSON_STRING) || strcasecmp(json_str(type, NULL), "Bearer") != 0))
        return "the token is of another type than Bearer";
    if (!is_of_the_identity(credential, root))
        return "the token is of another identity than the one that was asked for: the agent of "
               "this machine is too old to choose one";
    return NULL;
}

static void read_token(const struct entra_credential *credential, const struct json *root,
                       int64_t now_unix_s, struct entra_answer *out)
{
    const char *fault = fault_of(credential, root);
    struct entra_life life;
    size_t len = 0;
    const char *token = json_str(json_get(root, "access_token"), &len);

    if (fault != NULL) {
        end_with(out, ENTRA_FINAL, "%s", fault);
        return;
    }
    if (secret_set(&out->token, token, len) != 0) {
        end_with(out, ENTRA_PASSING, "there is no memory for the token");
        return;
    }
    life = entra_expiry_of(root, now_unix_s + out->clock_ahead_s);
    out->outcome = ENTRA_OK;
    out->lives_s = life.lives_s;
    out->refresh_s = life.refresh_s;
    out->guessed = life.guessed;
    if (life.guessed)
        snprintf(out->warning, sizeof(out->warning),
                 "the answer does not say how long the token lives; it is used for %d s",
                 ENTRA_GUESSED_S);
}

/* --- answers --- */

static bool has_token(const struct json *root)
{
    size_t len = 0;

    return json_str(json_get(root, "access_token"), &len) != NULL && len > 0;
}

static void read_body(const struct entra_credential *credential,
                      const struct entra_request *request, const struct upstream_result *result,
                      int64_t now_unix_s, struct entra_answer *out)
{
    struct json_doc *doc = json_doc_new();
    struct mask *mask = mask_of(credential, request);
    struct json_error error;
    const struct json *root = NULL;

    if (doc != NULL && result->body != NULL && result->body_len <= ENTRA_MAX_ANSWER)
        root = json_parse(doc, result->body, result->body_len, &error);
    if (out->status < 200 || out->status >= 300)
        end_refusal(credential, result, root, mask, out);
    else if (!json_is(root, JSON_OBJECT))
        end_with(out, ENTRA_PASSING, "the answer is no JSON object");
    else if (!has_token(root))
        end_with(out, ENTRA_PASSING, "there is no access_token in the answer");
    else
        read_token(credential, root, now_unix_s, out);
    mask_free(mask);
    json_doc_wipe(doc);
}

static void read_answer(const struct entra_credential *credential,
                        const struct entra_request *request, const struct upstream_result *result,
                        int64_t now_unix_s, struct entra_answer *out)
{
    const char *coding = upstream_header_find(&result->head, "content-encoding");

    out->status = result->head.status;
    read_clock(&result->head, now_unix_s, out);
    read_retry_after(&result->head, now_unix_s, out);
    if (is_challenge(credential, request, &result->head, out->challenge))
        end_with(out, ENTRA_CHALLENGE, "the agent asks for the content of a file");
    else if (out->status >= 300 && out->status < 400)
        end_with(out, ENTRA_FINAL, "the answer leads to another address, which is not followed");
    else if (coding != NULL && strcasecmp(coding, "identity") != 0)
        end_with(out, ENTRA_PASSING, "the answer is compressed, which was not asked for");
    else
        read_body(credential, request, result, now_unix_s, out);
}

void entra_answer_read(const struct entra_credential *credential,
                       const struct entra_request *request, const struct upstream_result *result,
                       int64_t now_unix_s, struct entra_answer *out)
{
    memset(out, 0, sizeof(*out));
    out->retry_after_s = -1;
    if (result->end == UPSTREAM_ANSWERED)
        read_answer(credential, request, result, now_unix_s, out);
    else
        end_with(out, result->end == UPSTREAM_REFUSED ? ENTRA_FINAL : ENTRA_PASSING, "%s",
                 result->error);
}
