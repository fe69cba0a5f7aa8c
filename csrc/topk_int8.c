/* topk_int8.c - the same answer as topk.c from a quarter of the bytes, by a filter with a proof.
 *
 * THE IDEA. A scan of float32 rows waits for memory. So each number of a row x is also stored as
 * one byte, a code c in [-127, 127], with one scale s for the row:
 *
 *     x = s c + e        e is the residual of the row
 *     q = t d + r        the same for the query
 *
 * The dot product of the codes is a sum of integers, exact in 32 bits. The score is
 *
 *     q.x = q.e + q.(s c) = q.e + r.(s c) + s t (c.d)
 *
 * so by Cauchy and Schwarz |q.x - s t (c.d)| <= |q||e| + |r||s c|. The norms of e and of s c are
 * stored with the row, rounded up. Hence every row has an estimate s t (c.d) and a bound, and
 *
 *     lower = estimate - bound  <=  score  <=  estimate + bound = upper.
 *
 * Keep the k best lower bounds. A row whose upper bound is below the least of them has k rows
 * before it whatever the true scores are, so it can't be in the answer. The others are candidates;
 * for a million sentences and k = 10 about twenty remain, which the caller scores canonically.
 *
 * THE ROUNDINGS. The score is not the real number q.x but the canonical float32 one (topk.h), so
 * the bound has to cover the difference. A lane adds at most D/16 + 1 products; with the four sums
 * of the tree and the rounding of the product itself, a term is rounded at most n = D/16 + 5 times
 * (a lane's first sum, with zero, is exact), each time by a factor 1 + u, |u| <= 2^-24. Together,
 * as long as n^2 2^-24 <= 1, they change the sum by at most (n + 1) 2^-24 times the sum of
 * |q_i x_i|, which is at most |q||x| <= |q| (|s c| + |e|). That is g |q||x| with
 * g = (D/16 + 6) 2^-24. A product that underflows has an absolute error of up to 2^-150 besides
 * (sums of denormals are exact), which the later roundings at most double: D 2^-149 for all. So the
 * bound is linear in the two norms of the row,
 *
 *     bound = |e| |q|(1 + g)  +  |s c| (|r| + g |q|)  +  D 2^-149,
 *
 * and the caller passes the three factors. They also have to cover the arithmetic in double here:
 * three roundings of the estimate, |estimate| <= |s c| (|q| + |r|), and four of the bound, each of
 * 2^-53. The caller adds 2 x 2^-24 to g and then multiplies every factor by 1 + 2^-36, which is
 * thousands of times as much.
 *
 * Overflow is excluded: a row with a norm of 2^62 or more (or one that is not finite) gets the norm
 * infinity, so it is always a candidate; and the caller must not pass a query of such a norm. For
 * all others no partial sum reaches 2^125.
 *
 * THE LAYOUT. Rows are stored in blocks of 16: first the scale and norms of each row, then the
 * codes, four dimensions of all 16 rows at a time:
 *
 *     float  scale[16]        s
 *     float  residual[16]     |e|, rounded up
 *     float  length[16]       |s c|, rounded up
 *     byte   codes[(D + 3) / 4][16][4]     c + 128
 *
 * One register then holds four dimensions of every row. An instruction that multiplies four bytes
 * by four bytes and adds the products leaves one sum per row in its own lane, so nothing has to be
 * added across lanes at the end, and the query's four bytes are the same for all lanes. Those
 * instructions take one side unsigned: hence the 128. It is subtracted again as 128 times the sum
 * of the query's codes. Codes after the last dimension are 0; rows after the last are ignored. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "topk.h"

#if defined(__x86_64__)
#define HAS_X86 1
#include <immintrin.h>
#elif defined(__aarch64__)
#define HAS_NEON 1
#include <arm_neon.h>
#endif

#define BLOCK_ROWS MINISBERT_BLOCK_ROWS
#define HEAD (3 * BLOCK_ROWS * sizeof(float)) /* bytes of a block before its codes */
#define ZERO 128                              /* the byte of code 0 */

