// out = gelu(x g^T) * (x v^T) where g and v are the upper and the lower half of the weights: the gated first
// half of a feed-forward network in one kernel, rounded where gated_gelu rounds. `out` has half as many
// features as the weights have rows; bias must be null, CLUSTER 2. The host puts linear_parts_wgmma.cu, where
// shapes, tensor maps and geometry are described, and gelu_parts.cu before it.

struct Gated {
    static constexpr bool TURNED = false;
    static constexpr int OUT_FEATURES = LONG / 2;
    static constexpr bool PASSES = true;
    static constexpr int LEAD = 0;

    __device__ __forceinline__ void fetch(int, int, const Desk&) {}
    __device__ __forceinline__ void start(int, int) {}
    __device__ __forceinline__ void prepare(int, const Desk&) {}

    // A block of gates and one of values become a block of results, in the place of the gates.
    __device__ __forceinline__ void apply(unsigned (&words)[2 * BLOCKS], int slot) {
#pragma unroll
        for (int i = slot * 2; i < slot * 2 + 2; ++i) {
            float gate_low, gate_high, low, high;
            unpack(words[i], gate_low, gate_high);
            unpack(words[BLOCKS + i], low, high);
            words[i] = pack(gelu_of(gate_low) * low, gelu_of(gate_high) * high);
        }
    }
};

extern "C" __global__ void LAUNCH_BOUNDS
    linear_gated(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap weights,
                 const __grid_constant__ TensorMap out, const element* bias, const float* scales, int rows,
                 int features, int depth) {
    run(Gated{}, x, weights, out, bias, scales, rows, features, depth);
}
