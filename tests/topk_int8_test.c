/* Every kernel of the scan of codes against the scalar one, and what they leave against every
 * row's canonical score, on buffers of the exact size, so that the sanitizers see a read past the
 * end. Compiled by `make test-c` together with csrc/topk.c and csrc/topk_int8.c. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "c_test.h"

enum { QUERIES = 13, CAPACITY = 40, K = 3 };

/* Kinds of rows and queries. */
enum { EVEN, SCALED, RAGGED, FEW, NEAR, ONE_HOT, TINY, KINDS };

static int full = 0; /* queries with too many candidates */

static void *allocate_zeros(size_t bytes)
{
    return memset(allocate(bytes), 0, bytes);
}

/* A whole number from 0 to below `end`. */
static size_t draw(size_t end)
{
    size_t value = (size_t)((next_float() + 1) / 2 * (float)end);
    return value < end ? value : end - 1;
}

/* 10 to a random power, such that no score of two vectors overflows. */
static float draw_power(void)
{
    return powf(10, (float)draw(56) - 40);
}

/* Fill a vector with numbers of one kind; `before` is another one, for those that are near it. */
static void fill(float *values, size_t dimension, const float *before, size_t kind)
{
    float power = kind == SCALED ? draw_power() : kind == TINY ? 1e-43f : 1;
    for (size_t i = 0; i < dimension; i++)
        values[i] = kind == RAGGED    ? next_float() * draw_power()
                    : kind == FEW     ? (float)draw(3) - 1
                    : kind == NEAR    ? before[i] * (1 + 1e-6f * next_float())
                    : kind == ONE_HOT ? 0
                                      : next_float() * power;
    if (kind == ONE_HOT && dimension > 0)
        values[draw(dimension)] = next_float();
}

static size_t count_quads(size_t dimension)
{
    return (dimension + 3) / 4;
}

static size_t count_block_bytes(size_t dimension)
{
    return MINISBERT_BLOCK_ROWS * (3 * sizeof(float) + 4 * count_quads(dimension));
}

static float read_head(const uint8_t *block, size_t what, size_t place)
{
    float value;
    memcpy(&value, block + (what * MINISBERT_BLOCK_ROWS + place) * sizeof value, sizeof value);
    return value;
}

/* Codes of queries in groups, and the factors of their bounds, as topk_int8.c derives them. */
static void encode_queries(const float *queries, size_t dimension, int8_t *codes,
                           minisbert_query_factors *factors)
{
    size_t quads = count_quads(dimension);
    uint8_t *block = allocate_zeros(count_block_bytes(dimension));
    for (size_t query = 0; query < QUERIES; query++) {
        const float *values = queries + query * dimension;
        minisbert_int8_encode(values, 1, dimension, block, 0);
        const uint8_t *bytes = block + 3 * MINISBERT_BLOCK_ROWS * sizeof(float);
        int8_t *group = codes + query / MINISBERT_QUERY_GROUP * MINISBERT_QUERY_GROUP * 4 * quads;
        double sum = 0, square = 0;
        for (size_t i = 0; i < 4 * quads; i++) {
            int code = bytes[i / 4 * (4 * MINISBERT_BLOCK_ROWS) + i % 4] - 128;
            group[i / 4 * (4 * MINISBERT_QUERY_GROUP) + query % MINISBERT_QUERY_GROUP * 4 + i % 4] =
                (int8_t)code;
            sum += code;
            square += i < dimension ? (double)values[i] * values[i] : 0;
        }
        double norm = sqrt(square) * (1 + 0x1p-36), g = ((double)dimension / 16 + 8) * 0x1p-24;
        factors[query] = (minisbert_query_factors){
            .scale = read_head(block, 0, 0),
            .residual_factor = norm * (1 + g),
            .length_factor = (read_head(block, 1, 0) + g * norm) * (1 + 0x1p-36),
            .constant = (double)dimension * 0x1p-149,
            .offset = 128 * sum};
    }
    free(block);
}

/* What a scan gives. */
typedef struct {
    double lowers[QUERIES * K], uppers[QUERIES * CAPACITY];
    int64_t candidates[QUERIES * CAPACITY], counts[QUERIES];
} Answer;

