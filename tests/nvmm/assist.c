/* Instructions that reach devices, one after the other through the assists: what each does to a
 * port or to memory that is a device's, and that it arrives in the right pieces. */
#include "guest.h"

#define PORT 0x7b

static uint8_t device[256];
static size_t device_at; /* of ports: the next byte */
static unsigned accesses;
static size_t sizes; /* of all, one decimal digit each, the last few */

static void count(size_t size)
{
    accesses++;
    sizes = (sizes * 10 + size) % 1000000;
}

static void on_io(struct nvmm_io *io)
{
    CHECK(io->port == PORT && io->size <= 4 && device_at + io->size <= sizeof(device));
    if (io->in)
        memcpy(io->data, device + device_at, io->size);
    else
        memcpy(device + device_at, io->data, io->size);
    device_at += io->size;
    count(io->size);
}

static void on_memory(struct nvmm_mem *mem)
{
    size_t at = mem->gpa - MMIO;

    CHECK(mem->size <= 8 && at + mem->size <= sizeof(device));
    if (at + mem->size > sizeof(device))
        return;
    if (mem->write)
        memcpy(device + at, mem->data, mem->size);
    else
        memcpy(mem->data, device + at, mem->size);
    count(mem->size);
}

/* ---- the guest's ---- */

#define TO_DATA   "mov $0xb000, %edi\n mov $0x7b, %edx\n xor %eax, %eax\n"
#define FROM_DATA "mov $0xb000, %esi\n mov $0x7b, %edx\n"
#define AT_MMIO   "mov $0x20000, %ebx\n"
#define TIMES(n)  "mov $" #n ", %ecx\n"
#define END       "hlt\n"

GUEST_INSNS(inb, TO_DATA "in %dx, %al\n stosb\n in %dx, %al\n stosb\n" END);
GUEST_INSNS(inw, TO_DATA "in %dx, %ax\n stosw\n in %dx, %ax\n stosw\n" END);
GUEST_INSNS(inl, TO_DATA "in %dx, %eax\n stosl\n in $0x7b, %eax\n stosl\n" END);
GUEST_INSNS(insb, TO_DATA TIMES(5) "rep insb\n" END);
GUEST_INSNS(insw, TO_DATA TIMES(14) "rep insw\n" END);
GUEST_INSNS(insl, TO_DATA TIMES(7) "rep insl\n" END);
GUEST_INSNS(ins_back, "std\n" TO_DATA TIMES(3) "add $2, %edi\n rep insb\n cld\n" END);
GUEST_INSNS(ins_none, TO_DATA TIMES(0) "rep insl\n" END);
GUEST_INSNS(outb, FROM_DATA "lodsb\n out %al, %dx\n lodsb\n out %al, $0x7b\n" END);
GUEST_INSNS(outw, FROM_DATA "lodsw\n out %ax, %dx\n lodsw\n out %ax, %dx\n" END);
GUEST_INSNS(outl, FROM_DATA "lodsl\n out %eax, %dx\n lodsl\n out %eax, %dx\n" END);
GUEST_INSNS(outsb, FROM_DATA TIMES(5) "rep outsb\n" END);
GUEST_INSNS(outsw, FROM_DATA TIMES(8) "rep outsw\n" END);
GUEST_INSNS(outsl, FROM_DATA TIMES(7) "rep outsl\n" END);
GUEST_INSNS(outs_one, FROM_DATA "outsb\n outsb\n" END);

static const struct {
    const char *name;
    const char *data;
    const char *wanted; /* NULL: data */
    bool in;
    size_t bytes; /* 0: all of data */
} ports[] = {
    {"inb", "12", NULL, true, 0},
    {"inw", "1234", NULL, true, 0},
    {"inl", "12345678", NULL, true, 0},
    {"insb", "12345", NULL, true, 0},
    {"insw", "Twenty-eight bytes, by twos.", NULL, true, 0},
    {"insl", "Twenty-eight bytes, by fours", NULL, true, 0},
    {"insb downwards", "123", "321", true, 0},
    {"insl, none", "1234", "", true, 0},
    {"outb", "12", NULL, false, 0},
    {"outw", "1234", NULL, false, 0},
    {"outl", "12345678", NULL, false, 0},
    {"outsb", "12345", NULL, false, 0},
    {"outsw", "Sixteen by twos.", NULL, false, 0},
    {"outsl", "Twenty-eight bytes, by fours", NULL, false, 0},
    {"outsb without rep", "12", NULL, false, 0},
};

