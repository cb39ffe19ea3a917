/* Branches that depend on data, and calls: a tokenizer, queens, a recursive function. */
#include "bench.h"

#define TEXT 32768
static char *text;

static void prepare_tokens(void)
{
    static const char letters[] = "abcxyz_ABC0123456789    \n\t+-*/(){};<>=\"'.,if";
    uint64_t seed = 5;

    text = allocate(TEXT + 1);
    for (size_t i = 0; i < TEXT; i++)
        text[i] = letters[(next_random(&seed) >> 20) % (sizeof letters - 1)];
}

static bool in_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool in_number(char c)
{
    return c >= '0' && c <= '9';
}

static uint64_t run_tokens(void)
{
    uint64_t names = 0, numbers = 0, lines = 0, depth = 0, others = 0;
    const char *at = text;

    touch(text);
    while (*at) {
        if (in_name(*at)) {
            uint32_t h = 0;
            for (; in_name(*at) || in_number(*at); at++)
                h = h * 31 + (uint8_t)*at;
            names += h;
        } else if (in_number(*at)) {
            uint64_t value = 0;
            for (; in_number(*at); at++)
                value = value * 10 + (uint64_t)(*at - '0');
            numbers ^= value;
        } else if (*at == ' ' || *at == '\t') {
            at++;
        } else if (*at == '\n') {
            lines++;
            at++;
        } else if (*at == '(' || *at == '{') {
            depth += lines;
            at++;
        } else {
            others = others * 3 + (uint8_t)*at++;
        }
    }
    return mix(mix(names, numbers), mix(lines + depth, others));
}

static uint64_t place(unsigned all, unsigned columns, unsigned left, unsigned right)
{
    uint64_t found = 0;

    if (columns == all)
        return 1;
    for (unsigned free = all & ~(columns | left | right); free; free &= free - 1) {
        unsigned bit = free & -free;
        found += place(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
}

static uint64_t run_queens(void)
{
    unsigned all = 255;

    touch(&all);
    return place(all, 0, 0, 0);
}

/* Not in line, and no tail call: two calls and returns each. */
__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) static uint64_t
fib(unsigned n)
{
    uint64_t one;

    if (n < 2)
        return n;
    one = fib(n - 1);
    return one + fib(n - 2);
}

static uint64_t run_calls(void)
{
    unsigned n = 20;

    touch(&n);
    return fib(n);
}

const struct workload branch_workloads[] = {
    {.name = "tokens",
     .group = "cpu",
     .unit = "32 KiB of text",
     .count = 1,
     .prepare = prepare_tokens,
     .run = run_tokens},
    {.name = "queens", .group = "cpu", .unit = "8 queens", .count = 1, .run = run_queens},
    {.name = "calls", .group = "cpu", .unit = "fib(20)", .count = 1, .run = run_calls},
    {},
};