static int is_same(const Answer *a, const Answer *b, size_t asked)
{
    for (size_t query = 0; query < asked; query++) {
        if (a->counts[query] != b->counts[query])
            return 0;
        for (int64_t i = 0; i < a->counts[query]; i++) {
            size_t place = query * CAPACITY + (size_t)i;
            if (a->candidates[place] != b->candidates[place] ||
                a->uppers[place] != b->uppers[place])
                return 0;
        }
    }
    return memcmp(a->lowers, b->lowers, asked * K * sizeof *a->lowers) == 0;
}

/* Whether every row with fewer than K rows before it is a candidate, and below its upper bound. */
static int is_complete(const float *scores, size_t rows, const Answer *answer, size_t query,
                       int64_t first_id)
{
    if (answer->counts[query] == MINISBERT_TOO_MANY)
        return 1;
    for (size_t row = 0; row < rows; row++) {
        size_t before = 0;
        for (size_t other = 0; other < rows; other++)
            before += (size_t)(scores[other] > scores[row] ||
                               (scores[other] == scores[row] && other < row));
        int found = before >= K;
        for (int64_t i = 0; i < answer->counts[query]; i++) {
            size_t place = query * CAPACITY + (size_t)i;
            if (answer->candidates[place] == first_id + (int64_t)row) {
                found = 1;
                if (scores[row] > answer->uppers[place])
                    return 0;
            }
        }
        if (!found)
            return 0;
    }
    return 1;
}

/* The filter of scores that are off by less than a bound, in two pieces. */
static void test_filter(const float *scores, size_t dimension, size_t rows)
{
    const double bound = 0.25;
    float *rough = allocate_zeros(rows * sizeof *rough);
    for (size_t row = 0; row < rows; row++)
        rough[row] = scores[row] + 0.2f * next_float();
    Answer *answer = allocate_zeros(sizeof *answer);
    for (size_t i = 0; i < K; i++)
        answer->lowers[i] = -INFINITY;
    size_t half = rows / 2;
    int status = minisbert_filter_scores(rough, 1, half, &bound, K, CAPACITY, 100, answer->lowers,
                                         answer->candidates, answer->uppers, answer->counts) |
                 minisbert_filter_scores(rough + half, 1, rows - half, &bound, K, CAPACITY,
                                         100 + (int64_t)half, answer->lowers, answer->candidates,
                                         answer->uppers, answer->counts);
    check(status == MINISBERT_OK && is_complete(scores, rows, answer, 0, 100), "filter", 0,
          dimension, rows);
    free(rough), free(answer);
}

