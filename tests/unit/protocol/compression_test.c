#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "protocol/base/byteorder.h"
#include "protocol/compression.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static int setup(void **state)
{
    *state = compression_scratch_new();
    return *state == NULL;
}

static int teardown(void **state)
{
    compression_scratch_free(*state);
    return 0;
}

static struct bytes_mut copy_of(const void *data, size_t size)
{
    struct bytes_mut copy = {malloc(size ? size : 1), size};

    if (size)
        memcpy(copy.data, data, size);
    return copy;
}

static struct bytes bytes_of(struct bytes_mut b)
{
    return (struct bytes){b.data, b.size};
}

static enum kerr decompress(struct compression_scratch *s, int type, const void *data, size_t size,
                            struct bytes *out)
{
    struct bytes_mut in = copy_of(data, size); /* of exactly that size, for ASan */
    enum kerr code = compression_decompress(s, type, bytes_of(in), 64 * MIB, out).code;

    free(in.data);
    return code;
}

/* ---- bytes made elsewhere: "abc" ---- */

#define ABC_GZIP                                                                                   \
    0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0x02, 0xff, 0x4b, 0x4c, 0x4a, 0x06, 0, 0xc2, 0x41, 0x24,      \
        0x35, 3, 0, 0, 0
#define ABC_SNAPPY      3, 8, 'a', 'b', 'c'
#define SNAPPY_JAVA_TOP 0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1
#define LZ4_TOP         0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82
#define ABC_LZ4         LZ4_TOP, 3, 0, 0, 0x80, 'a', 'b', 'c', 0, 0, 0, 0
#define ABC_ZSTD        0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c'

static const uint8_t abc_gzip[] = {ABC_GZIP};
static const uint8_t abc_gzip_twice[] = {ABC_GZIP, ABC_GZIP};
static const uint8_t abc_snappy[] = {ABC_SNAPPY};
static const uint8_t abc_snappy_java[] = {SNAPPY_JAVA_TOP, 0, 0, 0, 5, ABC_SNAPPY};
static const uint8_t abc_snappy_java_twice[] = {SNAPPY_JAVA_TOP, 0, 0, 0, 5, ABC_SNAPPY,
                                                SNAPPY_JAVA_TOP, 0, 0, 0, 5, ABC_SNAPPY};
static const uint8_t abc_snappy_java_blocks[] = {
    SNAPPY_JAVA_TOP, 0, 0, 0, 5, ABC_SNAPPY, 0, 0, 0, 5, ABC_SNAPPY};
static const uint8_t abc_lz4[] = {ABC_LZ4};
static const uint8_t abc_zstd[] = {ABC_ZSTD};
static const uint8_t abc_zstd_twice[] = {ABC_ZSTD, ABC_ZSTD};

#define FIXTURE(type, data, text)                                                                  \
    {                                                                                              \
        type, data, sizeof(data), text                                                             \
    }

static const struct fixture {
    int type;
    const uint8_t *data;
    size_t size;
    const char *text;
} fixtures[] = {
    FIXTURE(COMPRESSION_GZIP, abc_gzip, "abc"),
    FIXTURE(COMPRESSION_GZIP, abc_gzip_twice, "abcabc"),
    FIXTURE(COMPRESSION_SNAPPY, abc_snappy, "abc"),
    FIXTURE(COMPRESSION_SNAPPY, abc_snappy_java, "abc"),
    FIXTURE(COMPRESSION_SNAPPY, abc_snappy_java_twice, "abcabc"),
    FIXTURE(COMPRESSION_SNAPPY, abc_snappy_java_blocks, "abcabc"),
    FIXTURE(COMPRESSION_LZ4, abc_lz4, "abc"),
    FIXTURE(COMPRESSION_ZSTD, abc_zstd, "abc"),
    FIXTURE(COMPRESSION_ZSTD, abc_zstd_twice, "abcabc"),
};
#define FIXTURE_COUNT (sizeof fixtures / sizeof fixtures[0])

static void streams_made_elsewhere_are_read(void **state)
{
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        const struct fixture *f = &fixtures[i];
        struct bytes out;

        assert_int_equal(decompress(*state, f->type, f->data, f->size, &out), KERR_NONE);
        assert_int_equal(out.size, strlen(f->text));
        assert_memory_equal(out.data, f->text, out.size);
    }
}

