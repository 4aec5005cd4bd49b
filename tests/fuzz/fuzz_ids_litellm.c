/* LiteLLM's ids from strangers: whatever is read is text that fits, and reads the same for either
 * way of asking. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "crypto/ids_litellm.h"

static void check_text(const char *text)
{
    size_t len = strnlen(text, IDS_MAX + 1);

    MUST(len <= IDS_MAX);
    for (size_t i = 0; i < len; i++)
        MUST((unsigned char)text[i] >= ' ' && text[i] != 0x7f && text[i] != ';');
}

static int check(enum id_kind kind, const char *text, size_t len, struct litellm_id *out)
{
    int rc = ids_litellm_read(kind, text, len, out);

    MUST(rc == 0 || rc == ERR_INVALID || rc == ERR_NOT_FOUND);
    if (rc != 0)
        return rc;
    MUST(out->native[0] != '\0' && ids_litellm_form_name(out->form) != NULL);
    check_text(out->native);
    check_text(out->model);
    check_text(out->targets);
    check_text(out->provider);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size > 0 ? size : 1); /* of exactly this size: reading on is seen */
    struct litellm_id file, batch;
    int as_file, as_batch;

    MUST(text != NULL);
    memcpy(text, data, size);
    as_file = check(ID_FILE, text, size, &file);
    as_batch = check(ID_BATCH, text, size, &batch);
    MUST((as_file == ERR_INVALID) == (as_batch == ERR_INVALID));
    if (as_file == 0 && as_batch == 0)
        MUST(strcmp(file.native, batch.native) == 0);
    free(text);
    return 0;
}
