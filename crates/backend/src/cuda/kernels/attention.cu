// Softmax attention of packed sequences over themselves, for f16 and bf16: FlashAttention-2 (Dao 2023)
// on the warp-wide matrix instructions, so that it runs from sm_75 on.
//
// A block takes one head and one tile of TILE query rows of one sequence, and goes over the keys of that
// sequence from its first one in blocks of KEY_BLOCK; a warp owns 16 * ROW_TILES query rows. While a
// block of keys is worked on, the next one is on its way to shared memory. Keys past the end cost
// nothing beyond the next multiple of 16, and query rows past the end leave their warp idle. Nothing
// depends on the other sequences or on the grid, so neither do the bits.
//
// Compile with -DHEAD_DIM=n, a multiple of 8. Geometry: grid num_tiles * num_heads (heads fastest, so that
// blocks running together read neighbouring memory), block 32 * WARPS, dynamic shared memory
// (TILE + 4 * KEY_BLOCK) * (HEAD_DIM rounded up to 16, + 8) * 2 bytes. `tiles` lists (sequence, first
// query row) with first rows at multiples of TILE, which is 64 for every HEAD_DIM; its order changes the
// time only (longest sequence first is best). The macros below are there for bench/kernel_lab to vary.

#ifndef WARPS
#define WARPS 4
#endif
#ifndef ROW_TILES
#define ROW_TILES 1
#endif
#ifndef KEY_BLOCK
#define KEY_BLOCK (HEAD_DIM > 80 ? 32 : 64)
#endif
// Blocks of a multiprocessor, for which the compiler saves registers.
#ifndef MIN_BLOCKS
#define MIN_BLOCKS (HEAD_DIM > 64 ? 3 : 4)
#endif

constexpr int THREADS = WARPS * WARP;
constexpr int WARP_ROWS = 16 * ROW_TILES;
constexpr int TILE = WARPS * WARP_ROWS;
// The matrix instructions take 16 dimensions at a time; the missing ones are zeros.
constexpr int WIDE = (HEAD_DIM + 15) / 16 * 16;
constexpr int STEPS = WIDE / 16;
// A row in shared memory is an odd number of 16-byte pieces, so that the same piece of eight
// rows in succession lies in different banks.
constexpr int PIECES = WIDE / 8;
constexpr int STRIDE = WIDE + 8;
constexpr int STAGE = KEY_BLOCK * STRIDE;

// Rows that the block copies in one pass; a thread keeps to one 16-byte piece of every PASS-th row.
constexpr int PASS = THREADS / PIECES;

// A thread's share of the copies.
struct Share {
    int row, piece;

    __device__ Share() {
        row = threadIdx.x / PIECES;
        piece = threadIdx.x % PIECES;
        // Threads left over by the division of the block into rows copy nothing.
        if (row >= PASS) row = 1 << 20;
    }

    __device__ int place() const { return row * STRIDE + piece * 8; }
    __device__ bool real() const { return WIDE == HEAD_DIM || piece < HEAD_DIM / 8; }
};

// Starts copying `valid` rows, followed by rows of zeros up to the next multiple of 16: a key past the
// end has weight 0, and 0 times whatever lies in memory there could be NaN. `to` and `from` are the
// thread's own piece of its first row. These copies are the most instructions besides the softmax, so
// blocks that are full are not tested.
template <int ROWS>
static __device__ __forceinline__ void start_rows(element* to, const element* from, long long pass_stride,
                                                  Share share, int valid) {
    constexpr bool EXACT = THREADS % PIECES == 0 && ROWS % PASS == 0;
    if (valid >= ROWS) {
#pragma unroll
        for (int at = 0; at < ROWS; at += PASS, from += pass_stride)
            if (EXACT || at + share.row < ROWS) start_copy(to + at * STRIDE, from, share.real());
    } else {
        const int wanted = (valid + 15) / 16 * 16;
#pragma unroll
        for (int at = 0; at < ROWS; at += PASS, from += pass_stride)
            if (at + share.row < wanted)
                start_copy(to + at * STRIDE, from, share.real() && at + share.row < valid);
    }
}