/* Cut anywhere a stream is corrupt, unless the cut falls between two streams or blocks. */
static void streams_cut_at_every_byte_are_corrupt(void **state)
{
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        const struct fixture *f = &fixtures[i];

        for (size_t cut = 0; cut < f->size; cut++) {
            struct bytes out = {0};
            enum kerr code = decompress(*state, f->type, f->data, cut, &out);

            if (code == KERR_NONE)
                assert_true(out.size < strlen(f->text) && out.size % 3 == 0);
            else
                assert_int_equal(code, KERR_CORRUPT_MESSAGE);
        }
    }
}

static void a_byte_behind_the_stream_is_corrupt(void **state)
{
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        const struct fixture *f = &fixtures[i];
        uint8_t longer[128] = {0};
        struct bytes out;

        memcpy(longer, f->data, f->size);
        longer[f->size] = 'x';
        assert_int_equal(decompress(*state, f->type, longer, f->size + 1, &out),
                         KERR_CORRUPT_MESSAGE);
    }
}

static void streams_with_flipped_bits_stay_within_bounds(void **state)
{
    for (size_t i = 0; i < FIXTURE_COUNT; i++) {
        const struct fixture *f = &fixtures[i];
        uint8_t changed[128];

        for (size_t bit = 0; bit < f->size * 8; bit++) {
            struct bytes out;
            enum kerr code;

            memcpy(changed, f->data, f->size);
            changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
            code = decompress(*state, f->type, changed, f->size, &out);
            assert_true(code == KERR_NONE || code == KERR_CORRUPT_MESSAGE ||
                        code == KERR_MESSAGE_TOO_LARGE);
        }
    }
}

/* Kafka's clients cannot read such frames, so no broker may store them. */
static void an_lz4_frame_with_linked_blocks_is_refused(void **state)
{
    uint8_t linked[sizeof abc_lz4];
    struct bytes out;

    memcpy(linked, abc_lz4, sizeof linked);
    linked[4] = 0x40;
    assert_int_equal(decompress(*state, COMPRESSION_LZ4, linked, sizeof linked, &out),
                     KERR_CORRUPT_MESSAGE);
}

static void snappy_java_framing_of_a_later_version_is_refused(void **state)
{
    uint8_t later[sizeof abc_snappy_java];
    struct bytes out;

    memcpy(later, abc_snappy_java, sizeof later);
    later[15] = 2;
    assert_int_equal(decompress(*state, COMPRESSION_SNAPPY, later, sizeof later, &out),
                     KERR_CORRUPT_MESSAGE);
}

/* Declared lengths size a buffer, so one that its bytes cannot give is refused first. */
static void a_snappy_block_that_declares_too_much_is_refused(void **state)
{
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0x07, 8, 'a', 'b', 'c'};
    struct bytes out;

    assert_int_equal(decompress(*state, COMPRESSION_SNAPPY, huge, sizeof huge, &out),
                     KERR_CORRUPT_MESSAGE);
}

static void codecs_that_do_not_exist_are_refused(void **state)
{
    struct decompressor d;
    struct bytes out;

    assert_int_equal(decompress(*state, 5, "abc", 3, &out), KERR_UNSUPPORTED_COMPRESSION_TYPE);
    assert_int_equal(decompress(*state, -1, "abc", 3, &out), KERR_UNSUPPORTED_COMPRESSION_TYPE);
    assert_int_equal(decompressor_open(&d, *state, COMPRESSION_NONE, (struct bytes){0}, 1).code,
                     KERR_UNSUPPORTED_COMPRESSION_TYPE);
}

/* ---- our own streams ---- */

/* Words with repetitions in them, from a seed. */
static struct bytes_mut prose(size_t size)
{
    struct bytes_mut b = {malloc(size + 1), size};
    uint32_t seed = 12345;

    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        b.data[i] = (uint8_t)("etaoin shrdlucm"[seed >> 28]);
    }
    return b;
}

static void every_codec_and_level_gives_back_what_it_took(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 32 * 1024, 65536, 65537, 300000, 5 * MIB};

    for (int type = COMPRESSION_NONE; type < COMPRESSION_COUNT; type++) {
        struct compression_levels levels = compression_levels((enum compression_type)type);
        const int tried[] = {levels.initial, levels.min, levels.max};

        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            for (size_t l = 0; l < (sizes[i] > MIB ? 1 : 3); l++) {
                struct bytes_mut in = prose(sizes[i]);
                struct bytes_mut packed;
                struct bytes out;

                assert_int_equal(compression_compress(*state, (enum compression_type)type, tried[l],
                                                      7, bytes_of(in), &packed)
                                     .code,
                                 KERR_NONE);
                assert_int_equal(decompress(*state, type, packed.data + 7, packed.size - 7, &out),
                                 KERR_NONE);
                if (type != COMPRESSION_NONE) { /* whose output is the freed copy of its input */
                    assert_int_equal(out.size, in.size);
                    assert_true(in.size == 0 || memcmp(out.data, in.data, in.size) == 0);
                }
                free(in.data);
            }
        }
        compression_scratch_trim(*state);
    }
}

