/* topk.h - the contract of the scans; cffi reads this file itself.
 *
 * The score of a row for a query is their canonical dot product, defined by the scalar kernel:
 * 16 lanes of float32, element i goes to lane i mod 16, each step one rounded product and one
 * rounded sum, and at the end the lanes are added in a fixed tree (8 + 8, 4 + 4, 2 + 2, 1 + 1).
 * Every other kernel gives the same bits, so an answer does not depend on the machine.
 *
 * The order of rows is total: the higher score first, ties by the lower row number. A score that is
 * NaN comes after all others, also after minus infinity, and among these the lower row number comes
 * first; which bit pattern of NaN is returned is not defined. A score is never minus zero.
 *
 * No function allocates, starts threads, keeps state or reads past the end of an array. Arrays need
 * no alignment beyond that of their type. No two arguments may overlap. */

/* The kernels. AVX512VNNI and NEONDOT differ from AVX512 and NEON only in the scan of codes. */
#define MINISBERT_SCALAR 0
#define MINISBERT_AVX2 1
#define MINISBERT_AVX512 2
#define MINISBERT_NEON 3
#define MINISBERT_AVX512VNNI 4
#define MINISBERT_NEONDOT 5
#define MINISBERT_KERNELS 6

/* The status that a function returns. */
#define MINISBERT_OK 0
#define MINISBERT_NO_SUCH_KERNEL 1
#define MINISBERT_TOO_WIDE 2

/* Return 1 if this processor and its operating system can run a kernel, else 0. */
int minisbert_supports(int kernel);

/* Find the k best of rows[0 .. row_count) for each query.
 *
 *   queries  query_count x dimension
 *   rows     row_count x dimension
 *   k        a larger k than row_count is taken as row_count
 *   scores   query_count x k, out, best first
 *   ids      query_count x k, out, row numbers counted from first_id
 *
 * Any count may be 0. The rows are read once for all queries, in blocks that stay in cache.
 * Cost: row_count * query_count * dimension multiplications, plus log k for a row that enters. */
int minisbert_topk(int kernel, const float *queries, size_t query_count, const float *rows,
                   size_t row_count, size_t dimension, size_t k, int64_t first_id, float *scores,
                   int64_t *ids);

/* Compute the canonical dot product of row i of a with row i of b, for each i in [0, count).
 *
 *   a, b    count x dimension
 *   scores  count, out */
int minisbert_pair_dots(int kernel, const float *a, const float *b, size_t count,
                        size_t dimension, float *scores);

/* ------------------------------------------------------------------ filters
 *
 * A filter finds every row that could be among the k best by the order above. It does not compute
 * the score, but a lower and an upper bound of it. csrc/topk_int8.c explains the filter that reads
 * codes of one byte for each number, proves its bounds, and defines the layout of a block. */

/* Rows of a block of codes; queries of a group, whose codes are stored together; the largest
 * dimension for which all sums are exact. */
#define MINISBERT_BLOCK_ROWS 16
#define MINISBERT_QUERY_GROUP 8
#define MINISBERT_INT8_DIMENSION 65408

/* Stored instead of a count: there are more candidates than room. */
#define MINISBERT_TOO_MANY -1

/* The numbers that the scan of codes needs for a query q besides its codes d. With t, r and g as in
 * csrc/topk_int8.c, and s, c and e those of a row x, |q.x - s t (c.d)| is at most
 * |e| residual_factor + |s c| length_factor + constant. */
typedef struct {
    double scale;           /* t, the scale of the codes */
    double residual_factor; /* |q| (1 + g) */
    double length_factor;   /* |r| + g |q| */
    double constant;        /* D 2^-149, for products that underflow */
    double offset;          /* 128 times the sum of d, since a block holds c + 128 */
} minisbert_query_factors;

/* Write codes, scales and norms of rows into their places in blocks.
 *
 *   rows       row_count x dimension; one that is not finite will always be a candidate
 *   blocks     out, enough of them for first_row + row_count rows
 *   first_row  the place of the first of these rows */
int minisbert_int8_encode(const float *rows, size_t row_count, size_t dimension,
                          uint8_t *blocks, size_t first_row);

/* Find the candidates among row_count rows for each query, in the order of the rows. A scan of some
 * rows continues from what earlier scans of other rows found; before the first scan all lowers must
 * be minus infinity and all counts 0.
 *
 *   queries     codes in groups: group x four dimensions x query of the group x 4, padded with
 *               zeros to whole groups and to a multiple of four dimensions
 *   factors     query_count; the norms of all queries are below 2^62
 *   blocks      the codes of the rows
 *   k           at least 1
 *   capacity    the most candidates of a query, at least 1
 *   lowers      query_count x k, in and out: the best lower bounds of scores, a heap with the least
 *               on top
 *   candidates  query_count x capacity, in and out: row numbers counted from first_id
 *   uppers      query_count x capacity, in and out: upper bounds of their scores
 *   counts      query_count, in and out: numbers of candidates, or TOO_MANY, where the caller must
 *               score all rows
 *
 * A row becomes a candidate unless its upper bound is below the least of the lowers. Some remain
 * candidates though later rows rule them out. If there are fewer than k rows, all are candidates.
 * Cost: row_count * query_count * dimension multiplications of bytes, and the candidates'. */
int minisbert_int8_scan(int kernel, const int8_t *queries, const minisbert_query_factors *factors,
                        size_t query_count, const uint8_t *blocks, size_t row_count,
                        size_t dimension, size_t k, size_t capacity, int64_t first_id,
                        double *lowers, int64_t *candidates, double *uppers, int64_t *counts);

/* Find the candidates among rows for each query from approximate scores, such as a product of
 * matrices gives.
 *
 *   scores  query_count x row_count
 *   bounds  query_count: the largest difference between these and the canonical scores
 *
 * All other arguments are as above. Cost: row_count * query_count comparisons, and the
 * candidates'. */
int minisbert_filter_scores(const float *scores, size_t query_count, size_t row_count,
                            const double *bounds, size_t k, size_t capacity, int64_t first_id,
                            double *lowers, int64_t *candidates, double *uppers, int64_t *counts);

/* ------------------------------------------------------------------ binary codes (hamming.c)
 *
 * One bit for each component of an embedding. The distance of a row is its Hamming distance, the
 * number of bits in which it differs from the query: a whole number, so every kernel gives the
 * same. The order of rows is total here too: the smaller distance first, ties by the lower row
 * number. */

/* Return 1 if this processor and its operating system can run a kernel of the Hamming scan, else 0.
 * A processor with AVX-512 may lack the instruction that counts bits; it can run AVX2 then. */
int minisbert_hamming_supports(int kernel);

/* Find the k nearest of codes[0 .. row_count) for each query.
 *
 *   queries    query_count x width, in bytes
 *   codes      row_count x width, in bytes; width below 2^28
 *   k          at most row_count
 *   distances  query_count x k, out, nearest first
 *   ids        query_count x k, out, row numbers counted from first_id
 *
 * Any count may be 0. The codes are read once for all queries, in blocks that stay in cache.
 * Cost: row_count * query_count * width bytes compared, plus log k for a row that enters. */
int minisbert_hamming_topk(int kernel, const uint8_t *queries, size_t query_count,
                           const uint8_t *codes, size_t row_count, size_t width, size_t k,
                           int64_t first_id, int32_t *distances, int64_t *ids);
