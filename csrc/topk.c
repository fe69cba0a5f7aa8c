/* topk.c - exact search by scanning every row.
 *
 * For one query a scan does two operations on each float that it reads, far fewer than a processor
 * could do in the time that memory takes to deliver it. So all that matters is to keep memory busy.
 * The scan and the selection are one loop: a score is compared with the k-th best so far while it
 * is still in a register or the cache, and is almost always dropped.
 *
 * One row's sum is a chain of additions, each waiting for the one before. The processor hides this
 * latency by running ahead into the next rows. Interleaving 2, 4 or 8 rows by hand would hide it
 * too, but reads memory as several streams: measured on two threads of an AMD EPYC (Zen 4), 18 to
 * 21 GB/s, against 32 GB/s row by row, as fast as memory is read at all. Prefetching adds nothing.
 *
 * In this order: the order of rows and the heap, the kernels (scalar, AVX2, AVX-512, NEON), the
 * table of kernels, the entry points. */

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "topk.h"

#if FLT_EVAL_METHOD != 0
#error "float arithmetic must round to float at every step, or scores have other bits"
#endif

#if defined(__x86_64__)
#define HAS_X86 1
#include <immintrin.h>
#elif defined(__aarch64__)
#define HAS_NEON 1
#include <arm_neon.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

#define LANES 16

/* Rows whose scores are computed before they are compared: 64 rows of 384 floats are 96 KiB, so
 * that with several queries a block is read from memory once and from the cache after that. */
#define SCORED_ROWS 64

/* ------------------------------------------------------------------ order and heap */

/* Return whether row i with score a comes before row j with score b. Two scores that are NaN are a
 * tie. */
static int comes_before(float a, int64_t i, float b, int64_t j)
{
    if (a > b)
        return 1;
    if (a < b)
        return 0;
    if ((a != a) != (b != b))
        return b != b;
    return i < j;
}

/* Move the entry at `place` down to where it belongs in a heap of `count` entries, of which the
 * last in order is on top: it will be replaced next. Cost: log2(count) steps. */
static void sink(float *scores, int64_t *ids, size_t count, size_t place)
{
    float score = scores[place];
    int64_t id = ids[place];
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= count)
            break;
        if (child + 1 < count &&
            comes_before(scores[child], ids[child], scores[child + 1], ids[child + 1]))
            child++;
        if (!comes_before(score, id, scores[child], ids[child]))
            break;
        scores[place] = scores[child];
        ids[place] = ids[child];
        place = child;
    }
    scores[place] = score;
    ids[place] = id;
}

/* Turn k unordered entries into a heap. */
static void build_heap(float *scores, int64_t *ids, size_t k)
{
    for (size_t place = k / 2; place-- > 0;)
        sink(scores, ids, k, place);
}

/* Turn a heap into a list, best first: the top is the last in order, so it moves to the end. */
static void sort_heap(float *scores, int64_t *ids, size_t k)
{
    for (size_t count = k; count > 1; count--) {
        float score = scores[0];
        int64_t id = ids[0];
        scores[0] = scores[count - 1];
        ids[0] = ids[count - 1];
        scores[count - 1] = score;
        ids[count - 1] = id;
        sink(scores, ids, count - 1, 0);
    }
}

/* ------------------------------------------------------------------ kernels
 *
 * A kernel computes the scores of `count` rows, one after another in memory, for one query. */

typedef void score_rows(const float *query, const float *rows, size_t count, size_t dimension,
                        float *scores);

/* The definition. A lane starts at +0 and can never become -0, so wider kernels may add zeros
 * beyond the end of a row without changing a bit. */
static void score_rows_scalar(const float *query, const float *rows, size_t count,
                              size_t dimension, float *scores)
{
    for (size_t row = 0; row < count; row++, rows += dimension) {
        float lane[LANES] = {0};
        for (size_t i = 0; i < dimension; i++)
            lane[i % LANES] += query[i] * rows[i];
        for (size_t width = LANES / 2; width > 0; width /= 2)
            for (size_t i = 0; i < width; i++)
                lane[i] += lane[i + width];
        scores[row] = lane[0];
    }
}

#if HAS_X86 || HAS_NEON
/* Copy the last, incomplete run of 16 floats and pad it with zeros. */
static void copy_tail(float tail[LANES], const float *values, size_t dimension)
{
    size_t whole = dimension / LANES * LANES;
    memset(tail, 0, LANES * sizeof *tail);
    if (dimension > whole)
        memcpy(tail, values + whole, (dimension - whole) * sizeof *tail);
}
#endif

#if HAS_X86

