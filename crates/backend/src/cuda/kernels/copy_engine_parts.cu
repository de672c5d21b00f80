// Copies by Hopper's copy engine, of boxes of matrices from memory to shared memory, and the barriers that tell when
// they are there. The host puts this file behind element.cu.

// What cuTensorMapEncodeTiled writes.
struct alignas(64) TensorMap {
    unsigned long long words[16];
};

// True for one lane of the warp, always the same one. The compiler knows that it is alone, and does without the loops
// over lanes in which it would have the copy engine called otherwise.
static __device__ __forceinline__ bool elect() {
    unsigned elected;
    asm volatile("{ .reg .pred it; elect.sync _|it, 0xffffffff; selp.u32 %0, 1, 0, it; }" : "=r"(elected));
    return elected != 0;
}

static __device__ __forceinline__ void set_up_barrier(unsigned barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Waits for the end of the barrier's phase of this parity.
static __device__ __forceinline__ void wait_for(unsigned barrier, unsigned parity) {
#ifdef WAIT_LIMIT
    // For the lab: an error instead of a launch without end.
    asm volatile("{ .reg .pred done; .reg .b32 left; mov.b32 left, %2; "
                 "AGAIN: mbarrier.test_wait.parity.shared::cta.b64 done, [%0], %1; @done bra DONE; "
                 "sub.s32 left, left, 1; setp.ne.s32 done, left, 0; @done bra AGAIN; trap; DONE: }" ::"r"(
                     barrier),
                 "r"(parity), "n"(WAIT_LIMIT)
                 : "memory");
#else
    asm volatile("{ .reg .pred done; AGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; "
                 "@!done bra AGAIN; }" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
#endif
}

// The one arrival at the barrier of a place that is to be filled; the copies of its bytes complete it.
static __device__ __forceinline__ void expect(unsigned barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

// What passes through the L2 cache by this policy is the first to leave it.
#define PASSING "createpolicy.fractional.L2::evict_first.b64 policy, 1.0; "

template <bool PASSES>
static __device__ __forceinline__ void load_box(unsigned to, const TensorMap& map, int column, int row,
                                                unsigned barrier) {
    if (PASSES)
        asm volatile("{ .reg .b64 policy; " PASSING
                     "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                     ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], policy; }" ::"r"(to),
                     "l"(&map), "r"(column), "r"(row), "r"(barrier)
                     : "memory");
    else
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                     "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                     "l"(&map), "r"(column), "r"(row), "r"(barrier)
                     : "memory");
}