/* Queries of a group: eight sums in registers hide the latency of each multiplication. */
#define QUERY_GROUP MINISBERT_QUERY_GROUP

/* Blocks of a chunk, whose sums are first compared all together. With few queries a chunk is one
 * block, so that memory is never idle for long. */
#define CHUNK_BLOCKS 8
#define CHUNK_ROWS (CHUNK_BLOCKS * BLOCK_ROWS)

static size_t count_quads(size_t dimension)
{
    return (dimension + 3) / 4;
}

/* ------------------------------------------------------------------ codes */

/* Return the least float that is not below a value of 0 or more. */
static float round_up(double value)
{
    float rounded = (float)value;
    return (double)rounded < value ? nextafterf(rounded, INFINITY) : rounded;
}

/* Add eight lanes of a sum; summing in lanes lets the compiler use wide registers. */
static double add_lanes(const double lane[8])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* Encode one row: its codes go to every 64th byte and the three after it, scale and norms to the
 * block's head.
 *
 * The proof holds for any scale, since the residual is what remains with this scale. A denormal
 * scale would lose digits, so it is replaced by 0, and the residual is the whole row. Each element
 * of s c and of e is exact in double, and the relative error of the sums of their squares is less
 * than D + 2 roundings of 2^-53, which 2^-36 covers up to the largest dimension. */
static void encode_row(const float *row, size_t dimension, uint8_t *block, size_t place)
{
    float largest = 0;
    for (size_t i = 0; i < dimension; i++)
        largest = fabsf(row[i]) > largest ? fabsf(row[i]) : largest;
    float scale = largest / 127.0f;
    if (!(scale >= 1.17549435e-38f && scale <= 1e38f))
        scale = 0;
    uint8_t *codes = block + HEAD + 4 * place;
    double residual[8] = {0}, length[8] = {0};
    for (size_t i = 0; i < dimension; i++) {
        /* Adding and subtracting 3 x 2^22 rounds to a whole number, halves to even. */
        float rounded = scale > 0 ? (row[i] / scale + 12582912.0f) - 12582912.0f : 0.0f;
        float code = rounded >= -127 ? (rounded <= 127 ? rounded : 127) : -127; /* NaN too */
        double kept = (double)scale * code, left = row[i] - kept;
        codes[i / 4 * (4 * BLOCK_ROWS) + i % 4] = (uint8_t)((int)code + ZERO);
        length[i % 8] += kept * kept;
        residual[i % 8] += left * left;
    }
    for (size_t i = dimension; i < 4 * count_quads(dimension); i++)
        codes[i / 4 * (4 * BLOCK_ROWS) + i % 4] = ZERO;
    double left = sqrt(add_lanes(residual)) * (1 + 0x1p-36);
    double kept = sqrt(add_lanes(length)) * (1 + 0x1p-36);
    if (!(left + kept < 0x1p62)) /* true for NaN too */
        left = INFINITY;
    const float head[3] = {scale, round_up(left), round_up(kept)};
    for (size_t i = 0; i < 3; i++)
        memcpy(block + (i * BLOCK_ROWS + place) * sizeof(float), &head[i], sizeof(float));
}

int minisbert_int8_encode(const float *rows, size_t row_count, size_t dimension,
                          uint8_t *blocks, size_t first_row)
{
    if (dimension > MINISBERT_INT8_DIMENSION)
        return MINISBERT_TOO_WIDE;
    size_t block_bytes = HEAD + 4 * BLOCK_ROWS * count_quads(dimension);
    for (size_t i = 0; i < row_count; i++) {
        size_t row = first_row + i;
        encode_row(rows + i * dimension, dimension, blocks + row / BLOCK_ROWS * block_bytes,
                   row % BLOCK_ROWS);
    }
    return MINISBERT_OK;
}

/* ------------------------------------------------------------------ kernels
 *
 * A kernel multiplies the codes of one block by those of the first query of a group, or of all its
 * queries:
 *
 *   codes    quads x 16 x 4, c + 128; a quad is four dimensions
 *   queries  quads x QUERY_GROUP x 4
 *   sums     for each query 16 sums of (c + 128) d, CHUNK_ROWS apart
 *
 * The sums are at most 255 x 127 x D in size, so they are exact. */

