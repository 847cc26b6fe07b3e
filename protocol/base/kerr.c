#include "protocol/base/kerr.h"

#include <stddef.h>

static const struct {
    const char *name;
    bool retriable;
} kerr_table[] = {
#define KERR_ROW(code, text, retry) [(code) + 1] = {#text, (retry) != 0},
    KERR_LIST(KERR_ROW)
#undef KERR_ROW
};

#define KERR_COUNT (sizeof kerr_table / sizeof kerr_table[0])

static size_t kerr_row(enum kerr code)
{
    size_t row = (size_t)((int)code + 1);

    return row < KERR_COUNT && kerr_table[row].name ? row : 0;
}

const char *kerr_name(enum kerr code)
{
    return kerr_table[kerr_row(code)].name;
}

bool kerr_retriable(enum kerr code)
{
    return kerr_table[kerr_row(code)].retriable;
}