static void run_to_end(struct guest *g)
{
    uint64_t reason;

    while ((reason = guest_run(g)) != NVMM_VCPU_EXIT_HALTED) {
        int done = -1;

        if (reason == NVMM_VCPU_EXIT_IO)
            done = nvmm_assist_io(&g->mach, &g->vcpu);
        else if (reason == NVMM_VCPU_EXIT_MEMORY)
            done = nvmm_assist_mem(&g->mach, &g->vcpu);
        CHECK(done == 0);
        if (done)
            return;
    }
}

static void test_port(struct guest *g, unsigned i)
{
    const char *wanted = ports[i].wanted ? ports[i].wanted : ports[i].data;
    char *data = (char *)g->ram + DATA;

    device_at = 0;
    memset(device, 0, sizeof(device));
    memset(data, 0, 256);
    strcpy(ports[i].in ? (char *)device : data, ports[i].data);
    run_to_end(g);
    if (strcmp(ports[i].in ? data : (char *)device, wanted))
        printf("%s: \"%s\", wanted \"%s\"\n", ports[i].name, ports[i].in ? data : (char *)device,
               wanted);
    CHECK(!strcmp(ports[i].in ? data : (char *)device, wanted));
}

static void test_ports(struct guest *g)
{
    unsigned i = 0;

#define PORT_TEST(name)                                                                            \
    GUEST_CODE(g, name);                                                                           \
    test_port(g, i++)
    PORT_TEST(inb);
    PORT_TEST(inw);
    PORT_TEST(inl);
    PORT_TEST(insb);
    PORT_TEST(insw);
    PORT_TEST(insl);
    PORT_TEST(ins_back);
    PORT_TEST(ins_none);
    PORT_TEST(outb);
    PORT_TEST(outw);
    PORT_TEST(outl);
    PORT_TEST(outsb);
    PORT_TEST(outsw);
    PORT_TEST(outsl);
    PORT_TEST(outs_one);
    CHECK(i == sizeof(ports) / sizeof(*ports));
}

/* ---- memory ---- */

GUEST_INSNS(mem_mov, AT_MMIO "movl $0x3004, (%rbx)\n mov (%rbx), %eax\n mov %rax, 8(%rbx)\n"
                             "movb $0x77, 16(%rbx)\n movw $0x1234, 18(%rbx)\n" END);
GUEST_INSNS(mem_or, AT_MMIO "movq $0x1000, (%rbx)\n mov $0x400, %eax\n or %rax, (%rbx)\n"
                            "orq $0xff, (%rbx)\n xor %eax, %eax\n or (%rbx), %rax\n"
                            "mov %rax, 8(%rbx)\n" END);
GUEST_INSNS(mem_and, AT_MMIO "movq $0x1ff1, (%rbx)\n mov $0x1fff, %eax\n and %rax, (%rbx)\n"
                             "andq $0x1fc0, (%rbx)\n mov $0xff0, %eax\n and (%rbx), %rax\n"
                             "mov %rax, 8(%rbx)\n" END);
GUEST_INSNS(mem_xor, AT_MMIO "movq $0x10f0, (%rbx)\n mov $0x1fff, %eax\n xor %rax, (%rbx)\n"
                             "xorq $0x1fc0, (%rbx)\n" END);
GUEST_INSNS(mem_arith,
            AT_MMIO "movq $100, (%rbx)\n addq $11, (%rbx)\n subl $1, (%rbx)\n incb (%rbx)\n"
                    "cmpq $111, (%rbx)\n sete 8(%rbx)\n testb $1, (%rbx)\n"
                    "setne 9(%rbx)\n negl (%rbx)\n" END);
GUEST_INSNS(mem_size, AT_MMIO "movq $0x1e00, (%rbx)\n movabs $0x1200000000, %rax\n"
                              "orb $0x01, 1(%ebx)\n .byte 0x67\n orb $0x80, (%rbx)\n"
                              "movzbl 1(%rbx), %ecx\n mov %cl, 8(%rbx)\n movsbl (%rbx), %ecx\n"
                              "mov %ecx, 12(%rbx)\n" END);
