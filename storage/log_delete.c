/* Deleting a whole log: its directory gets a name that says so, and is removed by whoever looks
 * after the log directory. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "storage/log_dir.h"
#include "storage/log_internal.h"

struct status log_delete(struct log *l, struct uuid unique)
{
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1], to[SEGMENT_PATH_BYTES];
    const char *slash = strrchr(l->directory, '/');
    const char *folder = slash ? slash + 1 : l->directory;
    const struct log_dir_entry entry = log_dir_parse_name(str_from(folder));
    struct status st = STATUS_OK;
    int size;

    CHECK(!l->flushing);
    for (size_t i = 0; i < l->segment_count; i++)
        if (segment_is_held_by_others(l->segments[i], 1))
            segment_pin(l->segments[i]);
    if (l->directory_exists) {
        if (!log_dir_format_name(entry.topic, entry.partition, LOG_DIR_DELETED, unique, name))
            st = status_errno(ENAMETOOLONG, "directory of a deleted log");
        size = snprintf(to, sizeof to, "%.*s%s", (int)(folder - l->directory), l->directory, name);
        if (size < 0 || size >= (int)sizeof to)
            st = status_errno(ENAMETOOLONG, "directory of a deleted log");
        if (!status_failed(st))
            st = l->files->ops->rename(l->files, l->directory, to);
    }
    log_discard(l);
    return st;
}
