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

/* The kernels. */
#define MINISBERT_SCALAR 0
#define MINISBERT_AVX2 1
#define MINISBERT_AVX512 2
#define MINISBERT_NEON 3
#define MINISBERT_KERNELS 4

/* What the functions return. */
#define MINISBERT_OK 0
#define MINISBERT_NO_SUCH_KERNEL 1

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
