// out = step(scales (x weights^T) + bias) for f16 and bf16 on Hopper's warpgroup matrix instructions: all
// but the step, which the kernel file behind this one supplies. x [rows, depth], weights [features, depth]
// and out [rows, features], or half of the features, are row-major; scales has a factor for each row, or is
// null where all are 1, bias may be null as well; depth is a multiple of 64 and features one of 256, rows are
// arbitrary. Needs sm_90a.
//
// A block stays for all of the launch and takes tiles of 128 rows x 256 features in turn. One thread has the
// copy engine fill a ring of stages, each 64 of the depth; two warpgroups multiply 64 rows x 256 features
// each. Both read the same weights from shared memory, and CLUSTER blocks with tiles below each other fetch
// every weight once for all of them: a chip at its power limit is as fast as its bytes are few.
//
// Or the tiles are turned: 256 rows x 128 features, of which a warpgroup has all rows and 64 features, and the blocks
// of a cluster share rows of x. That takes less power if rows of x resemble each other, as tokens of one sequence do
// behind attention: as if the 256 passed by the matrix unit one after the other, so that fewer bits change, and the 64
// stayed (docs/gpu_measurements.md).
//
// A tile's sums are not finished when its products are done, which would leave the matrix unit waiting for
// a tenth of the time. They get their bias, are rounded to elements (as they are where the linear layer is
// a launch of its own) and kept in half the registers; the step and the way out take place in PARTS pieces
// between the products of the next tile. Taking turns on two tiles, one warpgroup multiplying while the
// other finishes, would hide as much, but needs a quarter more bytes from the L2 cache for its smaller tiles.
//
// The products of a row are summed over the depth in order, by instructions that do not mix rows: its bits
// depend on nothing but the row, the weights, the bias and what the step reads for this row.
//
// Tensor maps, all of 16-bit elements, exchanged in 128 bytes, with zeros outside, and the depth or the
// features as the inner dimension: x in boxes of 64 x 128 rows, weights in boxes of 64 x 256 / CLUSTER (the other way
// round for turned tiles), out in boxes of 64 x 16. Geometry: grid a multiple of CLUSTER, at most the
// multiprocessors; block 384; dynamic shared memory STAGES * 49152 + 32768 + STAGES * 16 + 128 bytes. The macros are
// there for bench/kernel_lab to vary, but for PARTS, which must not exceed depth / 64, and WHOLE_ROUNDS. The host puts
// wgmma_parts.cu and copy_engine_parts.cu before it.

// Blocks that share the long side of their tiles; features are a multiple of 128 * CLUSTER for turned tiles.
#ifndef CLUSTER
#define CLUSTER 2
#endif
#ifndef STAGES
#define STAGES 4
#endif
// Steps of the next tile over which a tile is finished: 1, 2, 4, 8 or 16.
#ifndef PARTS
#define PARTS 16
#endif
// Tiles side by side before those below: all blocks together are at work on a few rows of x, which soon
// nobody needs. 0: as many as have 13 MB of weights, which can stay in the L2 cache until x has passed by, but at
// least 10. At a depth of 10,240 they have more and cannot, but x is read once.
#ifndef ACROSS
#define ACROSS 0
#endif
// Stages before the end of a tile's products at which its step fetches what it will read.
#ifndef FETCH
#define FETCH 8
#endif

// Whether depth is a multiple of the ring, STAGES * 64, and PARTS one of STAGES: then every tile begins where the ring
// does, and where a stage lies is known to the compiler. That saves a third of the instructions of a step.
#ifndef WHOLE_ROUNDS
#define WHOLE_ROUNDS 0
#endif

// What a kernel is declared with.
#if CLUSTER > 1
#define LAUNCH_BOUNDS __launch_bounds__(THREADS, 1) __cluster_dims__(CLUSTER, 1, 1)
#else
#define LAUNCH_BOUNDS __launch_bounds__(THREADS, 1)
#endif

