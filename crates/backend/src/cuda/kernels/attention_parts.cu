// What all attention kernels for halves share: asynchronous copies, and the online softmax on the accumulators
// of a matrix instruction. The host puts this file behind element.cu.
//
// An accumulator of 16 rows is a list of 16x8 pieces; of each, a lane holds columns lane % 4 * 2 and the
// next one of rows lane / 4 (values 0 and 1) and lane / 4 + 8 (values 2 and 3).

constexpr float LOG2_E = 1.4426950408889634f;
#define MINUS_INFINITY __int_as_float(0xff800000)

static __device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

static __device__ __forceinline__ unsigned shared_address(const void* at) {
    return static_cast<unsigned>(__cvta_generic_to_shared(at));
}

// Starts a 16-byte copy to shared memory, or writes zeros there.
static __device__ __forceinline__ void start_copy(element* to, const element* from, bool inside) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(inside ? 16 : 0)
                 : "memory");
#else
    *reinterpret_cast<uint4*>(to) = inside ? load_raw(from) : make_uint4(0, 0, 0, 0);
#endif
}

static __device__ __forceinline__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Maximum and sum over the four lanes that share a row of an accumulator.
static __device__ __forceinline__ float quad_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, 1));
    return fmaxf(value, __shfl_xor_sync(ALL_LANES, value, 2));
}

static __device__ __forceinline__ float quad_sum(float value) {
    value += __shfl_xor_sync(ALL_LANES, value, 1);
    return value + __shfl_xor_sync(ALL_LANES, value, 2);
}

struct Scores {
    // Factor to base-2 logarithms, and the ALiBi slope in them (0: none).
    float scale, slope;

    __device__ __forceinline__ Scores(float softmax_scale, const float* alibi_slopes, int head)
        : scale(softmax_scale * LOG2_E), slope(alibi_slopes ? alibi_slopes[head] * LOG2_E : 0.0f) {}
};

// A row's weights may grow to 2^SLACK before all of it is scaled to a new maximum: f16 holds 2^15.
constexpr float SLACK = 8.0f;

// The running softmax of the two rows of 16 that a lane holds: the score that has weight 1, which is the
// maximum but for SLACK, and this lane's share of the sum of weights.
struct Running {
    float top[2] = {MINUS_INFINITY, MINUS_INFINITY};
    float total[2] = {0.0f, 0.0f};
};

// Turns the scores of the next 16 * GROUPS keys into weights, and scales `out` to the new maximum. TAIL:
// only the first `valid` keys exist; the last group alone may be broken. `row` is the lane's first row.
template <int GROUPS, bool TAIL, int SCORE_PIECES, int OUT_PIECES>
static __device__ __forceinline__ void weigh(float (&s)[SCORE_PIECES][4], float (&out)[OUT_PIECES][4],
                                             Running& running, Scores scores, int row, int first_key,
                                             int valid) {
    const int column = lane_index() % 4 * 2;
    float factor = scores.scale;
    if (scores.slope != 0.0f) {
#pragma unroll
        for (int n = 0; n < 2 * GROUPS; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int away = abs(row + i / 2 * 8 - (first_key + n * 8 + column + i % 2));
                s[n][i] = s[n][i] * scores.scale - scores.slope * static_cast<float>(away);
            }
        factor = 1.0f;
    }
    if (TAIL) {
#pragma unroll
        for (int n = 2 * GROUPS - 2; n < 2 * GROUPS; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (n * 8 + column + i % 2 >= valid) s[n][i] = MINUS_INFINITY;
    }
    float shrink[2];
    bool grown = false;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        float top = running.top[h];
#pragma unroll
        for (int n = 0; n < 2 * GROUPS; ++n) top = fmaxf(top, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
        top = quad_max(top);
        const float growth = (top - running.top[h]) * factor;
        shrink[h] = 1.0f;
        if (growth > SLACK) {
            shrink[h] = exp2_fast(-growth);
            running.top[h] = top;
            grown = true;
        }
        const float shift = running.top[h] * factor;
        float sum = 0.0f;
#pragma unroll
        for (int n = 0; n < 2 * GROUPS; ++n) {
            s[n][2 * h] = exp2_fast(s[n][2 * h] * factor - shift);
            s[n][2 * h + 1] = exp2_fast(s[n][2 * h + 1] * factor - shift);
            sum += s[n][2 * h] + s[n][2 * h + 1];
        }
        running.total[h] = running.total[h] * shrink[h] + sum;
    }
    // A row that did not grow is multiplied by 1, so its bits do not depend on the others.
    if (__any_sync(ALL_LANES, grown)) {
#pragma unroll
        for (int n = 0; n < OUT_PIECES; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) out[n][i] *= shrink[i / 2];
    }
}

// Weights of 16 keys as the left operand of the next product: two accumulator pieces side by side.
static __device__ __forceinline__ void pack_weights(unsigned (&p)[4], const float (&left)[4],
                                                    const float (&right)[4]) {
    p[0] = pack(left[0], left[1]);
    p[1] = pack(left[2], left[3]);
    p[2] = pack(right[0], right[1]);
    p[3] = pack(right[2], right[3]);
}
