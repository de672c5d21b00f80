// out = scales (x weights^T) + bias with the rotary position embedding of q and k: the product before attention in
// one kernel, for heads of 64. The first `rotated` features (a multiple of 256: q and k of whole tiles) are
// rotated in pairs (i, i + 32) of each head, the others (v) are left alone. position_ids has a position for
// each row, cos_sin is the table of rotary.cu, whose bits these are: the sums are rounded to elements,
// rotated in f32 and rounded again. The host puts linear_parts_wgmma.cu, where shapes, tensor maps and
// geometry are described, before it.

constexpr int HEAD_BLOCKS = 64 / 8;
constexpr int TILE_HEADS = LONG / 64;
// Half a head, whose blocks go with those of the other half, lane by lane.
constexpr int PAIRED_BLOCKS = HEAD_BLOCKS / 2;

struct Rotation {
    static constexpr bool TURNED = false;
    static constexpr int OUT_FEATURES = LONG;
    static constexpr bool PASSES = true;
    // In a slot all heads of the tile have one pair of blocks rotated: an angle is loaded once for four
    // heads, and a slot has about as much to do as one of GELU.
    static constexpr int LEAD = PAIRED_BLOCKS;

    const int* position_ids;
    // Two neighbouring pairs of one position: (cos, sin, cos, sin).
    const float4* cos_sin;
    int rows, rotated;

    bool rotates = false;
    // Of the lane's two rows: where their angles are, and those of the slot to come.
    int places[2] = {};
    float4 angles[2] = {};

    __device__ __forceinline__ Rotation(const int* position_ids, const float* cos_sin, int rows, int rotated)
        : position_ids(position_ids),
          cos_sin(reinterpret_cast<const float4*>(cos_sin)),
          rows(rows),
          rotated(rotated) {}

    __device__ __forceinline__ void fetch(int, int, const Desk&) {}

    __device__ __forceinline__ void start(int row, int feature) {
        const int lane = lane_index();
        rotates = feature < rotated;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            // A row that does not exist has no position; any will do.
            const int at = row + lane / 4 + half * 8;
            const int position = rotates && at < rows ? position_ids[at] : 0;
            places[half] = position * 16 + lane % 4;
        }
    }

    __device__ __forceinline__ void prepare(int slot, const Desk&) {
        if (slot >= LEAD || !rotates) return;
#pragma unroll
        for (int half = 0; half < 2; ++half) angles[half] = cos_sin[places[half] + slot * 4];
    }

    __device__ __forceinline__ void apply(unsigned (&words)[2 * BLOCKS], int slot) {
        if (slot >= LEAD || !rotates) return;
#pragma unroll
        for (int head = 0; head < TILE_HEADS; ++head) {
            const int block = head * HEAD_BLOCKS + slot;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                unsigned& first = words[2 * block + half];
                unsigned& second = words[2 * (block + PAIRED_BLOCKS) + half];
                float a, b, next_a, next_b;
                unpack(first, a, next_a);
                unpack(second, b, next_b);
                rotate_pair(a, b, angles[half].x, angles[half].y);
                rotate_pair(next_a, next_b, angles[half].z, angles[half].w);
                first = pack(a, next_a);
                second = pack(b, next_b);
            }
        }
    }
};

extern "C" __global__ void LAUNCH_BOUNDS
    linear_rotary(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap weights,
                  const __grid_constant__ TensorMap out, const element* bias, const float* scales,
                  int rows, int features, int depth, const int* position_ids, const float* cos_sin,
                  int rotated) {
    run(Rotation(position_ids, cos_sin, rows, rotated), x, weights, out, bias, scales, rows, features, depth);
}
