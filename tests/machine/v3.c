/*
 * Prints results of instructions that x86-64-v3 adds (AVX2, FMA, BMI, F16C,
 * MOVBE, LZCNT): the same on every machine that executes them right.
 * Compiled with -march=x86-64-v3, which lets the compiler use them everywhere.
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define N 4096

static uint32_t words[N];
static float floats[N];
static double doubles[N];

/* Numerical Recipes' linear congruential generator. */
static uint32_t next(void)
{
    static uint32_t x = 12345;

    return x = x * 1664525u + 1013904223u;
}

static void bmi(void)
{
    uint64_t sum[7] = {0};

    for (unsigned i = 0; i + 1 < N; i++) {
        uint64_t a = (uint64_t)words[i] << 32 | words[i + 1], b = words[i] * 0x9e3779b97f4a7c15u;

        sum[0] += _andn_u64(a, b) ^ _blsr_u64(a);
        sum[1] += _lzcnt_u64(a >> (b & 63)) + _tzcnt_u64(b << (a & 63));
        sum[2] ^= _pdep_u64(a, b) + _pext_u64(b, a);
        sum[3] += _bzhi_u64(a, b & 63) ^ _bextr_u64(a, b & 31, a & 31);
        sum[4] ^= a << (b & 63) ^ (uint64_t)((int64_t)b >> (a & 63));
        sum[5] += (uint64_t)((unsigned __int128)a * b >> 64);
        sum[6] += __builtin_bswap64(a);
    }
    for (unsigned i = 0; i < 7; i++)
        printf("bmi %u %016lx\n", i, sum[i]);
}

static void avx2(void)
{
    __m256i sum = _mm256_setzero_si256();
    uint64_t lane[4];

    for (unsigned i = 0; i + 16 <= N; i += 8) {
        __m256i a = _mm256_loadu_si256((const __m256i *)&words[i]);
        __m256i b = _mm256_loadu_si256((const __m256i *)&words[i + 5]);
        __m256i index = _mm256_and_si256(a, _mm256_set1_epi32(N - 1));

        sum = _mm256_add_epi64(sum, _mm256_mul_epu32(a, b));
        sum = _mm256_xor_si256(sum, _mm256_i32gather_epi32((const int *)words, index, 4));
        sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(a, b));
        sum = _mm256_add_epi16(sum, _mm256_permutevar8x32_epi32(b, a));
        sum = _mm256_xor_si256(sum, _mm256_sllv_epi64(a, _mm256_srli_epi64(b, 58)));
        sum = _mm256_sub_epi32(sum, _mm256_packus_epi32(a, b));
    }
    _mm256_storeu_si256((__m256i *)lane, sum);
    printf("avx2 %016lx %016lx %016lx %016lx\n", lane[0], lane[1], lane[2], lane[3]);
}

static void floating(void)
{
    float f = 0;
    double d = 0;
    uint32_t halves = 0;

    for (unsigned i = 0; i + 8 <= N; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(&floats[i]), _MM_FROUND_TO_NEAREST_INT);
        __m256 back = _mm256_cvtph_ps(h);

        halves ^= (uint32_t)_mm_extract_epi32(h, 1) + (uint32_t)_mm_movemask_epi8(h);
        f += _mm256_cvtss_f32(_mm256_sqrt_ps(_mm256_hadd_ps(back, back)));
        for (unsigned k = 0; k < 8; k++)
            d = __builtin_fma(doubles[i + k], 0.999, d * 0.5);
    }
    printf("float %a %a %08x\n", (double)f, d, halves);
    printf("long double %La\n", (long double)d * 1.1L + (long double)f / 3.0L);
}

int main(void)
{
    for (unsigned i = 0; i < N; i++) {
        words[i] = next();
        floats[i] = (float)(next() >> 8) / 65536.0f;
        doubles[i] = (double)next() / 3.0;
    }
    bmi();
    avx2();
    floating();
    return 0;
}
