/* See counters.h. */
#include "core/counters.h"

static const char *provider_of(const struct inherited *inherited, uint32_t deployment)
{
    return provider_name((enum provider)table_deployment(inherited->table, deployment)->provider);
}

void counters_file(const struct inherited *inherited, uint32_t deployment,
                   const struct tenant *tenant, uint64_t bytes)
{
    static const uint64_t bounds[] = SERIES_FILE_BOUNDS;
    bool bound = tenant_is_bound(tenant);
    const struct series_name file = {SERIES_FILES,
                                     {provider_of(inherited, deployment),
                                      bound ? tenant->rights.alias : "",
                                      bound ? tenant->rights.team_name : ""}};
    const struct series_name size = {SERIES_FILE_BYTES, {provider_of(inherited, deployment)}};

    series_add(inherited->series, &file, 0, 1);
    series_observe(inherited->series, &size, bytes, bounds, sizeof(bounds) / sizeof(bounds[0]));
}

void counters_deleted(const struct inherited *inherited, bool deleted)
{
    const struct series_name name = {SERIES_FILES_DELETED, {deleted ? "success" : "failure"}};

    series_add(inherited->series, &name, 0, 1);
}
