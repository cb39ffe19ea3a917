/*
 * A program of many small parts that prints what it computes, the same on every machine and
 * with every compiler. SEED changes what all of them work on.
 */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef SEED
#define SEED 1
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* xorshift64* */
static uint64_t state = 88172645463325252ull + SEED;

static uint64_t next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717ull;
}

static double unit(void)
{
    return (double)(next() >> 11) / 9007199254740992.0;
}

/* ---- integers --------------------------------------------------------------------- */

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus)
{
    uint64_t result = 1;

    for (base %= modulus; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = result * base % modulus;
        base = base * base % modulus;
    }
    return result;
}

static void integers(void)
{
    uint64_t sum = 0;
    uint32_t small = 12345, rotated = 0;
    int8_t tiny = 0;
    int16_t shorter = 0;

    for (int i = 1; i <= 20000; i++) {
        int64_t a = (int64_t)next(), b = (int64_t)(next() >> (i % 50 + 1)) + 1;

        sum += (uint64_t)(a / b) + (uint64_t)(a % b);
        sum += ((uint64_t)a << (i % 7)) - (uint64_t)(a >> (i % 63));
        sum ^= (uint32_t)a * (uint32_t)b;
        small = small * 1664525u + 1013904223u;
        rotated ^= small << (i % 32) | small >> (31 - i % 32);
        tiny = (int8_t)(tiny * 3 + i);
        shorter = (int16_t)(shorter * 7 - tiny);
    }
    printf("integers %llu %u %u %d %d\n", (unsigned long long)sum, small, rotated, tiny, shorter);
    for (unsigned n = 2; n < 6; n++) {
        uint64_t base = next();

        printf("power %u: %llu\n", n, (unsigned long long)power(base, next(), 4294967291u - n));
    }
}

static void primes(void)
{
    static unsigned char composite[200000];
    unsigned count = 0, last = 0;

    for (unsigned n = 2; n < COUNT(composite); n++) {
        if (composite[n])
            continue;
        count++;
        last = n;
        for (uint64_t m = (uint64_t)n * n; m < COUNT(composite); m += n)
            composite[m] = 1;
    }
    printf("primes %u, the last %u\n", count, last);
}