constexpr int THREADS = 3 * 4 * WARP;
// Rows and features of a tile, or features and rows of a turned one.
constexpr int SHORT = 128;
constexpr int LONG = 256;
constexpr int CONSUMER_WARPS = 8;
// A stage holds rows of 128 bytes in which the 16-byte pieces are exchanged by the row's last three
// bits, as the copy engine writes them and the matrix unit expects them: those of the short side, then of the long.
constexpr int DEEP = 64;
constexpr int STAGE = (SHORT + LONG) * DEEP;
constexpr int STAGE_BYTES = STAGE * 2;
// On the way out panels of 16 rows x 64 features are gathered, in two places of each warp by turns.
constexpr int PANEL_BYTES = 16 * 64 * 2;
constexpr int PANELS = 2;
constexpr int SHARE = LONG / CLUSTER;
// Steps of a loop.
constexpr int ROUND = WHOLE_ROUNDS ? STAGES : 1;
static_assert(PARTS % ROUND == 0 && FETCH % ROUND == 0, "what is between two loops is whole rounds");
// A lane's sums are a list of 64x8 blocks of the warpgroup, side by side along the long side: of each, it has columns
// lane % 4 * 2 and the next one of its warp's rows lane / 4 (values 0 and 1) and lane / 4 + 8 (values 2 and 3).
constexpr int BLOCKS = LONG / 8;

static __device__ __forceinline__ unsigned shared_address(const void* at) {
    return static_cast<unsigned>(__cvta_generic_to_shared(at));
}

// Arrives at the barrier that lies at this place of the cluster's block `rank`.
static __device__ __forceinline__ void arrive(unsigned barrier, unsigned rank) {
#if CLUSTER > 1
    asm volatile("{ .reg .b32 there; mapa.shared::cluster.u32 there, %0, %1; "
                 "mbarrier.arrive.shared::cluster.b64 _, [there]; }" ::"r"(barrier),
                 "r"(rank)
                 : "memory");
#else
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}

static __device__ __forceinline__ unsigned rank_in_cluster() {
#if CLUSTER > 1
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
#else
    return 0;
#endif
}

// For all threads of the cluster's blocks, in whole warps.
static __device__ __forceinline__ void meet() {
#if CLUSTER > 1
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
    asm volatile("barrier.sync.aligned 0;" ::: "memory");
#endif
}

// The same place of all blocks of the cluster gets the box, and their barriers the count.
static __device__ __forceinline__ void load_box_for_all(unsigned to, const TensorMap& map, int column,
                                                        int row, unsigned barrier) {
#if CLUSTER > 1
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
                 "l"(&map), "r"(column), "r"(row), "r"(barrier),
                 "h"(static_cast<unsigned short>((1 << CLUSTER) - 1))
                 : "memory");
#else
    load_box<false>(to, map, column, row, barrier);
#endif
}

// Rows outside the tensor are not written.
template <bool PASSES>
static __device__ __forceinline__ void store_box(const TensorMap& map, int column, int row, unsigned from) {
    if (PASSES)
        asm volatile("{ .reg .b64 policy; " PASSING
                     "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group.L2::cache_hint "
                     "[%0, {%1, %2}], [%3], policy; }" ::"l"(&map),
                     "r"(column), "r"(row), "r"(from)
                     : "memory");
    else
        asm volatile(
            "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map),
            "r"(column), "r"(row), "r"(from)
            : "memory");
}

// Waits until the copy engine has read all panels but the last `LEFT` that the lane has sent.
template <int LEFT>
static __device__ __forceinline__ void wait_for_panels() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(LEFT) : "memory");
}

// Where an operand lies, for the matrix unit (wgmma_parts.cu): its address in the block's own memory; above that
// the number of the block in its cluster stands.
static __device__ __forceinline__ unsigned operand(unsigned address) {
    return (address & 0x3ffff) >> 4 | 64u << 16;
}

#define SUMS                                                                                              \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "   \
    "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "    \
    "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "    \
    "%59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, "    \
    "%78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, "    \
    "%97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, "      \
    "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}"
#define BLOCK(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define FOUR_BLOCKS(n) BLOCK(n), BLOCK(n + 1), BLOCK(n + 2), BLOCK(n + 3)
#define ALL_BLOCKS                                                                                        \
    FOUR_BLOCKS(0), FOUR_BLOCKS(4), FOUR_BLOCKS(8), FOUR_BLOCKS(12), FOUR_BLOCKS(16), FOUR_BLOCKS(20),   \
        FOUR_BLOCKS(24), FOUR_BLOCKS(28)

