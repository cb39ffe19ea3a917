/* AVX2 loops. */
#include "bench.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#pragma GCC target("avx2")
#pragma GCC optimize("fp-contract=off")

#define N 48
static float a[N][N] __attribute__((aligned(64))), b[N][N] __attribute__((aligned(64))),
    c[N][N] __attribute__((aligned(64)));

static const char *lack_avx2(void)
{
    return __builtin_cpu_supports("avx2") ? NULL : "avx2";
}

static void prepare_matmul(void)
{
    uint64_t seed = 14;

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
        for (int j = 0; j < N; j += 16) {
            __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
            for (int k = 0; k < N; k++) {
                __m256 x = _mm256_set1_ps(a[i][k]);
                low = _mm256_add_ps(low, _mm256_mul_ps(x, _mm256_load_ps(&b[k][j])));
                high = _mm256_add_ps(high, _mm256_mul_ps(x, _mm256_load_ps(&b[k][j + 8])));
            }
            _mm256_store_ps(&c[i][j], low);
            _mm256_store_ps(&c[i][j + 8], high);
        }
    touch(c);
    return mix(checksum(c[0], sizeof c[0]), checksum(c[N - 1], sizeof c[0]));
}

#define SIZE 16384
static uint8_t left[SIZE] __attribute__((aligned(64))), right[SIZE] __attribute__((aligned(64)));

static void prepare_integers(void)
{
    fill_random(left, SIZE, 15);
    fill_random(right, SIZE, 16);
}

static uint64_t run_integers(void)
{
    __m256i sums = _mm256_setzero_si256(), products = sums, most = sums;
    const __m256i low = _mm256_set1_epi16(255);
    uint64_t out[12];

    touch(left);
    touch(right);
    for (size_t i = 0; i < SIZE; i += 32) {
        __m256i x = _mm256_load_si256((const __m256i *)(left + i));
        __m256i y = _mm256_loadu_si256((const __m256i *)(right + i));
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(x, y));
        products = _mm256_add_epi32(
            products, _mm256_madd_epi16(_mm256_and_si256(x, low), _mm256_srli_epi16(y, 8)));
        most = _mm256_max_epu8(most, _mm256_subs_epu8(x, y));
        most = _mm256_permute4x64_epi64(most, 0x39);
    }
    memcpy(out, &sums, 32);
    memcpy(out + 4, &products, 32);
    memcpy(out + 8, &most, 32);
    return checksum(out, sizeof out);
}

const struct workload avx_workloads[] = {
    {.name = "avx-matmul",
     .group = "fp",
     .unit = "48 by 48",
     .count = 1,
     .prepare = prepare_matmul,
     .run = run_matmul,
     .lack = lack_avx2},
    {.name = "avx-integers",
     .group = "fp",
     .unit = "16 KiB",
     .count = 1,
     .prepare = prepare_integers,
     .run = run_integers,
     .lack = lack_avx2},
    {},
};
