#include "boot/bzimage.h"

#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "boot/elf.h"
#include "boot/layout.h"
#include "boot/segments.h"
#include "boot/unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

/* Offsets into the file (boot.rst, "The Real-Mode Kernel Header") */
#define HDR_SETUP_SECTS    0x1f1
#define HDR_SYSSIZE        0x1f4 /* 16-byte units */
#define HDR_BOOT_FLAG      0x1fe
#define HDR_JUMP_LEN       0x201 /* the header ends this far after 0x202 */
#define HDR_MAGIC          0x202
#define HDR_VERSION        0x206
#define HDR_LOADFLAGS      0x211
#define HDR_INITRD_MAX     0x22c
#define HDR_XLOADFLAGS     0x236
#define HDR_CMDLINE_SIZE   0x238
#define HDR_PAYLOAD_OFFSET 0x248
#define HDR_PAYLOAD_LENGTH 0x24c
#define HDR_PREF_ADDRESS   0x258
#define HDR_INIT_SIZE      0x260
#define HDR_MIN_END        0x268 /* of protocol 2.12 */

#define BOOT_FLAG      0xaa55
#define LOADED_HIGH    0x01
#define XLF_KERNEL_64  0x01
#define XLF_ABOVE_4G   0x02
#define SECTOR         512
#define STARTUP_64     0x200 /* offset of the 64-bit entry in the protected-mode part */
#define ELF_HEAD_START UINT64_C(0x200000)

bool bzimage_is(const void *data, uint64_t size)
{
    return size >= HDR_VERSION && !memcmp((const uint8_t *)data + HDR_MAGIC, "HdrS", 4);
}

/* The checks that say what kind of kernel this is. */
static int header_check(struct bzimage *bz, uint64_t size)
{
    const uint8_t *d = bz->head;
    unsigned version;

    if (!bzimage_is(d, size))
        return err_set(ENOEXEC, "%s: not a bzImage", bz->file->path);
    if (size < HDR_MIN_END)
        return err_set(ENOEXEC, "%s: truncated in the setup header", bz->file->path);
    version = le16_get(d + HDR_VERSION);
    if (le16_get(d + HDR_BOOT_FLAG) != BOOT_FLAG)
        return err_set(ENOEXEC, "%s: setup header without its boot flag 0xaa55", bz->file->path);
    if (version < 0x20c)
        return err_set(ENOEXEC, "%s: boot protocol %u.%02u is too old, expected 2.12 or newer",
                       bz->file->path, version >> 8, version & 0xff);
    if (!(d[HDR_LOADFLAGS] & LOADED_HIGH))
        return err_set(ENOEXEC, "%s: a zImage, expected a bzImage", bz->file->path);
    if (!(le16_get(d + HDR_XLOADFLAGS) & XLF_KERNEL_64))
        return err_set(ENOEXEC, "%s: a 32-bit kernel, expected a 64-bit one", bz->file->path);
    bz->header_len = HDR_MAGIC + d[HDR_JUMP_LEN] - BZIMAGE_HEADER;
    if (HDR_MAGIC + d[HDR_JUMP_LEN] < HDR_MIN_END ||
        bz->header_len > LINUX_HEADER_MAX - BZIMAGE_HEADER ||
        BZIMAGE_HEADER + bz->header_len > size)
        return err_set(ENOEXEC, "%s: setup header of 0x%" PRIx64 " bytes is malformed",
                       bz->file->path, bz->header_len);
    return 0;
}

int bzimage_parse(struct bzimage *bz, const struct file *file)
{
    const uint8_t *d = bz->head;
    uint64_t size = file->size, setup, off;
    int ret;

    memset(bz, 0, sizeof(*bz));
    bz->file = file;
    ret = file_peek(file, 0, bz->head, MIN(size, sizeof(bz->head)));
    if (!ret)
        ret = header_check(bz, size);
    if (ret)
        return ret;
    setup = ((d[HDR_SETUP_SECTS] ? d[HDR_SETUP_SECTS] : 4) + 1) * SECTOR;
    bz->kernel_len = (uint64_t)le32_get(d + HDR_SYSSIZE) * 16;
    /* The length is in paragraphs, and not every image fills its last one (memtest86+). */
    if (setup < size && setup + bz->kernel_len - size < 16)
        bz->kernel_len = size - setup;
    if (!range_in(setup, bz->kernel_len, size))
        return err_set(
            ENOEXEC, "%s: truncated: the header announces %" PRIu64 " bytes, the file has %" PRIu64,
            file->path, setup + bz->kernel_len, size);
    if (bz->kernel_len <= STARTUP_64)
        return err_set(ENOEXEC, "%s: setup header without a kernel", file->path);
    bz->kernel = setup;
    off = le32_get(d + HDR_PAYLOAD_OFFSET);
    bz->payload_len = le32_get(d + HDR_PAYLOAD_LENGTH);
    if (!range_in(off, bz->payload_len, bz->kernel_len))
        return err_set(ENOEXEC, "%s: payload lies outside the file", file->path);
    bz->payload = bz->payload_len ? setup + off : 0;
    bz->pref_address = le64_get(d + HDR_PREF_ADDRESS);
    bz->init_size = le32_get(d + HDR_INIT_SIZE);
    if (bz->pref_address < BOOT_PLACE_BOTTOM ||
        !range_in(bz->pref_address, bz->init_size, BIT(32)) || bz->init_size < bz->kernel_len)
        return err_set(ENOEXEC,
                       "%s: kernel of 0x%" PRIx64 " bytes at 0x%" PRIx64 " is not below 4 GiB",
                       file->path, bz->init_size, bz->pref_address);
    bz->cmdline_size = le32_get(d + HDR_CMDLINE_SIZE);
    bz->initrd_last = le32_get(d + HDR_INITRD_MAX);
    bz->initrd_anywhere = le16_get(d + HDR_XLOADFLAGS) & XLF_ABOVE_4G;
    return 0;
}

