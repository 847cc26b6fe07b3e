#ifndef STORAGE_FILES_REAL_H
#define STORAGE_FILES_REAL_H

/* The file interface on Linux.
 *
 * A struct file is a path and, while it is hot, a descriptor. Descriptors come from a bounded
 * cache: one is opened when a call needs it, and the least recently used idle ones are closed when
 * there are too many. A call on a file whose descriptor is open takes no lock. When every
 * descriptor is in use at once the bound is exceeded rather than anyone made to wait; pins must
 * therefore be short.
 *
 * A handle follows its file through files_ops.rename, of itself or of a directory above it; one
 * whose file was removed goes on while its descriptor is open or pinned, and fails with ENOENT
 * after that. Renames by others are not seen. */

#include <stddef.h>

#include "storage/files.h"

struct files_real_stats {
    size_t files;       /* open handles */
    size_t descriptors; /* open at the moment */
    size_t descriptors_max;
    size_t opens;     /* open(2) calls so far */
    size_t evictions; /* descriptors closed to make room */
};

/* descriptors_max 0: half of this process's RLIMIT_NOFILE (its soft limit), so that the other half
 * is left for connections. Owned by the caller. */
struct status files_real_create(size_t descriptors_max, struct files **out);

/* Every file must be closed before. */
void files_real_free(struct files *fs);

void files_real_stats(struct files *fs, struct files_real_stats *out);

#endif
