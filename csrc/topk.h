/* topk.h - the contract of the scan; cffi reads this very file.
 *
 * The score of a row for a query is their canonical dot product, defined by the scalar kernel:
 * 16 lanes of float32, element i goes to lane i mod 16, each step one rounded product and one
 * rounded sum, and at the end the lanes are added in a fixed tree (8 + 8, 4 + 4, 2 + 2, 1 + 1).
 * Every other kernel gives the same bits, so an answer does not depend on the machine.
 *
 * The order of rows is total: the higher score first, of equal scores the lower row number. A score
 * that is not a number comes after all others, also after minus infinity, and of several such the
 * lower row number first; which of the bit patterns for NaN is returned is not defined. A score is
 * never minus zero.
 *
 * Nothing here allocates, starts threads, keeps state or reads past the end of an array. Arrays
 * need no alignment beyond that of their type. No two arguments may overlap. */

/* The kernels. The last two differ from those before them in the scan of codes only. */
#define MINISBERT_SCALAR 0
#define MINISBERT_AVX2 1
#define MINISBERT_AVX512 2
#define MINISBERT_NEON 3
#define MINISBERT_AVX512VNNI 4
#define MINISBERT_NEONDOT 5
#define MINISBERT_KERNELS 6

/* What the functions return. */
#define MINISBERT_OK 0
#define MINISBERT_NO_SUCH_KERNEL 1
#define MINISBERT_TOO_WIDE 2

/* Whether this processor and its operating system can run a kernel: 1 or 0. */
int minisbert_supports(int kernel);

/* Find the k best of rows[0 .. row_count) for each query.
 *
 *   queries  query_count x dimension
 *   rows     row_count x dimension
 *   k        at most row_count
 *   scores   query_count x k, out, best first
 *   ids      query_count x k, out, row numbers counted from first_id
 *
 * Any count may be 0. The rows are read once for all queries, in blocks that stay in cache.
 * Cost: row_count * query_count * dimension multiplications, plus log k for a row that enters. */
int minisbert_topk(int kernel, const float *queries, size_t query_count, const float *rows,
                   size_t row_count, size_t dimension, size_t k, int64_t first_id, float *scores,
                   int64_t *ids);

/* The canonical dot product of row i of a with row i of b, for each i in [0, count).
 *
 *   a, b    count x dimension
 *   scores  count, out */
int minisbert_pair_dots(int kernel, const float *a, const float *b, size_t count,
                        size_t dimension, float *scores);

/* The scan of codes: a filter that finds every row that could be among the k best by topk's order,
 * from one byte a number. csrc/topk_int8.c has the proof, and the layout of a block of rows. */

/* Rows of a block; queries of a group; the widest row, so that all sums stay exact; numbers that
 * are known of a query. */
#define MINISBERT_BLOCK_ROWS 16
#define MINISBERT_GROUP 8
#define MINISBERT_INT8_DIMENSION 65408
#define MINISBERT_FACTORS 5

/* In the place of a count: more candidates than there is room for. */
#define MINISBERT_TOO_MANY -1

/* Write codes, scales and norms of rows into their places in blocks.
 *
 *   rows       row_count x dimension; one that is not finite will always be a candidate
 *   blocks     out, enough of them for first_row + row_count rows
 *   first_row  the place of the first of these rows */
int minisbert_int8_encode(const float *rows, size_t row_count, size_t dimension,
                          uint8_t *blocks, size_t first_row);

/* Find the candidates among row_count rows for each query, in the order of the rows. What was found
 * in rows before these is gone on from: at the start all lowers are minus infinity, all counts 0.
 *
 *   queries     codes in groups: group x four dimensions x query of the group x 4, filled up with
 *               zeros to whole groups and to a multiple of four dimensions
 *   factors     query_count x MINISBERT_FACTORS: the scale of the codes; what the norms of a row's
 *               residual and of its codes are multiplied by, and what is added, to bound the error;
 *               128 times the sum of the codes. The query's norm is below 2^62.
 *   blocks      the rows', as encoded
 *   k           at least 1
 *   capacity    room for so many candidates a query, at least 1
 *   lowers      query_count x k, in and out: the best lower bounds of scores, a heap with the least
 *               on top
 *   candidates  query_count x capacity, in and out: row numbers counted from first_id
 *   uppers      query_count x capacity, in and out: upper bounds of their scores
 *   counts      query_count, in and out: candidates, or TOO_MANY; then the rows must be scanned
 *
 * A candidate stays unless its upper bound is below the least of the lowers; some may be left that
 * later rows have ruled out. Rows with fewer than k others are all candidates. Cost: row_count *
 * query_count * dimension multiplications of bytes, and the candidates'. */
int minisbert_int8_scan(int kernel, const int8_t *queries, const double *factors,
                        size_t query_count, const uint8_t *blocks, size_t row_count,
                        size_t dimension, size_t k, size_t capacity, int64_t first_id,
                        double *lowers, int64_t *candidates, double *uppers, int64_t *counts);

/* Find the candidates among rows whose scores are known but for an error, as a product of matrices
 * gives them, for each query.
 *
 *   scores  query_count x row_count
 *   bounds  query_count: what the canonical score differs from them at most
 *
 * All else as above. Cost: row_count * query_count comparisons, and the candidates'. */
int minisbert_filter_scores(const float *scores, size_t query_count, size_t row_count,
                            const double *bounds, size_t k, size_t capacity, int64_t first_id,
                            double *lowers, int64_t *candidates, double *uppers, int64_t *counts);

/* The scan of binary codes, one bit for each component of an embedding (hamming.c).
 *
 * The distance of a row is its Hamming distance, the number of bits in which it differs from the
 * query: a whole number, so every kernel gives the same. The order of rows is total here too: the
 * smaller distance first, of equal ones the lower row number. */

/* Whether this processor and its operating system can run a kernel of the Hamming scan: 1 or 0.
 * One with AVX-512 may lack the instruction that counts bits; it runs the one below then. */
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
