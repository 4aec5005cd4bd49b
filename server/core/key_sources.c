/* See key_sources.h. */
#include "core/key_sources.h"

#include <assert.h>

bool key_sources_have_database(const struct config *config)
{
    return secret_is_set(&config->database) || secret_is_set(&config->litellm_database);
}

bool key_sources_need_keeper(const struct config *config)
{
    return config->keys_file != NULL || config->jwt.num_urls > 0 ||
           key_sources_have_database(config);
}

bool key_sources_are_complete(const struct config *config)
{
    return !key_sources_have_database(config); /* where a key may come at any moment */
}

int key_sources_publish(struct rights_table *table, uint32_t writer, const struct config *config,
                        const struct rights_list *file,
                        const struct rights_list *const *of_databases, size_t num)
{
    const struct rights_list *lists[2 + KEY_SOURCES_DATABASES] = {&config->keys, file};
    size_t num_keys = config->keys.num_keys + file->num_keys;

    assert(num <= KEY_SOURCES_DATABASES);
    for (size_t i = 0; i < num; i++) {
        lists[2 + i] = of_databases[i];
        num_keys += of_databases[i]->num_keys;
    }
    if (num_keys > config->max_keys)
        return ERR_LIMIT;
    return rights_publish(table, writer, lists, 2 + num, key_sources_are_complete(config));
}
