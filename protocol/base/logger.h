#ifndef PROTOCOL_BASE_LOGGER_H
#define PROTOCOL_BASE_LOGGER_H

/* One line an event, key=value, as an interface that is passed in like files and clocks.
 *
 *   ts=2026-01-02T03:04:05.678Z level=warn event=batch_refused topic="orders" partition=3
 *
 * Nothing in a line may be a secret. Bytes that could forge a line (control characters) leave as
 * '.'. */

#include <stdarg.h>
#include <stddef.h>

enum logger_level { LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARN, LOGGER_ERROR, LOGGER_OFF };

struct logger {
    enum logger_level level; /* events below it are dropped before they are formatted */
    /* Writes one finished line (without newline) of the event part. Any thread. */
    void (*write)(struct logger *l, enum logger_level level, const char *line, size_t size);
};

/* Logs event with further `key=value` pairs from a printf format (may be "" for none). Text that
 * came from outside goes in as key="%.*s". At most 1 KiB, then cut. `l` NULL: nowhere. */
void logger_event(struct logger *l, enum logger_level level, const char *event, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));

const char *logger_level_name(enum logger_level level);

#endif
