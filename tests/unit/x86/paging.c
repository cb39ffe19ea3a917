/* Accessed and dirty bits while another processor changes the same entry. */
#include "x86/paging.h"

#include "../deadlock.h"

#include "base/bits.h"
#include "x86/regs.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM    0x10000u
#define TABLES 0x1000u /* one a level, then the page */
#define ROUNDS 4000000

enum { P = 1, W = 2, A = 0x20, D = 0x40 };

struct race {
    struct guest_mem mem;
    uint8_t *ram;
    struct x86_paging paging;
    uint64_t *leaf;
    bool stop;
};

static void setup(struct race *r, uint64_t efer)
{
    r->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(r->ram, MAP_FAILED);
    guest_mem_init(&r->mem);
    assert_int_equal(guest_mem_map(&r->mem, GPA(0), RAM, r->ram, MEM_RWX), 0);
    r->paging = (struct x86_paging){CR0_PE | CR0_PG | CR0_WP, TABLES, CR4_PAE, efer};
    for (unsigned level = 0; level < 3; level++)
        le64_put(r->ram + TABLES + level * 0x1000, (TABLES + (level + 1) * 0x1000) | P | W);
    r->leaf = (uint64_t *)(r->ram + TABLES + 3 * 0x1000);
    r->stop = false;
}

static int walk(struct race *r, struct x86_page *page)
{
    const struct x86_access store = {.write = true, .update = true};

    return x86_walk(&r->paging, &r->mem, 0, &store, page);
}

static void *walker(void *arg)
{
    struct race *r = arg;
    struct x86_page page;
    bool lost = false;

    while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
        if (walk(r, &page) == 0)
            lost |= page.gpa.v != 0x5000 && page.gpa.v != 0x6000;
    }
    return lost ? "a page that no entry ever named" : NULL;
}

/* An entry that is taken away stays so: no bit comes back into it. */
static void entry_taken_away(void **state)
{
    unsigned marked = 0;
    pthread_t thread;
    struct race r;
    void *why;

    setup(&r, EFER_LME | EFER_LMA);
    assert_int_equal(pthread_create(&thread, NULL, walker, &r), 0);
    alarm(DEADLOCK_SECONDS);
    for (unsigned n = 0; n < ROUNDS || !marked; n++) { /* until they met */
        uint64_t old;

        __atomic_store_n(r.leaf, (n & 1 ? 0x5000 : 0x6000) | P | W, __ATOMIC_SEQ_CST);
        for (unsigned spin = 0; spin < n % 256; spin++)
            __asm__ volatile(""); /* from before to behind the walker's look */
        old = __atomic_exchange_n(r.leaf, 0, __ATOMIC_SEQ_CST);
        marked += (old & (A | D)) == (A | D);
        for (unsigned spin = 0; spin < 16; spin++)
            assert_int_equal(__atomic_load_n(r.leaf, __ATOMIC_SEQ_CST), 0);
    }
    __atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, &why);
    assert_null(why);
    alarm(0);
    munmap(r.ram, RAM);
}

static unsigned reported;

static void written(void *user, gpa_t gpa, uint64_t len)
{
    reported++;
}

/* All levels get A, the last one D; once, and whoever derives something from memory hears it. */
static void marks_each_level_once(void **state)
{
    struct x86_page page;
    struct race r;

    setup(&r, EFER_LME | EFER_LMA);
    r.mem.written = written;
    reported = 0;
    le64_put((uint8_t *)r.leaf, 0x5000 | P | W);
    assert_int_equal(walk(&r, &page), 0);
    for (unsigned level = 0; level < 3; level++)
        assert_int_equal(le64_get(r.ram + TABLES + level * 0x1000) & (A | D), A);
    assert_int_equal(*r.leaf, 0x5000 | P | W | A | D);
    assert_int_equal(reported, 4);
    assert_int_equal(walk(&r, &page), 0);
    assert_int_equal(reported, 4);
    assert_int_equal(page.gpa.v, 0x5000);
    munmap(r.ram, RAM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_each_level_once),
        cmocka_unit_test(entry_taken_away),
    };

    return cmocka_run_group_tests_name("paging", tests, NULL, NULL);
}
