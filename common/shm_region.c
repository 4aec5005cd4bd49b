/* See shm_region.h. */
#include "common/shm_region.h"

#include <assert.h>
#include <string.h>

int shm_region_open(const char *name, int fd, const void *head, size_t head_len, void **region)
{
    const struct shm_head *own = head;
    void *new;

    assert(head_len >= sizeof(*own) && own->size >= head_len);
    assert(own->magic != 0 && own->layout != 0);
    if (fd != SHM_NEW)
        return shm_adopt(fd, head, head_len, own->size, region);
    new = shm_new_lasting(name, own->size);
    if (new == NULL)
        return ERR_NOMEM;
    memcpy(new, head, head_len);
    *region = new;
    return 0;
}

void shm_region_free(void *region)
{
    const struct shm_head *head = region;

    if (head != NULL)
        shm_free(region, head->size);
}
