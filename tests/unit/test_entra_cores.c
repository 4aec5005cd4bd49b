/* What a core would hold after a token call: nothing of a private key, its file, the assertion, a client
 * secret, or a token (entra statement 15). A child that is started anew reads them from files into memory
 * that cores leave out, makes its calls, and looks through all memory that a core would have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "entra/entra_answer.h"
#include "entra/entra_file.h"
#include "entra/entra_request.h"
#include "entra_world.h"

#define PIECE 16 /* bytes that are looked for */

static char folder[] = "/tmp/tranche-entra-XXXXXX";

static const char *at(const char *name)
{
    static char path[2][300];
    static int next;

    next = !next;
    snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
    return path[next];
}

/* --- the child --- */

static struct secret read_here(const char *name)
{
    struct secret out = SECRET_NONE;
    struct entra_error error;

    must(entra_file_read(at(name), &out, &error) == 0);
    return out;
}

static bool holds(const char *from, const char *to, const char *piece)
{
    return to > from && memmem(from, (size_t)(to - from), piece, PIECE) != NULL;
}

/* Is a piece in a mapping that a core would have? The lines of a mapping end with its flags. */
static bool is_dumpable(const char *piece)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512], *from = NULL, *to = NULL, rights[8] = "";
    bool found = false;

    must(maps != NULL);
    while (!found && fgets(line, sizeof(line), maps) != NULL) {
        void *begin, *end;
        bool special = strstr(line, "[v") != NULL;

        if (sscanf(line, "%p-%p %7s", &begin, &end, rights) == 3) {
            from = special ? NULL : begin;
            to = special ? NULL : end;
        } else if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " dd") == NULL &&
                   rights[0] == 'r') {
            found = holds(from, to, piece);
        }
    }
    fclose(maps);
    return found;
}

static void look_for(const struct secret *pieces, const char *what)
{
    for (size_t i = 0; i + PIECE <= pieces->len; i += PIECE)
        if (is_dumpable(pieces->data + i)) {
            fprintf(stderr, "%s: piece %zu is in memory that a core would have\n", what, i / PIECE);
            _exit(1);
        }
}

static void call_by_certificate(const struct secret *pieces)
{
    struct entra_credential c = client_by(ENTRA_CERTIFICATE);
    struct secret file = read_here("app.pem"), signature = SECRET_NONE;
    struct entra_request request;
    struct entra_error error;

    must(entra_request_build(&c, &file, BEGINS_UTC, &request, &error) == 0);
    look_for(pieces, "while a certificate's call is made");
    must(secret_set(&signature, request.proof + request.proof_len - 2 * PIECE, 2 * PIECE) == 0);
    look_for(&signature, "the assertion that is sent");
    entra_request_wipe(&request);
    secret_clear(&file);
    look_for(pieces, "after a certificate's call");
    look_for(&signature, "the assertion that was sent");
    secret_clear(&signature);
}

static void call_by_secret(void)
{
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct secret file = read_here("secret"), pieces = read_here("secret");
    struct entra_request request;
    struct entra_error error;

    must(entra_request_build(&c, &file, BEGINS_UTC, &request, &error) == 0);
    look_for(&pieces, "while a secret's call is made");
    entra_request_wipe(&request);
    secret_clear(&file);
    look_for(&pieces, "after a secret's call");
    secret_clear(&pieces);
}

static void read_token(void)
{
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct secret body = read_here("answer"), pieces = read_here("token");
    struct entra_request request = {0};
    struct upstream_result result = {
        .end = UPSTREAM_ANSWERED, .body = body.data, .body_len = body.len, .head = {.status = 200}};
    struct entra_answer answer;

    entra_answer_read(&c, &request, &result, BEGINS_UTC, &answer);
    must(answer.outcome == ENTRA_OK);
    look_for(&pieces, "while a token is there");
    entra_answer_deinit(&answer);
    secret_clear(&body);
    look_for(&pieces, "after a token was read");
    secret_clear(&pieces);
}

