/* SSE2 loops, as a compiler or a library has them. */
#include "bench.h"

#include <emmintrin.h>
#include <string.h>

#pragma GCC optimize("fp-contract=off")

#define N 48
static float a[N][N] __attribute__((aligned(64))), b[N][N] __attribute__((aligned(64))),
    c[N][N] __attribute__((aligned(64)));

static void prepare_matmul(void)
{
    uint64_t seed = 10;

    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (float)(next_random(&seed) % 1000) / 100;
            b[i][j] = (float)(next_random(&seed) % 1000) / 100;
        }
}

static uint64_t run_matmul(void)
{
    touch(a);
    touch(b);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j += 8) {
            __m128 low = _mm_setzero_ps(), high = _mm_setzero_ps();
            for (int k = 0; k < N; k++) {
                __m128 x = _mm_set1_ps(a[i][k]);
                low = _mm_add_ps(low, _mm_mul_ps(x, _mm_load_ps(&b[k][j])));
                high = _mm_add_ps(high, _mm_mul_ps(x, _mm_load_ps(&b[k][j + 4])));
            }
            _mm_store_ps(&c[i][j], low);
            _mm_store_ps(&c[i][j + 4], high);
        }
    touch(c);
    return mix(checksum(c[0], sizeof c[0]), checksum(c[N - 1], sizeof c[0]));
}

/* Sums, differences and products of bytes and 16-bit words. */
#define SIZE 16384
static uint8_t left[SIZE] __attribute__((aligned(64))), right[SIZE] __attribute__((aligned(64)));

static void prepare_integers(void)
{
    fill_random(left, SIZE, 11);
    fill_random(right, SIZE, 12);
}

static uint64_t run_integers(void)
{
    __m128i sums = _mm_setzero_si128(), products = sums, most = sums;
    const __m128i low = _mm_set1_epi16(255);
    uint64_t out[6];

    touch(left);
    touch(right);
    for (size_t i = 0; i < SIZE; i += 16) {
        __m128i x = _mm_load_si128((const __m128i *)(left + i));
        __m128i y = _mm_loadu_si128((const __m128i *)(right + i));
        sums = _mm_add_epi64(sums, _mm_sad_epu8(x, y));
        products =
            _mm_add_epi32(products, _mm_madd_epi16(_mm_and_si128(x, low), _mm_srli_epi16(y, 8)));
        most = _mm_max_epu8(most, _mm_subs_epu8(x, y));
        most = _mm_shuffle_epi32(most, 0x39);
    }
    memcpy(out, &sums, 16);
    memcpy(out + 2, &products, 16);
    memcpy(out + 4, &most, 16);
    return checksum(out, sizeof out);
}

/* Search as memchr and strlen of a C library do it. */
static uint64_t run_search(void)
{
    uint64_t sum = 0;

    touch(left);
    for (unsigned value = 0; value < 8; value++) {
        const __m128i wanted = _mm_set1_epi8((char)value);
        for (size_t i = 0; i < SIZE; i += 16) {
            __m128i x = _mm_load_si128((const __m128i *)(left + i));
            unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, wanted));
            if (found)
                sum = sum * 5 + i + (unsigned)__builtin_ctz(found);
        }
    }
    return sum;
}

#define PAIRS 4096
static double values[PAIRS] __attribute__((aligned(64)));

static void prepare_doubles(void)
{
    uint64_t seed = 13;

    for (int i = 0; i < PAIRS; i++)
        values[i] = 1 + (double)(next_random(&seed) % 100000) / 7;
}

static uint64_t run_doubles(void)
{
    __m128d sum = _mm_setzero_pd(), one = _mm_set1_pd(1);
    uint64_t out[2];

    touch(values);
    for (int i = 0; i < PAIRS; i += 2) {
        __m128d x = _mm_load_pd(values + i);
        sum = _mm_add_pd(sum, _mm_div_pd(one, _mm_sqrt_pd(x)));
        sum = _mm_sub_pd(sum, _mm_mul_pd(_mm_unpackhi_pd(x, x), _mm_set1_pd(1e-9)));
    }
    memcpy(out, &sum, 16);
    return checksum(out, 16);
}

const struct workload sse_workloads[] = {
    {.name = "sse-matmul",
     .group = "fp",
     .unit = "48 by 48",
     .count = 1,
     .prepare = prepare_matmul,
     .run = run_matmul},
    {.name = "sse-doubles",
     .group = "fp",
     .unit = "4096 values",
     .count = 1,
     .prepare = prepare_doubles,
     .run = run_doubles},
    {.name = "sse-integers",
     .group = "fp",
     .unit = "16 KiB",
     .count = 1,
     .prepare = prepare_integers,
     .run = run_integers},
    {.name = "sse-search",
     .group = "fp",
     .unit = "128 KiB",
     .count = 1,
     .prepare = prepare_integers,
     .run = run_search},
    {},
};
