// Softmax attention on Hopper's warpgroup matrix instructions: what attention_wgmma.cu and
// attention_resident_wgmma.cu share. Four warps multiply 64 query rows at once; the matrix unit reads keys and
// values from shared memory by itself, once for all of them, which takes away the loads of operands that
// attention.cu spends on every 16 rows. For HEAD_DIM 64 and 128; needs sm_90a. The host puts wgmma_parts.cu and
// attention_parts.cu before it.

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

// Where an operand lies, for the matrix unit (wgmma_parts.cu).
static __device__ __forceinline__ unsigned operand(const element* at) {
    return shared_address(at) >> 4 | 64u << 16;
}

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

// c = a b (+ c) for a in registers and b 16x64 in shared memory: its 64 lie side by side if ACROSS, else its 16.
template <bool ACROSS>
static __device__ __forceinline__ void multiply_registers(float (*c)[4], const unsigned (&a)[4],
                                                          unsigned b, bool add) {
    asm volatile("{ .reg .pred add; .reg .b64 b; setp.ne.b32 add, %37, 0; mov.b64 b, {%36, " UPPER_HALF "}; "
                 "wgmma.mma_async.sync.aligned.m64n64k16." TYPES " " ACCUMULATORS
                 ", {%32, %33, %34, %35}, b, add, 1, 1, %38; }"
                 : ALL_PIECES
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(static_cast<int>(add)),
                   "n"(ACROSS ? 1 : 0));
}

static __device__ __forceinline__ void begin_products() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void end_products() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Keeps the compiler from moving what reads the `count` pieces to a place before this one.
static __device__ __forceinline__ void keep_behind(float (*c)[4], int count) {
#pragma unroll
    for (int n = 0; n < count; ++n)
        asm volatile("" : "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])::"memory");
}

// Waits until at most `LEFT` groups of products are under way, before anything reads `c`.
template <int LEFT, int N>
static __device__ __forceinline__ void wait_for_products(float (&c)[N][4]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
    keep_behind(c, N);
}

// Where 16 dimensions of an operand begin.
static __device__ constexpr unsigned dimensions(int k) { return units(k / 4 * PANEL + k % 4 * 16); }

// 64 rows of queries in shared memory.
struct SharedQueries {
    unsigned at;

    __device__ __forceinline__ void multiply(float (*c)[4], unsigned keys) const {
#pragma unroll
        for (int k = 0; k < HEAD_DIM / 16; ++k)
            multiply_shared(c, at + dimensions(k), keys + dimensions(k), k > 0);
    }
};

// Starts the products of queries with a block of keys. Behind the last group of 16 that has one, keys are old
// ones or nothing; their scores are not looked at.
template <class Queries>
static __device__ __forceinline__ void start_scores(float (&s)[8][4], const Queries& queries, unsigned keys) {
    begin_products();
    queries.multiply(s, keys);
    end_products();
}

// Weights of 16 * GROUPS keys, as the left operand of products with values. The matrix unit reads them while it
// works: they must not be written again before it is done.
template <int GROUPS>
struct Weights {
    unsigned words[GROUPS][4];

    __device__ __forceinline__ explicit Weights(const float (*s)[4]) {
#pragma unroll
        for (int g = 0; g < GROUPS; ++g) pack_weights(words[g], s[2 * g], s[2 * g + 1]);
    }

    // Starts adding the values by these weights to `out`, or putting them there.
    __device__ __forceinline__ void start_mixing(float (&out)[PIECES][4], unsigned values, bool add) const {
        begin_products();
#pragma unroll
        for (int g = 0; g < GROUPS; ++g)
#pragma unroll
            for (int panel = 0; panel < PANELS; ++panel)
                multiply_registers<true>(out + panel * 8, words[g], values + units(panel * PANEL + g * 16 * 64),
                                         add || g > 0);
        end_products();
    }
};

// One block of keys: 16 * GROUPS of them, of which `valid` exist. All four warps take part in the
// products; a warp without rows of its own leaves out the softmax, and its result is never stored.
template <int GROUPS, bool TAIL, class Queries>
static __device__ __forceinline__ void attend(float (&out)[PIECES][4], Running& running,
                                              const Queries& queries, unsigned keys, unsigned values,
                                              Scores scores, bool busy, int row, int first_key,
                                              int valid) {
    float s[8][4];
    start_scores(s, queries, keys);
    wait_for_products<0>(s);
    if (busy) weigh<GROUPS, TAIL>(s, out, running, scores, row, first_key, valid);
    Weights<GROUPS>(s).start_mixing(out, values, true);
    wait_for_products<0>(out);
}

// Picks the code for the number of 16-key groups at hand.
template <int GROUPS, class Queries>
static __device__ __forceinline__ void attend_tail(float (&out)[PIECES][4], Running& running,
                                                   const Queries& queries, unsigned keys, unsigned values,
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

// The next block of keys, of which `left` are still to come.
template <class Queries>
static __device__ __forceinline__ void attend_block(float (&out)[PIECES][4], Running& running,
                                                    const Queries& queries, unsigned keys, Scores scores,
                                                    bool busy, int row, int first_key, int left) {
    const unsigned values = keys + units(STAGE);
    if (left >= KEY_BLOCK)
        attend<KEY_BLOCK / 16, false>(out, running, queries, keys, values, scores, busy, row, first_key, left);
    else
        attend_tail<KEY_BLOCK / 16>(out, running, queries, keys, values, scores, busy, row, first_key, left);
}
