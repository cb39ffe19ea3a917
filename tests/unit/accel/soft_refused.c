/*
 * A host that refuses memory: each allocation of a life on the soft engine fails in its turn, of
 * a process of its own. What comes of it is an error or a slower guest, and nothing is left.
 * The linker has these calls come here (-Wl,--wrap).
 */
#include "fixture.h"

#include "../deadlock.h"
#include "base/bits.h"
#include "base/err.h"
#include "x86/regs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the host ----------------------------------------------------------------------------- */

#define LIVE_MOST 256

static bool watched;           /* what follows is the engine's */
static unsigned calls, refuse; /* so far; which one fails, from 1 on; 0: none */
static bool ever_after;        /* all that follow, too */
static const void *live[LIVE_MOST];

static bool refused(void)
{
    if (!watched)
        return false;
    calls++;
    if (!refuse || (ever_after ? calls < refuse : calls != refuse))
        return false;
    errno = ENOMEM;
    return true;
}

static void *note(void *p)
{
    unsigned n = 0;

    if (!watched || !p || p == MAP_FAILED)
        return p;
    while (n < LIVE_MOST && live[n])
        n++;
    if (n == LIVE_MOST)
        abort();
    live[n] = p;
    return p;
}

static void forget(const void *p)
{
    for (unsigned n = 0; p && n < LIVE_MOST; n++) {
        if (live[n] == p)
            live[n] = NULL;
    }
}

static bool is_left(void)
{
    for (unsigned n = 0; n < LIVE_MOST; n++) {
        if (live[n])
            return true;
    }
    return false;
}

static int lowest_fd(void)
{
    int fd = dup(STDERR_FILENO);

    close(fd);
    return fd;
}

#define WRAP(type, name, failure, parameters, arguments)                                           \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return refused() ? (failure) : __real_##name arguments;                                    \
    }
#define WRAP_MEMORY(name, failure, parameters, arguments)                                          \
    void *__real_##name parameters;                                                                \
    void *__wrap_##name parameters;                                                                \
    void *__wrap_##name parameters                                                                 \
    {                                                                                              \
        return refused() ? (failure) : note(__real_##name arguments);                              \
    }
WRAP_MEMORY(mmap64, MAP_FAILED, (void *at, size_t size, int prot, int flags, int fd, off_t offset),
            (at, size, prot, flags, fd, offset))
WRAP_MEMORY(calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_MEMORY(malloc, NULL, (size_t size), (size))
WRAP_MEMORY(aligned_alloc, NULL, (size_t align, size_t size), (align, size))
WRAP(int, memfd_create, -1, (const char *name, unsigned flags), (name, flags))
WRAP(int, ftruncate64, -1, (int fd, off_t size), (fd, size))
WRAP(int, mprotect, -1, (void *at, size_t size, int prot), (at, size, prot))

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
    forget(p);
    __real_free(p);
}

int __real_munmap(void *p, size_t size);
int __wrap_munmap(void *p, size_t size);
int __wrap_munmap(void *p, size_t size)
{
    forget(p);
    return __real_munmap(p, size);
}

/* ---- a life --------------------------------------------------------------------------------- */

#define ROUNDS 4000u

/* Integers, vectors, the x87, a call, a string: what is interpreted needs thunks. */
GUEST(work, 64,
      "movl $4000, %ecx\nxorl %eax, %eax\nfninit\nfldz\n"
      "1: addl %ecx, %eax\nmovd %eax, %xmm0\npaddd %xmm0, %xmm0\nmovd %xmm0, %edx\n"
      "fld1\nfaddp\ncall 2f\npushq %rcx\nmovl $64, %ecx\nmovl $0x9000, %edi\nrep stosb\n"
      "popq %rcx\ndecl %ecx\njnz 1b\nfistpl 0x8800\nmovl 0x8800, %ebx\nhlt\n"
      "2: xorl %edx, %esi\nret")

static const char *const engines[] = {
    [ACCEL_ENGINE_BEST] = "best",
    [ACCEL_ENGINE_TRANSLATE] = "translate",
    [ACCEL_ENGINE_INTERPRET] = "interpret",
    [ACCEL_ENGINE_CHECK] = "check",
};

/* Also of a child, whose status is none of these when it ends in another way. */
enum outcome { NO_MORE = 40, DONE, REFUSED, BROKEN };

static enum outcome broken(const char *why)
{
    fprintf(stderr, "%s\n", why);
    return BROKEN;
}

static enum outcome error(int err, const char *what)
{
    if (err >= 0 || !err_text()[0]) {
        fprintf(stderr, "%s: %d, \"%s\"\n", what, err, err_text());
        return BROKEN;
    }
    return REFUSED;
}

static enum outcome work(struct fixture *f)
{
    struct vcpu_exit exit;
    int err;

    watched = false; /* of the test's own */
    fixture_long(f, g_work, (size_t)(g_work_end - g_work));
    f->v->state->gpr[RSI] = 0;
    watched = true;
    do
        err = vcpu_run(f->v, &exit);
    while (!err && exit.reason == VCPU_EXIT_NONE);
    if (err)
        return error(err, "vcpu_run");
    if (exit.reason == VCPU_EXIT_FAIL)
        return strstr(exit.fail.why, "memory") ? REFUSED : broken(exit.fail.why);
    if (exit.reason != VCPU_EXIT_HALT)
        return broken(vcpu_exit_name(exit.reason));
    err = vcpu_get(f->v, X86_GPRS);
    if (err)
        return error(err, "vcpu_get");
    if (f->v->state->gpr[RAX] != ROUNDS * (ROUNDS + 1) / 2 || f->v->state->gpr[RBX] != ROUNDS)
        return broken("a wrong result");
    return DONE;
}

static enum outcome with_machine(struct fixture *f)
{
    static struct x86_cpuid cpuid;
    const struct x86_cpuid_topology topology = {.vcpus = 1};
    enum outcome got;
    int err;

    err = machine_map(f->m, GPA(0), RAM_SIZE, f->ram, MEM_RWX);
    if (err)
        return error(err, "machine_map");
    err = vcpu_create(&f->v, f->m, 0);
    if (err)
        return error(err, "vcpu_create");
    err = machine_default_cpuid(f->m, &topology, &cpuid);
    if (!err)
        err = vcpu_set_cpuid(f->v, &cpuid);
    got = err ? error(err, "CPUID") : work(f);
    vcpu_destroy(f->v);
    return got;
}

static enum outcome life(uint8_t *ram, const struct machine_config *config)
{
    struct fixture f = {.accel = accel_find("soft"), .ram = ram};
    enum outcome got;
    int err;

    watched = true;
    err_set(0, "%s", "");
    err = machine_create(&f.m, f.accel, config);
    if (err) {
        got = error(err, "machine_create");
    } else {
        got = with_machine(&f);
        machine_destroy(f.m);
    }
    watched = false;
    return got;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/*
 * In a child: the n-th is refused, then none is. warm: what the process keeps for good is there, so
 * that nothing may be left.
 */
static enum outcome refuse_one(uint8_t *ram, const struct machine_config *config, unsigned n,
                               bool warm)
{
    enum outcome got;
    int fd = lowest_fd();

    calls = 0;
    refuse = n;
    got = life(ram, config);
    refuse = 0;
    if (calls < n)
        return NO_MORE;
    if (got == BROKEN)
        return BROKEN;
    if ((warm && is_left()) || lowest_fd() != fd)
        return broken("something is left");
    if (life(ram, config) == BROKEN || (warm && is_left()) || lowest_fd() != fd)
        return broken("not as before afterwards");
    return got;
}

static enum outcome in_child(uint8_t *ram, const struct machine_config *config, unsigned n,
                             bool warm)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    pid_t pid;
    int status;

    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        for (unsigned s = 0; s < ARRAY_SIZE(deadly); s++)
            signal(deadly[s], SIG_DFL); /* not cmocka's, which goes on with the next test */
        alarm(DEADLOCK_SECONDS);
        _exit(refuse_one(ram, config, n, warm));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) < NO_MORE || WEXITSTATUS(status) > BROKEN)
        fail_msg("engine %s, allocation %u: killed or ended, status %#x", engines[config->engine],
                 n, (unsigned)status);
    return (enum outcome)WEXITSTATUS(status);
}

