// Softmax attention of packed sequences over themselves on Hopper's warpgroup matrix instructions: the
// arguments and the plan of attention.cu, for HEAD_DIM 64 and 128. Four warps multiply 64 query rows at once;
// the matrix unit reads keys and values from shared memory by itself, once for all of them, which takes away
// the loads of operands that attention.cu spends on every 16 rows. Needs sm_90a.
//
// Geometry: grid num_tiles * num_heads, block 128, dynamic shared memory (64 + 4 * KEY_BLOCK) * HEAD_DIM * 2
// bytes; TILE is 64 query rows. (Two warpgroups on 128 rows halve the reads from the L2 cache but leave 16
// instead of 20 warps on a multiprocessor: a sixth slower on an H200.)

// Blocks of a multiprocessor, for which the compiler saves registers.
constexpr int MIN_BLOCKS = HEAD_DIM > 64 ? 3 : 5;
constexpr int THREADS = 4 * WARP;
constexpr int TILE = 64;
constexpr int KEY_BLOCK = 64;

// Shared memory holds panels of 64 dimensions: rows of 128 bytes, in which the 16-byte pieces are
// exchanged by the row's last three bits, as the matrix unit expects it.
constexpr int PANELS = HEAD_DIM / 64;
constexpr int PANEL = 64 * 64;
constexpr int PIECES = HEAD_DIM / 8;
constexpr int STAGE = PANELS * PANEL;

static __device__ __forceinline__ int place(int row, int piece) {
    return piece / 8 * PANEL + row * 64 + (piece % 8 ^ row % 8) * 8;
}

// Rows that the block copies in one pass; a thread keeps to one 16-byte piece of every PASS-th row.
constexpr int PASS = THREADS / PIECES;

// Starts copying `valid` rows, followed by rows of zeros up to the next multiple of 16 (see attention.cu).
// `to` and `from` are the thread's own piece of the first row, which is `row` of the first pass. Almost all
// instructions of this kernel besides the softmax are spent here, so blocks that are full are not tested.
static __device__ __forceinline__ void start_rows(element* to, const element* from, long long pass_stride,
                                                  int row, int valid) {
    if (valid >= 64) {
#pragma unroll
        for (int at = 0; at < 64; at += PASS, from += pass_stride)
            start_copy(to + place(at, 0), from, true);
    } else {
        const int wanted = (valid + 15) / 16 * 16;
#pragma unroll
        for (int at = 0; at < 64; at += PASS, from += pass_stride)
            if (at < wanted) start_copy(to + place(at, 0), from, at + row < valid);
    }
}

// Where an operand lies, for the matrix unit: its address counted in units of 16 bytes, so that adding
// moves it. The upper half of the description is the same for all: 1024 bytes from one group of eight rows
// to the next, and exchanged pieces.
static __device__ __forceinline__ unsigned operand(const element* at) {
    return shared_address(at) >> 4 | 64u << 16;
}

#define UPPER_HALF "0x40000040"

static __device__ constexpr unsigned units(int elements) { return elements / 8; }

#if defined(ELEMENT_BF16)
#define TYPES "f32.bf16.bf16"
#else
#define TYPES "f32.f16.f16"
#endif
#define ACCUMULATORS                                                                                     \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "  \
    "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define PIECE(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define ALL_PIECES PIECE(0), PIECE(1), PIECE(2), PIECE(3), PIECE(4), PIECE(5), PIECE(6), PIECE(7)

// c = a b (+ c) for a 64x16 and b 16x64, both with their 16 side by side in shared memory.
static __device__ __forceinline__ void multiply_shared(float (*c)[4], unsigned a, unsigned b, bool add) {
    asm volatile("{ .reg .pred add; .reg .b64 a, b; setp.ne.b32 add, %34, 0; "
                 "mov.b64 a, {%32, " UPPER_HALF "}; mov.b64 b, {%33, " UPPER_HALF "}; "
                 "wgmma.mma_async.sync.aligned.m64n64k16." TYPES " " ACCUMULATORS
                 ", a, b, add, 1, 1, 0, 0; }"
                 : ALL_PIECES
                 : "r"(a), "r"(b), "r"(static_cast<int>(add)));
}

// c += a b for a in registers and b 16x64 with its 64 side by side in shared memory.
static __device__ __forceinline__ void multiply_registers(float (*c)[4], const unsigned (&a)[4],
                                                          unsigned b) {
    asm volatile("{ .reg .b64 b; mov.b64 b, {%36, " UPPER_HALF "}; "
                 "wgmma.mma_async.sync.aligned.m64n64k16." TYPES " " ACCUMULATORS
                 ", {%32, %33, %34, %35}, b, 1, 1, 1, 1; }"
                 : ALL_PIECES
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b));
}

static __device__ __forceinline__ void begin_products() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void finish_products() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// One block of keys: 16 * GROUPS of them, of which `valid` exist. All four warps take part in the
// products; a warp without rows of its own leaves out the softmax, and its result is never stored.
template <int GROUPS, bool TAIL>
static __device__ __forceinline__ void attend(float (&out)[PIECES][4], Running& running,
                                              unsigned queries, unsigned keys, unsigned values,
                                              Scores scores, bool busy, int row, int first_key,
                                              int valid) {
    float s[8][4];
    // Keys beyond the last group are old ones or nothing; their scores are not looked at.
    begin_products();
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; ++k) {
        const unsigned at = units(k / 4 * PANEL + k % 4 * 16);
        multiply_shared(s, queries + at, keys + at, k > 0);
    }
    finish_products();
    if (busy) weigh<GROUPS, TAIL>(s, out, running, scores, row, first_key, valid);
    unsigned p[GROUPS][4];
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) pack_weights(p[g], s[2 * g], s[2 * g + 1]);
    begin_products();