GUEST_INSNS(mem_moffs, "movabs $0xffab, %rax\n .byte 0x48, 0xa3\n .quad 0x20000\n xor %eax, %eax\n"
                       ".byte 0xa0\n .quad 0x20001\n .byte 0xa2\n .quad 0x20008\n" END);
GUEST_INSNS(mem_stos, "mov $0x20000, %edi\n mov $0x123456, %eax\n" TIMES(3) "rep stosl\n" END);
GUEST_INSNS(mem_lods,
            AT_MMIO "movl $0x12345678, (%rbx)\n mov $0x20000, %esi\n xor %eax, %eax\n lodsl\n"
                    "mov %eax, 8(%rbx)\n mov %esi, 12(%rbx)\n" END);
GUEST_INSNS(
    mem_movs, AT_MMIO
    "movq $0x1122334455667788, %rax\n mov %rax, 0xb000\n mov $0xb000, %esi\n"
    "mov $0x20000, %edi\n" TIMES(2) "rep movsl\n mov $0x20000, %esi\n"
                                    "mov $0xb100, %edi\n movsq\n mov 0xb100, %rax\n bswap %rax\n"
                                    "mov %rax, 8(%rbx)\n" END);
GUEST_INSNS(mem_xchg,
            AT_MMIO "movl $5, (%rbx)\n mov $7, %eax\n xchg %eax, (%rbx)\n mov %al, 8(%rbx)\n"
                    "mov $7, %eax\n mov $9, %ecx\n lock cmpxchg %ecx, (%rbx)\n"
                    "lock xaddb %al, (%rbx)\n" END);

static void test_value(struct guest *g, const char *name, uint64_t low, uint64_t high)
{
    uint64_t got[2];

    memset(device, 0, sizeof(device));
    run_to_end(g);
    memcpy(got, device, sizeof(got));
    if (got[0] != low || got[1] != high)
        printf("%s: 0x%llx 0x%llx, wanted 0x%llx 0x%llx\n", name, (unsigned long long)got[0],
               (unsigned long long)got[1], (unsigned long long)low, (unsigned long long)high);
    CHECK(got[0] == low && got[1] == high);
}

static void test_memory(struct guest *g)
{
#define MEMORY_TEST(name, low, high)                                                               \
    GUEST_CODE(g, name);                                                                           \
    test_value(g, #name, low, high)
    MEMORY_TEST(mem_mov, 0x3004, 0x3004);
    CHECK(device[16] == 0x77 && device[18] == 0x34 && device[19] == 0x12);
    MEMORY_TEST(mem_or, 0x14ff, 0x14ff);
    MEMORY_TEST(mem_and, 0x1fc0, 0xfc0);
    MEMORY_TEST(mem_xor, 0x10cf, 0);
    MEMORY_TEST(mem_arith, (uint32_t)-111, 0x101);
    MEMORY_TEST(mem_size, 0x1f80, 0xffffff800000001f);
    MEMORY_TEST(mem_moffs, 0xffab, 0xff);
    MEMORY_TEST(mem_stos, 0x0012345600123456, 0x123456);
    MEMORY_TEST(mem_lods, 0x12345678, 0x0002000412345678);
    MEMORY_TEST(mem_movs, 0x1122334455667788, 0x8877665544332211);
    MEMORY_TEST(mem_xchg, 16, 5);
}

/* The pieces: as wide as the instruction, and no more of them than it has. */
static void test_pieces(struct guest *g)
{
    GUEST_CODE(g, mem_mov);
    accesses = sizes = 0;
    run_to_end(g);
    CHECK(accesses == 5 && sizes == 44812);
    GUEST_CODE(g, outsw);
    device_at = accesses = sizes = 0;
    run_to_end(g);
    CHECK(accesses == 8 && sizes == 222222);
    GUEST_CODE(g, mem_or);
    accesses = sizes = 0;
    run_to_end(g);
    CHECK(accesses == 7 && sizes == 888888);
}

int main(int argc, char **argv)
{
    struct nvmm_assist_callbacks cbs = {.io = on_io, .mem = on_memory};
    struct guest g;

    nvmm_start(argc, argv);
    guest_create(&g);
    CHECK(nvmm_vcpu_configure(&g.mach, &g.vcpu, NVMM_VCPU_CONF_CALLBACKS, &cbs) == 0);
    test_ports(&g);
    test_memory(&g);
    test_pieces(&g);
    guest_destroy(&g);
    return report();
}
