/* The end of an upload in parts: its parts are read one after another as the file that they are, and
 * go the way of every upload. */
#pragma once

#include "upload_send.h"

/** NULL is fine. What is locked is free again. */
void assembly_free(struct assembly *assembly);

/** It is given up: who reads the answer finds the upload free. NULL is fine. */
void assembly_give_up(struct assembly *assembly);

/** The file is stored: note the answer for whoever asks again, and let go of the parts.
 *  @param file  as the client sees it; of `doc`
 *  @return the answer, of `doc`; NULL: out of memory */
struct json *assembly_stored(struct upload *up, struct json_doc *doc, struct json *file);
