/* trivet dump-log: prints the files of a log directory. */

#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/trivet/command.h"
#include "tools/trivet/dump.h"

/* ---- input ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

bool dump_input_open(struct dump *d, const char *path, struct dump_input *in)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        dump_problem(d, "%s: %s", path, strerror(errno));
        return false;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        dump_problem(d, "%s: not a regular file", path);
        close(fd);
        return false;
    }
    *in = (struct dump_input){.path = path, .name = last_part(path), .fd = fd, .size = st.st_size};
    return true;
}

void dump_input_close(struct dump_input *in)
{
    close(in->fd);
    in->fd = -1;
}

bool dump_input_read(struct dump *d, const struct dump_input *in, void *buffer, size_t size,
                     int64_t at)
{
    uint8_t *p = buffer;

    while (size > 0) {
        ssize_t got = pread(in->fd, p, size, at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            dump_problem(d, "%s: at %" PRId64 ": %s", in->path, at,
                         got < 0 ? strerror(errno) : "the file became shorter");
            return false;
        }
        p += got;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

/* ---- files by their names ---- */

static void announce_segment(struct dump *d, const struct dump_input *in)
{
    dump_text(d, "Log starting offset: %lld", strtoll(in->name, NULL, 10));
}

/* "<end offset>-<epoch>.checkpoint" */
static void announce_checkpoint(struct dump *d, const struct dump_input *in)
{
    char *rest;
    long long end_offset = strtoll(in->name, &rest, 10);

    if (strcmp(in->name, "bootstrap.checkpoint") == 0)
        dump_text(d, "KRaft bootstrap snapshot");
    else
        dump_text(d, "Snapshot end offset: %lld, epoch: %lld", end_offset,
                  *rest == '-' ? strtoll(rest + 1, NULL, 10) : 0);
}

/* Names end so; those of files that are being deleted or swapped have one more suffix. */
static const struct file_kind {
    const char *suffix;
    const char *name; /* in JSON */
    void (*announce)(struct dump *d, const struct dump_input *in);
    void (*dump)(struct dump *d, const struct dump_input *in);
    bool metadata; /* always holds metadata records */
} file_kinds[] = {
    {".log", "segment", announce_segment, dump_segment, false},
    {".checkpoint", "metadataSnapshot", announce_checkpoint, dump_segment, true},
    {".index", "offsetIndex", NULL, dump_offset_index, false},
    {".timeindex", "timeIndex", NULL, dump_time_index, false},
    {".txnindex", "transactionIndex", NULL, dump_transaction_index, false},
    {".snapshot", "producerSnapshot", NULL, dump_producer_snapshot, false},
};
#define FILE_KIND_COUNT (sizeof file_kinds / sizeof file_kinds[0])

static const char *const passing_suffixes[] = {".deleted", ".cleaned", ".swap", ".part"};

static bool ends_with(const char *name, size_t size, const char *suffix)
{
    size_t n = strlen(suffix);

    return size > n && memcmp(name + size - n, suffix, n) == 0;
}

static const struct file_kind *kind_of(const char *name)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < sizeof passing_suffixes / sizeof passing_suffixes[0]; i++)
        if (ends_with(name, size, passing_suffixes[i]))
            size -= strlen(passing_suffixes[i]);
    for (size_t i = 0; i < FILE_KIND_COUNT; i++)
        if (ends_with(name, size, file_kinds[i].suffix))
            return &file_kinds[i];
    return NULL;
}

static bool in_metadata_directory(const char *path)
{
    return strstr(path, "__cluster_metadata-0/") != NULL;
}

bool dump_file(struct dump *d, const char *path)
{
    const struct file_kind *kind = kind_of(last_part(path));
    struct dump one = *d;
    struct dump_input in;

    if (!kind)
        return false;
    if (!dump_input_open(d, path, &in))
        return true;
    if (kind->metadata || in_metadata_directory(path))
        one.metadata = true;
    if (one.metadata)
        one.deep = true;
    dump_text(d, "Dumping %s", path);
    if (d->json)
        dump_line(d, "file", "", json_pack("{ssss}", "path", path, "kind", kind->name));
    if (kind->announce)
        kind->announce(d, &in);
    kind->dump(&one, &in);
    d->failed |= one.failed;
    dump_input_close(&in);
    return true;
}

/* ---- directories ---- */

static int is_known(const struct dirent *entry)
{
    return kind_of(entry->d_name) != NULL;
}

void dump_directory(struct dump *d, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_known, alphasort);
    size_t stem = strlen(path);

    if (count < 0) {
        dump_problem(d, "%s: %s", path, strerror(errno));
        return;
    }
    if (count == 0)
        dump_problem(d, "%s: no files of a log in it", path);
    while (stem > 1 && path[stem - 1] == '/')
        stem--;
    for (int i = 0; i < count; i++) {
        char *file;

        if (asprintf(&file, "%.*s/%s", (int)stem, path, entries[i]->d_name) >= 0) {
            dump_file(d, file);
            free(file);
        }
        free(entries[i]);
    }
    free(entries);
}

static void dump_path(struct dump *d, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        dump_problem(d, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        dump_directory(d, path);
    else if (!dump_file(d, path))
        dump_problem(d, "%s: not a segment, an index or a snapshot by its name", path);
}

/* ---- the command line ---- */

enum option_key {
    OPTION_JSON = 'j',
    OPTION_DEEP = 'd',
    OPTION_METADATA = 'm',
    OPTION_OFFSETS = 'o'
};

static const struct argp_option options[] = {
    {"json", OPTION_JSON, NULL, 0, "One JSON object a line", 0},
    {"deep", OPTION_DEEP, NULL, 0, "Records too, not only their batches", 0},
    {"cluster-metadata", OPTION_METADATA, NULL, 0,
     "Values are metadata records (known without this for __cluster_metadata-0 and *.checkpoint)",
     0},
    {"offsets-decoder", OPTION_OFFSETS, NULL, 0,
     "Records are those of __consumer_offsets: groups and committed offsets", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct dump *d = state->input;

    (void)arg;
    switch (key) {
    case OPTION_JSON:
        d->json = true;
        return 0;
    case OPTION_DEEP:
        d->deep = true;
        return 0;
    case OPTION_METADATA:
        d->metadata = true;
        return 0;
    case OPTION_OFFSETS:
        d->offsets = true;
        d->deep = true;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "a file or directory is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse_option,
    .args_doc = "FILE|DIR...",
    .doc = "Print segments, indexes, producer snapshots and the metadata log.\v"
           "Lines are those of Apache Kafka's kafka-dump-log. Damage is told on standard error, "
           "and makes the exit status 1.",
};

int command_dump_log(int argc, char **argv)
{
    struct dump d = {.out = stdout, .err = stderr};
    int first;

    if (argp_parse(&parser, argc, argv, 0, &first, &d) != 0)
        return EXIT_USAGE;
    for (int i = first; i < argc; i++)
        dump_path(&d, argv[i]);
    return d.failed ? EXIT_FAILED : EXIT_DONE;
}