/* Rows and queries of one kind, or with KINDS each of its own. The scan is asked the first queries. */
static void test_scan(int kernel, size_t dimension, size_t rows, size_t asked, size_t kind)
{
    size_t quads = count_quads(dimension);
    size_t groups = (QUERIES + MINISBERT_QUERY_GROUP - 1) / MINISBERT_QUERY_GROUP;
    float *queries = allocate_zeros(QUERIES * dimension * sizeof *queries);
    float *data = allocate_zeros(rows * dimension * sizeof *data);
    for (size_t query = 0; query < QUERIES; query++)
        fill(queries + query * dimension, dimension, queries,
             kind < KINDS && kind != NEAR ? kind : draw(KINDS));
    for (size_t row = 0; row < rows; row++)
        fill(data + row * dimension, dimension, row ? data + (row - 1) * dimension : queries,
             kind < KINDS ? kind : draw(KINDS));
    if (rows > 5 && dimension > 0) {
        memcpy(data + 2 * dimension, data, dimension * sizeof *data); /* a tie */
        for (size_t i = 0; i < dimension; i++)
            data[3 * dimension + i] = 0, data[4 * dimension + i] *= 1e-30f;
    }
    size_t blocks = (rows + MINISBERT_BLOCK_ROWS - 1) / MINISBERT_BLOCK_ROWS;
    uint8_t *encoded = allocate_zeros(blocks * count_block_bytes(dimension));
    size_t half = rows / 2; /* in two pieces */
    int status = minisbert_int8_encode(data, half, dimension, encoded, 0) |
                 minisbert_int8_encode(data + half * dimension, rows - half, dimension, encoded,
                                       half);
    int8_t *codes = allocate_zeros(groups * MINISBERT_QUERY_GROUP * 4 * quads);
    minisbert_query_factors factors[QUERIES];
    encode_queries(queries, dimension, codes, factors);
    Answer *expected = allocate_zeros(sizeof *expected), *answer = allocate_zeros(sizeof *answer);
    for (int i = 0; i < 2; i++) {
        Answer *out = i ? answer : expected;
        for (size_t j = 0; j < QUERIES * K; j++)
            out->lowers[j] = -INFINITY;
        status |= minisbert_int8_scan(i ? kernel : MINISBERT_SCALAR, codes, factors, asked,
                                      encoded, rows, dimension, K, CAPACITY, 100, out->lowers,
                                      out->candidates, out->uppers, out->counts);
    }
    check(status == MINISBERT_OK, "status", kernel, dimension, rows);
    check(is_same(expected, answer, asked), "scan", kernel, dimension, rows);
    float *scores = allocate_zeros(rows * sizeof *scores);
    for (size_t query = 0; query < asked; query++) {
        for (size_t row = 0; row < rows; row++)
            minisbert_pair_dots(MINISBERT_SCALAR, queries + query * dimension,
                                data + row * dimension, 1, dimension, scores + row);
        check(is_complete(scores, rows, answer, query, 100), "candidates", kernel, dimension,
              rows);
        full += answer->counts[query] == MINISBERT_TOO_MANY;
    }
    if (kind == EVEN)
        test_filter(scores, dimension, rows);
    if (rows > 0) { /* the comparisons must see a wrong bound and a missing row */
        answer->lowers[0] = nextafter(answer->lowers[0], 1);
        check(!is_same(expected, answer, asked), "wrong lower bound", kernel, dimension, rows);
        for (size_t query = 0; query < asked; query++)
            if (answer->counts[query] > 0) {
                answer->counts[query] = 0;
                check(!is_complete(scores, rows, answer, query, 100), "missing rows", kernel,
                      dimension, rows);
            }
    }
    free(queries), free(data), free(encoded), free(codes), free(expected), free(answer);
    free(scores);
}

/* Random cases, each made from its number. */
static void test_random(unsigned long count, unsigned long first)
{
    for (case_number = first; case_number < first + count; case_number++) {
        state = (uint32_t)(2654435761u * case_number);
        next_float();
        size_t dimension = draw(4) ? draw(100) : draw(1100), rows = draw(300), kind = draw(KINDS + 1);
        size_t asked = 1 + draw(QUERIES);
        for (int kernel = 0; kernel < MINISBERT_KERNELS; kernel++)
            if (minisbert_supports(kernel))
                test_scan(kernel, dimension, rows, asked, kind);
    }
    printf("%lu random cases; the filter gave up on %d queries\n", count, full);
}

static void test_shapes(void)
{
    for (int kernel = 0; kernel < MINISBERT_KERNELS; kernel++) {
        if (!minisbert_supports(kernel)) {
            printf("not run here: %s\n", name_kernel(kernel));
            continue;
        }
        printf("run: %s\n", name_kernel(kernel));
        for (size_t dimension = 0; dimension <= 73; dimension++) {
            size_t width = dimension <= 70 ? dimension : (size_t[]){384, 768, 1023}[dimension - 71];
            const size_t rows[] = {0, 1, 2, 15, 16, 17, 33, 127, 131};
            for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                test_scan(kernel, width, rows[i], 2, EVEN);
                test_scan(kernel, width, rows[i], QUERIES, EVEN);
            }
        }
    }
}

int main(int count, char **arguments)
{
    check(minisbert_int8_scan(MINISBERT_KERNELS, NULL, NULL, 0, NULL, 0, 0, 0, 0, 0, NULL, NULL,
                              NULL, NULL) == MINISBERT_NO_SUCH_KERNEL &&
              minisbert_int8_encode(NULL, 0, MINISBERT_INT8_DIMENSION + 1, NULL, 0) ==
                  MINISBERT_TOO_WIDE,
          "refusal", 0, 0, 0);
    if (count > 1)
        test_random(strtoul(arguments[1], NULL, 10),
                    count > 2 ? strtoul(arguments[2], NULL, 10) : 0);
    else
        test_shapes();
    return report();
}