typedef void multiply_block(const uint8_t *codes, const int8_t *queries, size_t quads,
                            int32_t *sums);

/* The definition. */
static inline void multiply_scalar(const uint8_t *codes, const int8_t *queries, size_t quads,
                                   int32_t *sums, size_t query_count)
{
    for (size_t query = 0; query < query_count; query++)
        for (size_t row = 0; row < BLOCK_ROWS; row++) {
            int32_t sum = 0;
            for (size_t i = 0; i < 4 * quads; i++)
                sum += (int32_t)codes[i / 4 * (4 * BLOCK_ROWS) + 4 * row + i % 4] *
                       queries[i / 4 * (4 * QUERY_GROUP) + 4 * query + i % 4];
            sums[query * CHUNK_ROWS + row] = sum;
        }
}

static void multiply_one_scalar(const uint8_t *codes, const int8_t *queries, size_t quads,
                                int32_t *sums)
{
    multiply_scalar(codes, queries, quads, sums, 1);
}

static void multiply_group_scalar(const uint8_t *codes, const int8_t *queries, size_t quads,
                                  int32_t *sums)
{
    multiply_scalar(codes, queries, quads, sums, QUERY_GROUP);
}

/* Load four codes of a query as one number of 32 bits. */
static inline int32_t load_quad(const int8_t *query, size_t quad)
{
    int32_t four;
    memcpy(&four, query + 4 * QUERY_GROUP * quad, sizeof four);
    return four;
}

#if HAS_X86

#define TARGET_AVX2 __attribute__((target("avx2")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx2")))
#define TARGET_VNNI __attribute__((target("avx512f,avx512bw,avx512vnni,avx2")))

/* The sum of two products of bytes, up to 2 x 255 x 127, would overflow 16 bits, so both sides are
 * widened to 16 bits first. Then two neighbours make one sum of 32 bits, and a row has two lanes:
 * `hadd` and a permutation bring 16 rows from four registers into two. */
TARGET_AVX2 static void multiply_one_avx2(const uint8_t *codes, const int8_t *queries,
                                          size_t quads, int32_t *sums)
{
    __m256i sum_i32x8[4];
    for (size_t j = 0; j < 4; j++)
        sum_i32x8[j] = _mm256_setzero_si256();
    for (size_t quad = 0; quad < quads; quad++) {
        __m256i query_i16x16 =
            _mm256_cvtepi8_epi16(_mm_set1_epi32(load_quad(queries, quad)));
        for (size_t j = 0; j < 4; j++) {
            __m256i row_i16x16 = _mm256_cvtepu8_epi16(
                _mm_loadu_si128((const __m128i *)(codes + 4 * BLOCK_ROWS * quad + 16 * j)));
            sum_i32x8[j] =
                _mm256_add_epi32(sum_i32x8[j], _mm256_madd_epi16(row_i16x16, query_i16x16));
        }
    }
    for (size_t j = 0; j < 2; j++) {
        /* rows 0 1 4 5 2 3 6 7 of this half */
        __m256i mixed_i32x8 = _mm256_hadd_epi32(sum_i32x8[2 * j], sum_i32x8[2 * j + 1]);
        _mm256_storeu_si256((__m256i *)(sums + 8 * j),
                            _mm256_permute4x64_epi64(mixed_i32x8, _MM_SHUFFLE(3, 1, 2, 0)));
    }
}

TARGET_AVX2 static void multiply_group_avx2(const uint8_t *codes, const int8_t *queries,
                                            size_t quads, int32_t *sums)
{
    for (size_t query = 0; query < QUERY_GROUP; query++)
        multiply_one_avx2(codes, queries + 4 * query, quads, sums + query * CHUNK_ROWS);
}

