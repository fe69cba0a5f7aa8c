/* Every kernel that this machine runs, against the scalar one and against a sort written here, on
 * buffers of the exact size, so that the sanitizers see a read past the end. Compiled by
 * `make test-c` together with csrc/topk.c. */

#include <math.h>
#include <string.h>

#include "c_test.h"

static float *make_floats(size_t count)
{
    float *values = allocate(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = next_float();
    return values;
}

/* The definition once more, written another way: one lane after another. */
static float dot_by_lanes(const float *a, const float *b, size_t dimension)
{
    float lane[16];
    for (size_t j = 0; j < 16; j++) {
        volatile float sum = 0; /* volatile: a compiler may not fuse or reorder */
        for (size_t i = j; i < dimension; i += 16) {
            volatile float product = a[i] * b[i];
            sum = sum + product;
        }
        lane[j] = sum;
    }
    for (size_t j = 0; j < 8; j++)
        lane[j] += lane[j + 8];
    for (size_t j = 0; j < 4; j++)
        lane[j] += lane[j + 4];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

/* Whether row i comes before row j in the total order: NaN last, then score, then row. */
static int goes_first(const float *scores, size_t i, size_t j)
{
    int i_is_nan = isnan(scores[i]), j_is_nan = isnan(scores[j]);
    if (i_is_nan || j_is_nan)
        return i_is_nan && j_is_nan ? i < j : j_is_nan;
    return scores[i] != scores[j] ? scores[i] > scores[j] : i < j;
}

static int same_bits(float a, float b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

/* One query's answer of k entries, compared with the rank of every row counted out. */
static int is_right(const float *expected, size_t rows, const float *scores, const int64_t *ids,
                    size_t k, int64_t first_id)
{
    for (size_t i = 0; i < rows; i++) {
        size_t rank = 0;
        for (size_t j = 0; j < rows; j++)
            rank += (size_t)(j != i && goes_first(expected, j, i));
        if (rank < k &&
            (ids[rank] != first_id + (int64_t)i || !same_bits(scores[rank], expected[i])))
            return 0;
    }
    return 1;
}

static void test_scan(int kernel, size_t dimension, size_t rows, size_t k)
{
    enum { QUERIES = 3 };
    float *queries = make_floats(QUERIES * dimension), *data = make_floats(rows * dimension);
    if (rows > 4 && dimension > 0) {
        memcpy(data + 2 * dimension, data, dimension * sizeof *data); /* a tie */
        data[dimension] = NAN;
        data[3 * dimension] = INFINITY;
    }
    float *expected = allocate(rows * sizeof *expected);
    float *scores = allocate(QUERIES * k * sizeof *scores);
    int64_t *ids = allocate(QUERIES * k * sizeof *ids);
    int status = minisbert_topk(kernel, queries, QUERIES, data, rows, dimension, k, 100, scores,
                                ids);
    check(status == MINISBERT_OK, "status", kernel, dimension, rows);
    for (size_t q = 0; q < QUERIES; q++) {
        for (size_t i = 0; i < rows; i++)
            expected[i] = dot_by_lanes(queries + q * dimension, data + i * dimension, dimension);
        check(is_right(expected, rows, scores + q * k, ids + q * k, k, 100), "scan", kernel,
              dimension, rows);
    }
    free(queries), free(data), free(expected), free(scores), free(ids);
}

static void test_pairs(int kernel, size_t dimension)
{
    enum { ROWS = 3 };
    float *a = make_floats(ROWS * dimension), *b = make_floats(ROWS * dimension);
    float *scores = allocate(ROWS * sizeof *scores);
    int good = minisbert_pair_dots(kernel, a, b, ROWS, dimension, scores) == MINISBERT_OK;
    for (size_t i = 0; i < ROWS; i++)
        good &= same_bits(scores[i],
                          dot_by_lanes(a + i * dimension, b + i * dimension, dimension));
    check(good, "pair dots", kernel, dimension, ROWS);
    free(a), free(b), free(scores);
}

/* The comparison above must see one wrong bit, one wrong row and two rows exchanged. */
static void test_comparison(void)
{
    const float expected[4] = {1, 3, 3, 2};
    float scores[3] = {3, 3, 2};
    int64_t ids[3] = {1, 2, 3};
    check(is_right(expected, 4, scores, ids, 3, 0), "right answer", 0, 0, 4);
    ids[2] = 0;
    check(!is_right(expected, 4, scores, ids, 3, 0), "wrong row", 0, 0, 4);
    ids[0] = 2, ids[1] = 1, ids[2] = 3;
    check(!is_right(expected, 4, scores, ids, 3, 0), "wrong order", 0, 0, 4);
    ids[0] = 1, ids[1] = 2, scores[2] = nextafterf(2, 3);
    check(!is_right(expected, 4, scores, ids, 3, 0), "wrong bit", 0, 0, 4);
}

int main(void)
{
    test_comparison();
    check(minisbert_topk(MINISBERT_KERNELS, NULL, 0, NULL, 0, 0, 0, 0, NULL, NULL) ==
                  MINISBERT_NO_SUCH_KERNEL &&
              minisbert_pair_dots(-1, NULL, NULL, 0, 0, NULL) == MINISBERT_NO_SUCH_KERNEL,
          "refusal", 0, 0, 0);
    for (int kernel = 0; kernel < MINISBERT_KERNELS; kernel++) {
        if (!minisbert_supports(kernel)) {
            printf("not run here: %s\n", name_kernel(kernel));
            continue;
        }
        printf("run: %s\n", name_kernel(kernel));
        for (size_t dimension = 0; dimension <= 73; dimension++) {
            size_t width = dimension <= 70 ? dimension : (size_t[]){384, 768, 1023}[dimension - 71];
            const size_t rows[] = {0, 1, 2, 5, 64, 65, 131};
            for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                test_scan(kernel, width, rows[i], 0);
                test_scan(kernel, width, rows[i], rows[i] < 10 ? rows[i] : 10);
                test_scan(kernel, width, rows[i], rows[i]);
            }
            test_pairs(kernel, width);
        }
    }
    return report();
}