#pragma unroll
    for (int g = 0; g < GROUPS; ++g)
#pragma unroll
        for (int panel = 0; panel < PANELS; ++panel)
            multiply_registers(out + panel * 8, p[g], values + units(panel * PANEL + g * 16 * 64));
    finish_products();
}

// Picks the code for the number of 16-key groups at hand.
template <int GROUPS>
static __device__ __forceinline__ void attend_tail(float (&out)[PIECES][4], Running& running,
                                                   unsigned queries, unsigned keys, unsigned values,
                                                   Scores scores, bool busy, int row, int first_key,
                                                   int valid) {
    if constexpr (GROUPS > 1) {
        if (valid <= 16 * (GROUPS - 1)) {
            attend_tail<GROUPS - 1>(out, running, queries, keys, values, scores, busy, row, first_key, valid);
            return;
        }
    }
    attend<GROUPS, true>(out, running, queries, keys, values, scores, busy, row, first_key, valid);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    attention(const element* qkv, element* out, const int* cu_seqlens, const int2* tiles, int num_heads,
              float softmax_scale, const float* alibi_slopes) {
    extern __shared__ __align__(1024) element shared[];
    element* queries = shared;
    element* stages = shared + STAGE;

    const int head = blockIdx.x % num_heads;
    const int2 tile = tiles[blockIdx.x / num_heads];
    const int begin = cu_seqlens[tile.x];
    const int length = cu_seqlens[tile.x + 1] - begin;
    const int width = num_heads * HEAD_DIM;
    const long long row_stride = 3LL * width;
    const element* sequence = qkv + begin * row_stride + head * HEAD_DIM;
    const int lane = lane_index();
    const int first_row = tile.y + warp_index() * 16;
    const bool busy = first_row < length;

    const int copy_row = threadIdx.x / PIECES, copy_piece = threadIdx.x % PIECES;
    const int copy_to = place(copy_row, copy_piece);
    const long long pass_stride = PASS * row_stride;
    const element* from = sequence + copy_row * row_stride + copy_piece * 8;
    start_rows(queries + copy_to, from + tile.y * row_stride, pass_stride, copy_row, length - tile.y);
    from += width;
    start_rows(stages + copy_to, from, pass_stride, copy_row, length);
    start_rows(stages + STAGE + copy_to, from + width, pass_stride, copy_row, length);

    Scores scores;
    scores.scale = softmax_scale * LOG2_E;
    scores.slope = alibi_slopes ? alibi_slopes[head] * LOG2_E : 0.0f;
    Running running;
    float sum[PIECES][4];
#pragma unroll
    for (int n = 0; n < PIECES; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[n][i] = 0.0f;

    for (int first_key = 0; first_key < length; first_key += KEY_BLOCK) {
        wait_for_copies();
        // The matrix unit reads shared memory by another path than the copies wrote it.
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        // Everybody's copies are there, and nobody still reads the stage that is filled next.
        __syncthreads();
        const unsigned keys = operand(stages + first_key / KEY_BLOCK % 2 * 2 * STAGE);
        const unsigned values = keys + units(STAGE);
        const int left = length - first_key;
        if (left > KEY_BLOCK) {
            element* next = stages + (first_key / KEY_BLOCK + 1) % 2 * 2 * STAGE + copy_to;
            from += KEY_BLOCK * row_stride;
            start_rows(next, from, pass_stride, copy_row, left - KEY_BLOCK);
            start_rows(next + STAGE, from + width, pass_stride, copy_row, left - KEY_BLOCK);
        }
        const int row = first_row + lane / 4;
        if (left >= KEY_BLOCK)
            attend<KEY_BLOCK / 16, false>(sum, running, operand(queries), keys, values, scores, busy, row,
                                          first_key, left);
        else
            attend_tail<KEY_BLOCK / 16>(sum, running, operand(queries), keys, values, scores, busy, row,
                                        first_key, left);
    }

    // The queries are done with; a warp turns its accumulators into rows in their place.
    __syncthreads();
    if (!busy) return;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        const float inverse = 1.0f / quad_sum(running.total[h]);
        const int row = warp_index() * 16 + h * 8 + lane / 4;
#pragma unroll
        for (int n = 0; n < PIECES; ++n)
            *reinterpret_cast<unsigned*>(queries + place(row, n) + lane % 4 * 2) =
                pack(sum[n][2 * h] * inverse, sum[n][2 * h + 1] * inverse);
    }
    __syncwarp();
    element* to = out + static_cast<long long>(begin + first_row) * width + head * HEAD_DIM;
#pragma unroll
    for (int i = 0; i < 16 * PIECES / WARP; ++i) {
        const int item = i * WARP + lane;
        const int row = item / PIECES, piece = item % PIECES;
        if (row < length - first_row)
            *reinterpret_cast<uint4*>(to + static_cast<long long>(row) * width + piece * 8) =
                *reinterpret_cast<const uint4*>(queries + place(warp_index() * 16 + row, piece));
    }
}
