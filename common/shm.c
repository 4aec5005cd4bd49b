/* See shm.h. The descriptors of lasting regions are kept in a list of the process: few regions
 * last, and those who use one need not know whether it does. */
#include "common/shm.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LASTING 64
#define MAX_HEAD    128
#define SIZE_FIXED  (F_SEAL_SHRINK | F_SEAL_GROW)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3; some administrators allow no other memfd */
#endif

static struct {
    const void *region; /* NULL: free */
    int fd;
} lasting[MAX_LASTING];

void *shm_new(size_t size)
{
    void *region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (region == MAP_FAILED)
        return NULL;
    (void)madvise(region, size, MADV_DONTDUMP);
    return region;
}

/* Takes the descriptor over. NULL: it could not be mapped, or the list is full. */
static void *map_fd(int fd, size_t size)
{
    unsigned i = 0;
    void *region;

    while (i < MAX_LASTING && lasting[i].region != NULL)
        i++;
    region =
        i < MAX_LASTING ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (region == MAP_FAILED) {
        close(fd);
        return NULL;
    }
    (void)madvise(region, size, MADV_DONTDUMP);
    lasting[i].region = region;
    lasting[i].fd = fd;
    return region;
}

static int make_fd(const char *name, size_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd == -1)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd != -1 &&
        (ftruncate(fd, (off_t)size) == -1 || fcntl(fd, F_ADD_SEALS, SIZE_FIXED) == -1)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void *shm_new_lasting(const char *name, size_t size)
{
    int fd = make_fd(name, size);
    void *region = fd != -1 ? map_fd(fd, size) : NULL;

    return region != NULL ? region : shm_new(size);
}

int shm_fd(const void *region)
{
    for (unsigned i = 0; i < MAX_LASTING && region != NULL; i++)
        if (lasting[i].region == region)
            return lasting[i].fd;
    return -1;
}

static bool fits(int fd, const void *head, size_t head_len, size_t size)
{
    int seals = fcntl(fd, F_GET_SEALS);
    unsigned char found[MAX_HEAD];
    struct stat st;

    return seals != -1 && (seals & SIZE_FIXED) == SIZE_FIXED && fstat(fd, &st) == 0 &&
           st.st_size >= 0 && (size_t)st.st_size == size && head_len <= sizeof(found) &&
           pread(fd, found, head_len, 0) == (ssize_t)head_len && memcmp(found, head, head_len) == 0;
}

int shm_adopt(int fd, const void *head, size_t head_len, size_t size, void **out)
{
    *out = NULL;
    if (fd < 0)
        return ERR_NOT_FOUND;
    if (!fits(fd, head, head_len, size) || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1) {
        close(fd);
        return ERR_INVALID;
    }
    *out = map_fd(fd, size);
    return *out != NULL ? 0 : ERR_NOMEM;
}

int shm_seal(void *region, size_t size)
{
    return mprotect(region, size, PROT_READ) == -1 ? ERR_IO : 0;
}

void shm_free(void *region, size_t size)
{
    if (region == NULL)
        return;
    for (unsigned i = 0; i < MAX_LASTING; i++)
        if (lasting[i].region == region) {
            close(lasting[i].fd);
            lasting[i].region = NULL;
        }
    munmap(region, size);
}