/* The same with twice the width: a register has two 32-bit lanes for each of eight rows. */
TARGET_AVX512 static void multiply_one_avx512(const uint8_t *codes, const int8_t *queries,
                                              size_t quads, int32_t *sums)
{
    __m512i low_i32x16 = _mm512_setzero_si512(), high_i32x16 = _mm512_setzero_si512();
    for (size_t quad = 0; quad < quads; quad++) {
        const uint8_t *four = codes + 4 * BLOCK_ROWS * quad;
        __m512i query_i16x32 =
            _mm512_cvtepi8_epi16(_mm256_set1_epi32(load_quad(queries, quad)));
        low_i32x16 = _mm512_add_epi32(
            low_i32x16,
            _mm512_madd_epi16(_mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)four)),
                              query_i16x32));
        high_i32x16 = _mm512_add_epi32(
            high_i32x16, _mm512_madd_epi16(_mm512_cvtepu8_epi16(
                                               _mm256_loadu_si256((const __m256i *)(four + 32))),
                                           query_i16x32));
    }
    const __m512i even_i32x16 =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd_i32x16 = _mm512_add_epi32(even_i32x16, _mm512_set1_epi32(1));
    _mm512_storeu_si512(
        sums, _mm512_add_epi32(_mm512_permutex2var_epi32(low_i32x16, even_i32x16, high_i32x16),
                               _mm512_permutex2var_epi32(low_i32x16, odd_i32x16, high_i32x16)));
}

TARGET_AVX512 static void multiply_group_avx512(const uint8_t *codes, const int8_t *queries,
                                                size_t quads, int32_t *sums)
{
    for (size_t query = 0; query < QUERY_GROUP; query++)
        multiply_one_avx512(codes, queries + 4 * query, quads, sums + query * CHUNK_ROWS);
}

/* One instruction makes four products and their sum without an intermediate overflow. Two sums take
 * turns, since each waits for its own previous one. */
TARGET_VNNI static void multiply_one_vnni(const uint8_t *codes, const int8_t *queries,
                                          size_t quads, int32_t *sums)
{
    __m512i even_i32x16 = _mm512_setzero_si512(), odd_i32x16 = _mm512_setzero_si512();
    size_t quad = 0;
    for (; quad + 2 <= quads; quad += 2) {
        even_i32x16 =
            _mm512_dpbusd_epi32(even_i32x16, _mm512_loadu_si512(codes + 4 * BLOCK_ROWS * quad),
                                _mm512_set1_epi32(load_quad(queries, quad)));
        odd_i32x16 =
            _mm512_dpbusd_epi32(odd_i32x16, _mm512_loadu_si512(codes + 4 * BLOCK_ROWS * (quad + 1)),
                                _mm512_set1_epi32(load_quad(queries, quad + 1)));
    }
    if (quad < quads)
        even_i32x16 =
            _mm512_dpbusd_epi32(even_i32x16, _mm512_loadu_si512(codes + 4 * BLOCK_ROWS * quad),
                                _mm512_set1_epi32(load_quad(queries, quad)));
    _mm512_storeu_si512(sums, _mm512_add_epi32(even_i32x16, odd_i32x16));
}

/* Codes are loaded once for eight queries. Without the pragmas GCC 12 unrolls these loops too late
 * and copies every sum back and forth, which costs 5 % of the time. */
TARGET_VNNI static void multiply_group_vnni(const uint8_t *codes, const int8_t *queries,
                                            size_t quads, int32_t *sums)
{
    __m512i sum_i32x16[QUERY_GROUP];
#pragma GCC unroll 8
    for (size_t query = 0; query < QUERY_GROUP; query++)
        sum_i32x16[query] = _mm512_setzero_si512();
    for (size_t quad = 0; quad < quads; quad++) {
        __m512i codes_u8x64 = _mm512_loadu_si512(codes + 4 * BLOCK_ROWS * quad);
#pragma GCC unroll 8
        for (size_t query = 0; query < QUERY_GROUP; query++)
            sum_i32x16[query] = _mm512_dpbusd_epi32(
                sum_i32x16[query], codes_u8x64,
                _mm512_set1_epi32(load_quad(queries + 4 * query, quad)));
    }
#pragma GCC unroll 8
    for (size_t query = 0; query < QUERY_GROUP; query++)
        _mm512_storeu_si512(sums + query * CHUNK_ROWS, sum_i32x16[query]);
}

