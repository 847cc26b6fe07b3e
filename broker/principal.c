#include "broker/principal.h"

#include "protocol/messages/client_records.h"

void principal_write(struct writer *w, const struct principal *p)
{
    struct default_principal_data m = {p->type, p->name, p->token_authenticated};

    write_int16(w, DEFAULT_PRINCIPAL_DATA_VERSION_MAX);
    default_principal_data_encode(&m, w, DEFAULT_PRINCIPAL_DATA_VERSION_MAX);
}

bool principal_read(struct bytes data, struct principal *out)
{
    struct reader r = reader_of(data.data, data.size);
    struct default_principal_data m;
    struct arena a;
    int16_t version = read_int16(&r);

    if (!data.data || !reader_ok(&r) || version < DEFAULT_PRINCIPAL_DATA_VERSION_MIN ||
        version > DEFAULT_PRINCIPAL_DATA_VERSION_MAX)
        return false;
    arena_init(&a, 0); /* it has no arrays */
    if (!default_principal_data_decode(&m, &r, &a, version) || reader_left(&r) > 0)
        return false;
    *out = (struct principal){m.type, m.name, m.token_authenticated};
    return true;
}
