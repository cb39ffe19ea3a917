/* What every test of hostile files does. */
#ifndef MOTE_TEST_CASES_H
#define MOTE_TEST_CASES_H

#include "images.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The file's first `size` bytes in a buffer of just that size (so that the
 * sanitizer sees a read past it) are refused with a sentence. */
static inline void assert_refused_cut(struct machine *m, const struct image *img, uint64_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    struct file file = {.path = img->file.path, .data = copy, .size = size};

    memcpy(copy, img->file.data, size);
    err_clear();
    if (machine_boot(m, &file, NULL) >= 0)
        fail_msg("%s cut to %lu of %lu bytes was accepted", img->file.path, (unsigned long)size,
                 (unsigned long)img->file.size);
    assert_non_null(strstr(err_text(), img->file.path));
    free(copy);
}

/* The file is refused with `err`, and the sentence contains `text`. */
static inline void assert_refused(struct machine *m, const struct image *img,
                                  const struct file *initrd, int err, const char *text)
{
    err_clear();
    assert_int_equal(machine_boot(m, &img->file, initrd), -err);
    if (!strstr(err_text(), text))
        fail_msg("\"%s\" does not say \"%s\"", err_text(), text);
}

static inline void assert_filled(const uint8_t *at, uint64_t from, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        assert_int_equal(at[i], image_byte(from + i));
}

static inline void assert_zeroed(const uint8_t *at, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        assert_int_equal(at[i], 0);
}

#endif
