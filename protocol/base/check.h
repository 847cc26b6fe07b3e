#ifndef PROTOCOL_BASE_CHECK_H
#define PROTOCOL_BASE_CHECK_H

/* CHECK(condition) stays on in release builds: a broken promise between our own functions stops the
 * process with file, line and condition on stderr. Never for anything that came from outside. */

_Noreturn void check_failed(const char *file, int line, const char *condition);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            check_failed(__FILE__, __LINE__, #condition);                                          \
    } while (0)

#endif
