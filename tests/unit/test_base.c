/* test_base.c: the error stack, checked arithmetic, the cursor, arenas, hashes, half floats (all of them), file maps. */
#include "base/arena.h"
#include "base/checked.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file_map.h"
#include "base/half.h"
#include "base/hash.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bl_status fail_first(void)
{
    BL_FAIL(BL_EFORMAT, "cause %d", 7);
}

static bl_status fail_second(void)
{
    BL_TRY(fail_first());
    return BL_OK;
}

Test(error, cause_comes_first)
{
    bl_errors_clear();
    cr_assert_eq(fail_second(), BL_EFORMAT);
    uint32_t count;
    const bl_error_frame *frames = bl_errors(&count);
    cr_assert_eq(count, 2);
    cr_assert_str_eq(frames[0].text, "cause 7");
    cr_assert_str_empty(frames[1].text);
    cr_assert_str_eq(bl_error_text(), "cause 7");
    bl_errors_clear();
    cr_assert_str_empty(bl_error_text());
}

Test(error, a_full_stack_keeps_the_cause)
{
    bl_errors_clear();
    for (int i = 0; i < 100; i++)
        (void)bl_error_push(BL_EIO, "f.c", i, "frame %d", i);
    uint32_t count;
    const bl_error_frame *frames = bl_errors(&count);
    cr_assert_eq(count, BL_ERROR_FRAMES);
    cr_assert_eq(frames[0].line, 0);
    cr_assert_eq(frames[BL_ERROR_FRAMES - 1].line, BL_ERROR_FRAMES - 1);
}

Test(error, text_is_one_safe_line)
{
    char text[2048];
    bl_errors_clear();
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)bl_error_push(BL_EIO, "f.c", 1, "a\nb\x1b[2J\x7f\xff\xc3\xa9\xed\xa0\x80%s", text);
    const char *shown = bl_error_text();
    cr_assert_lt(strlen(shown), BL_ERROR_TEXT_BYTES);
    cr_assert_eq(strncmp(shown, "a\\x0ab\\x1b[2J\\x7f\\xff\xc3\xa9\\xed\\xa0\\x80xxx", 38), 0, "%s", shown);
}

static void *other_thread(void *count)
{
    bl_errors((uint32_t *)count);
    return NULL;
}

Test(error, threads_have_stacks_of_their_own)
{
    pthread_t thread;
    uint32_t count = 99;
    (void)fail_first();
    cr_assert_eq(pthread_create(&thread, NULL, other_thread, &count), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(count, 0);
}

Test(error, every_status_has_a_text)
{
    for (int status = -11; status <= 0; status++)
        cr_assert_str_neq(bl_status_text((bl_status)status), "unknown status");
    cr_assert_str_eq(bl_status_text((bl_status)5), "unknown status");
}

Test(checked, borders)
{
    uint64_t out = 1;
    cr_assert(bl_ck_add(UINT64_MAX - 1, 1, &out));
    cr_assert_eq(out, UINT64_MAX);
    cr_assert_not(bl_ck_add(UINT64_MAX, 1, &out));
    cr_assert_eq(out, UINT64_MAX);
    cr_assert(bl_ck_mul(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &out));
    cr_assert_not(bl_ck_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    cr_assert(bl_ck_mul(0, UINT64_MAX, &out) && out == 0);
    cr_assert(bl_ck_mul(UINT64_MAX, 0, &out) && out == 0);
    cr_assert(bl_ck_align(0, 32, &out) && out == 0);
    cr_assert(bl_ck_align(1, 32, &out) && out == 32);
    cr_assert(bl_ck_align(UINT64_MAX - 31, 32, &out) && out == UINT64_MAX - 31);
    cr_assert_not(bl_ck_align(UINT64_MAX - 30, 32, &out));
    cr_assert_not(bl_ck_align(1, 0, &out));
    cr_assert_not(bl_ck_align(1, 24, &out));
}

Test(cursor, never_leaves_its_window)
{
    static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 0xff, 9};
    struct bl_cursor c = bl_cursor_make(data, sizeof data);
    uint64_t u64;
    uint32_t u32;
    uint8_t u8;
    cr_assert(bl_cursor_u64(&c, &u64) && u64 == UINT64_C(0xff07060504030201));
    cr_assert_not(bl_cursor_u32(&c, &u32));
    cr_assert_not(bl_cursor_u64(&c, &u64));
    cr_assert_null(bl_cursor_take(&c, UINT64_MAX));
    cr_assert_eq(c.position, 8, "a read that does not fit moves nothing");
    cr_assert(bl_cursor_u8(&c, &u8) && u8 == 9);
    cr_assert_not(bl_cursor_u8(&c, &u8));
    cr_assert_not_null(bl_cursor_take(&c, 0));
}

Test(arena, limit_and_alignment)
{
    struct bl_arena arena;
    bl_arena_init(&arena, 100000);
    uint64_t taken = 0;
    for (uint64_t i = 1;; i++) {
        uint8_t *p = bl_arena_alloc(&arena, i, 3);
        if (!p)
            break;
        cr_assert_eq((uintptr_t)p % 16, 0);
        for (uint64_t k = 0; k < 3 * i; k++)
            cr_assert_eq(p[k], 0);
        memset(p, 0xa5, (size_t)(3 * i));
        taken += 3 * i;
    }
    cr_assert_leq(arena.total, 100000);
    cr_assert_gt(taken, 30000);
    cr_assert_null(bl_arena_alloc(&arena, UINT64_MAX, 2));
    cr_assert_null(bl_arena_alloc(&arena, UINT64_MAX, 1));
    cr_assert_str_eq(bl_arena_string(&arena, "abc", 2), "ab");
    bl_arena_finish(&arena);
    bl_arena_finish(&arena);
}

Test(hash, one_key_and_no_obvious_collisions)
{
    cr_assert_neq(bl_hash_key(), 0);
    cr_assert_eq(bl_hash_key(), bl_hash_key());
    cr_assert_neq(bl_hash_bytes(1, "abc", 3), bl_hash_bytes(2, "abc", 3));
    cr_assert_neq(bl_hash_bytes(1, "abc", 3), bl_hash_bytes(1, "abc\0", 4));
    cr_assert_eq(bl_hash_bytes(1, "abcdefghij", 10), bl_hash_bytes(1, "abcdefghij", 10));
    static uint8_t slots[1 << 16];
    int worst = 0;
    for (uint64_t i = 0; i < 1 << 16; i++) {
        uint8_t *slot = &slots[bl_hash_u64(bl_hash_key(), i << 32 | i) & 0xffff];
        if (++*slot > worst)
            worst = *slot;
    }
    cr_assert_leq(worst, 16);
}

/* The value of a half float from its definition. */
static float half_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
    double value = exponent == 31 ? (mantissa ? (double)NAN : (double)INFINITY)
                   : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                                  : ldexp(mantissa, -24);
    return (float)(h & 0x8000 ? -value : value);
}

