/* What the machine asks for the least a broker has to do, without a broker: the other half of each
 * figure in CPU-seconds per GB.
 *
 *   bare_loop write FOLDER FRAME_BYTES TOTAL_BYTES   read a socket, take the CRC-32C, write a file
 *   bare_loop send FOLDER RANGE_BYTES TOTAL_BYTES    sendfile what was written a moment ago
 *
 * Within one machine nothing is gained by pacing (BBR): like trivetd's, the socket is set to a
 * congestion control without. One thread does the work and its processor time is taken; a child
 * process is the other end of the TCP connection and is not counted. Like the benchmark's topics
 * the bytes go to six files in turn. Prints one line of JSON. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <isa-l/crc.h>

enum {
    FILES = 6,
    PEER_BYTES = 1 << 20, /* what the other end reads or writes in one call */
};

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bare_loop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static uint8_t *noise(size_t size)
{
    uint8_t *bytes = malloc(size);

    if (!bytes)
        give_up("malloc");
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)rand();
    return bytes;
}

/* ---- the other end ---- */

static void feed(int fd, int64_t total)
{
    uint8_t *bytes = noise(PEER_BYTES);

    while (total > 0) {
        ssize_t sent = write(fd, bytes, total < PEER_BYTES ? (size_t)total : PEER_BYTES);

        if (sent < 0)
            give_up("feeding");
        total -= sent;
    }
}

static void drain(int fd, int64_t total)
{
    uint8_t *bytes = malloc(PEER_BYTES);

    while (total > 0) {
        ssize_t got = bytes ? read(fd, bytes, PEER_BYTES) : -1;

        if (got <= 0)
            give_up("draining");
        total -= got;
    }
}

/* A connected TCP socket on loopback, whose other end a child process has; *child is to be waited
 * for. */
static int connect_peer(void (*peer)(int fd, int64_t total), int64_t total, pid_t *child)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

    if (listener < 0 || bind(listener, (struct sockaddr *)&at, size) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&at, &size))
        give_up("listening");
    *child = fork();
    if (*child < 0)
        give_up("fork");
    if (*child == 0) {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&at, size))
            give_up("connecting");
        peer(fd, total);
        exit(0);
    }
    fd = accept(listener, NULL, NULL);
    if (fd < 0)
        give_up("accepting");
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno")))
        give_up("the congestion control");
    close(listener);
    return fd;
}

/* ---- the work ---- */

static void open_files(const char *folder, int files[FILES])
{
    char path[4096];

    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/bare-%d", folder, i);
        files[i] = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
        if (files[i] < 0 || unlink(path))
            give_up(path);
    }
}

static void write_whole(int fd, const uint8_t *bytes, size_t size, off_t at)
{
    if (pwrite(fd, bytes, size, at) != (ssize_t)size)
        give_up("writing");
}

static uint32_t read_frame(int fd, uint8_t *frame, size_t size)
{
    for (size_t have = 0; have < size;) {
        ssize_t got = read(fd, frame + have, size - have);

        if (got <= 0)
            give_up("reading");
        have += (size_t)got;
    }
    return crc32_iscsi(frame, (int)size, ~0u);
}

static uint32_t run_write(const int files[FILES], int fd, size_t frame_bytes, int64_t frames)
{
    uint8_t *frame = malloc(frame_bytes);
    uint32_t sum = 0;

    if (!frame)
        give_up("malloc");
    for (int64_t i = 0; i < frames; i++) {
        sum ^= read_frame(fd, frame, frame_bytes);
        write_whole(files[i % FILES], frame, frame_bytes, i / FILES * (off_t)frame_bytes);
    }
    free(frame);
    return sum;
}

static void fill_files(const int files[FILES], size_t range_bytes, int64_t ranges)
{
    uint8_t *range = noise(range_bytes);

    for (int64_t i = 0; i < ranges; i++)
        write_whole(files[i % FILES], range, range_bytes, i / FILES * (off_t)range_bytes);
    free(range);
}

static void run_send(const int files[FILES], int fd, size_t range_bytes, int64_t ranges)
{
    for (int64_t i = 0; i < ranges; i++) {
        off_t at = i / FILES * (off_t)range_bytes, end = at + (off_t)range_bytes;

        while (at < end)
            if (sendfile(fd, files[i % FILES], &at, (size_t)(end - at)) <= 0)
                give_up("sendfile");
    }
}

int main(int argc, char **argv)
{
    bool writes = argc == 5 && strcmp(argv[1], "write") == 0;
    size_t piece = argc == 5 ? (size_t)atoll(argv[3]) : 0;
    int64_t count = piece ? atoll(argv[4]) / (int64_t)piece : 0, total = count * (int64_t)piece;
    double started, cpu;
    int files[FILES], fd, status;
    uint32_t sum = 0;
    pid_t child;

    if (!count || (!writes && strcmp(argv[1], "send") != 0)) {
        fprintf(stderr, "usage: bare_loop write|send ...; see the head of its source\n");
        return 2;
    }
    open_files(argv[2], files);
    if (!writes)
        fill_files(files, piece, count);
    fd = connect_peer(writes ? feed : drain, total, &child);
    started = now_s();
    cpu = cpu_s();
    if (writes)
        sum = run_write(files, fd, piece, count);
    else
        run_send(files, fd, piece, count);
    cpu = cpu_s() - cpu;
    if (waitpid(child, &status, 0) != child || status)
        give_up("the other end");
    printf("{\"bytes\": %lld, \"cpu_s_per_gb\": %.3f, \"mb_per_s\": %.1f, \"crc\": %u}\n",
           (long long)total, cpu / ((double)total / 1e9), (double)total / 1e6 / (now_s() - started),
           sum);
    return 0;
}
