#include "accel/kvm/kvm.h"

#include "accel/backends.h"
#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
    int ret;

    do
        ret = ioctl(fd, request, arg);
    while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : ret;
}

int kvm_call(int fd, unsigned long request, const char *name, void *arg)
{
    int ret = kvm_ioctl(fd, request, arg);

    return ret < 0 ? err_sys(-ret, KVM_DEVICE ": %s", name) : ret;
}

int kvm_cap(int fd, int cap)
{
    int ret = kvm_ioctl(fd, KVM_CHECK_EXTENSION, (void *)(long)cap);

    return MAX(ret, 0);
}

/* Without these there is no way to run an x86-64 guest here. */
static const struct {
    int cap;
    const char *name;
} required[] = {
#define X(cap)                                                                                     \
    {                                                                                              \
        cap, #cap                                                                                  \
    }
    X(KVM_CAP_USER_MEMORY), X(KVM_CAP_SET_TSS_ADDR), X(KVM_CAP_EXT_CPUID),
    X(KVM_CAP_XSAVE),       X(KVM_CAP_VCPU_EVENTS),  X(KVM_CAP_DEBUGREGS),
    X(KVM_CAP_MP_STATE),    X(KVM_CAP_XCRS),         X(KVM_CAP_IMMEDIATE_EXIT),
#undef X
};

static int open_failed(const char *device, int err)
{
    switch (err) {
    case EACCES:
    case EPERM:
        return err_set(err, "%s: permission denied, expected membership of group kvm or root",
                       device);
    case ENOENT:
        return err_set(err, "%s: not there, expected the device node of a loaded kvm module",
                       device);
    default: return err_sys(err, "%s", device);
    }
}

static int check_device(const char *device, int fd)
{
    static atomic_bool complete; /* what the kernel has it keeps */
    int version = kvm_ioctl(fd, KVM_GET_API_VERSION, NULL);

    if (version == -ENOTTY || version == -EINVAL)
        return err_set(ENODEV, "%s: not a KVM device", device);
    if (version != KVM_API_VERSION)
        return err_set(ENODEV, "%s: API version %d, expected %d", device, version, KVM_API_VERSION);
    for (unsigned i = 0; i < ARRAY_SIZE(required) && !atomic_load(&complete); i++) {
        if (!kvm_cap(fd, required[i].cap))
            return err_set(ENODEV, "%s: this kernel lacks %s", device, required[i].name);
    }
    atomic_store(&complete, true);
    return 0;
}

int kvm_open(const char *device)
{
    int fd = open(device ? device : KVM_DEVICE, O_RDWR | O_CLOEXEC);
    int err;

    if (fd < 0)
        return open_failed(device ? device : KVM_DEVICE, errno);
    err = check_device(device ? device : KVM_DEVICE, fd);
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

static void kvm_probe(const char *device, struct accel_info *info)
{
    int fd;

    memset(info, 0, sizeof(*info));
    snprintf(info->device, sizeof(info->device), "%s", device ? device : KVM_DEVICE);
    fd = kvm_open(device);
    if (fd < 0) {
        snprintf(info->reason, sizeof(info->reason), "%s", err_text());
        return;
    }
    close(fd);
    info->usable = true;
    snprintf(info->reason, sizeof(info->reason), "usable, speed not measured");
}

const struct accel accel_kvm = {
    .name = "kvm",
    .title = "Linux KVM",
    .rights = MEM_WRITE, /* slots are executable whatever is said */
    .probe = kvm_probe,
    .machine_create = kvm_machine_create,
    .machine_destroy = kvm_machine_destroy,
    .map = kvm_map,
    .unmap = kvm_unmap,
    .msi = kvm_msi,
    .irq_line = kvm_irq_line,
    .route = kvm_route,
    .irqfd = kvm_irqfd,
    .ioeventfd = kvm_ioeventfd,
    .get_irqchip = kvm_get_irqchip,
    .set_irqchip = kvm_set_irqchip,
    .vcpu_create = kvm_vcpu_create,
    .vcpu_destroy = kvm_vcpu_destroy,
    .set_cpuid = kvm_set_cpuid,
    .get = kvm_get,
    .set = kvm_set,
    .get_lapic = kvm_get_lapic,
    .set_lapic = kvm_set_lapic,
    .inject = kvm_inject,
    .request_window = kvm_request_window,
    .run = kvm_run,
    .kick = kvm_kick,
    .assist = kvm_assist,
    .complete_msr = kvm_complete_msr,
    .default_cpuid = kvm_default_cpuid,
    .translate = kvm_translate,
    .set_debug = kvm_set_debug,
    .paused = kvm_paused,
    .stats = kvm_stats,
};
