/* What the file interface does with a path alone: directories, and what the system knows of a file.
 * None of it has to do with the cache of descriptors. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "storage/files_real_internal.h"

int files_open_retrying(const char *path, int flags)
{
    int fd;

    do
        fd = open(path, flags | O_CLOEXEC | O_NONBLOCK /* a pipe in a data directory */, 0644);
    while (fd < 0 && errno == EINTR);
    return fd;
}

struct status real_drop_cached(struct files *fs, const char *path)
{
    int fd = files_open_retrying(path, O_RDONLY);
    int error;

    (void)fs;
    if (fd < 0)
        return status_errno(errno, "open a file");
    error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return error ? status_errno(error, "drop a file from memory") : STATUS_OK;
}

struct status real_make_directory(struct files *fs, const char *path)
{
    (void)fs;
    return mkdir(path, 0755) < 0 ? status_errno(errno, "make a directory") : STATUS_OK;
}

struct status real_make_read_only(struct files *fs, const char *path)
{
    (void)fs;
    return chmod(path, 0400) < 0 ? status_errno(errno, "make a file read-only") : STATUS_OK;
}

struct status real_set_modified(struct files *fs, const char *path, int64_t mtime_ms)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = mtime_ms / 1000, .tv_nsec = mtime_ms % 1000 * 1000000},
    };

    (void)fs;
    return utimensat(AT_FDCWD, path, times, 0) < 0 ? status_errno(errno, "set a modification time")
                                                   : STATUS_OK;
}

struct status real_remove_directory(struct files *fs, const char *path)
{
    (void)fs;
    return rmdir(path) < 0 ? status_errno(errno, "remove a directory") : STATUS_OK;
}

static bool entry_is_directory(DIR *d, const struct dirent *e)
{
    struct stat st;

    if (e->d_type != DT_UNKNOWN && e->d_type != DT_LNK)
        return e->d_type == DT_DIR;
    return fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

struct status real_list(struct files *fs, const char *path, files_visit *visit, void *arg)
{
    DIR *d = opendir(path);
    int error;

    (void)fs;
    if (!d)
        return status_errno(errno, "list a directory");
    for (;;) {
        const struct dirent *e;

        errno = 0;
        e = readdir(d);
        if (!e)
            break;
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            visit(arg, e->d_name, entry_is_directory(d, e));
    }
    error = errno;
    closedir(d);
    return error ? status_errno(error, "list a directory") : STATUS_OK;
}

struct status real_stat(struct files *fs, const char *path, struct file_stat *out)
{
    struct stat st;

    (void)fs;
    if (stat(path, &st) < 0)
        return status_errno(errno, "stat");
    *out = (struct file_stat){
        .size = st.st_size,
        .mtime_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000,
        .is_directory = S_ISDIR(st.st_mode),
    };
    return STATUS_OK;
}

struct status real_space(struct files *fs, const char *path, int64_t *total_bytes,
                         int64_t *usable_bytes)
{
    struct statvfs st;

    (void)fs;
    if (statvfs(path, &st) < 0)
        return status_errno(errno, "look how much room there is");
    *total_bytes = (int64_t)(st.f_blocks * st.f_frsize);
    *usable_bytes = (int64_t)(st.f_bavail * st.f_frsize);
    return STATUS_OK;
}

struct status real_sync_directory(struct files *fs, const char *path)
{
    int fd = files_open_retrying(path, O_RDONLY | O_DIRECTORY);
    int error = 0;

    (void)fs;
    if (fd < 0)
        return status_errno(errno, "sync a directory");
    while (fsync(fd) < 0) {
        error = errno;
        if (error != EINTR)
            break;
        error = 0;
    }
    close(fd);
    return error ? status_errno(error, "sync a directory") : STATUS_OK;
}