static uint32_t crc32(const void *data, size_t size)
{
    const unsigned char *p = data;
    uint32_t crc = ~0u;

    while (size--) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* ---- recursion --------------------------------------------------------------------- */

static unsigned ackermann(unsigned m, unsigned n)
{
    return !m ? n + 1 : ackermann(m - 1, n ? ackermann(m, n - 1) : 1);
}

static int fibonacci(int n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static unsigned queens(unsigned size, unsigned columns, unsigned left, unsigned right)
{
    unsigned found = 0, all = (1u << size) - 1;

    if (columns == all)
        return 1;
    for (unsigned free_ = all & ~(columns | left | right); free_; free_ &= free_ - 1) {
        unsigned bit = free_ & -free_;

        found += queens(size, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
}

static unsigned moves;

static void hanoi(int disks, int from, int to)
{
    if (!disks)
        return;
    hanoi(disks - 1, from, 3 - from - to);
    moves = moves * 31 + (unsigned)(disks * 9 + from * 3 + to);
    hanoi(disks - 1, 3 - from - to, to);
}

/* ---- floating point ----------------------------------------------------------------- */

#define N 24

static void matrices(void)
{
    static double a[N][N], b[N][N];
    double determinant = 1, trace = 0;
    float single = 1;

    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            a[i][j] = unit() - 0.5 + (i == j) * 3;
    }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            b[i][j] = 0;
            for (int k = 0; k < N; k++)
                b[i][j] += a[i][k] * a[k][j];
        }
        trace += b[i][i];
        single = single * 1.0625f + (float)b[i][0];
    }
    for (int k = 0; k < N; k++) {
        determinant *= b[k][k];
        for (int i = k + 1; i < N; i++) {
            double f = b[i][k] / b[k][k];

            for (int j = k; j < N; j++)
                b[i][j] -= f * b[k][j];
        }
    }
    printf("trace %.10f determinant %.10e single %.5f\n", trace, determinant, single);
}

static void numbers(void)
{
    static const char *const formats[] = {"%f",     "%e",       "%g",    "%.3f",
                                          "%12.4e", "%-14.6g|", "%+.0f", "%a"};
    double values[] = {0.1,    1.0 / 3, -2.5e-310, 1e22,     123456789.125, -0.0,
                       6e-300, 1e300,   INFINITY,  65535.99, SEED * 0.7,    0.5};
    double sum = 0;

    for (size_t v = 0; v < COUNT(values); v++) {
        for (size_t f = 0; f < COUNT(formats); f++) {
            printf(formats[f], values[v]);
            putchar(' ');
        }
        printf("%d\n", fabs(values[v]) < 1e9 ? (int)values[v] : -1);
    }
    for (int i = 0; i < 2000; i++) {
        double x = unit() * 20 - 10;

        sum += sqrt(fabs(x)) + floor(x) * 0.25 - fmod(x, 0.75);
        if (i % 500 == 0)
            printf("%.9f %.9f %.9f %.9f\n", sin(x), exp(x / 3), log(fabs(x) + 1), atan2(x, 2));
    }
    printf("sum %.9f %.9Lf\n", sum, (long double)sum * 3 / 7);
    printf("%d %d %u %lld\n", (int)-1.9, (int)1.9f, (unsigned)3e9, (long long)-9.2e18);
}

static void mandelbrot(void)
{
    for (int y = 0; y < 18; y++) {
        char line[65];

        for (int x = 0; x < 64; x++) {
            double cr = x / 24.0 - 2, ci = y / 8.0 - 1.1, zr = 0, zi = 0;
            int n = 0;

            for (; n < 200 && zr * zr + zi * zi < 4; n++) {
                double t = zr * zr - zi * zi + cr;

                zi = 2 * zr * zi + ci;
                zr = t;
            }
            line[x] = " .:-=+*#%@"[n == 200 ? 9 : n % 9];
        }
        line[64] = 0;
        puts(line);
    }
}

/* ---- sorting ------------------------------------------------------------------------- */

struct item {
    char name[12];
    double weight;
    int rank;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static int by_weight(const void *a, const void *b)
{
    double x = ((const struct item *)a)->weight, y = ((const struct item *)b)->weight;

    return (x > y) - (x < y);
}

static void sorting(void)
{
    static struct item items[3000];
    int (*const orders[])(const void *, const void *) = {by_name, by_weight};

    for (size_t i = 0; i < COUNT(items); i++) {
        size_t length = 3 + next() % 8;

        for (size_t n = 0; n < length; n++)
            items[i].name[n] = (char)('a' + next() % 26);
        items[i].name[length] = 0;
        items[i].weight = unit() * 1000;
    }
    for (size_t o = 0; o < COUNT(orders); o++) {
        struct item *found;

        qsort(items, COUNT(items), sizeof(items[0]), orders[o]);
        for (size_t i = 0; i < COUNT(items); i++)
            items[i].rank = (int)(i ^ (size_t)items[i].rank * 5);
        found = bsearch(&items[1234], items, COUNT(items), sizeof(items[0]), orders[o]);
        printf("%s %.4f %d, %s %.4f, %d\n", items[0].name, items[0].weight, items[0].rank,
               items[2999].name, items[2999].weight, found ? (int)(found - items) : -1);
    }
}

/* ---- memory and strings ----------------------------------------------------------------- */

struct node {
    struct node *left, *right;
    unsigned long key;
    unsigned count;
    char *text;
};

static void insert(struct node **at, unsigned long key)
{
    char text[40];

    while (*at && (*at)->key != key)
        at = key < (*at)->key ? &(*at)->left : &(*at)->right;
    if (!*at) {
        *at = calloc(1, sizeof(**at));
        snprintf(text, sizeof(text), "<%lx:%05lu>", key * 2654435761ul, key);
        (*at)->text = strdup(text);
        (*at)->key = key;
    }
    (*at)->count++;
}

static unsigned walk(struct node *n, unsigned depth, char **out)
{
    unsigned left, right;

    if (!n)
        return depth;
    left = walk(n->left, depth + 1, out);
    if (n->count > 1)
        *out += sprintf(*out, "%s*%u", n->text, n->count);
    right = walk(n->right, depth + 1, out);
    free(n->text);
    free(n);
    return left > right ? left : right;
}

static void trees(void)
{
    struct node *root = NULL;
    char *buffer = malloc(1 << 17), *end = buffer;
    unsigned depth;

    for (int i = 0; i < 5000; i++)
        insert(&root, next() % 20000);
    depth = walk(root, 0, &end);
    printf("tree depth %u, %d characters, crc %08x\n", depth, (int)(end - buffer),
           crc32(buffer, (size_t)(end - buffer)));
    buffer = realloc(buffer, 64);
    buffer[63] = 0;
    puts(buffer);
    free(buffer);
}

static int total(int count, ...)
{
    va_list list;
    int sum = 0;

    va_start(list, count);
    while (count--)
        sum += va_arg(list, int) + (int)va_arg(list, double);
    va_end(list);
    return sum;
}

static void strings(void)
{
    char text[] = "It is a truth universally acknowledged, that a single man in possession of a "
                  "good fortune, must be in want of a wife.";
    char *words[40], joined[200] = "";
    int count = 0;

    for (char *w = strtok(text, " ,."); w; w = strtok(NULL, " ,."))
        words[count++] = w;
    for (int i = count - 1; i >= 0; i--) {
        strcat(joined, words[i]);
        if (i % 3)
            strcat(joined, "-");
    }
    printf("%d words: %s\n", count, joined);
    memmove(joined + 5, joined, 60);
    memset(joined + 2, '~', 3);
    printf("%.40s %d %ld %.3f %s\n", joined, strncmp(joined, "wife", 2), strtol("-0x7fz", NULL, 16),
           strtod("2.5e3x", NULL), strstr(joined, "man") ? "found" : "missing");
    printf("[%5d|%-5d|%05d|%+d|%x|%#o|%c|%10.3s|%%|%lu]\n", SEED, SEED, -SEED, SEED, 48879u * SEED,
           511, 'q', "abcdef", (unsigned long)strlen(joined));
    printf("total %d\n", total(4, 1, 2.5, -7, 100.25, 1 << 20, -3.0, SEED, 0.5));
}

static int dispatch(int operation, int a, int b)
{
    switch (operation) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return a * b;
    case 3: return b ? a / b : 0;
    case 4: return a & b;
    case 5: return a | b;
    case 6: return a ^ b;
    case 7: return a < b;
    default: return -a;
    }
}

int main(void)
{
    int machine = SEED, operand;

    integers();
    primes();
    printf("ackermann %u fibonacci %d queens %u\n", ackermann(2, 300), fibonacci(24),
           queens(8, 0, 0, 0));
    hanoi(14, 0, 2);
    printf("hanoi %u\n", moves);
    matrices();
    numbers();
    mandelbrot();
    sorting();
    trees();
    strings();
    for (int i = 0; i < 50000; i++) {
        operand = (int)(next() % 1000);
        machine = dispatch(operand % 9, machine, operand) % 1000003;
    }
    printf("machine %d\n", machine);
    return SEED % 100;
}
