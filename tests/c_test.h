/* Shared by the tests of the kernels: names, counted checks, buffers of the exact size, and random
 * numbers that are the same in every run and on every machine. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../csrc/topk.h"

static const char *const NAMES[MINISBERT_KERNELS] = {
    [MINISBERT_SCALAR] = "scalar",         [MINISBERT_AVX2] = "avx2",
    [MINISBERT_AVX512] = "avx512",         [MINISBERT_NEON] = "neon",
    [MINISBERT_AVX512VNNI] = "avx512vnni", [MINISBERT_NEONDOT] = "neondot",
};

static inline const char *name_kernel(int kernel)
{
    return NAMES[kernel] ? NAMES[kernel] : "without a name in c_test.h";
}

static int passed = 0, failed = 0;
static unsigned long case_number = 0; /* of a random case */

/* Count a check, and print the arguments of one that fails. */
static inline void check(int good, const char *what, int kernel, size_t width, size_t rows)
{
    if (good) {
        passed++;
        return;
    }
    failed++;
    printf("FAILED: %s, kernel %s, width %zu, %zu rows, case %lu\n", what, name_kernel(kernel),
           width, rows, case_number);
}

/* Print the totals and return the program's exit status. */
static inline int report(void)
{
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

/* A linear congruential generator. */
static uint32_t state = 1;
static inline uint32_t next_random(void)
{
    return state = state * 1664525u + 1013904223u;
}

/* A float from -1 to below 1. */
static inline float next_float(void)
{
    return (float)(int32_t)next_random() / 2147483648.0f;
}

/* Memory of the exact size; one byte for an empty array, since malloc(0) may return NULL. */
static inline void *allocate(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory)
        exit(2);
    return memory;
}