/* The way to look has to find what is there. */
static void look_is_good(const struct secret *pieces)
{
    char *plain = malloc(PIECE);

    must(plain != NULL);
    memcpy(plain, pieces->data, PIECE);
    must(is_dumpable(pieces->data));
    secret_wipe(plain, PIECE);
    free(plain);
}

static int be_child(void)
{
    struct secret pieces = read_here("pieces");

    look_is_good(&pieces);
    look_for(&pieces, "before anything");
    call_by_certificate(&pieces);
    call_by_secret();
    read_token();
    secret_clear(&pieces);
    return 0;
}

/* --- the parent --- */

static void write_file(const char *name, const void *bytes, size_t len)
{
    FILE *file = fopen(at(name), "w");

    must(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
}

/* A prime of the key as its file has it and as OpenSSL keeps numbers, and its file's text. */
static void write_pieces(const EVP_PKEY *key, const char *pem)
{
    unsigned char prime[128], pieces[3 * PIECE];
    BIGNUM *p = NULL;

    must(EVP_PKEY_get_bn_param(key, "rsa-factor1", &p) == 1);
    must(BN_bn2binpad(p, prime, sizeof(prime)) == (int)sizeof(prime));
    for (size_t i = 0; i < PIECE; i++) {
        pieces[i] = prime[40 + i];
        pieces[2 * PIECE - 1 - i] = prime[40 + i];
    }
    memcpy(pieces + 2 * (size_t)PIECE, strstr(pem, "KEY-----\n") + 200, PIECE);
    write_file("pieces", pieces, sizeof(pieces));
    BN_clear_free(p);
}

static void make_word(char word[2 * PIECE + 1])
{
    unsigned char bytes[PIECE];

    must(RAND_bytes(bytes, sizeof(bytes)) == 1);
    for (size_t i = 0; i < PIECE; i++)
        snprintf(word + 2 * i, 3, "%02x", bytes[i]);
}

static void write_files(void)
{
    char secret[2 * PIECE + 1],
        token[2 * PIECE + 1]; /* constants would be in the program's memory */
    EVP_PKEY *key = make_rsa(2048);
    X509 *x = make_certificate(key, "app", key, "app");
    char *k = key_pem(key, NULL), *c = certificate_pem(x), *pem = joined(k, c, ""), body[200];

    make_word(secret);
    make_word(token);
    snprintf(body, sizeof(body),
             "{\"token_type\":\"Bearer\",\"expires_in\":3599,"
             "\"access_token\":\"%s\"}",
             token);
    write_file("app.pem", pem, strlen(pem));
    write_file("secret", secret, strlen(secret));
    write_file("token", token, strlen(token));
    write_file("answer", body, strlen(body));
    write_pieces(key, k);
    free(k);
    free(c);
    free(pem);
    X509_free(x);
    EVP_PKEY_free(key);
}

/* Whether malloc() is a sanitizer's, which keeps what was freed as it was. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OTHER_MALLOC 1
#elif defined(__has_feature)
#define OTHER_MALLOC (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define OTHER_MALLOC 0
#endif

static void test_entra_15_a_core_has_nothing_of_key_secret_assertion_and_token(void **unused)
{
    int status = 0;
    pid_t pid;

    (void)unused;
    if (OTHER_MALLOC)
        skip();
    write_files();
    pid = fork();
    assert_true(pid != -1);
    if (pid == 0) {
        /* The linker saves vector registers, in which memcpy() has what it copied, on the stack when it
         * looks for a function while the program runs. */
        char *const environment[] = {(char *)"LD_BIND_NOW=1", NULL};

        execle("/proc/self/exe", "test_entra_cores", folder, (char *)NULL, environment);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int set_up(void **unused)
{
    (void)unused;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **unused)
{
    static const char *const names[] = {"app.pem", "secret", "token", "answer", "pieces"};

    (void)unused;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(at(names[i]));
    return rmdir(folder);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entra_15_a_core_has_nothing_of_key_secret_assertion_and_token),
    };

    if (argc == 2 && strlen(argv[1]) == strlen(folder)) {
        memcpy(folder, argv[1], strlen(folder));
        return be_child();
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
