/*
 * NetBSD's libnvmm for Linux: programs written for NVMM run on every accelerator that libmote
 * has. libnvmm(3) says what is the same and what differs.
 *
 * All functions return 0, or -1 with errno set.
 */
#ifndef _LIBNVMM_H_
#define _LIBNVMM_H_

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <dev/nvmm/nvmm.h>
#include <dev/nvmm/nvmm_ioctl.h>

/* An error of NetBSD's that Linux has not; the nearest that it has. */
#ifndef EPROGMISMATCH
#define EPROGMISMATCH EPROTO
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define NVMM_USER_VERSION 2

struct nvmm_io;
struct nvmm_mem;

struct nvmm_assist_callbacks {
    void (*io)(struct nvmm_io *);
    void (*mem)(struct nvmm_mem *);
};

struct nvmm_machine {
    nvmm_machid_t machid;
    struct nvmm_comm_page **pages;
    void *areas; /* opaque */
};

struct nvmm_vcpu {
    nvmm_cpuid_t cpuid;
    struct nvmm_assist_callbacks cbs;
    struct nvmm_vcpu_state *state;
    struct nvmm_vcpu_event *event;
    struct nvmm_vcpu_exit *exit;
    volatile int *stop;
};

struct nvmm_io {
    struct nvmm_machine *mach;
    struct nvmm_vcpu *vcpu;
    uint16_t port;
    bool in;
    size_t size;
    uint8_t *data;
};

struct nvmm_mem {
    struct nvmm_machine *mach;
    struct nvmm_vcpu *vcpu;
    gpaddr_t gpa;
    bool write;
    size_t size;
    uint8_t *data;
};

#define NVMM_VCPU_CONF_CALLBACKS NVMM_VCPU_CONF_LIBNVMM_BEGIN

#define NVMM_PROT_READ  0x01
#define NVMM_PROT_WRITE 0x02
#define NVMM_PROT_EXEC  0x04
#define NVMM_PROT_USER  0x08
#define NVMM_PROT_ALL   0x0F
typedef uint64_t nvmm_prot_t;

/* Once, before all others. The environment's NVMM_ACCEL names the accelerator; else "auto". */
int nvmm_init(void);
int nvmm_root_init(void);

int nvmm_capability(struct nvmm_capability *);

int nvmm_machine_create(struct nvmm_machine *);
int nvmm_machine_destroy(struct nvmm_machine *);
int nvmm_machine_configure(struct nvmm_machine *, uint64_t, void *);

int nvmm_vcpu_create(struct nvmm_machine *, nvmm_cpuid_t, struct nvmm_vcpu *);
int nvmm_vcpu_destroy(struct nvmm_machine *, struct nvmm_vcpu *);
int nvmm_vcpu_configure(struct nvmm_machine *, struct nvmm_vcpu *, uint64_t, void *);
int nvmm_vcpu_setstate(struct nvmm_machine *, struct nvmm_vcpu *, uint64_t);
int nvmm_vcpu_getstate(struct nvmm_machine *, struct nvmm_vcpu *, uint64_t);
int nvmm_vcpu_inject(struct nvmm_machine *, struct nvmm_vcpu *);
int nvmm_vcpu_run(struct nvmm_machine *, struct nvmm_vcpu *);

/* The run under way, or else the next, exits as STOPPED. Any thread; async-signal-safe. */
int nvmm_vcpu_stop(struct nvmm_vcpu *);

int nvmm_gpa_map(struct nvmm_machine *, uintptr_t, gpaddr_t, size_t, int);
int nvmm_gpa_unmap(struct nvmm_machine *, uintptr_t, gpaddr_t, size_t);
int nvmm_hva_map(struct nvmm_machine *, uintptr_t, size_t);
int nvmm_hva_unmap(struct nvmm_machine *, uintptr_t, size_t);

int nvmm_gva_to_gpa(struct nvmm_machine *, struct nvmm_vcpu *, gvaddr_t, gpaddr_t *, nvmm_prot_t *);
int nvmm_gpa_to_hva(struct nvmm_machine *, gpaddr_t, uintptr_t *, nvmm_prot_t *);

int nvmm_assist_io(struct nvmm_machine *, struct nvmm_vcpu *);
int nvmm_assist_mem(struct nvmm_machine *, struct nvmm_vcpu *);

int nvmm_ctl(int, void *, size_t);

/* Print the vCPU's state, for people. */
int nvmm_vcpu_dump(struct nvmm_machine *, struct nvmm_vcpu *);

#ifdef __cplusplus
}
#endif

#endif