// c = a b^T (+ c) for 64 rows of a and 256 of b, of each 16 of the depth.
static __device__ __forceinline__ void multiply(float (&c)[BLOCKS][4], unsigned a, unsigned b, bool add) {
    asm volatile("{ .reg .pred add; .reg .b64 a, b; setp.ne.b32 add, %130, 0; "
                 "mov.b64 a, {%128, " UPPER_HALF "}; mov.b64 b, {%129, " UPPER_HALF "}; "
                 "wgmma.mma_async.sync.aligned.m64n256k16." TYPES " " SUMS ", a, b, add, 1, 1, 0, 0; }"
                 : ALL_BLOCKS
                 : "r"(a), "r"(b), "r"(static_cast<int>(add)));
}

// Starts the products of a stage.
static __device__ __forceinline__ void multiply_stage(float (&c)[BLOCKS][4], unsigned a, unsigned b,
                                                      bool add) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int k = 0; k < DEEP; k += 16) multiply(c, a + units(k), b + units(k), add || k > 0);
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until the products of at most `LEFT` stages are under way.
template <int LEFT>
static __device__ __forceinline__ void wait_for_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// Stage after stage of the ring, and the parity of its barriers' phases.
struct Turn {
    unsigned stage = 0, parity = 0;

    __device__ __forceinline__ void next() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

// Where tiles are finished: each warp's panels, and a barrier for each of them.
struct Desk {
    // Of the block's first warp.
    unsigned panels, barriers;
    int warp;

    __device__ __forceinline__ unsigned panel(int i) const {
        return panels + (warp * PANELS + i % PANELS) * PANEL_BYTES;
    }
    __device__ __forceinline__ unsigned barrier(int i) const {
        return barriers + (warp * PANELS + i % PANELS) * 8;
    }
};

struct Ring {
    unsigned stages, barriers;

    __device__ __forceinline__ unsigned stage(unsigned i) const { return stages + i * STAGE_BYTES; }
    __device__ __forceinline__ unsigned full(unsigned i) const { return barriers + i * 8; }
    __device__ __forceinline__ unsigned empty(unsigned i) const { return barriers + (STAGES + i) * 8; }
};

// A block's tiles in turn. All blocks of a cluster count alike; two have 256 rows x 256 features, turned or not.
template <bool TURNED>
struct Tiles {
    int high, wide, most_across, rank, index, step;

    __device__ __forceinline__ Tiles(int rows, int features, int depth) {
        constexpr int HEIGHT = TURNED ? LONG : CLUSTER * SHORT;
        high = (rows + HEIGHT - 1) / HEIGHT;
        wide = features / (TURNED ? CLUSTER * SHORT : LONG);
        most_across = ACROSS > 0 ? ACROSS : max(10, 10 * 2560 / depth);
        rank = rank_in_cluster();
        index = blockIdx.x / CLUSTER;
        step = gridDim.x / CLUSTER;
    }

    __device__ __forceinline__ bool more() const { return index < high * wide; }
    __device__ __forceinline__ void next() { index += step; }

