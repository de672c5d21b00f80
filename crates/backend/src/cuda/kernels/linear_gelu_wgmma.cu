// out = gelu(scales (x weights^T) + bias): the first half of a feed-forward network in one kernel. The host puts
// linear_parts_wgmma.cu, where shapes, tensor maps and geometry are described, and gelu_parts.cu before it.

struct Gelu {
    static constexpr bool TURNED = false;
    static constexpr int OUT_FEATURES = LONG;
    static constexpr bool PASSES = true;
    static constexpr int LEAD = 0;

    __device__ __forceinline__ void fetch(int, int, const Desk&) {}
    __device__ __forceinline__ void start(int, int) {}
    __device__ __forceinline__ void prepare(int, const Desk&) {}

    // A slot's words leave in the same slot.
    __device__ __forceinline__ void apply(unsigned (&words)[2 * BLOCKS], int slot) {
#pragma unroll
        for (int i = slot * 4; i < slot * 4 + 4; ++i) {
            float low, high;
            unpack(words[i], low, high);
            words[i] = pack(gelu_of(low), gelu_of(high));
        }
    }
};

extern "C" __global__ void LAUNCH_BOUNDS
    linear_gelu(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap weights,
                const __grid_constant__ TensorMap out, const element* bias, const float* scales, int rows,
                int features, int depth) {
    run(Gelu{}, x, weights, out, bias, scales, rows, features, depth);
}
