/* Answers of token services. The first byte chooses credential and status, the second one headers,
 * the rest is the body. Whatever comes: a token that a header carries or none, texts that are one
 * printable line, and nothing of what was sent as a proof in them. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "entra/entra_answer.h"

#define NOW   1790000000
#define PIECE 16

static const char proof[] = "s3cr3t-Pr00f~of.the_client+1";

static bool proof_was_sent;

static void check_text(const char *text)
{
    for (const char *at = text; *at != '\0'; at++)
        MUST(*at >= ' ' && *at <= '~');
    /* Longer than a piece that the mask promises to find: behind a "%" it may begin two digits later. */
    for (size_t i = 0; proof_was_sent && i + PIECE < sizeof(proof); i++) {
        char piece[PIECE + 1] = "";

        memcpy(piece, proof + i, PIECE);
        MUST(strstr(text, piece) == NULL);
    }
}

static void check_token(const struct entra_answer *a)
{
    MUST((a->outcome == ENTRA_OK) == (a->token.data != NULL));
    if (a->outcome != ENTRA_OK) {
        MUST(a->message[0] != '\0');
        return;
    }
    MUST(a->token.len > 0 && a->token.len <= ENTRA_MAX_TOKEN);
    for (size_t i = 0; i < a->token.len; i++)
        MUST(a->token.data[i] > ' ' && a->token.data[i] <= '~');
    MUST(a->lives_s >= 1 && a->lives_s <= ENTRA_MAX_LIFE_S && a->refresh_s < a->lives_s);
    MUST(a->guessed == (a->warning[0] != '\0'));
}

static void check(const struct entra_answer *a)
{
    struct strbuf text = STRBUF_INIT;

    MUST((unsigned)a->outcome < ENTRA_OUTCOMES);
    MUST(a->retry_after_s >= -1 && a->retry_after_s <= ENTRA_MAX_RETRY_S);
    MUST((a->outcome == ENTRA_CHALLENGE) == (a->challenge[0] != '\0'));
    check_token(a);
    check_text(a->message);
    check_text(a->error);
    check_text(a->correlation);
    check_text(a->trace);
    check_text(a->warning);
    entra_answer_describe(a, &text);
    check_text(strbuf_str(&text));
    strbuf_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 400, 401, 404, 429, 500, 302, 204};
    static const struct upstream_header headers[] = {
        {"date", "Mon, 21 Sep 2026 14:23:20 GMT"},
        {"retry-after", "60"},
        {"retry-after", "Mon, 21 Sep 2026 14:33:20 GMT"},
        {"www-authenticate", "Basic realm=/var/opt/azcmagent/tokens/a.key"},
    };
    struct entra_credential credential = {.kind = ENTRA_SECRET};
    struct entra_request request = {.proof = proof, .proof_len = sizeof(proof) - 1};
    struct upstream_result result = {.end = UPSTREAM_ANSWERED};
    struct upstream_header picked[4];
    static char value[] = "ab-cd";
    struct entra_answer answer;

    if (size < 2)
        return 0;
    if (data[0] & 8) {
        credential.kind = ENTRA_MANAGED;
        credential.source = data[0] & 16 ? ENTRA_ARC : ENTRA_IMDS;
        credential.selector = (enum entra_selector)(data[0] >> 6 & 3);
        credential.selector_value = value;
    }
    if (data[0] & 32)
        request.proof_len = 0;
    proof_was_sent = request.proof_len > 0;
    result.head.status = statuses[data[0] & 7];
    result.head.headers = picked;
    for (size_t i = 0; i < 4; i++)
        if (data[1] >> i & 1)
            picked[result.head.num_headers++] = headers[i];
    result.body = (const char *)data + 2;
    result.body_len = size - 2;
    entra_answer_read(&credential, &request, &result, NOW, &answer);
    check(&answer);
    entra_answer_deinit(&answer);
    MUST(answer.token.data == NULL);
    return 0;
}
