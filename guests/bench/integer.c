/* Integer arithmetic: a checksum, hashing with a table, sorting, long multiplication. */
#include "bench.h"

#include <string.h>

#define BYTES 65536
static uint8_t *bytes;
static uint32_t crc_table[256];

static void prepare_crc(void)
{
    bytes = allocate(BYTES);
    fill_random(bytes, BYTES, 1);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
        crc_table[i] = c;
    }
}

static uint64_t run_crc(void)
{
    uint32_t c = ~0u;

    touch(bytes);
    for (size_t i = 0; i < BYTES; i++)
        c = crc_table[(c ^ bytes[i]) & 255] ^ c >> 8;
    return ~c;
}

/* Words of a text counted in a hash table with open addressing. */
#define WORDS 8192
#define SLOTS 4096
static uint64_t words[WORDS];
static struct {
    uint64_t key;
    uint64_t count;
} slots[SLOTS];

static void prepare_hash(void)
{
    uint64_t seed = 77;

    for (size_t i = 0; i < WORDS; i++)
        words[i] = next_random(&seed) % 2000 * 0x100010001 + 1;
}

static uint64_t run_hash(void)
{
    uint64_t sum = 0;

    memset(slots, 0, sizeof slots);
    touch(words);
    for (size_t i = 0; i < WORDS; i++) {
        uint64_t h = words[i] * 0xff51afd7ed558ccd;
        h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53;
        for (h = (h ^ h >> 33) % SLOTS; slots[h].key && slots[h].key != words[i];)
            h = (h + 1) % SLOTS;
        slots[h].key = words[i];
        slots[h].count++;
    }
    for (size_t i = 0; i < SLOTS; i++)
        sum += slots[i].key * slots[i].count ^ i;
    return sum;
}

#define NUMBERS 8192
static int32_t unsorted[NUMBERS], numbers[NUMBERS];

static void prepare_sort(void)
{
    fill_random(unsorted, sizeof unsorted, 3);
}

static void quicksort(int32_t *low, int32_t *high)
{
    while (high - low > 12) {
        int32_t pivot = low[(high - low) / 2], *i = low, *j = high;
        while (i <= j) {
            while (*i < pivot)
                i++;
            while (*j > pivot)
                j--;
            if (i <= j) {
                int32_t t = *i;
                *i++ = *j;
                *j-- = t;
            }
        }
        quicksort(low, j);
        low = i;
    }
    for (int32_t *i = low + 1; i <= high; i++) {
        int32_t value = *i, *j = i;
        for (; j > low && j[-1] > value; j--)
            *j = j[-1];
        *j = value;
    }
}

static uint64_t run_sort(void)
{
    uint64_t sum = 0;

    memcpy(numbers, unsorted, sizeof numbers);
    touch(numbers);
    quicksort(numbers, numbers + NUMBERS - 1);
    for (size_t i = 0; i < NUMBERS; i += 16)
        sum = mix(sum, (uint32_t)numbers[i]);
    return sum;
}

/* Numbers of 64 words multiplied: MUL, ADC. */
#define LIMBS 64
static uint64_t factors[2][LIMBS], product[2 * LIMBS];

static void prepare_bignum(void)
{
    fill_random(factors, sizeof factors, 4);
}

static uint64_t run_bignum(void)
{
    touch(factors);
    memset(product, 0, sizeof product);
    for (int i = 0; i < LIMBS; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < LIMBS; j++) {
            unsigned __int128 t = (unsigned __int128)factors[0][i] * factors[1][j];
            t += product[i + j];
            t += carry;
            product[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
        product[i + LIMBS] = carry;
    }
    return checksum(product, sizeof product);
}

const struct workload integer_workloads[] = {
    {.name = "crc",
     .group = "cpu",
     .unit = "64 KiB",
     .count = 1,
     .prepare = prepare_crc,
     .run = run_crc},
    {.name = "hash",
     .group = "cpu",
     .unit = "8192 words",
     .count = 1,
     .prepare = prepare_hash,
     .run = run_hash},
    {.name = "sort",
     .group = "cpu",
     .unit = "8192 numbers",
     .count = 1,
     .prepare = prepare_sort,
     .run = run_sort},
    {.name = "bignum",
     .group = "cpu",
     .unit = "64 words by 64",
     .count = 1,
     .prepare = prepare_bignum,
     .run = run_bignum},
    {},
};