#endif

#if HAS_NEON

#define TARGET_DOT __attribute__((target("arch=armv8.2-a+dotprod")))

/* Both sides are signed here: flipping the highest bit of a byte subtracts 128 from it. Return what
 * that subtracts from the sum of products, which the kernel adds again. */
static int32_t add_codes(const int8_t *query, size_t quads)
{
    int32_t sum = 0;
    for (size_t i = 0; i < 4 * quads; i++)
        sum += query[i / 4 * (4 * QUERY_GROUP) + i % 4];
    return ZERO * sum;
}

/* A register has four codes of each of four rows. The sum of two products, at most 2 x 127 x 128,
 * fits 16 bits. */
static void multiply_one_neon(const uint8_t *codes, const int8_t *queries, size_t quads,
                              int32_t *sums)
{
    int32x4_t sum_i32x4[8];
    for (size_t j = 0; j < 8; j++)
        sum_i32x4[j] = vdupq_n_s32(0);
    for (size_t quad = 0; quad < quads; quad++) {
        int8x8_t query_i8x8 = vreinterpret_s8_s32(vdup_n_s32(load_quad(queries, quad)));
        for (size_t j = 0; j < 4; j++) {
            int8x16_t row_i8x16 = vreinterpretq_s8_u8(
                veorq_u8(vld1q_u8(codes + 4 * BLOCK_ROWS * quad + 16 * j), vdupq_n_u8(ZERO)));
            sum_i32x4[2 * j] = vpadalq_s16(sum_i32x4[2 * j],
                                           vmull_s8(vget_low_s8(row_i8x16), query_i8x8));
            sum_i32x4[2 * j + 1] = vpadalq_s16(sum_i32x4[2 * j + 1],
                                               vmull_s8(vget_high_s8(row_i8x16), query_i8x8));
        }
    }
    int32x4_t bias_i32x4 = vdupq_n_s32(add_codes(queries, quads));
    for (size_t j = 0; j < 4; j++)
        vst1q_s32(sums + 4 * j,
                  vaddq_s32(bias_i32x4, vpaddq_s32(sum_i32x4[2 * j], sum_i32x4[2 * j + 1])));
}

static void multiply_group_neon(const uint8_t *codes, const int8_t *queries, size_t quads,
                                int32_t *sums)
{
    for (size_t query = 0; query < QUERY_GROUP; query++)
        multiply_one_neon(codes, queries + 4 * query, quads, sums + query * CHUNK_ROWS);
}

TARGET_DOT static void multiply_one_neondot(const uint8_t *codes, const int8_t *queries,
                                            size_t quads, int32_t *sums)
{
    int32x4_t sum_i32x4[4];
    for (size_t j = 0; j < 4; j++)
        sum_i32x4[j] = vdupq_n_s32(add_codes(queries, quads));
    for (size_t quad = 0; quad < quads; quad++) {
        int8x16_t query_i8x16 = vreinterpretq_s8_s32(vdupq_n_s32(load_quad(queries, quad)));
        for (size_t j = 0; j < 4; j++) {
            int8x16_t row_i8x16 = vreinterpretq_s8_u8(
                veorq_u8(vld1q_u8(codes + 4 * BLOCK_ROWS * quad + 16 * j), vdupq_n_u8(ZERO)));
            sum_i32x4[j] = vdotq_s32(sum_i32x4[j], row_i8x16, query_i8x16);
        }
    }
    for (size_t j = 0; j < 4; j++)
        vst1q_s32(sums + 4 * j, sum_i32x4[j]);
}

TARGET_DOT static void multiply_group_neondot(const uint8_t *codes, const int8_t *queries,
                                              size_t quads, int32_t *sums)
{
    for (size_t query = 0; query < QUERY_GROUP; query++)
        multiply_one_neondot(codes, queries + 4 * query, quads, sums + query * CHUNK_ROWS);
}

