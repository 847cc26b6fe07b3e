#ifndef STORAGE_FILES_REAL_INTERNAL_H
#define STORAGE_FILES_REAL_INTERNAL_H

/* What the files behind files_real.h share. */

#include "storage/files.h"

/* open(2), again when a signal came; -1 with errno set. A pipe in a data directory holds up
 * nobody. */
int files_open_retrying(const char *path, int flags);

/* ---- files_real_paths.c: as struct files_ops says; `fs` is not looked at ---- */

struct status real_drop_cached(struct files *fs, const char *path);
struct status real_make_directory(struct files *fs, const char *path);
struct status real_make_read_only(struct files *fs, const char *path);
struct status real_set_modified(struct files *fs, const char *path, int64_t mtime_ms);
struct status real_remove_directory(struct files *fs, const char *path);
struct status real_list(struct files *fs, const char *path, files_visit *visit, void *arg);
struct status real_stat(struct files *fs, const char *path, struct file_stat *out);
struct status real_space(struct files *fs, const char *path, int64_t *total_bytes,
                         int64_t *usable_bytes);
struct status real_sync_directory(struct files *fs, const char *path);

#endif
