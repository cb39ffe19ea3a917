#include "base/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* strtoull without its leniency: no sign, no leading space. *end is behind the number. */
static int number(const char *text, uint64_t *value, const char **end)
{
    int base = !strncasecmp(text, "0x", 2) ? 16 : 10;
    char *stop;

    if (!isdigit((unsigned char)text[0]) || (base == 16 && !isxdigit((unsigned char)text[2])))
        return -EINVAL;
    errno = 0;
    *value = strtoull(text, &stop, base);
    *end = stop;
    return errno ? -ERANGE : 0;
}

int parse_u64(const char *text, uint64_t max, uint64_t *value)
{
    const char *end;
    int err = number(text, value, &end);

    if (err)
        return err;
    if (*end)
        return -EINVAL;
    return *value > max ? -ERANGE : 0;
}

int parse_size(const char *text, uint64_t *bytes)
{
    static const char suffixes[] = "KMGT";
    const char *end, *suffix;
    uint64_t value;
    int err = number(text, &value, &end);

    if (err)
        return err;
    suffix = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (suffix) {
        unsigned shift = (unsigned)(suffix - suffixes + 1) * 10;

        end++;
        if (value > UINT64_MAX >> shift)
            return -ERANGE;
        value <<= shift;
        if (!strcasecmp(end, "iB"))
            end += 2;
    }
    if (!strcasecmp(end, "B"))
        end++;
    if (*end)
        return -EINVAL;
    *bytes = value;
    return 0;
}
