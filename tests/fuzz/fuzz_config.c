/* Configuration files of any content: a configuration or errors, never both or neither, and no
 * leak. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct config_overrides overrides = {.port = -1, .num_workers = -1};
    struct config_report report = {0};
    struct config *config = NULL;
    struct strbuf text = STRBUF_INIT;
    char path[64];
    int fd = memfd_create("config", 0), rc;

    MUST(fd != -1 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    rc = config_load(path, &overrides, &config, &report);
    MUST((rc == 0) == (config != NULL));
    MUST(rc != ERR_INVALID || report.num_errors > 0);
    config_report_print(&report, &text);
    if (config != NULL)
        config_describe(config, &text);
    strbuf_deinit(&text);
    config_report_free(&report);
    config_free(config);
    close(fd);
    return 0;
}
