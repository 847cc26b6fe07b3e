#ifndef STORAGE_SYNC_CHOICE_H
#define STORAGE_SYNC_CHOICE_H

/* Several files have to be durable: a sync of each, or one of the whole file system? Pure; learns
 * from what syncs took.
 *
 * On ext4 every fsync of a file that grew waits for a journal commit of its own (0.15 to 0.7 ms
 * here), one sync of the file system for a single one (0.2 to 0.9 ms), whatever the number of
 * files. But it also waits for what others wrote there, which can be seconds. So it is the choice
 * from three files on, until it was slower than the files by themselves twice in a row; then it is
 * not tried again for a while that is long against what it took. Once is forgiven: disks stall now
 * and then whatever they are asked. */

#include <stdbool.h>
#include <stdint.h>

struct sync_choice {
    int64_t file_us;   /* what the sync of one file takes, on the average of late */
    int slow_in_a_row; /* syncs of the file system that were slower than files would have been */
    int64_t again_us;  /* not before */
};

void sync_choice_init(struct sync_choice *s);
bool sync_choice_is_filesystem(const struct sync_choice *s, int files, int64_t now_us);
/* The sync of so many files, of either kind, took took_us and was over at now_us. */
void sync_choice_learn(struct sync_choice *s, bool filesystem, int files, int64_t took_us,
                       int64_t now_us);

#endif