    // First row and first feature.
    __device__ __forceinline__ int2 tile() const {
        const int band = index / (most_across * high), in_band = index % (most_across * high);
        const int across = min(most_across, wide - band * most_across);
        const int down = in_band / across, right = band * most_across + in_band % across;
        return TURNED ? make_int2(down * LONG, (right * CLUSTER + rank) * SHORT)
                      : make_int2((down * CLUSTER + rank) * SHORT, right * LONG);
    }
};

// One thread's work: every stage of every tile, as soon as its place is free in all blocks that share it.
template <class Step>
static __device__ __forceinline__ void produce(Tiles<Step::TURNED> tiles, Ring ring, const TensorMap& x,
                                               const TensorMap& weights, int features, int depth) {
    static_assert(Step::OUT_FEATURES == LONG || CLUSTER == 2, "a half for each block");
    static_assert(!Step::TURNED || Step::OUT_FEATURES == LONG && !Step::PASSES, "not for turned tiles");
    Turn turn;
    for (; tiles.more(); tiles.next()) {
        const int2 tile = tiles.tile();
        // The part of the long side that this block fetches for all.
        const int share = tiles.rank * SHARE;
        const int share_row = Step::TURNED                 ? tile.x + share
                              : Step::OUT_FEATURES == LONG ? tile.y + share
                                                           : tile.y / 2 + tiles.rank * (features / 2);
        for (int at = 0; at < depth; at += DEEP, turn.next()) {
            const unsigned full = ring.full(turn.stage), to = ring.stage(turn.stage);
            // The first round finds all places free: nothing precedes the first phase.
            wait_for(ring.empty(turn.stage), turn.parity ^ 1);
            expect(full, STAGE_BYTES);
            load_box<Step::PASSES>(to, Step::TURNED ? weights : x, at, Step::TURNED ? tile.y : tile.x, full);
            load_box_for_all(to + (SHORT + share) * DEEP * 2, Step::TURNED ? x : weights, at, share_row, full);
        }
    }
}

// Sums of a tile that are yet to be finished: what a lane has of 16 rows x 256 features, or of 256 rows x 16 features,
// two elements in a word, in the order of the blocks of the sums.
struct Kept {
    unsigned words[2 * BLOCKS];
    // Of tiles that are not turned: the first row, and the first feature that is stored.
    int row, feature;
};

// A tile is finished in slots, SLOTS / PARTS of them in a part. What a kernel file calls its step is a
// struct of the step's arguments and of what a lane has to know of the tile in hand, with
//   TURNED           whether tiles are turned;
//   OUT_FEATURES     LONG if all features of a tile are stored; or half of that, the first words of the tile, and
//                    then a tile has rows of the upper and of the lower half of the weights, as many of either,
//                    one behind the other;
//   PASSES           whether x and out are the first to leave the L2 cache, so that weights stay: chosen by
//                    measurement, since with GELU it gains 1 %, with a residual, before its tiles were turned, it
//                    cost 1 to 5 %;
//   LEAD             slots before the way out begins, which takes the others;
//   fetch(row, feature, desk)  brings from memory what the step will read of the next tile: called once for each
//                    tile, when the one before is finished, at best FETCH stages before its sums are done, as memory
//                    may take longer than a slot; and before the first tile for one of rows that do not exist. The
//                    warp has 16 rows from this one; or of a turned tile its warpgroup 64 features from this one;
//   start(row, feature)  the next tile: called before its sums are done, so that what depends on the place alone can
//                    be on its way meanwhile;
//   prepare(slot, desk)  called a slot ahead, to have on its way what the slot reads from memory;
//   apply(words, slot)   the slot's share of the step, on Kept::words in place;
//   send(words, slot, desk, out)  of a turned tile only: the way out of the slot's words.
constexpr int SLOTS = 16;
// The words of 16 features are the four 8x8 matrices of one store to the panel.
template <class Step>
static __device__ constexpr int pieces() {
    return Step::OUT_FEATURES / 16;
}

// Pieces that are out when `slot` begins.
template <class Step>
static __device__ constexpr int pieces_out(int slot) {
    return slot <= Step::LEAD ? 0 : (slot - Step::LEAD) * pieces<Step>() / (SLOTS - Step::LEAD);
}

template <class Step>
static __device__ __forceinline__ void send(const Kept& kept, int piece, const Desk& desk, const TensorMap& out,
                                            int rows) {
    static_assert(pieces<Step>() / 4 % PANELS == 0, "panels by turns from tile to tile");
    const int lane = lane_index(), panel = piece / 4;
    if (piece % 4 == 0) {
        // The copy engine has read what was in the panel.
        if (elect()) wait_for_panels<PANELS - 1>();
        __syncwarp();
    }
    const unsigned* words = kept.words + piece * 4;
    const unsigned place = desk.panel(panel) + lane % 16 * 128 + ((piece % 4 * 2 + lane / 16) ^ lane % 8) * 16;
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(place),
                 "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
                 : "memory");
    if (piece % 4 == 3) {
        // The copy engine reads shared memory by another path than it was written.
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncwarp();
        if (elect()) {
            if (kept.row < rows)
                store_box<Step::PASSES>(out, kept.feature + panel * 64, kept.row, desk.panel(panel));
            // Of nothing as well: panels are counted.
            asm volatile("cp.async.bulk.commit_group;" ::: "memory");
        }
    }
}