/* The last steps of the tree: 2 + 2, then 1 + 1. */
__attribute__((target("avx2"))) static inline float add_lanes_f32x4(__m128 sum_f32x4)
{
    sum_f32x4 = _mm_add_ps(sum_f32x4, _mm_movehl_ps(sum_f32x4, sum_f32x4));
    return _mm_cvtss_f32(_mm_add_ss(sum_f32x4, _mm_shuffle_ps(sum_f32x4, sum_f32x4, 1)));
}

/* The tree from eight lanes: 4 + 4, then the steps above. */
__attribute__((target("avx2"))) static inline float add_lanes_f32x8(__m256 sum_f32x8)
{
    return add_lanes_f32x4(
        _mm_add_ps(_mm256_castps256_ps128(sum_f32x8), _mm256_extractf128_ps(sum_f32x8, 1)));
}

/* Lanes 0 to 7 in one register, 8 to 15 in another. */
__attribute__((target("avx2"))) static void score_rows_avx2(const float *query, const float *rows,
                                                            size_t count, size_t dimension,
                                                            float *scores)
{
    size_t whole = dimension / LANES * LANES;
    float query_tail[LANES], row_tail[LANES];
    copy_tail(query_tail, query, dimension);
    for (size_t row = 0; row < count; row++, rows += dimension) {
        __m256 low_f32x8 = _mm256_setzero_ps(), high_f32x8 = _mm256_setzero_ps();
        for (size_t i = 0; i < whole; i += LANES) {
            low_f32x8 = _mm256_add_ps(
                low_f32x8, _mm256_mul_ps(_mm256_loadu_ps(query + i), _mm256_loadu_ps(rows + i)));
            high_f32x8 = _mm256_add_ps(high_f32x8, _mm256_mul_ps(_mm256_loadu_ps(query + i + 8),
                                                                 _mm256_loadu_ps(rows + i + 8)));
        }
        if (whole < dimension) {
            copy_tail(row_tail, rows, dimension);
            low_f32x8 = _mm256_add_ps(low_f32x8, _mm256_mul_ps(_mm256_loadu_ps(query_tail),
                                                               _mm256_loadu_ps(row_tail)));
            high_f32x8 = _mm256_add_ps(high_f32x8, _mm256_mul_ps(_mm256_loadu_ps(query_tail + 8),
                                                                 _mm256_loadu_ps(row_tail + 8)));
        }
        scores[row] = add_lanes_f32x8(_mm256_add_ps(low_f32x8, high_f32x8));
    }
}

/* All 16 lanes in one register. A mask keeps the last load inside the row. */
__attribute__((target("avx512f"))) static void score_rows_avx512(const float *query,
                                                                 const float *rows, size_t count,
                                                                 size_t dimension, float *scores)
{
    size_t whole = dimension / LANES * LANES;
    __mmask16 tail = (__mmask16)((1u << (dimension - whole)) - 1);
    for (size_t row = 0; row < count; row++, rows += dimension) {
        __m512 sum_f32x16 = _mm512_setzero_ps();
        for (size_t i = 0; i < whole; i += LANES)
            sum_f32x16 = _mm512_add_ps(
                sum_f32x16, _mm512_mul_ps(_mm512_loadu_ps(query + i), _mm512_loadu_ps(rows + i)));
        if (tail)
            sum_f32x16 = _mm512_add_ps(sum_f32x16,
                                       _mm512_mul_ps(_mm512_maskz_loadu_ps(tail, query + whole),
                                                     _mm512_maskz_loadu_ps(tail, rows + whole)));
        __m256 low_f32x8 = _mm512_castps512_ps256(sum_f32x16);
        __m256 high_f32x8 =
            _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(sum_f32x16), 1));
        scores[row] = add_lanes_f32x8(_mm256_add_ps(low_f32x8, high_f32x8));
    }
}

#endif

#if HAS_NEON

/* Four lanes a register, four registers a row. The multiply and the add are separate instructions:
 * vfmaq would round once where the definition rounds twice. */
static void score_rows_neon(const float *query, const float *rows, size_t count, size_t dimension,
                            float *scores)
{
    size_t whole = dimension / LANES * LANES;
    float query_tail[LANES], row_tail[LANES];
    copy_tail(query_tail, query, dimension);
    for (size_t row = 0; row < count; row++, rows += dimension) {
        float32x4_t sum_f32x4[4];
        for (int j = 0; j < 4; j++)
            sum_f32x4[j] = vdupq_n_f32(0);
        for (size_t i = 0; i < whole; i += LANES)
            for (int j = 0; j < 4; j++)
                sum_f32x4[j] = vaddq_f32(sum_f32x4[j], vmulq_f32(vld1q_f32(query + i + 4 * j),
                                                                 vld1q_f32(rows + i + 4 * j)));
        if (whole < dimension) {
            copy_tail(row_tail, rows, dimension);
            for (int j = 0; j < 4; j++)
                sum_f32x4[j] = vaddq_f32(sum_f32x4[j], vmulq_f32(vld1q_f32(query_tail + 4 * j),
                                                                 vld1q_f32(row_tail + 4 * j)));
        }
        /* 8 + 8, 4 + 4, 2 + 2, 1 + 1 */
        float32x4_t four_f32x4 = vaddq_f32(vaddq_f32(sum_f32x4[0], sum_f32x4[2]),
                                           vaddq_f32(sum_f32x4[1], sum_f32x4[3]));
        float32x2_t two_f32x2 = vadd_f32(vget_low_f32(four_f32x4), vget_high_f32(four_f32x4));
        scores[row] = vget_lane_f32(two_f32x2, 0) + vget_lane_f32(two_f32x2, 1);
    }
}

