#include "storage/sync_choice.h"

enum {
    FILES_MIN = 3,        /* two files are about as fast by themselves, and wait for nobody else */
    FILE_US_FIRST = 1000, /* until one was measured */
    FILE_WEIGHT = 8,      /* of the average: what is new counts for an eighth */
    SLOW_MAX = 2,
    PAUSE_TIMES = 16, /* a file system that is slow for good costs a sixteenth of the time at
                       * most */
};

void sync_choice_init(struct sync_choice *s)
{
    *s = (struct sync_choice){.file_us = FILE_US_FIRST};
}

bool sync_choice_is_filesystem(const struct sync_choice *s, int files, int64_t now_us)
{
    return files >= FILES_MIN && now_us >= s->again_us;
}

void sync_choice_learn(struct sync_choice *s, bool filesystem, int files, int64_t took_us,
                       int64_t now_us)
{
    if (!filesystem) {
        if (files > 0)
            s->file_us += (took_us / files - s->file_us) / FILE_WEIGHT;
        return;
    }
    if (took_us <= s->file_us * files) {
        s->slow_in_a_row = 0;
        return;
    }
    if (++s->slow_in_a_row < SLOW_MAX)
        return;
    s->slow_in_a_row = SLOW_MAX - 1; /* one more after the pause is enough */
    s->again_us = now_us + took_us * PAUSE_TIMES;
}