static void each(const struct machine_config *config, bool warm)
{
    uint8_t *ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned count[BROKEN + 1] = {0}, n = 0;
    enum outcome got;

    assert_ptr_not_equal(ram, MAP_FAILED);
    if (warm)
        assert_int_equal(life(ram, config), DONE);
    memset(live, 0, sizeof(live));
    while ((got = in_child(ram, config, ++n, warm)) != NO_MORE) {
        if (got == BROKEN)
            fail_msg("engine %s, allocation %u%s", engines[config->engine], n,
                     warm ? ", warm" : "");
        count[got]++;
    }
    print_message("%s%s: %u allocations; without %s, %u times an error, %u times done\n",
                  engines[config->engine], warm ? ", warm" : "", n - 1,
                  ever_after ? "the last ones" : "one", count[REFUSED], count[DONE]);
    assert_true(count[REFUSED] > 3); /* the machine, its map, the vCPU and its state */
    if (config->engine == ACCEL_ENGINE_BEST && (warm || !ever_after))
        assert_true(count[DONE] > 3); /* what the translator needs: interpreted then */
    munmap(ram, RAM_SIZE);
}

static void each_engine(bool warm, bool all)
{
    ever_after = all;
    for (unsigned engine = 0; engine < ARRAY_SIZE(engines); engine++) {
        const struct machine_config config = {
            .vcpus = 1, .engine = (enum accel_engine)engine, .count = true};

        each(&config, warm);
    }
}

/* First: this process has nothing yet that it keeps. */
static void refused_in_turn(void **state)
{
    each_engine(false, false);
    each_engine(false, true);
}

static void nothing_is_left(void **state)
{
    each_engine(true, false);
    each_engine(true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_in_turn),
        cmocka_unit_test(nothing_is_left),
    };

    return cmocka_run_group_tests_name("soft, memory refused", tests, NULL, NULL);
}
