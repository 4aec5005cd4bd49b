/* What the files of this room share: the names of folders. */
#pragma once

#include <dirent.h>
#include <fcntl.h>

#include "parts/parts.h"

#define PARTS_FOLDER (PARTS_ID + 1 + 16) /* characters of an upload's folder, without ".ended" */
#define PARTS_ENDED  ".ended"
#define PARTS_GONE   ".gone" /* behind that: its answer is forgotten, and its files go */

/** The folder of all uploads; the caller's. @return NULL: no memory, or no folder is configured */
char *parts_root(const struct config *config);

/** Of one upload, in that folder. */
char *parts_folder(const struct config *config, const struct parts_id *id, bool ended);

/** Read the name of an upload's folder. @return false: it is none */
bool parts_read_folder(const char *name, struct parts_id *id, bool *ended);

/** Open the folder for reading. @return NULL: it is not there, or not ours alone (errno) */
DIR *parts_open_root(const struct config *config);

/** A lock on all of a file, as fcntl(2) of F_OFD_SETLK and F_OFD_GETLK wants it. */
struct flock parts_whole_lock(void);

/* What of a folder goes. */
enum broom_what {
    BROOM_NOTHING,
    BROOM_HALVES, /* parts that nobody writes any more */
    BROOM_PARTS,  /* all parts */
    BROOM_ALL,    /* and all else, and itself */
    BROOM_JUDGE   /* what its name and its files say when its turn comes */
};

/** Remove it on coming turns; what is locked stays.
 *  @param path  taken over
 *  @param loop  NULL: at once */
void broom_add(struct loop *loop, char *path, enum broom_what what);
