/* Every kernel of the Hamming scan that this machine runs, against bits counted one by one and
 * ranks counted out, on buffers of the exact size, so that the sanitizers see a read past the end.
 * Compiled by `make test-c` together with csrc/hamming.c and csrc/topk.c. */

#include <string.h>

#include "c_test.h"

static uint8_t *make_bytes(size_t count)
{
    uint8_t *bytes = allocate(count);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(next_random() >> 24);
    return bytes;
}

static int32_t count_bit_by_bit(const uint8_t *a, const uint8_t *b, size_t width)
{
    int32_t distance = 0;
    for (size_t bit = 0; bit < 8 * width; bit++)
        distance += (a[bit / 8] >> bit % 8 & 1) != (b[bit / 8] >> bit % 8 & 1);
    return distance;
}

/* One query's answer of k entries, compared with the rank of every row counted out. */
static int is_right(const int32_t *expected, size_t rows, const int32_t *distances,
                    const int64_t *ids, size_t k, int64_t first_id)
{
    for (size_t i = 0; i < rows; i++) {
        size_t rank = 0;
        for (size_t j = 0; j < rows; j++)
            rank += expected[j] < expected[i] || (expected[j] == expected[i] && j < i);
        if (rank < k && (ids[rank] != first_id + (int64_t)i || distances[rank] != expected[i]))
            return 0;
    }
    return 1;
}

static void test_scan(int kernel, size_t width, size_t rows, size_t k)
{
    enum { QUERIES = 3 };
    uint8_t *queries = make_bytes(QUERIES * width), *codes = make_bytes(rows * width);
    if (rows > 4 && width > 0) {
        memcpy(codes + 2 * width, codes, width); /* a tie */
        memcpy(codes + 3 * width, queries, width);
        for (size_t i = 0; i < width; i++)
            codes[4 * width + i] = (uint8_t)~queries[i]; /* every bit differs */
    }
    int32_t *expected = allocate(rows * sizeof *expected);
    int32_t *distances = allocate(QUERIES * k * sizeof *distances);
    int64_t *ids = allocate(QUERIES * k * sizeof *ids);
    int status = minisbert_hamming_topk(kernel, queries, QUERIES, codes, rows, width, k, 100,
                                        distances, ids);
    check(status == MINISBERT_OK, "status", kernel, width, rows);
    for (size_t q = 0; q < QUERIES; q++) {
        for (size_t i = 0; i < rows; i++)
            expected[i] = count_bit_by_bit(queries + q * width, codes + i * width, width);
        check(is_right(expected, rows, distances + q * k, ids + q * k, k, 100), "scan", kernel,
              width, rows);
    }
    free(queries), free(codes), free(expected), free(distances), free(ids);
}

/* The comparison above must see one wrong distance, one wrong row and two rows exchanged. */
static void test_comparison(void)
{
    const int32_t expected[4] = {9, 3, 3, 5};
    int32_t distances[3] = {3, 3, 5};
    int64_t ids[3] = {1, 2, 3};
    check(is_right(expected, 4, distances, ids, 3, 0), "right answer", 0, 0, 4);
    ids[2] = 0;
    check(!is_right(expected, 4, distances, ids, 3, 0), "wrong row", 0, 0, 4);
    ids[0] = 2, ids[1] = 1, ids[2] = 3;
    check(!is_right(expected, 4, distances, ids, 3, 0), "wrong order", 0, 0, 4);
    ids[0] = 1, ids[1] = 2, distances[2] = 6;
    check(!is_right(expected, 4, distances, ids, 3, 0), "wrong distance", 0, 0, 4);
}

int main(void)
{
    test_comparison();
    check(minisbert_hamming_topk(MINISBERT_KERNELS, NULL, 0, NULL, 0, 0, 0, 0, NULL, NULL) ==
              MINISBERT_NO_SUCH_KERNEL,
          "refusal", 0, 0, 0);
    for (int kernel = 0; kernel < MINISBERT_KERNELS; kernel++) {
        if (!minisbert_hamming_supports(kernel)) {
            printf("not run here: %s\n", name_kernel(kernel));
            continue;
        }
        printf("run: %s\n", name_kernel(kernel));
        for (size_t place = 0; place <= 24; place++) {
            size_t width = place <= 20 ? place : (size_t[]){48, 64, 96, 128}[place - 21];
            const size_t rows[] = {0, 1, 2, 5, 256, 257, 300};
            for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                test_scan(kernel, width, rows[i], 0);
                test_scan(kernel, width, rows[i], rows[i] < 10 ? rows[i] : 10);
                test_scan(kernel, width, rows[i], rows[i]);
            }
        }
    }
    return report();
}
