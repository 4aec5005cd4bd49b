/* See shm.h: mmap(2) and nothing else. */
#include "common/shm.h"

#include <sys/mman.h>

void *shm_new(size_t size)
{
    void *region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (region == MAP_FAILED)
        return NULL;
    (void)madvise(region, size, MADV_DONTDUMP);
    return region;
}

int shm_seal(void *region, size_t size)
{
    return mprotect(region, size, PROT_READ) == -1 ? ERR_IO : 0;
}

void shm_free(void *region, size_t size)
{
    if (region != NULL)
        munmap(region, size);
}
