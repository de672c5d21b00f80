// out = before + x weights^T + bias, where `before` is what stands in out: a linear layer and its residual
// addition in one kernel, which also leaves for each row and each 64 features the mean of what it has stored and the
// sum of the squares around it, `moments` [features / 64, rows], for the LayerNorm that follows. The sums are rounded
// to elements, added and rounded again. `before` is a tensor map like that of out. The host puts
// linear_parts_wgmma.cu, where shapes, tensor maps and geometry are described, before it.
//
// Tiles are turned: with random weights, what comes from attention and from GELU resembles itself from token to token.
// A warpgroup's four warps have 16 features each of all rows, and gather a panel of 16 rows x 64 features in each slot.
// The copy engine brings a panel of `before` and takes one of sums from the same place; the warps by turns see to that,
// and to the moments of the panel. Shared memory is as busy with the products as the matrix unit, and panels take it
// less time than loads by lanes, each of a few bytes of eight rows.

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
    static constexpr bool TURNED = true;
    static constexpr int OUT_FEATURES = LONG;
    static constexpr bool PASSES = false;
    // A slot's words leave in the same slot.
    static constexpr int LEAD = 0;

    const TensorMap& before;
    float2* moments;
    int rows;

    // Of the tile in hand: its first row, and the warpgroup's first feature. What is finished before the first tile
    // is nothing, of rows that do not exist.
    int row, feature = 0;
    // Of the slot to come, in the order of its words.
    unsigned words_before[4] = {};

    __device__ __forceinline__ Residual(const TensorMap& before, float2* moments, int rows)
        : before(before), moments(moments), rows(rows), row(rows) {}

    // A slot's panel belongs to one of the four warps.
    static __device__ __forceinline__ Desk owner(int slot, const Desk& desk) {
        return {desk.panels, desk.barriers, desk.warp / 4 * 4 + slot % 4};
    }
    static __device__ __forceinline__ unsigned panel(int slot, const Desk& desk) {
        return owner(slot, desk).panel(slot / 4);
    }

    // The lane's part of the panel's four 8x8 matrices, 8 rows x 8 features, that are the slot's words of its warp.
    static __device__ __forceinline__ unsigned place(int slot, const Desk& desk) {
        const int lane = lane_index(), piece = desk.warp % 4 * 2 + lane / 8 % 2;
        return panel(slot, desk) + (lane / 16 * 8 + lane % 8) * 128 + (piece ^ lane % 8) * 16;
    }

    // Of the four slots of a turn, the first row of the one whose panel the warp owns.
    static __device__ __forceinline__ int first_row(int row, int turn, const Desk& desk) {
        return row + (turn * 4 + desk.warp % 4) * 16;
    }

    // Starts to fill the warp's panel of a turn. Nobody uses the place, but that the copy engine may still read what
    // was sent last.
    __device__ __forceinline__ void fill(int turn, int row, int feature, const Desk& desk) const {
        wait_for_panels<0>();
        expect(desk.barrier(turn), PANEL_BYTES);
        load_box<false>(desk.panel(turn), before, feature, first_row(row, turn, desk), desk.barrier(turn));
    }

    // The first panels; the others as far as the L2 cache.
    __device__ __forceinline__ void fetch(int row, int feature, const Desk& desk) const {
        if (elect()) {
#pragma unroll
            for (int turn = 0; turn < SLOTS / 4; ++turn) {
                if (turn < PANELS)
                    fill(turn, row, feature, desk);
                else
                    asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(&before),
                                 "r"(feature), "r"(first_row(row, turn, desk))
                                 : "memory");
            }
        }
        __syncwarp();
    }

    __device__ __forceinline__ void start(int row, int feature) {
        this->row = row;
        this->feature = feature;
    }

    __device__ __forceinline__ void prepare(int slot, const Desk& desk) {
        // A slot after the last of four panels has been sent, the places that they leave are filled for later ones.
        const int next = slot / 4 - 1 + PANELS;
        if (slot % 4 == 1 && slot > 4 && next < SLOTS / 4) {
            if (elect()) fill(next, row, feature, desk);
            __syncwarp();
        }
        // A place is filled an even number of times for each tile.
        wait_for(owner(slot, desk).barrier(slot / 4), slot / 4 / PANELS % 2);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words_before[0]), "=r"(words_before[1]), "=r"(words_before[2]), "=r"(words_before[3])
                     : "r"(place(slot, desk))
                     : "memory");
    }

    __device__ __forceinline__ void apply(unsigned (&words)[2 * BLOCKS], int slot) {
#pragma unroll
        for (int i = 0; i < 4; ++i) words[slot * 4 + i] = add_elements(words[slot * 4 + i], words_before[i]);
    }

    __device__ __forceinline__ void send(const unsigned (&all)[2 * BLOCKS], int slot, const Desk& desk,
                                         const TensorMap& out) const {
        const unsigned* words = all + slot * 4;
        asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                         place(slot, desk)),
                     "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
                     : "memory");
        // The copy engine reads shared memory by another path than it was written.
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        // Each warp has a barrier for the panels that it owns. Nobody is a turn ahead, since all own one.
        const int barrier = 1 + owner(slot, desk).warp;
        if (desk.warp % 4 != slot % 4) {
            asm volatile("barrier.arrive.aligned %0, %1;" ::"r"(barrier), "n"(4 * WARP) : "memory");
        } else {
            asm volatile("barrier.sync.aligned %0, %1;" ::"r"(barrier), "n"(4 * WARP) : "memory");
            if (elect()) {
                if (row + slot * 16 < rows)
                    store_box<PASSES>(out, feature, row + slot * 16, panel(slot, desk));
                asm volatile("cp.async.bulk.commit_group;" ::: "memory");
            }
        }
        const int turn = slot / 4;
        if (slot % 4 == 3) tell_moments(desk.panel(turn), first_row(row, turn, desk));
    }

    // Of a panel's values as they are stored; two lanes for each row.
    __device__ __forceinline__ void tell_moments(unsigned panel, int first) const {
        const int lane = lane_index(), line = lane / 2;
        float sum = 0.0f, squares = 0.0f;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            unsigned words[4];
            asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                         : "r"(panel + line * 128 + ((lane % 2 * 4 + i) ^ line % 8) * 16)
                         : "memory");
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                float low, high;
                unpack(words[j], low, high);
                sum += low + high;
                squares = fmaf(low, low, fmaf(high, high, squares));
            }
        }
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        squares += __shfl_xor_sync(ALL_LANES, squares, 1);
        const float mean = sum / 64;
        const int at = first + line;
        if (lane % 2 == 0 && at < rows)
            moments[feature / 64 * rows + at] = make_float2(mean, fmaxf(squares - sum * mean, 0.0f));
    }
};

extern "C" __global__ void LAUNCH_BOUNDS
    linear_residual(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap weights,
                    const __grid_constant__ TensorMap out, const element* bias, int rows, int features, int depth,
                    const __grid_constant__ TensorMap before, float2* moments) {
    run(Residual(before, moments, rows), x, weights, out, bias, nullptr, rows, features, depth);
}