static void snappy_is_written_in_the_framing_of_snappy_java(void **state)
{
    static const uint8_t head[] = {SNAPPY_JAVA_TOP};
    struct bytes_mut in = prose(40000); /* two blocks */
    struct bytes_mut out;

    compression_compress(*state, COMPRESSION_SNAPPY, 0, 0, bytes_of(in), &out);
    assert_memory_equal(out.data, head, sizeof head);
    assert_true(load_be32(out.data + 16) < out.size - 20);
    free(in.data);
}

static void lz4_is_written_in_independent_blocks_of_64_kib(void **state)
{
    struct bytes_mut in = prose(100);
    struct bytes_mut out;

    compression_compress(*state, COMPRESSION_LZ4, 9, 0, bytes_of(in), &out);
    assert_int_equal(out.data[4], 0x60);
    assert_int_equal(out.data[5], 0x40);
    free(in.data);
}

/* The pieces a stream is read in do not matter. */
static void a_stream_can_be_read_in_small_pieces(void **state)
{
    struct bytes_mut in = prose(200000);

    for (int type = COMPRESSION_GZIP; type < COMPRESSION_COUNT; type++) {
        struct bytes_mut packed;
        struct decompressor d;
        uint8_t piece[977];
        size_t at = 0;
        size_t got;

        compression_compress(*state, (enum compression_type)type,
                             compression_levels((enum compression_type)type).initial, 0,
                             bytes_of(in), &packed);
        assert_int_equal(decompressor_open(&d, *state, type, bytes_of(packed), in.size).code,
                         KERR_NONE);
        do {
            assert_int_equal(decompressor_read(&d, piece, sizeof piece, &got).code, KERR_NONE);
            assert_true(at + got <= in.size);
            assert_memory_equal(piece, in.data + at, got);
            at += got;
        } while (got == sizeof piece);
        assert_int_equal(at, in.size);
        decompressor_close(&d);
    }
    free(in.data);
}

static void the_limit_is_exact(void **state)
{
    struct bytes_mut in = prose(100000);

    for (int type = COMPRESSION_GZIP; type < COMPRESSION_COUNT; type++) {
        struct bytes_mut packed;
        struct bytes_mut copy;
        struct bytes out;

        compression_compress(*state, (enum compression_type)type,
                             compression_levels((enum compression_type)type).initial, 0,
                             bytes_of(in), &packed);
        copy = copy_of(packed.data, packed.size);
        assert_int_equal(compression_decompress(*state, type, bytes_of(copy), in.size, &out).code,
                         KERR_NONE);
        assert_int_equal(
            compression_decompress(*state, type, bytes_of(copy), in.size - 1, &out).code,
            KERR_MESSAGE_TOO_LARGE);
        assert_int_equal(compression_decompress(*state, type, bytes_of(copy), 0, &out).code,
                         KERR_MESSAGE_TOO_LARGE);
        free(copy.data);
    }
    free(in.data);
}

/* ---- bombs: 1 GiB of zeros ---- */

/* `head`, then `unit` as often as needed, then `tail`. */
static struct bytes_mut repeat(struct bytes head, struct bytes unit, size_t times,
                               struct bytes tail)
{
    struct bytes_mut b = {malloc(head.size + unit.size * times + tail.size), 0};

    memcpy(b.data, head.data, head.size);
    b.size = head.size;
    for (size_t i = 0; i < times; i++, b.size += unit.size)
        memcpy(b.data + b.size, unit.data, unit.size);
    if (tail.size)
        memcpy(b.data + b.size, tail.data, tail.size);
    b.size += tail.size;
    return b;
}