#endif

/* ------------------------------------------------------------------ the table of kernels */

/* Every kernel of this build, by number. minisbert_supports checks which of them can run. */
static score_rows *const KERNELS[MINISBERT_KERNELS] = {
    [MINISBERT_SCALAR] = score_rows_scalar,
#if HAS_X86
    [MINISBERT_AVX2] = score_rows_avx2,
    [MINISBERT_AVX512] = score_rows_avx512,
    [MINISBERT_AVX512VNNI] = score_rows_avx512,
#elif HAS_NEON
    [MINISBERT_NEON] = score_rows_neon,
    [MINISBERT_NEONDOT] = score_rows_neon,
#endif
};

#if HAS_NEON
/* Return whether the operating system says that the processor has dot products of bytes. */
static int has_dot_products(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
    return 1;
#else
    return 0;
#endif
}
#endif

/* The compiler's check covers the operating system's support of wide registers too. */
int minisbert_supports(int kernel)
{
    if (kernel < 0 || kernel >= MINISBERT_KERNELS || !KERNELS[kernel])
        return 0;
#if HAS_X86
    if (kernel == MINISBERT_AVX2)
        return __builtin_cpu_supports("avx2") != 0;
    if (kernel == MINISBERT_AVX512 || kernel == MINISBERT_AVX512VNNI)
        return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
               __builtin_cpu_supports("avx2") != 0 &&
               (kernel == MINISBERT_AVX512 || __builtin_cpu_supports("avx512vnni") != 0);
#elif HAS_NEON
    if (kernel == MINISBERT_NEONDOT)
        return has_dot_products();
#endif
    return 1;
}

/* ------------------------------------------------------------------ entry points */

int minisbert_topk(int kernel, const float *queries, size_t query_count, const float *rows,
                   size_t row_count, size_t dimension, size_t k, int64_t first_id, float *scores,
                   int64_t *ids)
{
    if (!minisbert_supports(kernel))
        return MINISBERT_NO_SUCH_KERNEL;
    if (k > row_count)
        k = row_count;
    if (k == 0)
        return MINISBERT_OK;
    float block[SCORED_ROWS];
    for (size_t start = 0; start < row_count; start += SCORED_ROWS) {
        size_t count = row_count - start < SCORED_ROWS ? row_count - start : SCORED_ROWS;
        for (size_t query = 0; query < query_count; query++) {
            float *best = scores + query * k;
            int64_t *best_ids = ids + query * k;
            KERNELS[kernel](queries + query * dimension, rows + start * dimension, count, dimension,
                            block);
            size_t i = 0;
            /* The first k rows fill the heap. */
            for (; i < count && start + i < k; i++) {
                best[start + i] = block[i];
                best_ids[start + i] = first_id + (int64_t)(start + i);
                if (start + i + 1 == k)
                    build_heap(best, best_ids, k);
            }
            /* A later row enters only if its score is higher than that on top of the heap, since a
             * tie goes to the earlier row. If either is NaN, the first comparison is false and
             * comes_before decides. */
            for (; i < count; i++) {
                if (block[i] <= best[0])
                    continue;
                int64_t id = first_id + (int64_t)(start + i);
                if (comes_before(block[i], id, best[0], best_ids[0])) {
                    best[0] = block[i];
                    best_ids[0] = id;
                    sink(best, best_ids, k, 0);
                }
            }
        }
    }
    for (size_t query = 0; query < query_count; query++)
        sort_heap(scores + query * k, ids + query * k, k);
    return MINISBERT_OK;
}

int minisbert_pair_dots(int kernel, const float *a, const float *b, size_t count, size_t dimension,
                        float *scores)
{
    if (!minisbert_supports(kernel))
        return MINISBERT_NO_SUCH_KERNEL;
    for (size_t i = 0; i < count; i++)
        KERNELS[kernel](a + i * dimension, b + i * dimension, 1, dimension, scores + i);
    return MINISBERT_OK;
}
