/* What nvmm_ctl exchanges; include <nvmm.h>. There are no ioctls here. */
#ifndef _NVMM_IOCTL_H_
#define _NVMM_IOCTL_H_

#include <dev/nvmm/nvmm.h>

struct nvmm_ctl_mach_info {
    nvmm_machid_t machid; /* which */
    uint32_t nvcpus;
    uint64_t nram; /* bytes of nvmm_hva_map */
    pid_t pid;
    time_t time; /* of its creation */
};

#define NVMM_CTL_MACH_INFO 0

#endif
