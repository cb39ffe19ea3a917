/* Numbers and sizes on the command line: what is taken, is taken whole and right. */
#include "base/parse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

/* A number that was taken reads the same when it is written again. */
static void same_again(uint64_t value)
{
    char text[24];
    uint64_t again;

    snprintf(text, sizeof(text), "%" PRIu64, value);
    check(!parse_u64(text, value, &again) && again == value);
    check(!value || parse_u64(text, value - 1, &again) == -ERANGE);
    check(!parse_size(text, &again) && again == value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t number, bytes;
    char *text = malloc(size + 1); /* a block of its own, so that a read past its end is seen */
    int err, size_err;

    check(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    err = parse_u64(text, UINT64_MAX, &number);
    size_err = parse_size(text, &bytes);
    check(err == 0 || err == -EINVAL || err == -ERANGE);
    check(size_err == 0 || size_err == -EINVAL || size_err == -ERANGE);
    if (!err) {
        check(text[0] >= '0' && text[0] <= '9');
        check(!size_err && bytes == number);
        same_again(number);
    }
    if (!size_err)
        same_again(bytes);
    free(text);
    return 0;
}
