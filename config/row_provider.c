/* See row_provider.h. The lists are data: names as the providers publish them; `*` stands for any
 * characters. A bare name that fits none of them is nobody's, since a guess would send a key to the
 * wrong provider. */
#include "row_provider.h"

#include <stddef.h>
#include <string.h>

#include "common/names.h"

/* Models of OpenAI that LiteLLM serves under their bare names. */
static const char *const openai_names[] = {"gpt-*",
                                           "gpt3*",
                                           "chatgpt-*",
                                           "o1*",
                                           "o2*",
                                           "o3*",
                                           "o4*",
                                           "o5*",
                                           "ft:*",
                                           "text-embedding-*",
                                           "tts-*",
                                           "whisper-*",
                                           "dall-e-*",
                                           "sora-*",
                                           "davinci*",
                                           "curie*",
                                           "babbage*",
                                           "ada*",
                                           "codex-*",
                                           "text-davinci-*",
                                           "text-moderation-*",
                                           "omni-moderation-*",
                                           "computer-use-*",
                                           NULL};

/* Families of other providers. */
static const char *const foreign_names[] = {"claude*",
                                            "anthropic*",
                                            "command*",
                                            "c4ai-*",
                                            "cohere*",
                                            "embed-*",
                                            "rerank-*",
                                            "deepseek*",
                                            "gemini*",
                                            "gemma*",
                                            "palm*",
                                            "chat-bison*",
                                            "text-bison*",
                                            "code-bison*",
                                            "codechat-bison*",
                                            "text-unicorn*",
                                            "mistral*",
                                            "mixtral*",
                                            "ministral*",
                                            "magistral*",
                                            "devstral*",
                                            "codestral*",
                                            "pixtral*",
                                            "open-mistral*",
                                            "open-mixtral*",
                                            "llama*",
                                            "meta-llama*",
                                            "meta.*",
                                            "grok*",
                                            "qwen*",
                                            "qwq*",
                                            "jamba*",
                                            "j2-*",
                                            "sonar*",
                                            "pplx-*",
                                            "titan*",
                                            "nova-*",
                                            "amazon*",
                                            "voyage*",
                                            "moonshot*",
                                            "kimi*",
                                            "glm-*",
                                            "yi-*",
                                            "phi-*",
                                            "jina-*",
                                            "nova2*",
                                            "luminous*",
                                            "dolphin*",
                                            NULL};

/* Providers with OpenAI's API at an address of the operator's. */
static const char *const compatible[] = {
    "hosted_vllm", "litellm_proxy", "azure_ai", "custom_openai", "openai_like", "vllm", NULL};

static bool fits_any(const char *const *patterns, const char *name)
{
    for (; *patterns != NULL; patterns++)
        if (names_fit(*patterns, name, strlen(name)))
            return true;
    return false;
}

static bool is_text(const char *text, size_t len, const char *wanted)
{
    return strlen(wanted) == len && strncmp(text, wanted, len) == 0;
}

/* What stands before the slash, or custom_llm_provider. */
static enum row_kind kind_of(const char *name, size_t len, enum provider *provider)
{
    *provider = PROVIDER_OPENAI;
    if (is_text(name, len, "openai") || is_text(name, len, "text-completion-openai"))
        return ROW_OWN;
    if (is_text(name, len, "azure") || is_text(name, len, "azure_text")) {
        *provider = PROVIDER_AZURE;
        return ROW_OWN;
    }
    for (const char *const *c = compatible; *c != NULL; c++)
        if (is_text(name, len, *c))
            return ROW_COMPATIBLE;
    return ROW_FOREIGN;
}

static enum row_kind bare(const char *model, bool has_base)
{
    if (strcmp(model, "*") == 0 || fits_any(openai_names, model))
        return ROW_OWN;
    if (fits_any(foreign_names, model))
        return ROW_FOREIGN;
    return has_base ? ROW_OWN : ROW_UNKNOWN;
}

enum row_kind row_provider(const char *custom, const char *model, bool has_base,
                           enum provider *provider, const char **rest)
{
    const char *slash = strchr(model, '/');
    enum row_kind kind;
    size_t len;

    *rest = model;
    *provider = PROVIDER_OPENAI;
    if (custom == NULL || *custom == '\0') {
        if (slash == NULL)
            return bare(model, has_base);
        len = (size_t)(slash - model);
        kind = kind_of(model, len, provider);
        *rest = slash + 1;
    } else {
        len = strlen(custom);
        kind = kind_of(custom, len, provider);
        /* The name may have slashes of its own. */
        if (strncmp(model, custom, len) == 0 && model[len] == '/')
            *rest = model + len + 1;
    }
    *rest = names_without_hint(*rest);
    return kind;
}

const char *row_foreign_key(const char *key)
{
    static const struct {
        const char *prefix, *provider;
    } known[] = {{"sk-ant-", "Anthropic"}, {"gsk_", "Groq"},         {"AIza", "Google"},
                 {"xai-", "xAI"},          {"pplx-", "Perplexity"},  {"hf_", "Hugging Face"},
                 {"r8_", "Replicate"},     {"sk-or-", "OpenRouter"}, {"fw_", "Fireworks"},
                 {"csk-", "Cerebras"},     {"nvapi-", "NVIDIA"},     {"pa-", "Voyage"}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strncmp(key, known[i].prefix, strlen(known[i].prefix)) == 0)
            return known[i].provider;
    return NULL;
}
