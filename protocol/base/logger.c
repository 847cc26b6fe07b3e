#include "protocol/base/logger.h"

#include <stdio.h>

#define LINE_BYTES_MAX 1024

const char *logger_level_name(enum logger_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error", "off"};

    return level <= LOGGER_OFF ? names[level] : "?";
}

void logger_event(struct logger *l, enum logger_level level, const char *event, const char *format,
                  ...)
{
    char line[LINE_BYTES_MAX];
    va_list args;
    int size, more;

    if (!l || level < l->level)
        return;
    size = snprintf(line, sizeof line, "level=%s event=%s%s", logger_level_name(level), event,
                    format[0] ? " " : "");
    if (size < 0 || size >= LINE_BYTES_MAX)
        return;
    va_start(args, format);
    more = vsnprintf(line + size, sizeof line - (size_t)size, format, args);
    va_end(args);
    size = more < 0 ? size : size + more;
    if (size >= LINE_BYTES_MAX)
        size = LINE_BYTES_MAX - 1;
    for (int i = 0; i < size; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '.';
    l->write(l, level, line, (size_t)size);
}