// Part `part` of the step on a tile, and of its way out.
template <class Step>
static __device__ __forceinline__ void finish(Step& step, Kept& kept, int part, const Desk& desk,
                                              const TensorMap& out, int rows) {
    // Pieces of a slot. A loop of a constant length is what the compiler unrolls without fail.
    constexpr int MOST = (pieces<Step>() - 1) / (SLOTS - Step::LEAD) + 1;
#pragma unroll
    for (int slot = part * SLOTS / PARTS; slot < (part + 1) * SLOTS / PARTS; ++slot) {
        step.apply(kept.words, slot);
        if (slot + 1 < SLOTS) step.prepare(slot + 1, desk);
        if constexpr (Step::TURNED) {
            step.send(kept.words, slot, desk, out);
        } else {
#pragma unroll
            for (int i = 0; i < MOST; ++i) {
                const int piece = pieces_out<Step>(slot) + i;
                if (piece < pieces_out<Step>(slot + 1)) send<Step>(kept, piece, desk, out, rows);
            }
        }
    }
}

// What a lane's sums are multiplied by and what is added to them before they are kept: of two rows and all features.
template <bool TURNED>
struct Affine {
    unsigned biases[BLOCKS];
    float scale[2] = {1.0f, 1.0f};

    // For the warp's 16 rows from this one.
    __device__ __forceinline__ Affine(const element* bias, const float* scales, int row, int feature, int rows) {
        const int lane = lane_index();
        const element* from = bias + feature + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < BLOCKS; ++n)
            biases[n] = bias == nullptr ? 0 : *reinterpret_cast<const unsigned*>(from + n * 8);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int at = row + lane / 4 + r * 8;
            if (scales != nullptr && at < rows) scale[r] = scales[at];
        }
    }

    // The words of a block. With a factor of 1 the bits of an addition.
    __device__ __forceinline__ void apply(const float (&c)[4], int n, unsigned& first, unsigned& second) const {
        float low, high;
        unpack(biases[n], low, high);
        first = pack(fmaf(c[0], scale[0], low), fmaf(c[1], scale[0], high));
        second = pack(fmaf(c[2], scale[1], low), fmaf(c[3], scale[1], high));
    }
};

// Of two features and all rows, which have no factors.
template <>
struct Affine<true> {
    float biases[2] = {};

    // For the warpgroup's 64 features from this one.
    __device__ __forceinline__ Affine(const element* bias, const float*, int, int feature, int) {
        const int at = feature + warp_index() % 4 * 16 + lane_index() / 4;
        if (bias == nullptr) return;
        biases[0] = to_float(bias[at]);
        biases[1] = to_float(bias[at + 8]);
    }

    __device__ __forceinline__ void apply(const float (&c)[4], int, unsigned& first, unsigned& second) const {
        first = pack(c[0] + biases[0], c[1] + biases[0]);
        second = pack(c[2] + biases[1], c[3] + biases[1]);
    }
};

