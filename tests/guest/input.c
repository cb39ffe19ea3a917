/* Inputs of the rows: corner values and seeded random ones. */
#include "row.h"

#include "x86/regs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static uint8_t *text_copy;

static size_t text_size(void)
{
    return (size_t)(row_text_end - row_text_start);
}

static int map_at(uintptr_t at, size_t size, int prot)
{
    void *p =
        mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    return p == (void *)at ? 0 : -ENOMEM;
}

int row_memory_init(void)
{
    size_t pages = (text_size() + 4095) & ~(size_t)4095;

    if (map_at(ROW_DATA, ROW_DATA_SIZE, PROT_READ | PROT_WRITE) ||
        map_at(ROW_STACK, ROW_STACK_SIZE, PROT_READ | PROT_WRITE))
        return -ENOMEM;
    if (mprotect(row_text_start, pages, PROT_READ | PROT_WRITE | PROT_EXEC))
        return -errno;
    text_copy = malloc(text_size());
    if (!text_copy)
        return -ENOMEM;
    memcpy(text_copy, row_text_start, text_size());
    /* The read-only page's content never varies. */
    for (unsigned i = 0; i < 4096; i++)
        ((uint8_t *)(uintptr_t)ROW_RO)[i] = (uint8_t)(i * 7 + 1);
    return mprotect((void *)(uintptr_t)ROW_RO, 4096, PROT_READ) ? -errno : 0;
}

static uint64_t next(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t value(uint64_t *seed)
{
    static const uint64_t corner[] = {
        0,
        1,
        2,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        0x100000000,
        0x7fffffffffffffff,
        0x8000000000000000,
        0xffffffffffffffff,
        0xfffffffffffffffe,
        0xffffffff80000000,
        0x0123456789abcdef,
        0x3ff0000000000000, /* 1.0 */
        0xbff8000000000000, /* -1.5 */
        0x7ff0000000000000, /* infinity */
        0x7ff8000000000001, /* quiet NaN */
        0x7ff0000000000001, /* signalling NaN */
        0x0000000000000003, /* denormal */
        0x3f800000bf000000, /* 1.0f, -0.5f */
        0x7f800000ff800001, /* infinity, signalling NaN */
    };
    uint64_t x = next(seed);

    if (x & 1)
        return corner[(x >> 8) % (sizeof(corner) / sizeof(corner[0]))];
    return (x & 6) == 6 ? (next(seed) & 0xff) : next(seed);
}

static void fill(uint64_t *seed, uintptr_t at, size_t size)
{
    uint64_t *p = (uint64_t *)at;

    for (size_t i = 0; i < size / 8; i++)
        p[i] = value(seed);
}

bool row_input(const struct row *row, unsigned n, struct row_cpu *cpu)
{
    static const uint64_t status[] = {FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF};
    uint64_t seed = n * UINT64_C(0x5851f42d4c957f2d);
    bool changed = memcmp(row_text_start, text_copy, text_size()) != 0;

    for (const char *s = row->name; *s; s++)
        seed = (seed ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
    if (changed)
        memcpy(row_text_start, text_copy, text_size());

    memset(cpu, 0, sizeof(*cpu));
    for (unsigned i = 0; i < 16; i++)
        cpu->gpr[i] = value(&seed);
    cpu->gpr[RSP] = ROW_RSP;
    cpu->gpr[RBP] = ROW_RBP;
    cpu->gpr[RSI] = ROW_RSI;
    cpu->gpr[RDI] = ROW_RDI;
    cpu->rip = (uintptr_t)row->code;
    cpu->rflags = FLAG_R1 | FLAG_IF;
    uint64_t pick = n == 0 ? 0 : n == 1 ? 63 : next(&seed);
    for (unsigned i = 0; i < 6; i++)
        cpu->rflags |= (pick >> i & 1) ? status[i] : 0;
    cpu->fs_base = ROW_FS;
    cpu->gs_base = ROW_GS;
    for (unsigned i = 0; i < 16; i++)
        for (unsigned j = 0; j < 4; j++) {
            uint64_t v = value(&seed);
            memcpy(&cpu->ymm[i][8 * j], &v, 8);
        }
    cpu->mxcsr = 0x1f80 | (uint32_t)(n >= 4 ? (next(&seed) & 3) << 13 : 0);
    cpu->x87[0] = 0x7f; /* FCW 0x37f */
    cpu->x87[1] = 0x03;
    fill(&seed, ROW_DATA, ROW_DATA_RW);
    fill(&seed, ROW_STACK, ROW_STACK_SIZE);
    return changed;
}

void row_memory_save(struct row_result *r)
{
    memcpy(r->data, (void *)(uintptr_t)ROW_DATA, ROW_DATA_SIZE);
    memcpy(r->stack, (void *)(uintptr_t)ROW_STACK, ROW_STACK_SIZE);
}
