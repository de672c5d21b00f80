// out = before + x weights^T + bias, where `before` is what stands in out: a linear layer and its residual
// addition in one kernel, which also leaves for each row and each tile of 256 features the mean of what it
// has stored and the sum of the squares around it, `moments` [rows, features / 256], for the LayerNorm that
// follows. The sums are rounded to elements, added and rounded again. `before` is a tensor map like that of
// out. Shared memory is as busy with the products as the matrix unit, and panels take it less time than loads by
// lanes, each of a few bytes of eight rows. The host puts linear_parts_wgmma.cu, where shapes, tensor maps and
// geometry are described, before it.

// Rounded once. The bits are those of a sum in f32 that is rounded again: f32 has more than twice the digits.
static __device__ __forceinline__ unsigned add_elements(unsigned a, unsigned b) {
    unsigned sum;
#if defined(ELEMENT_BF16)
    asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
#else
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
#endif
    return sum;
}

struct Residual {
    static constexpr int OUT_FEATURES = TILE_FEATURES;
    static constexpr bool PASSES = false;
    // The copy engine brings a panel of `before`, and takes a panel of sums from the same place.
    static constexpr bool FILLS = true;
    // A slot's words leave in the same slot.
    static constexpr int LEAD = 0;

    const TensorMap& before;
    float2* moments;
    int rows, features;

    // Of the warp's rows: the first, and the first feature. What is finished before the first tile is nothing, of
    // rows that do not exist.
    int row, feature = 0;
    float sums[2] = {}, squares[2] = {};
    // Of the slot to come, in the order of its words.
    unsigned words_before[4] = {};

    __device__ __forceinline__ Residual(const TensorMap& before, float2* moments, int rows, int features)
        : before(before), moments(moments), rows(rows), features(features), row(rows) {}

    // Starts to fill a place with a panel of the tile at this row and feature. Nobody uses the place, but that the
    // copy engine may still read what was sent last.
    __device__ __forceinline__ void fill(int panel, int row, int feature, const Desk& desk) const {
        wait_for_panels<0>();
        expect(desk.barrier(panel), PANEL_BYTES);
        load_box<false>(desk.panel(panel), before, feature + panel * 64, row, desk.barrier(panel));
    }

    // The first panels; the others as far as the L2 cache.
    __device__ __forceinline__ void fetch(int row, int feature, const Desk& desk) const {
        if (lane_index() == 0) {
#pragma unroll
            for (int panel = 0; panel < TILE_FEATURES / 64; ++panel)
                if (panel < PANELS)
                    fill(panel, row, feature, desk);
                else
                    asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(&before),
                                 "r"(feature + panel * 64), "r"(row)
                                 : "memory");
        }
        __syncwarp();
    }

    __device__ __forceinline__ void start(int row, int feature) {
        this->row = row;
        this->feature = feature;
#pragma unroll
        for (int half = 0; half < 2; ++half) sums[half] = squares[half] = 0.0f;
    }

    __device__ __forceinline__ void prepare(int slot, const Desk& desk) {
        const int panel = slot / 4;
        // A slot after the panel before has been sent, the place that it leaves is filled for the one after this.
        if (slot % 4 == 1 && panel > 0 && panel - 1 + PANELS < TILE_FEATURES / 64) {
            if (lane_index() == 0) fill(panel - 1 + PANELS, row, feature, desk);
            __syncwarp();
        }
        // A place is filled an even number of times for each tile.
        if (slot % 4 == 0) wait_for(desk.barrier(panel), panel / PANELS % 2);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words_before[0]), "=r"(words_before[1]), "=r"(words_before[2]), "=r"(words_before[3])
                     : "r"(desk.place(slot))
                     : "memory");
    }

    __device__ __forceinline__ void apply(unsigned (&words)[2 * BLOCKS], int slot) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            unsigned& word = words[slot * 4 + i];
            word = add_elements(word, words_before[i]);
            // As they are stored.
            float low, high;
            unpack(word, low, high);
            sums[i % 2] += low + high;
            squares[i % 2] = fmaf(low, low, fmaf(high, high, squares[i % 2]));
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
            const int at = row + lane_index() / 4 + half * 8;
            if (lane_index() % 4 == 0 && at < rows)
                moments[static_cast<long long>(at) * (features / TILE_FEATURES) + feature / TILE_FEATURES] =
                    make_float2(mean, fmaxf(squares[half] - sums[half] * mean, 0.0f));
        }
    }
};

extern "C" __global__ void LAUNCH_BOUNDS
    linear_residual(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap weights,
                    const __grid_constant__ TensorMap out, const element* bias, const float* scales,
                    int rows, int features, int depth, const __grid_constant__ TensorMap before,
                    float2* moments) {
    run(Residual(before, moments, rows, features), x, weights, out, bias, scales, rows, features, depth);
}
