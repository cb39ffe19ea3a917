#include "host/hostinfo.h"

#include "base/bits.h"

#include <cpuid.h>
#include <stdio.h>
#include <string.h>

static bool always_overcommits(void)
{
    FILE *f = fopen("/proc/sys/vm/overcommit_memory", "re");
    int policy = f ? fgetc(f) : '0';

    if (f)
        fclose(f);
    return policy == '1';
}

void host_memory(struct host_memory *m)
{
    char line[128];
    unsigned long long kb;
    FILE *f = fopen("/proc/meminfo", "re");

    memset(m, 0, sizeof(*m));
    if (!f)
        return;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "MemTotal: %llu", &kb) == 1)
            m->total = kb * 1024;
        else if (sscanf(line, "MemAvailable: %llu", &kb) == 1)
            m->available = kb * 1024;
        else if (sscanf(line, "SwapTotal: %llu", &kb) == 1)
            m->swap = kb * 1024;
    }
    fclose(f);
    m->overcommit = always_overcommits();
}

void host_cpu_name(char *buf, size_t size)
{
    unsigned regs[12] = {0};
    char text[sizeof(regs) + 1];
    const char *start = text;

    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002 + i, &regs[i * 4], &regs[i * 4 + 1], &regs[i * 4 + 2],
                    &regs[i * 4 + 3]);
    memcpy(text, regs, sizeof(regs));
    text[sizeof(regs)] = '\0';
    while (*start == ' ')
        start++;
    snprintf(buf, size, "%s", *start ? start : "unknown CPU");
    for (size_t len = strlen(buf); len && buf[len - 1] == ' '; len--)
        buf[len - 1] = '\0';
}

void host_hypervisor(char buf[13])
{
    unsigned eax, ebx, ecx, edx;

    memset(buf, 0, 13);
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & (1u << 31)))
        return;
    __cpuid(0x40000000, eax, ebx, ecx, edx);
    le32_put(buf, ebx);
    le32_put(buf + 4, ecx);
    le32_put(buf + 8, edx);
}