Test(half, every_f16_both_ways)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = bl_f16_to_f32((uint16_t)h);
        if (isnan(half_value(h))) {
            cr_assert(isnan(f));
            cr_assert(isnan(bl_f16_to_f32(bl_f32_to_f16(f))));
            continue;
        }
        cr_assert_eq(bl_f32_bits(f), bl_f32_bits(half_value(h)), "%04x", h);
        cr_assert_eq(bl_f32_to_f16(f), h, "%04x", h);
    }
}

Test(half, rounding_to_nearest_even)
{
    for (uint32_t h = 0; h < 0x7bff; h++) { /* between every two neighbours */
        float low = half_value(h), high = half_value(h + 1), middle = (low + high) / 2;
        uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
        cr_assert_eq(bl_f32_to_f16(middle), even, "%04x", h);
        cr_assert_eq(bl_f32_to_f16(nextafterf(middle, low)), h, "%04x", h);
        cr_assert_eq(bl_f32_to_f16(nextafterf(middle, high)), h + 1, "%04x", h);
        cr_assert_eq(bl_f32_to_f16(-middle), even | 0x8000u, "%04x", h);
    }
    cr_assert_eq(bl_f32_to_f16(65519.996f), 0x7bff);
    cr_assert_eq(bl_f32_to_f16(65520.0f), 0x7c00);
    cr_assert_eq(bl_f32_to_f16(INFINITY), 0x7c00);
    cr_assert_eq(bl_f32_to_f16(1e-30f), 0);
}

static const char *temporary(const void *data, size_t bytes)
{
    static char path[] = "/tmp/bitloom_test_XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, data, bytes), (ssize_t)bytes);
    close(fd);
    return path;
}

Test(file_map, both_modes_give_the_bytes)
{
    const char *path = temporary("hello", 5);
    for (int mode = BL_FILE_MAP; mode <= BL_FILE_READ; mode++) {
        struct bl_file_map *map;
        cr_assert_eq(bl_file_map_create(path, (enum bl_file_mode)mode, &map), BL_OK);
        cr_assert_eq(bl_file_map_bytes(map), 5);
        cr_assert_eq(memcmp(bl_file_map_data(map), "hello", 5), 0);
        cr_assert_eq(bl_file_map_is_mapped(map), mode == BL_FILE_MAP);
        cr_assert_eq(bl_file_map_check(map), BL_OK);
        bl_file_map_destroy(map);
    }
    unlink(path);
}

Test(file_map, a_file_that_shrinks_is_noticed_not_fatal)
{
    size_t bytes = 1 << 20;
    uint8_t *data = malloc(bytes);
    cr_assert_not_null(data);
    memset(data, 7, bytes);
    const char *path = temporary(data, bytes);
    struct bl_file_map *map;
    cr_assert_eq(bl_file_map_create(path, BL_FILE_MAP, &map), BL_OK);
    const volatile uint8_t *mapped = bl_file_map_data(map);
    cr_assert_eq(mapped[0], 7);
    cr_assert_eq(truncate(path, 4096), 0);
    cr_assert_eq(mapped[bytes - 1], 0, "a hole reads as zero");
    cr_assert_eq(mapped[8192], 0);
    cr_assert_eq(bl_file_map_check(map), BL_EIO);
    bl_file_map_destroy(map);
    unlink(path);
    free(data);
}

Test(file_map, refuses_what_is_no_file)
{
    struct bl_file_map *map = (struct bl_file_map *)1;
    cr_assert_eq(bl_file_map_create("/nonexistent/file", BL_FILE_MAP, &map), BL_EIO);
    cr_assert_null(map);
    cr_assert_eq(bl_file_map_create("/tmp", BL_FILE_MAP, &map), BL_EIO);
    cr_assert_eq(bl_file_map_create("/dev/null", BL_FILE_MAP, &map), BL_EIO);
    const char *path = temporary("", 0);
    cr_assert_eq(bl_file_map_create(path, BL_FILE_MAP, &map), BL_EFORMAT);
    unlink(path);
    char fifo[64];
    snprintf(fifo, sizeof fifo, "/tmp/bitloom_fifo_%d", (int)getpid());
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cr_assert_eq(bl_file_map_create(fifo, BL_FILE_MAP, &map), BL_EIO, "a FIFO is refused at once, not waited for");
    unlink(fifo);
    bl_file_map_destroy(NULL);
}
