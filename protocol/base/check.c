#include "protocol/base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "level=fatal event=check_failed at=%s:%d condition=\"%s\"\n", file, line,
            condition);
    abort();
}
