/* See key_sources.h. */
#include "core/key_sources.h"

bool key_sources_need_keeper(const struct config *config)
{
    return config->keys_file != NULL || config->jwt.num_urls > 0;
}

bool key_sources_are_complete(const struct config *config)
{
    (void)config; /* the configuration and its file are all the sources that can be configured */
    return true;
}

int key_sources_publish(struct rights_table *table, uint32_t writer, const struct config *config,
                        const struct rights_list *file)
{
    const struct rights_list *lists[] = {&config->keys, file};

    if (config->keys.num_keys + file->num_keys > config->max_keys)
        return ERR_LIMIT;
    return rights_publish(table, writer, lists, sizeof(lists) / sizeof(lists[0]),
                          key_sources_are_complete(config));
}