/* A stream of 1 GiB from the stream of 1 MiB: codecs repeat blocks, members or frames. */
static struct bytes_mut bomb(struct compression_scratch *s, int type)
{
    static const uint8_t zstd_rle[] = {0x02, 0, 0x10, 0};  /* block of 128 KiB, one byte repeated */
    static const uint8_t zstd_last[] = {0x03, 0, 0x10, 0}; /* the same, and the last */
    static const uint8_t zstd_head[] = {0x28, 0xb5, 0x2f, 0xfd, 0, 0x38}; /* window of 128 KiB */
    static const uint8_t zeros[64 * 1024];
    struct bytes_mut big = {calloc(1, MIB), MIB};
    struct bytes_mut packed;
    struct bytes_mut out;

    switch (type) {
    case COMPRESSION_ZSTD:
        out = repeat((struct bytes){zstd_head, sizeof zstd_head}, (struct bytes){zstd_rle, 4},
                     GIB / (128 * 1024) - 1, (struct bytes){zstd_last, 4});
        break;
    case COMPRESSION_GZIP:
        compression_compress(s, COMPRESSION_GZIP, 9, 0, bytes_of(big), &packed);
        out =
            repeat((struct bytes){packed.data, 0}, bytes_of(packed), GIB / MIB, (struct bytes){0});
        break;
    case COMPRESSION_SNAPPY:
        compression_compress(s, COMPRESSION_SNAPPY, 0, 0, bytes_of(big), &packed);
        out =
            repeat((struct bytes){packed.data, 0}, bytes_of(packed), GIB / MIB, (struct bytes){0});
        break;
    default:
        compression_compress(s, COMPRESSION_LZ4, 9, 0, (struct bytes){zeros, sizeof zeros},
                             &packed);
        out = repeat((struct bytes){packed.data, 7},
                     (struct bytes){packed.data + 7, packed.size - 11}, GIB / sizeof zeros,
                     (struct bytes){packed.data + packed.size - 4, 4});
        break;
    }
    free(big.data);
    return out;
}

static long memory_kib(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void a_bomb_is_refused_at_the_limit_and_costs_no_memory(void **state)
{
    for (int type = COMPRESSION_GZIP; type < COMPRESSION_COUNT; type++) {
        struct bytes_mut in = bomb(*state, type);
        long before = memory_kib();
        uint8_t window[64 * 1024];
        struct decompressor d;
        struct status st;
        size_t total = 0;
        size_t got;

        assert_int_equal(decompressor_open(&d, *state, type, bytes_of(in), 100 * MIB).code,
                         KERR_NONE);
        do {
            st = decompressor_read(&d, window, sizeof window, &got);
            total += got;
        } while (!status_failed(st) && got == sizeof window);
        decompressor_close(&d);
        assert_int_equal(st.code, KERR_MESSAGE_TOO_LARGE);
        assert_int_equal(total, 100 * MIB);
        assert_true(memory_kib() - before < 16 * 1024);
        free(in.data);
    }
}

/* ---- names and levels ---- */

static void names_are_those_of_compression_type(void **state)
{
    enum compression_type type = COMPRESSION_NONE;

    (void)state;
    assert_string_equal(compression_name(COMPRESSION_ZSTD), "zstd");
    assert_string_equal(compression_name(7), "unknown");
    assert_string_equal(compression_name(-1), "unknown");
    assert_true(compression_from_name(STR("lz4"), &type));
    assert_int_equal(type, COMPRESSION_LZ4);
    assert_false(compression_from_name(STR("producer"), &type));
    assert_int_equal(type, COMPRESSION_LZ4);
    assert_int_equal(compression_levels(COMPRESSION_GZIP).initial, -1);
    assert_int_equal(compression_levels(COMPRESSION_LZ4).max, 17);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(streams_made_elsewhere_are_read),
        TEST(streams_cut_at_every_byte_are_corrupt),
        TEST(a_byte_behind_the_stream_is_corrupt),
        TEST(streams_with_flipped_bits_stay_within_bounds),
        TEST(an_lz4_frame_with_linked_blocks_is_refused),
        TEST(snappy_java_framing_of_a_later_version_is_refused),
        TEST(a_snappy_block_that_declares_too_much_is_refused),
        TEST(codecs_that_do_not_exist_are_refused),
        TEST(every_codec_and_level_gives_back_what_it_took),
        TEST(snappy_is_written_in_the_framing_of_snappy_java),
        TEST(lz4_is_written_in_independent_blocks_of_64_kib),
        TEST(a_stream_can_be_read_in_small_pieces),
        TEST(the_limit_is_exact),
        TEST(a_bomb_is_refused_at_the_limit_and_costs_no_memory),
        TEST(names_are_those_of_compression_type),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