#endif

/* ------------------------------------------------------------------ the filter
 *
 * One query: the factors of its bounds (topk.h), and what has been found for it. */

typedef struct {
    double scale, residual_factor, length_factor, constant;
    int32_t offset;
    size_t k, capacity;
    double *lowers;      /* the k best lower bounds, a heap with the least on top */
    int64_t *candidates; /* row numbers, in order */
    double *uppers;      /* upper bounds of the candidates' scores */
    int64_t *count;      /* of the candidates, or MINISBERT_TOO_MANY */
} Search;

/* The scales and norms of the rows of a chunk, in double, and the largest of each. */
typedef struct {
    double scale[CHUNK_ROWS], residual[CHUNK_ROWS], length[CHUNK_ROWS];
    double most_scale, most_residual, most_length;
} Heads;

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static void read_heads(const uint8_t *blocks, size_t block_count, size_t block_bytes, Heads *heads)
{
    heads->most_scale = heads->most_residual = heads->most_length = 0;
    for (size_t row = 0; row < block_count * BLOCK_ROWS; row++) {
        float head[3];
        for (size_t i = 0; i < 3; i++)
            memcpy(&head[i],
                   blocks + row / BLOCK_ROWS * block_bytes +
                       (i * BLOCK_ROWS + row % BLOCK_ROWS) * sizeof(float),
                   sizeof(float));
        heads->scale[row] = head[0];
        heads->residual[row] = head[1];
        heads->length[row] = head[2];
        heads->most_scale = larger(heads->scale[row], heads->most_scale);
        heads->most_residual = larger(heads->residual[row], heads->most_residual);
        heads->most_length = larger(heads->length[row], heads->most_length);
    }
}

/* Replace the least lower bound by another one. Cost: log2(k) steps. */
static void replace_least(double *lowers, size_t k, double lower)
{
    size_t place = 0;
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= k)
            break;
        if (child + 1 < k && lowers[child + 1] < lowers[child])
            child++;
        if (lower <= lowers[child])
            break;
        lowers[place] = lowers[child];
        place = child;
    }
    lowers[place] = lower;
}

/* Drop the candidates that the present threshold rules out. If the others take more than half of
 * the room, a filter does not pay for this query: the caller has to score all rows. */
static void prune(const Search *search)
{
    size_t kept = 0;
    for (size_t i = 0; i < (size_t)*search->count; i++)
        if (!(search->uppers[i] < search->lowers[0])) {
            search->candidates[kept] = search->candidates[i];
            search->uppers[kept++] = search->uppers[i];
        }
    *search->count = kept > search->capacity / 2 ? MINISBERT_TOO_MANY : (int64_t)kept;
}

static double bound_error(const Search *search, const Heads *heads, size_t row)
{
    return heads->residual[row] * search->residual_factor +
           heads->length[row] * search->length_factor + search->constant;
}

static void add_candidate(const Search *search, int64_t row, double upper, double lower)
{
    search->candidates[*search->count] = row;
    search->uppers[(*search->count)++] = upper;
    if (lower > search->lowers[0])
        replace_least(search->lowers, search->k, lower);
    if ((size_t)*search->count == search->capacity)
        prune(search);
}

/* Return the least sum of products with which a row of a chunk could pass, or INT32_MIN if that is
 * not known.
 *
 * A row passes if I s t + bound reaches the threshold, where I is its sum. With the largest scale s
 * and the largest bound of the chunk, I must reach at least (threshold - bound) / (s t). Rounding
 * keeps order, so the computed scale and bound of a row are no larger than the computed largest
 * ones, and only the last sum of a row's upper bound matters: its error is 2^-53 of the threshold.
 * 2^-40 of the quotient is more than that where the bound is less than half of the threshold. */
static int32_t least_sum(const Search *search, const Heads *heads)
{
    double threshold = search->lowers[0];
    double needed = threshold - (heads->most_residual * search->residual_factor +
                                 heads->most_length * search->length_factor + search->constant);
    if (!(needed > threshold / 2)) /* true for NaN too */
        return INT32_MIN;
    double least = needed / (heads->most_scale * search->scale) * (1 - 0x1p-40);
    return least + search->offset < INT32_MAX ? (int32_t)(least + search->offset) : INT32_MAX;
}

