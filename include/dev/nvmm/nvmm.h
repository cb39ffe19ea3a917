/* NVMM's interface, the part that does not depend on the architecture; include <nvmm.h>. */
#ifndef _NVMM_H_
#define _NVMM_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef uint64_t gpaddr_t;
typedef uint64_t gvaddr_t;

typedef uint32_t nvmm_machid_t;
typedef uint32_t nvmm_cpuid_t;

#include <dev/nvmm/x86/nvmm_x86.h>

/* 2: with nvmm_vcpu_stop. */
#define NVMM_KERN_VERSION 2

struct nvmm_capability {
    uint32_t version;
    uint32_t state_size;
    uint32_t max_machines;
    uint32_t max_vcpus;
    uint64_t max_ram;
    struct nvmm_cap_md arch;
};

#define NVMM_MACH_CONF_LIBNVMM_BEGIN 0
#define NVMM_MACH_CONF_MI_BEGIN      100
#define NVMM_MACH_CONF_MD_BEGIN      200
#define NVMM_MACH_CONF_MD(op)        ((op)-NVMM_MACH_CONF_MD_BEGIN)

#define NVMM_VCPU_CONF_LIBNVMM_BEGIN 0
#define NVMM_VCPU_CONF_MI_BEGIN      100
#define NVMM_VCPU_CONF_MD_BEGIN      200
#define NVMM_VCPU_CONF_MD(op)        ((op)-NVMM_VCPU_CONF_MD_BEGIN)

/* What a program and the library exchange about a vCPU. vcpu->state and so on point into it. */
struct nvmm_comm_page {
    uint64_t state_wanted;
    uint64_t state_cached; /* groups of `state` that are the vCPU's */
    uint64_t state_commit; /* groups of `state` to be the vCPU's at the next run */
    struct nvmm_vcpu_state state;
    bool event_commit; /* `event` is to be injected at the next run */
    struct nvmm_vcpu_event event;
    volatile int stop; /* the next run, or the one under way, is to end */
};

#endif