// Four 8x8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
static __device__ __forceinline__ void load_matrices(unsigned (&r)[4], const element* at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(at))
                 : "memory");
}

static __device__ __forceinline__ void load_transposed(unsigned (&r)[4], const element* at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(at))
                 : "memory");
}

// c += a b for a 16x16, b 16x8, c 16x8 in f32.
static __device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0,
                                                unsigned b1) {
#if __CUDA_ARCH__ >= 800
#if defined(ELEMENT_BF16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
#endif
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    // sm_75 multiplies half as deep; its registers are those of either half.
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

// What a warp carries from one block of keys to the next.
struct State {
    unsigned q[ROW_TILES][STEPS][4];
    float out[ROW_TILES][PIECES][4];
    Running running[ROW_TILES];
};

// One block of keys: 16 * GROUPS of them, of which `valid` exist; TAIL: not all do.
template <int GROUPS, bool TAIL>
static __device__ __forceinline__ void attend(State& state, const element* keys, const element* values,
                                              Scores scores, int first_row, int first_key, int valid) {
    const int lane = lane_index();
    const element* key_at = keys + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;
    const element* value_at = values + lane % 16 * STRIDE + lane / 16 * 8;

    float s[ROW_TILES][2 * GROUPS][4];
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
#pragma unroll
        for (int r = 0; r < ROW_TILES; ++r)
#pragma unroll
            for (int i = 0; i < 4; ++i) s[r][2 * g][i] = s[r][2 * g + 1][i] = 0.0f;
#pragma unroll
        for (int k = 0; k < STEPS; ++k) {
            unsigned b[4];
            load_matrices(b, key_at + g * 16 * STRIDE + k * 16);
#pragma unroll
            for (int r = 0; r < ROW_TILES; ++r) {
                multiply(s[r][2 * g], state.q[r][k], b[0], b[1]);
                multiply(s[r][2 * g + 1], state.q[r][k], b[2], b[3]);
            }
        }
    }

#pragma unroll
    for (int r = 0; r < ROW_TILES; ++r)
        weigh<GROUPS, TAIL>(s[r], state.out[r], state.running[r], scores, first_row + r * 16 + lane / 4,
                            first_key, valid);

#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        unsigned p[ROW_TILES][4];
#pragma unroll
        for (int r = 0; r < ROW_TILES; ++r) pack_weights(p[r], s[r][2 * g], s[r][2 * g + 1]);
#pragma unroll
        for (int n = 0; n < STEPS; ++n) {
            unsigned b[4];
            load_transposed(b, value_at + g * 16 * STRIDE + n * 16);
#pragma unroll
            for (int r = 0; r < ROW_TILES; ++r) {
                multiply(state.out[r][2 * n], p[r], b[0], b[1]);
                multiply(state.out[r][2 * n + 1], p[r], b[2], b[3]);
            }
        }
    }
}