// A warpgroup's work; `half` says which 64 of the tiles' short side.
template <class Step>
static __device__ __forceinline__ void consume(Step step, Tiles<Step::TURNED> tiles, Ring ring, Desk desk, int half,
                                               const TensorMap& out, const element* bias,
                                               const float* scales, int rows, int depth) {
    const int lane = lane_index();
    const unsigned a = operand(ring.stages) + units(half * 64 * DEEP);
    const unsigned b = operand(ring.stages) + units(SHORT * DEEP);
    const int steps = depth / DEEP;
    Turn turn;
    float c[BLOCKS][4];
    Kept kept;
    // Nothing to finish yet: these rows do not exist.
    kept.row = rows;
    kept.feature = 0;
#pragma unroll
    for (int i = 0; i < 2 * BLOCKS; ++i) kept.words[i] = 0;
    step.fetch(rows, 0, desk);
    step.prepare(0, desk);

    // Tells all who fill it that this warp is done with a stage.
    const auto release = [&](unsigned stage) {
        if (lane < CLUSTER) arrive(ring.empty(stage), lane);
    };
    // Where a round begins.
    const auto begin = [&] {
        if (WHOLE_ROUNDS) turn.stage = 0;
    };
    // Starts the products of the next stage, and sees those of the one before to their end.
    const auto advance = [&](bool first) {
        const unsigned before = turn.stage == 0 ? STAGES - 1 : turn.stage - 1;
        wait_for(ring.full(turn.stage), turn.parity);
        const unsigned at = turn.stage * units(STAGE);
        multiply_stage(c, a + at, b + at, !first);
        if (!first) {
            wait_for_products<1>();
            release(before);
        }
        turn.next();
    };

    for (; tiles.more(); tiles.next()) {
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            advance(part == 0);
            finish(step, kept, part, desk, out, rows);
        }
        const int2 tile = tiles.tile();
        const int row = Step::TURNED ? tile.x : tile.x + half * 64 + warp_index() % 4 * 16;
        const int feature = Step::TURNED ? tile.y + half * 64 : tile.y;
        // Not before the tile in hand is finished.
        const int fetching = min(max(PARTS, steps - FETCH), steps);
        const auto advance_to = [&](int& done, int end) {
#pragma unroll 1
            for (; done < end; done += ROUND) {
                begin();
#pragma unroll
                for (int i = 0; i < ROUND; ++i) advance(false);
            }
        };
        int done = PARTS;
        advance_to(done, fetching);
        step.fetch(row, feature, desk);
        advance_to(done, steps);
        begin();

        // On their way while the last products are.
        const Affine<Step::TURNED> affine(bias, scales, row, feature, rows);
        step.start(row, feature);
        wait_for_products<0>();
        release(turn.stage == 0 ? STAGES - 1 : turn.stage - 1);
        // Keeps the compiler from moving anything that reads the sums before the wait.
#pragma unroll
        for (int n = 0; n < BLOCKS; ++n)
            asm volatile("" : "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])::"memory");
        kept.row = row;
        kept.feature = feature / (LONG / Step::OUT_FEATURES);
#pragma unroll
        for (int n = 0; n < BLOCKS; ++n) {
            affine.apply(c[n], n, kept.words[2 * n], kept.words[2 * n + 1]);
            // And from leaving this for later, when the registers hold other sums.
            asm volatile("" : "+r"(kept.words[2 * n]), "+r"(kept.words[2 * n + 1]));
        }
        step.prepare(0, desk);
    }
#pragma unroll
    for (int part = 0; part < PARTS; ++part) finish(step, kept, part, desk, out, rows);
    if (elect()) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    __syncwarp();
}

// The whole kernel, for its threads.
template <class Step>
static __device__ __forceinline__ void run(const Step& step, const TensorMap& x, const TensorMap& weights,
                                           const TensorMap& out, const element* bias,
                                           const float* scales, int rows, int features, int depth) {
    extern __shared__ __align__(1024) unsigned char shared[];
    Ring ring;
    ring.stages = shared_address(shared);
    const unsigned panels = ring.stages + STAGES * STAGE_BYTES;
    ring.barriers = panels + CONSUMER_WARPS * PANELS * PANEL_BYTES;
    const unsigned panel_barriers = ring.barriers + 2 * STAGES * 8;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; ++i) {
            set_up_barrier(ring.full(i), 1);
            set_up_barrier(ring.empty(i), CONSUMER_WARPS * CLUSTER);
        }
        for (int i = 0; i < CONSUMER_WARPS * PANELS; ++i) set_up_barrier(panel_barriers + i * 8, 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    meet();

    const Tiles<Step::TURNED> tiles(rows, features, depth);
    // By way of a shuffle the compiler knows that it is the same for a warp.
    const int warp = __shfl_sync(ALL_LANES, warp_index(), 0);
    if (warp >= CONSUMER_WARPS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (warp == CONSUMER_WARPS && elect()) produce<Step>(tiles, ring, x, weights, features, depth);
        __syncwarp();
        // No block of a cluster may leave while another still writes to its memory.
        if (CLUSTER > 1) meet();
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        const Desk desk{panels, panel_barriers, warp};
        consume(step, tiles, ring, desk, warp / 4, out, bias, scales, rows, depth);
        if (CLUSTER > 1) meet();
    }
}