/* Compare the first `count` rows of a chunk of `rows` with the threshold. Almost always no row
 * passes. So the sums are compared with the least that could pass, then upper bounds are counted,
 * both without a branch in a loop whose length the compiler knows. An upper bound of NaN passes. */
static inline __attribute__((always_inline)) void
filter_rows(const Search *search, const int32_t *sums, const Heads *heads, size_t rows,
            size_t count, int64_t first)
{
    int32_t least = least_sum(search, heads);
    int passing = 0;
    for (size_t i = 0; i < rows; i++)
        passing += sums[i] >= least;
    if (!passing)
        return;
    double estimate[CHUNK_ROWS], upper[CHUNK_ROWS];
    double threshold = search->lowers[0];
    passing = 0;
    for (size_t i = 0; i < rows; i++) {
        estimate[i] = (double)(sums[i] - search->offset) * (heads->scale[i] * search->scale);
        upper[i] = estimate[i] + bound_error(search, heads, i);
        passing += !(upper[i] < threshold);
    }
    if (!passing)
        return;
    for (size_t i = 0; i < count && *search->count != MINISBERT_TOO_MANY; i++)
        if (!(upper[i] < search->lowers[0]))
            add_candidate(search, first + (int64_t)i, upper[i],
                          estimate[i] - bound_error(search, heads, i));
}

static inline __attribute__((always_inline)) void
filter(const Search *search, const int32_t *sums, const Heads *heads, size_t count, int64_t first)
{
    if (count <= BLOCK_ROWS)
        filter_rows(search, sums, heads, BLOCK_ROWS, count, first);
    else
        filter_rows(search, sums, heads, CHUNK_ROWS, count, first);
}

typedef void filter_chunk(const Search *search, const int32_t *sums, const Heads *heads,
                          size_t count, int64_t first);

static void filter_plain(const Search *search, const int32_t *sums, const Heads *heads,
                         size_t count, int64_t first)
{
    filter(search, sums, heads, count, first);
}

#if HAS_X86

/* The same with wider registers. */
TARGET_AVX2 static void filter_avx2(const Search *search, const int32_t *sums, const Heads *heads,
                                    size_t count, int64_t first)
{
    filter(search, sums, heads, count, first);
}

TARGET_AVX512 static void filter_avx512(const Search *search, const int32_t *sums,
                                        const Heads *heads, size_t count, int64_t first)
{
    filter(search, sums, heads, count, first);
}

#endif

/* ------------------------------------------------------------------ the table of kernels */

typedef struct {
    multiply_block *one, *group;
    filter_chunk *filter;
} Kernel;

static const Kernel KERNELS[MINISBERT_KERNELS] = {
    [MINISBERT_SCALAR] = {multiply_one_scalar, multiply_group_scalar, filter_plain},
#if HAS_X86
    [MINISBERT_AVX2] = {multiply_one_avx2, multiply_group_avx2, filter_avx2},
    [MINISBERT_AVX512] = {multiply_one_avx512, multiply_group_avx512, filter_avx512},
    [MINISBERT_AVX512VNNI] = {multiply_one_vnni, multiply_group_vnni, filter_avx512},
#elif HAS_NEON
    [MINISBERT_NEON] = {multiply_one_neon, multiply_group_neon, filter_plain},
    [MINISBERT_NEONDOT] = {multiply_one_neondot, multiply_group_neondot, filter_plain},
#endif
};

/* ------------------------------------------------------------------ entry points */

