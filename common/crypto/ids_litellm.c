/* See ids_litellm.h. Fields are looked for by name instead of by place: content types may hold a
 * semicolon of their own, and versions have added fields at the end. */
#include "crypto/ids_litellm.h"

#include <stdbool.h>
#include <string.h>

/* "litellm" in base64, whatever follows: no other id needs to be decoded. */
#define ENCODED_START "bGl0ZWxsb"

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-' || c == '+')
        return 62;
    return c == '_' || c == '/' ? 63 : -1;
}

/* The text behind base64 with or without padding, which has more than that, NUL-terminated; false
 * when it is none, or has bytes that no name has. `out` needs as many bytes as the input. */
static bool decode(const char *in, size_t len, char *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t at = 0;

    while (in[len - 1] == '=') /* its first is none */
        len--;
    for (size_t i = 0; i < len; i++) {
        int value = base64_value(in[i]);

        if (value == -1)
            return false;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            unsigned char byte = (unsigned char)(bits >> (have - 8));

            have -= 8;
            if (byte < ' ' || byte == 0x7f)
                return false;
            out[at++] = (char)byte;
        }
    }
    out[at] = '\0';
    return len % 4 != 1;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Copy what stands behind `name` (which ends in its separator) in the field that starts so, without
 * blanks around it; "" when there is no such field. `out` has room for any field. */
static void copy_field(const char *text, const char *name, char *out)
{
    out[0] = '\0';
    while (!starts_with(text, name)) {
        text = strchr(text, ';');
        if (text == NULL)
            return;
        text++;
    }
    text += strlen(name);
    text += strspn(text, " ");
    strcpy(out, text);
    out[strcspn(out, ";")] = '\0';
    for (size_t n = strlen(out); n > 0 && out[n - 1] == ' '; n--)
        out[n - 1] = '\0';
}

/* What the provider's own id says; ids of neither form may be either. */
static bool may_be(enum id_kind kind, const char *native)
{
    return !starts_with(native, kind == ID_FILE ? "batch_" : "file-");
}

static int read_encoded(enum id_kind kind, const char *text, struct litellm_id *out)
{
    out->form = LITELLM_ENCODED;
    copy_field(text, "litellm:", out->native);
    copy_field(text, "model,", out->model);
    if (out->native[0] == '\0' || out->model[0] == '\0' || !may_be(kind, out->native))
        return ERR_NOT_FOUND;
    return 0;
}

static int read_passthrough(enum id_kind kind, const char *text, struct litellm_id *out)
{
    out->form = LITELLM_PASSTHROUGH;
    copy_field(text, "provider:", out->provider);
    copy_field(text, "raw_id,", out->native);
    return out->native[0] != '\0' && may_be(kind, out->native) ? 0 : ERR_NOT_FOUND;
}

static int read_managed(enum id_kind kind, const char *text, struct litellm_id *out)
{
    out->form = LITELLM_MANAGED;
    if (text[0] == ':') {
        copy_field(text, "llm_output_file_id,", out->native);
        copy_field(text, "llm_output_file_model_id,", out->model);
        copy_field(text, "target_model_names,", out->targets);
        return kind == ID_FILE && out->native[0] != '\0' ? 0 : ERR_NOT_FOUND;
    }
    copy_field(text, "model_id:", out->model);
    copy_field(text, "llm_batch_id:", out->native);
    out->native[strcspn(out->native, ",")] = '\0'; /* older versions ended it so */
    return kind == ID_BATCH && out->native[0] != '\0' ? 0 : ERR_NOT_FOUND;
}

int ids_litellm_read(enum id_kind kind, const char *id, size_t len, struct litellm_id *out)
{
    static const char managed[] = "litellm_proxy", passthrough[] = "litellm_proxy:passthrough;";
    char text[IDS_MAX + 1];

    memset(out, 0, sizeof(*out));
    if (len > IDS_MAX)
        return ERR_INVALID;
    if (len >= 5 && memcmp(id, "file-", 5) == 0) {
        id += 5;
        len -= 5;
    } else if (len >= 6 && memcmp(id, "batch_", 6) == 0) {
        id += 6;
        len -= 6;
    }
    if (len < strlen(ENCODED_START) || memcmp(id, ENCODED_START, strlen(ENCODED_START)) != 0 ||
        !decode(id, len, text))
        return ERR_INVALID;
    if (starts_with(text, passthrough))
        return read_passthrough(kind, text, out);
    if (starts_with(text, managed))
        return read_managed(kind, text + strlen(managed), out);
    return starts_with(text, "litellm:") ? read_encoded(kind, text, out) : ERR_INVALID;
}

const char *ids_litellm_form_name(enum litellm_form form)
{
    static const char *const names[] = {[LITELLM_ENCODED] = "encoded",
                                        [LITELLM_MANAGED] = "managed",
                                        [LITELLM_PASSTHROUGH] = "passthrough"};

    return names[form];
}
