#include "cmd/memory_option.h"

#include "base/bits.h"
#include "base/parse.h"
#include "board/layout.h"
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>

static bool parse_flag(struct ram_config *ram, const char *word)
{
    if (!strcmp(word, "hugepages") || !strcmp(word, "hugepages=2M"))
        ram->hugepages = UINT64_C(2) << 20;
    else if (!strcmp(word, "hugepages=1G"))
        ram->hugepages = UINT64_C(1) << 30;
    else if (!strcmp(word, "prefault"))
        ram->prefault = true;
    else if (!strcmp(word, "shared"))
        ram->shared = true;
    else if (!strcmp(word, "thp=on") || !strcmp(word, "thp=off"))
        ram->no_thp = !strcmp(word, "thp=off");
    else
        return false;
    return true;
}

static int check(const struct ram_config *ram, const char *text)
{
    if (ram->size < PC_MEMORY_MIN)
        return cmd_usage("run", "--memory: '%s' is too little, expected %lluM or more", text,
                         (unsigned long long)PC_MEMORY_MIN >> 20);
    if (ram->size & PAGE_MASK)
        return cmd_usage("run", "--memory: '%s' is not a multiple of 4K", text);
    if (ram->hugepages && ram->size % ram->hugepages)
        return cmd_usage("run", "--memory: '%s' is not a multiple of its huge pages of %lluM", text,
                         (unsigned long long)ram->hugepages >> 20);
    return STATUS_OK;
}

int memory_option_parse(struct ram_config *ram, const char *text)
{
    struct ram_config parsed = {0};
    const char *at = text;
    int status;

    for (bool first = true; at; first = false) {
        size_t len = strcspn(at, ",");
        char word[32];

        snprintf(word, sizeof(word), "%.*s", (int)MIN(len, sizeof(word)), at);
        if (first && parse_size(word, &parsed.size))
            return cmd_usage("run", "--memory: '%s', expected a size such as 64M or 2G", text);
        if (!first && !parse_flag(&parsed, word))
            return cmd_usage("run",
                             "--memory: '%s', expected after the size hugepages[=2M|1G], "
                             "prefault, shared or thp=on|off, not '%s'",
                             text, word);
        at = at[len] ? at + len + 1 : NULL;
    }
    status = check(&parsed, text);
    if (status == STATUS_OK)
        *ram = parsed;
    return status;
}