int minisbert_int8_scan(int kernel, const int8_t *queries, const minisbert_query_factors *factors,
                        size_t query_count, const uint8_t *blocks, size_t row_count,
                        size_t dimension, size_t k, size_t capacity, int64_t first_id,
                        double *lowers, int64_t *candidates, double *uppers, int64_t *counts)
{
    if (!minisbert_supports(kernel))
        return MINISBERT_NO_SUCH_KERNEL;
    if (dimension > MINISBERT_INT8_DIMENSION)
        return MINISBERT_TOO_WIDE;
    size_t quads = count_quads(dimension), block_bytes = HEAD + 4 * BLOCK_ROWS * quads;
    size_t left = 0; /* queries without too many candidates */
    for (size_t query = 0; query < query_count; query++)
        left += counts[query] != MINISBERT_TOO_MANY;
    int32_t sums[QUERY_GROUP * CHUNK_ROWS] = {0};
    Heads heads = {{0}, {0}, {0}, 0, 0, 0};
    size_t most = query_count < QUERY_GROUP / 2 ? BLOCK_ROWS : CHUNK_ROWS;
    for (size_t start = 0; start < row_count && left > 0; start += most) {
        size_t count = row_count - start < most ? row_count - start : most;
        const uint8_t *chunk = blocks + start / BLOCK_ROWS * block_bytes;
        size_t block_count = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
        read_heads(chunk, block_count, block_bytes, &heads);
        for (size_t first = 0; first < query_count; first += QUERY_GROUP) {
            size_t together = query_count - first < QUERY_GROUP ? query_count - first : QUERY_GROUP;
            const int8_t *group = queries + first * 4 * quads;
            /* One pass over a group that is padded with zeros beats four passes. */
            int whole = together >= QUERY_GROUP / 2;
            for (size_t i = 0; i < block_count; i++) {
                const uint8_t *codes = chunk + i * block_bytes + HEAD;
                if (whole)
                    KERNELS[kernel].group(codes, group, quads, sums + i * BLOCK_ROWS);
                else
                    for (size_t query = 0; query < together; query++)
                        KERNELS[kernel].one(codes, group + 4 * query, quads,
                                            sums + query * CHUNK_ROWS + i * BLOCK_ROWS);
            }
            for (size_t query = 0; query < together; query++) {
                size_t number = first + query;
                const minisbert_query_factors *factor = factors + number;
                if (counts[number] == MINISBERT_TOO_MANY)
                    continue;
                const Search search = {factor->scale,
                                       factor->residual_factor,
                                       factor->length_factor,
                                       factor->constant,
                                       (int32_t)factor->offset,
                                       k,
                                       capacity,
                                       lowers + number * k,
                                       candidates + number * capacity,
                                       uppers + number * capacity,
                                       counts + number};
                KERNELS[kernel].filter(&search, sums + query * CHUNK_ROWS, &heads, count,
                                       first_id + (int64_t)start);
                left -= counts[number] == MINISBERT_TOO_MANY;
            }
        }
    }
    return MINISBERT_OK;
}

/* Scores are first compared in float32, without a branch, with a number below every score that
 * could pass. A score of NaN passes. */
int minisbert_filter_scores(const float *scores, size_t query_count, size_t row_count,
                            const double *bounds, size_t k, size_t capacity, int64_t first_id,
                            double *lowers, int64_t *candidates, double *uppers, int64_t *counts)
{
    for (size_t query = 0; query < query_count; query++, scores += row_count) {
        double bound = bounds[query];
        const Search search = {0, 0, 0, 0, 0, k, capacity, lowers + query * k,
                               candidates + query * capacity, uppers + query * capacity,
                               counts + query};
        for (size_t start = 0; start < row_count; start += CHUNK_ROWS) {
            size_t end = row_count - start < CHUNK_ROWS ? row_count : start + CHUNK_ROWS;
            float least = nextafterf((float)(search.lowers[0] - bound), -INFINITY);
            least = nextafterf(least, -INFINITY);
            int passing = 0;
            for (size_t row = start; row < end; row++)
                passing += !(scores[row] < least);
            for (size_t row = start; row < end && passing; row++) {
                double upper = scores[row] + bound;
                if (counts[query] != MINISBERT_TOO_MANY && !(upper < search.lowers[0]))
                    add_candidate(&search, first_id + (int64_t)row, upper, scores[row] - bound);
            }
        }
    }
    return MINISBERT_OK;
}
