/* Scalar floating point, in double and float, without libm's functions, which differ by CPU. */
#include "bench.h"

#include <string.h>

#pragma GCC optimize("no-tree-vectorize", "no-tree-slp-vectorize", "fp-contract=off")

static uint64_t bits(double value)
{
    uint64_t got;

    memcpy(&got, &value, sizeof got);
    return got;
}

#define BODIES 5
#define STEPS  200

struct body {
    double x[3], v[3], mass;
};

static const struct body planets[BODIES] = {
    {{0, 0, 0}, {0.0004, -0.0027, 0.00002}, 39.47},
    {{4.84, -1.16, -0.10}, {0.606, 2.811, -0.025}, 0.0376},
    {{8.34, 4.12, -0.40}, {-1.01, 1.82, 0.008}, 0.0112},
    {{12.89, -15.11, -0.22}, {1.08, 0.868, -0.010}, 0.0017},
    {{15.37, -25.91, 0.17}, {0.979, 0.594, -0.034}, 0.0020},
};

static double root(double value)
{
    double got;

    __asm__("sqrtsd %1, %0" : "=x"(got) : "x"(value));
    return got;
}

static uint64_t run_nbody(void)
{
    struct body b[BODIES];
    double energy = 0;

    memcpy(b, planets, sizeof b);
    touch(b);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < BODIES; i++)
            for (int j = i + 1; j < BODIES; j++) {
                double d[3], square = 0, size;
                for (int k = 0; k < 3; k++) {
                    d[k] = b[i].x[k] - b[j].x[k];
                    square += d[k] * d[k];
                }
                size = 0.001 / (square * root(square));
                for (int k = 0; k < 3; k++) {
                    b[i].v[k] -= d[k] * b[j].mass * size;
                    b[j].v[k] += d[k] * b[i].mass * size;
                }
            }
        for (int i = 0; i < BODIES; i++)
            for (int k = 0; k < 3; k++)
                b[i].x[k] += 0.001 * b[i].v[k];
    }
    for (int i = 0; i < BODIES; i++)
        energy += b[i].x[0] * b[i].v[1] + b[i].x[2];
    return bits(energy);
}

static uint64_t run_mandelbrot(void)
{
    uint64_t sum = 0;
    double step = 1.0 / 16;

    touch(&step);
    for (int row = 0; row < 32; row++)
        for (int column = 0; column < 48; column++) {
            double cr = column * step - 2.0, ci = row * step - 1.0, r = 0, i = 0;
            unsigned n = 0;
            for (; n < 50 && r * r + i * i < 4; n++) {
                double t = r * r - i * i + cr;
                i = 2 * r * i + ci;
                r = t;
            }
            sum = sum * 3 + n;
        }
    return sum;
}

/* Polynomials in float, with conversions from and to integers. */
#define POINTS 4096
static int32_t points[POINTS];

static void prepare_poly(void)
{
    fill_random(points, sizeof points, 9);
}

static uint64_t run_poly(void)
{
    uint64_t sum = 0;

    touch(points);
    for (int i = 0; i < POINTS; i++) {
        float x = (float)(points[i] % 1000) / 1000.0f;
        float y = ((((0.0083f * x + 0.0417f) * x + 0.1667f) * x + 0.5f) * x + 1) * x + 1;
        if (y > 2)
            y -= 1;
        sum += (uint64_t)(int64_t)(y * 65536);
    }
    return sum;
}

const struct workload float_workloads[] = {
    {.name = "nbody", .group = "fp", .unit = "200 steps", .count = 1, .run = run_nbody},
    {.name = "mandelbrot", .group = "fp", .unit = "48 by 32", .count = 1, .run = run_mandelbrot},
    {.name = "poly",
     .group = "fp",
     .unit = "4096 values",
     .count = 1,
     .prepare = prepare_poly,
     .run = run_poly},
    {},
};
