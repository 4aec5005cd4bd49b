/* Addresses that people paste: what is taken apart reads the same again, holds no byte that a URL
 * has not, and makes URLs that stay on its host. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "upstream/client_impl.h"
#include "upstream/provider.h"

static void check_text(const char *text)
{
    for (; *text != '\0'; text++)
        MUST(*text > ' ' && *text < 0x7f);
}

/* scheme://authority with something in it, and no end of it inside. */
static size_t check_base(const char *base)
{
    size_t scheme = strncmp(base, "https://", 8) == 0  ? 8
                    : strncmp(base, "http://", 7) == 0 ? 7
                                                       : 0;
    size_t authority = strcspn(base + scheme, "/?#@\\");

    check_text(base);
    MUST(scheme != 0 && authority > 0);
    MUST(base[scheme + authority] == '\0' || base[scheme + authority] == '/');
    return scheme + authority;
}

static void check_urls(enum provider provider, const char *base, const char *version,
                       const char *id)
{
    struct model_account account = {.provider = provider,
                                    .base = (char *)(uintptr_t)base,
                                    .api_version = (char *)(uintptr_t)version};
    size_t origin = check_base(base);

    for (int call = CALL_FILE_CREATE; call <= CALL_MODEL_LIST; call++) {
        struct strbuf url = STRBUF_INIT;

        if (provider_url(&account, (enum provider_call)call, id, NULL, &url) == 0) {
            check_text(strbuf_str(&url));
            MUST(strncmp(strbuf_str(&url), base, strlen(base)) == 0);
            MUST(strcspn(strbuf_str(&url) + (strchr(base, ':') - base) + 3, "/?#@\\") + 3 +
                     (size_t)(strchr(base, ':') - base) ==
                 origin);
        }
        strbuf_deinit(&url);
    }
}

static void check_azure(const char *text, const char *id)
{
    struct azure_endpoint once, twice;
    const char *why = NULL;
    int rc = azure_endpoint_parse(text, &once, &why);

    if (rc != 0) {
        MUST(rc == ERR_INVALID && why != NULL && once.base == NULL);
        return;
    }
    check_urls(PROVIDER_AZURE, once.base, once.api_version, id);
    if (once.api_version != NULL)
        check_text(once.api_version);
    /* A gateway's own prefix may be called like a part of the API, "/openai/openai/v1": the second
     * look may see less of it. */
    if (azure_endpoint_parse(once.base, &twice, &why) == 0) {
        MUST(strncmp(once.base, twice.base, strlen(twice.base)) == 0);
        azure_endpoint_free(&twice);
    }
    azure_endpoint_free(&once);
}

static void check_openai(const char *text, const char *id)
{
    char *once, *twice;
    const char *why = NULL;
    int rc = openai_base_parse(text, &once, &why);

    if (rc != 0) {
        MUST(rc == ERR_INVALID && why != NULL && once == NULL);
        return;
    }
    check_urls(PROVIDER_OPENAI, once, NULL, id);
    MUST(openai_base_parse(once, &twice, &why) == 0 && strcmp(once, twice) == 0);
    free(once);
    free(twice);
}

/* Whether a URL may be asked: what is remembered of an origin, and of others, says what curl's parser
 * says. */
static void check_origin(const char *text)
{
    static const char *const others[] = {"http://127.0.0.1/", "http://localhost:4000/v1",
                                         "https://api.openai.com/v1", "http://a.test/"};
    static struct upstream up, fresh;
    bool allowed;

    memset(&up, 0, sizeof(up));
    memset(&fresh, 0, sizeof(fresh));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        (void)origin_check(&up, others[i]);
    allowed = origin_check(&up, text) == NULL;
    MUST((origin_check(&up, text) == NULL) == allowed);
    MUST((origin_check(&fresh, text) == NULL) == allowed);
}

/* The address, and behind a line feed an id. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *id;

    MUST(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    id = strchr(text, '\n');
    if (id != NULL)
        *id++ = '\0';
    check_azure(text, id != NULL ? id : "file-abc");
    check_openai(text, id != NULL ? id : "file-abc");
    check_origin(text);
    free(text);
    return 0;
}