// Picks the code without guards for the number of 16-key groups at hand.
template <int GROUPS>
static __device__ __forceinline__ void attend_tail(State& state, const element* keys,
                                                   const element* values, Scores scores, int first_row,
                                                   int first_key, int valid) {
    if constexpr (GROUPS > 1) {
        if (valid <= 16 * (GROUPS - 1)) {
            attend_tail<GROUPS - 1>(state, keys, values, scores, first_row, first_key, valid);
            return;
        }
    }
    attend<GROUPS, true>(state, keys, values, scores, first_row, first_key, valid);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    attention(const element* qkv, element* out, const int* cu_seqlens, const int2* tiles, int num_heads,
              float softmax_scale, const float* alibi_slopes) {
    extern __shared__ uint4 shared[];
    element* queries = reinterpret_cast<element*>(shared);
    element* stages = queries + TILE * STRIDE;

    const int head = blockIdx.x % num_heads;
    const int2 tile = tiles[blockIdx.x / num_heads];
    const int begin = cu_seqlens[tile.x];
    const int length = cu_seqlens[tile.x + 1] - begin;
    const int width = num_heads * HEAD_DIM;
    const long long row_stride = 3LL * width;
    const element* sequence = qkv + begin * row_stride + head * HEAD_DIM;
    const int lane = lane_index();
    const int warp_row = warp_index() * WARP_ROWS;
    const int first_row = tile.y + warp_row;

    const Share share;
    const int copy_to = share.place();
    const long long pass_stride = PASS * row_stride;
    const element* from = sequence + share.row * row_stride + share.piece * 8;
    start_rows<TILE>(queries + copy_to, from + tile.y * row_stride, pass_stride, share, length - tile.y);
    from += width;
    start_rows<KEY_BLOCK>(stages + copy_to, from, pass_stride, share, length);
    start_rows<KEY_BLOCK>(stages + STAGE + copy_to, from + width, pass_stride, share, length);

    const Scores scores(softmax_scale, alibi_slopes, head);
    State state;
#pragma unroll
    for (int r = 0; r < ROW_TILES; ++r)
#pragma unroll
        for (int n = 0; n < PIECES; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) state.out[r][n][i] = 0.0f;

    for (int first_key = 0; first_key < length; first_key += KEY_BLOCK) {
        wait_for_copies();
        // Everybody's copies are there, and nobody still reads the stage that is filled next.
        __syncthreads();
        element* keys = stages + first_key / KEY_BLOCK % 2 * 2 * STAGE;
        const int left = length - first_key;
        if (left > KEY_BLOCK) {
            element* next = stages + (first_key / KEY_BLOCK + 1) % 2 * 2 * STAGE + copy_to;
            from += KEY_BLOCK * row_stride;
            start_rows<KEY_BLOCK>(next, from, pass_stride, share, left - KEY_BLOCK);
            start_rows<KEY_BLOCK>(next + STAGE, from + width, pass_stride, share, left - KEY_BLOCK);
        }
        if (first_row >= length) continue;
        if (first_key == 0)
#pragma unroll
            for (int r = 0; r < ROW_TILES; ++r)
#pragma unroll
                for (int k = 0; k < STEPS; ++k)
                    load_matrices(state.q[r][k], queries + (warp_row + r * 16 + lane % 16) * STRIDE +
                                                     k * 16 + lane / 16 * 8);
        if (left >= KEY_BLOCK)
            attend<KEY_BLOCK / 16, false>(state, keys, keys + STAGE, scores, first_row, first_key, left);
        else
            attend_tail<KEY_BLOCK / 16>(state, keys, keys + STAGE, scores, first_row, first_key, left);
    }
    if (first_row >= length) return;

    // Each warp's own queries are in registers by now, so their place serves to turn accumulators
    // into rows that leave in full width.
    element* turn = queries + warp_row * STRIDE;
#pragma unroll
    for (int r = 0; r < ROW_TILES; ++r)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            const float inverse = 1.0f / quad_sum(state.running[r].total[h]);
#pragma unroll
            for (int n = 0; n < PIECES; ++n)
                *reinterpret_cast<unsigned*>(turn + (r * 16 + h * 8 + lane / 4) * STRIDE + n * 8 +
                                             lane % 4 * 2) =
                    pack(state.out[r][n][2 * h] * inverse, state.out[r][n][2 * h + 1] * inverse);
        }
    __syncwarp();
    element* to = out + static_cast<long long>(begin + first_row) * width + head * HEAD_DIM;
    constexpr int ROW_PIECES = HEAD_DIM / 8;
#pragma unroll
    for (int i = 0; i < (WARP_ROWS * ROW_PIECES + WARP - 1) / WARP; ++i) {
        const int item = i * WARP + lane;
        const int row = item / ROW_PIECES, piece = item % ROW_PIECES;
        if (row < min(WARP_ROWS, length - first_row))
            *reinterpret_cast<uint4*>(to + static_cast<long long>(row) * width + piece * 8) =
                *reinterpret_cast<const uint4*>(turn + row * STRIDE + piece * 8);
    }
}
