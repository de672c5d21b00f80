// out = before + x weights^T + bias, where `before` is what stands in out: a linear layer and its residual
// addition in one kernel, which also leaves for each row and each tile of 256 features the mean of what it
// has stored and the sum of the squares around it, `moments` [rows, features / 256], for the LayerNorm that
// follows. The sums are rounded to elements, added in f32 and rounded again. The host puts
// linear_parts_wgmma.cu, where shapes, tensor maps and geometry are described, before it.

struct Residual {
    static constexpr int OUT_FEATURES = TILE_FEATURES;
    static constexpr bool PASSES = false;
    // A slot's words leave in the same slot.
    static constexpr int LEAD = 0;

    const element* before;
    float2* moments;
    int rows, features;

    // Of the lane's two rows.
    const element* places[2];
    int at[2];
    float sums[2] = {}, squares[2] = {};
    int tile = 0;
    // Of the slot to come, in the order of its words.
    unsigned words_before[4] = {};

    __device__ __forceinline__ Residual(const element* before, float2* moments, int rows, int features)
        : before(before), moments(moments), rows(rows), features(features) {
        // What is finished before the first tile is nothing, of rows that do not exist.
        places[0] = places[1] = before;
        at[0] = at[1] = rows;
    }

    // To the L2 cache: 128 bytes a lane in either turn.
    __device__ __forceinline__ void fetch(int row, int feature) const {
        constexpr int LINE = 64, LINES = TILE_FEATURES / LINE;
#pragma unroll
        for (int line = lane_index(); line < 16 * LINES; line += WARP) {
            const long long at = row + line / LINES;
            if (at < rows)
                asm volatile("prefetch.global.L2 [%0];" ::"l"(before + at * features + feature + line % LINES * LINE));
        }
    }

    __device__ __forceinline__ void start(int row, int feature) {
        const int lane = lane_index();
        tile = feature / TILE_FEATURES;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            at[half] = row + lane / 4 + half * 8;
            // A row that does not exist; any will do.
            const long long place = at[half] < rows ? at[half] : 0;
            places[half] = before + place * features + feature + lane % 4 * 2;
            sums[half] = squares[half] = 0.0f;
        }
    }

    __device__ __forceinline__ void prepare(int slot) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            words_before[i] = *reinterpret_cast<const unsigned*>(places[i % 2] + slot * 16 + i / 2 * 8);
    }

    __device__ __forceinline__ void apply(unsigned (&words)[2 * BLOCKS], int slot) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            unsigned& word = words[slot * 4 + i];
            float low, high, low_before, high_before;
            unpack(word, low, high);
            unpack(words_before[i], low_before, high_before);
            word = pack(low + low_before, high + high_before);
            // As they are stored.
            unpack(word, low, high);
            sums[i % 2] += low + high;
            squares[i % 2] += low * low + high * high;
        }
        if (slot + 1 < SLOTS) return;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            // The four lanes of a row.
#pragma unroll
            for (int step = 1; step < 4; step *= 2) {
                sums[half] += __shfl_xor_sync(ALL_LANES, sums[half], step);
                squares[half] += __shfl_xor_sync(ALL_LANES, squares[half], step);
            }
            const float mean = sums[half] / TILE_FEATURES;
            if (lane_index() % 4 == 0 && at[half] < rows)
                moments[static_cast<long long>(at[half]) * (features / TILE_FEATURES) + tile] =
                    make_float2(mean, fmaxf(squares[half] - sums[half] * mean, 0.0f));
        }
    }
};

extern "C" __global__ void LAUNCH_BOUNDS
    linear_residual(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap weights,
                    const __grid_constant__ TensorMap out, const element* bias, const float* scales,
                    int rows, int features, int depth, const element* before, float2* moments) {
    run(Residual(before, moments, rows, features), x, weights, out, bias, scales, rows, features, depth);
}
