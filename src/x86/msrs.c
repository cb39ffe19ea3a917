#include "x86/msrs.h"

#include "base/bits.h"

#define EITHER(msr, name, a, b)                                                                    \
    {                                                                                              \
        msr, offsetof(struct mote_msrs, name), X86_FEATURE_##a, X86_FEATURE_##b                    \
    }
#define WITH(msr, name, feature) EITHER(msr, name, feature, feature)
#define ALWAYS(msr, name)                                                                          \
    {                                                                                              \
        msr, offsetof(struct mote_msrs, name), X86_MSR_ALWAYS, X86_MSR_ALWAYS                      \
    }
#define FIXED(msr, i) WITH(msr, mtrr_fixed[i], MTRR)
#define VARIABLE(i)   WITH(MSR_MTRR_PHYSBASE0 + (i), mtrr_var[i], MTRR)
#define VARIABLE4(i)  VARIABLE(i), VARIABLE(i + 1), VARIABLE(i + 2), VARIABLE(i + 3)

const struct x86_msr_info x86_msr_list[] = {
    WITH(MSR_STAR, star, SYSCALL),
    WITH(MSR_LSTAR, lstar, LM),
    WITH(MSR_CSTAR, cstar, LM),
    WITH(MSR_SFMASK, sfmask, SYSCALL),
    WITH(MSR_KERNEL_GS_BASE, kernel_gs_base, LM),
    WITH(MSR_SYSENTER_CS, sysenter_cs, SEP),
    WITH(MSR_SYSENTER_ESP, sysenter_esp, SEP),
    WITH(MSR_SYSENTER_EIP, sysenter_eip, SEP),
    WITH(MSR_PAT, pat, PAT),
    WITH(MSR_TSC_ADJUST, tsc_adjust, TSC_ADJUST),
    WITH(MSR_TSC, tsc, TSC),
    EITHER(MSR_TSC_AUX, tsc_aux, RDTSCP, RDPID),
    ALWAYS(MSR_SPEC_CTRL, spec_ctrl), /* each of its bits has a feature of its own */
    WITH(MSR_VIRT_SPEC_CTRL, virt_spec_ctrl, VIRT_SSBD),
    WITH(MSR_TSX_CTRL, tsx_ctrl, ARCH_CAPABILITIES), /* and one of its bits */
    ALWAYS(MSR_MISC_ENABLE, misc_enable),
    ALWAYS(MSR_MISC_FEATURES, misc_features),
    WITH(MSR_XSS, xss, XSAVES),
    FIXED(MSR_MTRR_FIX64K, 0),
    FIXED(MSR_MTRR_FIX16K_0, 1),
    FIXED(MSR_MTRR_FIX16K_1, 2),
    FIXED(MSR_MTRR_FIX4K_0 + 0, 3),
    FIXED(MSR_MTRR_FIX4K_0 + 1, 4),
    FIXED(MSR_MTRR_FIX4K_0 + 2, 5),
    FIXED(MSR_MTRR_FIX4K_0 + 3, 6),
    FIXED(MSR_MTRR_FIX4K_0 + 4, 7),
    FIXED(MSR_MTRR_FIX4K_0 + 5, 8),
    FIXED(MSR_MTRR_FIX4K_0 + 6, 9),
    FIXED(MSR_MTRR_FIX4K_0 + 7, 10),
    VARIABLE4(0),
    VARIABLE4(4),
    VARIABLE4(8),
    VARIABLE4(12),
    WITH(MSR_MTRR_DEF_TYPE, mtrr_def_type, MTRR), /* enables the others */
    WITH(MSR_TSC_DEADLINE, tsc_deadline, TSC_DEADLINE),
    WITH(MSR_KVM_WALL_CLOCK_NEW, kvm_wall_clock, KVM_CLOCK),
    WITH(MSR_KVM_SYSTEM_TIME_NEW, kvm_system_time, KVM_CLOCK),
    WITH(MSR_KVM_STEAL_TIME, kvm_steal_time, KVM_STEAL_TIME),
    WITH(MSR_KVM_PV_EOI_EN, kvm_pv_eoi, KVM_PV_EOI),
    WITH(MSR_KVM_POLL_CONTROL, kvm_poll_control, KVM_POLL_CONTROL),
    WITH(MSR_KVM_ASYNC_PF_INT, kvm_async_pf_int, KVM_ASYNC_PF_INT),
    WITH(MSR_KVM_ASYNC_PF_EN, kvm_async_pf, KVM_ASYNC_PF), /* enables the former */
};
_Static_assert(ARRAY_SIZE(x86_msr_list) <= 64, "a bit of a word for each");
const unsigned x86_msr_count = ARRAY_SIZE(x86_msr_list);

bool x86_msr_exists(const struct x86_msr_info *msr, const struct x86_cpuid *t)
{
    return msr->feature == X86_MSR_ALWAYS || x86_cpuid_has(t, msr->feature) ||
           x86_cpuid_has(t, msr->or);
}

const struct x86_msr_info *x86_msr_find(uint32_t index)
{
    for (unsigned i = 0; i < x86_msr_count; i++) {
        if (x86_msr_list[i].index == index)
            return &x86_msr_list[i];
    }
    return NULL;
}