static int load_self(struct loader *ld, const struct bzimage *bz, uint64_t *entry)
{
    int ret = loader_take(ld, bz->file->path, "kernel", bz->pref_address, bz->init_size);

    if (!ret)
        ret = loader_put_file(ld, bz->file, bz->kernel, bz->pref_address, bz->kernel_len);
    *entry = bz->pref_address + STARTUP_64;
    return ret;
}

/*
 * Where in guest RAM to unpack the ELF file, so that its segments need little
 * or no moving: the linker puts the first one 2 MiB into the file.
 */
static uint64_t unpack_place(const struct bzimage *bz)
{
    if (bz->pref_address - BOOT_PLACE_BOTTOM < ELF_HEAD_START)
        return bz->pref_address;
    return bz->pref_address - ELF_HEAD_START;
}

static int load_elf(struct loader *ld, struct elf_image *elf, uint64_t *entry)
{
    int ret = elf_entry(elf, entry);

    if (!ret && !elf->is64)
        ret = err_set(ENOEXEC, "%s: payload is a 32-bit ELF file, expected a 64-bit one",
                      elf->file->path);
    return ret ? ret : elf_load(elf, ld);
}

/* Unpack to out[0..max), and parse what *unpacked is then. */
static int unpack_elf(const struct bzimage *bz, uint8_t *out, uint64_t max, struct file *unpacked,
                      struct elf_image *elf)
{
    int ret;

    *unpacked = (struct file){.path = bz->file->path, .data = out};
    ret = unpack(bz->file, bz->payload, bz->payload_len, out, max, &unpacked->size);
    return ret ? ret : elf_parse(elf, unpacked);
}

/*
 * The payload unpacked into host memory first: for little guest memory and odd ELF
 * files. The header may ask for 4 GiB; what the guest's RAM cannot hold is not tried.
 */
static int load_by_copy(struct loader *ld, const struct bzimage *bz, uint64_t *entry)
{
    uint64_t max = MIN(bz->init_size, loader_ram_size(ld));
    struct elf_image elf;
    struct file unpacked;
    uint8_t *buf =
        mmap(NULL, max, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int ret;

    if (buf == MAP_FAILED)
        return err_sys(errno, "%s: cannot unpack", bz->file->path);
    ret = unpack_elf(bz, buf, max, &unpacked, &elf);
    if (ret == -ENOSPC && max < bz->init_size)
        ret = err_set(ENOMEM, "%s: kernel unpacks to more than the guest's %s of memory",
                      bz->file->path, loader_ram(ld).text);
    if (!ret)
        ret = load_elf(ld, &elf, entry);
    munmap(buf, max);
    return ret;
}

static int load_unpacked(struct loader *ld, const struct bzimage *bz, uint64_t *entry)
{
    uint64_t place = unpack_place(bz);
    struct elf_image elf;
    struct file unpacked;
    uint8_t *at;
    int ret;

    if (!bz->payload)
        return err_set(ENOEXEC, "%s: bzImage without a payload", bz->file->path);
    at = loader_ram_at(ld, place) >= bz->init_size
             ? guest_mem_at(ld->mem, GPA(place), bz->init_size, MEM_WRITE)
             : NULL;
    if (!at)
        return load_by_copy(ld, bz, entry);
    ret = unpack_elf(bz, at, bz->init_size, &unpacked, &elf);
    guest_mem_written(ld->mem, GPA(place), bz->init_size);
    if (ret)
        return ret;
    if (!elf_moves_down(&elf, place))
        return load_by_copy(ld, bz, entry);
    return load_elf(ld, &elf, entry);
}

/* Below the header's limit where it fits, as every kernel expects; else anywhere. */
static int place_initrd(struct loader *ld, const struct bzimage *bz, const struct file *initrd,
                        struct linux_params *lp)
{
    int ret = loader_place_file(ld, initrd, "initrd", bz->initrd_last, &lp->initrd);

    if (ret == -ENOMEM && bz->initrd_anywhere)
        ret = loader_place_file(ld, initrd, "initrd", UINT64_MAX, &lp->initrd);
    lp->initrd_size = initrd->size;
    return ret;
}

int bzimage_load(struct loader *ld, const struct file *kernel, const struct file *initrd,
                 bool self_unpack)
{
    struct linux_params lp = {0};
    struct bzimage bz;
    uint64_t entry;
    int ret = bzimage_parse(&bz, kernel);

    if (!ret)
        ret = loader_take(ld, kernel->path, "boot data", BOOT_DATA, BOOT_DATA_END - BOOT_DATA);
    if (!ret)
        ret = step_done(kernel->load,
                        self_unpack ? load_self(ld, &bz, &entry) : load_unpacked(ld, &bz, &entry));
    if (ret)
        return ret;
    if (initrd)
        ret = place_initrd(ld, &bz, initrd, &lp);
    if (!ret)
        ret = loader_put_cmdline(ld, bz.cmdline_size);
    lp.header = bz.head + BZIMAGE_HEADER;
    lp.header_len = bz.header_len;
    lp.kernel = bz.pref_address;
    if (!ret)
        ret = linux_params_put(ld, &lp);
    if (!ret)
        ret = segments_set_long(ld, entry);
    ld->state->gpr[RSI] = BOOT_INFO;
    if (!ret)
        trace(TRACE_BOOT, "%s: entered at 0x%" PRIx64 ", zero page at 0x%x", kernel->path, entry,
              BOOT_INFO);
    return ret;
}
