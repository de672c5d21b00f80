// Softmax attention on Hopper for sequences of 65 to 192 tokens and heads of 64: a block takes a whole sequence
// and keeps its keys and values in shared memory, where all tiles of queries find them, and a lane keeps the
// scores of its two rows with all keys in registers: their maximum is known before the first weight is. The
// arguments are those of attention_wgmma.cu, but for `sequences`, which has numbers of sequences. The host puts
// attention_parts_wgmma.cu before it.
//
// Geometry: grid num_sequences * num_heads, block 128, dynamic shared memory 57,344 bytes: a tile of queries, three
// blocks of keys and three of values.

static_assert(HEAD_DIM == 64, "a panel for a block of keys");
constexpr int KEY_BLOCKS = 3;
// Groups of 16 keys in a block, and in the shortest and the longest sequence.
constexpr int BLOCK_GROUPS = KEY_BLOCK / 16;
constexpr int LEAST_GROUPS = BLOCK_GROUPS + 1;
constexpr int MOST_GROUPS = KEY_BLOCKS * BLOCK_GROUPS;
// Their shared memory, with the kilobyte that each has reserved, is all that a multiprocessor has.
constexpr int MIN_BLOCKS = 4;

// Marks the end of a group of copies.
static __device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `LEFT` groups of the thread's own copies are under way.
template <int LEFT>
static __device__ __forceinline__ void wait_for_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// Everybody sees what all threads' copies have brought, and so does the matrix unit, which reads shared memory
// by another path than the copies wrote it.
static __device__ __forceinline__ void meet() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
}

// c = a b (+ c) for a 64x16 and b 16 x 16 * GROUPS, both with their 16 side by side in shared memory.
template <int GROUPS>
static __device__ __forceinline__ void multiply_wide(float (&c)[2 * GROUPS][4], unsigned a, unsigned b, bool add);

#define FOUR_GROUPS                                                                                       \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "    \
    "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define FIVE_GROUPS FOUR_GROUPS ", %32, %33, %34, %35, %36, %37, %38, %39"
#define SIX_GROUPS FIVE_GROUPS ", %40, %41, %42, %43, %44, %45, %46, %47"
#define SEVEN_GROUPS SIX_GROUPS ", %48, %49, %50, %51, %52, %53, %54, %55"
#define EIGHT_GROUPS SEVEN_GROUPS ", %56, %57, %58, %59, %60, %61, %62, %63"
#define NINE_GROUPS EIGHT_GROUPS ", %64, %65, %66, %67, %68, %69, %70, %71"
#define TEN_GROUPS NINE_GROUPS ", %72, %73, %74, %75, %76, %77, %78, %79"
#define ELEVEN_GROUPS TEN_GROUPS ", %80, %81, %82, %83, %84, %85, %86, %87"
#define TWELVE_GROUPS ELEVEN_GROUPS ", %88, %89, %90, %91, %92, %93, %94, %95"
#define PIECES_5 ALL_PIECES, PIECE(8), PIECE(9)
#define PIECES_6 PIECES_5, PIECE(10), PIECE(11)
#define PIECES_7 PIECES_6, PIECE(12), PIECE(13)
#define PIECES_8 PIECES_7, PIECE(14), PIECE(15)
#define PIECES_9 PIECES_8, PIECE(16), PIECE(17)
#define PIECES_10 PIECES_9, PIECE(18), PIECE(19)
#define PIECES_11 PIECES_10, PIECE(20), PIECE(21)
#define PIECES_12 PIECES_11, PIECE(22), PIECE(23)
#define MULTIPLY_WIDE(GROUPS, KEYS, LIST, OPERANDS, A, B, ADD)                                           \
    template <>                                                                                           \
    __device__ __forceinline__ void multiply_wide<GROUPS>(float (&c)[2 * GROUPS][4], unsigned a,         \
                                                          unsigned b, bool add) {                        \
        asm volatile("{ .reg .pred add; .reg .b64 a, b; setp.ne.b32 add, %" ADD ", 0; "                   \
                     "mov.b64 a, {%" A ", " UPPER_HALF "}; mov.b64 b, {%" B ", " UPPER_HALF "}; "         \
                     "wgmma.mma_async.sync.aligned.m64n" KEYS "k16." TYPES " {" LIST                      \
                     "}, a, b, add, 1, 1, 0, 0; }"                                                        \
                     : OPERANDS                                                                           \
                     : "r"(a), "r"(b), "r"(static_cast<int>(add)));                                       \
    }
MULTIPLY_WIDE(5, "80", FIVE_GROUPS, PIECES_5, "40", "41", "42")
MULTIPLY_WIDE(6, "96", SIX_GROUPS, PIECES_6, "48", "49", "50")
MULTIPLY_WIDE(7, "112", SEVEN_GROUPS, PIECES_7, "56", "57", "58")
MULTIPLY_WIDE(8, "128", EIGHT_GROUPS, PIECES_8, "64", "65", "66")
MULTIPLY_WIDE(9, "144", NINE_GROUPS, PIECES_9, "72", "73", "74")
MULTIPLY_WIDE(10, "160", TEN_GROUPS, PIECES_10, "80", "81", "82")
MULTIPLY_WIDE(11, "176", ELEVEN_GROUPS, PIECES_11, "88", "89", "90")
MULTIPLY_WIDE(12, "192", TWELVE_GROUPS, PIECES_12, "96", "97", "98")

// Exchanges words among four lanes: word i of lane q becomes word q of lane i.
static __device__ __forceinline__ void transpose(unsigned (&words)[4]) {
    const int lane = lane_index();
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
        const bool upper = lane & step;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (i & step) continue;
            unsigned& low = words[i];
            unsigned& high = words[i + step];
            const unsigned other = __shfl_xor_sync(ALL_LANES, upper ? low : high, step);
            (upper ? low : high) = other;
        }
    }
}

// What a tile of queries comes to.
struct Tile {
    // Sums of values by weight, and this lane's share of the weights of its two rows.
    float sums[PIECES][4], total[2];
    // This lane's first row.
    int row;
};

// A tile of queries and all keys of its sequence, 16 * GROUPS or up to 15 fewer. A warp without rows of its own does
// what the others do: branches around it would take more registers than there are, and then the compiler has the
// matrix unit wait after every product. `queries_are_read` is called once they are, and `values_are_there` before the
// first of them is needed.
template <int GROUPS, class Read, class There>
static __device__ __forceinline__ void attend_whole(Tile& tile, unsigned queries, unsigned keys,
                                                    const Scores& scores, int length,
                                                    const Read& queries_are_read,
                                                    const There& values_are_there) {
    constexpr int USED = 2 * GROUPS;
    const int column = lane_index() % 4 * 2;
    float s[USED][4];
    begin_products();
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; ++k)
        multiply_wide<GROUPS>(s, queries + dimensions(k), keys + dimensions(k), k > 0);
    end_products();
    wait_for_products<0>(s);
    queries_are_read();

    // Both rows side by side and in two strands: a warp waits for its own last instruction more than for its turn.
    const bool is_tilted = scores.slope != 0.0f;
    const float factor = is_tilted ? 1.0f : scores.scale;
    float tops[2][2] = {{MINUS_INFINITY, MINUS_INFINITY}, {MINUS_INFINITY, MINUS_INFINITY}};
    if (is_tilted) {
#pragma unroll
        for (int n = 0; n < USED; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int away = abs(tile.row + i / 2 * 8 - (n * 8 + column + i % 2));
                s[n][i] = s[n][i] * scores.scale - scores.slope * static_cast<float>(away);
            }
    }
#pragma unroll
    for (int n = USED - 2; n < USED; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (n * 8 + column + i % 2 >= length) s[n][i] = MINUS_INFINITY;
#pragma unroll
    for (int n = 0; n < USED; ++n)
#pragma unroll
        for (int h = 0; h < 2; ++h)
            tops[h][n % 2] = fmaxf(tops[h][n % 2], fmaxf(s[n][2 * h], s[n][2 * h + 1]));
    float shift[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) shift[h] = fmaxf(tops[h][0], tops[h][1]);
    // The four lanes of a row.
#pragma unroll
    for (int step = 1; step < 4; step *= 2)
#pragma unroll
        for (int h = 0; h < 2; ++h)
            shift[h] = fmaxf(shift[h], __shfl_xor_sync(ALL_LANES, shift[h], step));
#pragma unroll
    for (int h = 0; h < 2; ++h) shift[h] *= factor;

    values_are_there();
    // The weights of a block while the matrix unit adds the values of the block before.
    float totals[2][2] = {};
    constexpr int BLOCKS = (GROUPS + BLOCK_GROUPS - 1) / BLOCK_GROUPS;
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b) {
#pragma unroll
        for (int n = b * 8; n < (b + 1) * 8; ++n) {
            if (n >= USED) continue;
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                float& left = s[n][2 * h];
                float& right = s[n][2 * h + 1];
                left = exp2_fast(left * factor - shift[h]);
                right = exp2_fast(right * factor - shift[h]);
                totals[h][n % 2] += left + right;
            }
        }
        const unsigned values = keys + units((KEY_BLOCKS + b) * STAGE);
        if (b < BLOCKS - 1) {
            Weights<BLOCK_GROUPS>(s + b * 8).start_mixing(tile.sums, values, b > 0);
            keep_behind(s + (b + 1) * 8, min(8, USED - (b + 1) * 8));
        } else {
            Weights<GROUPS - (BLOCKS - 1) * BLOCK_GROUPS>(s + b * 8).start_mixing(tile.sums, values, b > 0);
        }
    }
    wait_for_products<0>(tile.sums);
#pragma unroll
    for (int h = 0; h < 2; ++h) tile.total[h] = totals[h][0] + totals[h][1];
}

// Picks the code for the number of groups at hand.
template <int GROUPS, class Read, class There>
static __device__ __forceinline__ void attend_groups(Tile& tile, unsigned queries, unsigned keys,
                                                     const Scores& scores, int length,
                                                     const Read& queries_are_read,
                                                     const There& values_are_there) {
    if constexpr (GROUPS > LEAST_GROUPS) {
        if (length <= 16 * (GROUPS - 1)) {
            attend_groups<GROUPS - 1>(tile, queries, keys, scores, length, queries_are_read, values_are_there);
            return;
        }
    }
    attend_whole<GROUPS>(tile, queries, keys, scores, length, queries_are_read, values_are_there);
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    attention_resident(const element* qkv, element* out, const int* cu_seqlens, const int* sequences,
                       int num_heads, float softmax_scale, const float* alibi_slopes) {
    extern __shared__ __align__(1024) element shared[];
    element* queries = shared;
    // All blocks of keys, then all blocks of values.
    element* stages = shared + PANEL;

    const int head = blockIdx.x % num_heads;
    const int sequence = sequences[blockIdx.x / num_heads];
    const int begin = cu_seqlens[sequence];
    const int length = cu_seqlens[sequence + 1] - begin;
    const int width = num_heads * HEAD_DIM;

    // Starts copying rows of queries (0), keys (1) or values (2). Places are worked out anew each time: registers are
    // what this kernel is short of.
    const auto start = [&](element* to, int part, int first) {
        const int row = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
        const long long row_stride = 3LL * width;
        const element* from =
            qkv + (begin + first + row) * row_stride + part * width + head * HEAD_DIM + piece * 8;
        start_rows(to + place(row, piece), from, PASS * row_stride, row, length - first);
    };
    start(queries, 0, 0);
#pragma unroll
    for (int part = 1; part < 3; ++part) {
        // Keys with the first queries, values behind them.
#pragma unroll 1
        for (int block = 0; block * KEY_BLOCK < length; ++block)
            start(stages + ((part - 1) * KEY_BLOCKS + block) * STAGE, part, block * KEY_BLOCK);
        end_group();
    }

    const Scores scores(softmax_scale, alibi_slopes, head);

    for (int first = 0; first < length; first += TILE) {
        if (first == 0)
            wait_for_groups<1>();
        else
            wait_for_groups<0>();
        meet();
        const auto queries_are_read = [&] {
            __syncthreads();
            if (first + TILE < length) start(queries, 0, first + TILE);
            end_group();
        };
        const auto values_are_there = [&] {
            if (first > 0) return;
            wait_for_groups<1>();
            meet();
        };
        Tile tile;
        tile.row = first + warp_index() * 16 + lane_index() / 4;
        attend_groups<MOST_GROUPS>(tile, operand(queries), operand(stages), scores, length, queries_are_read,
                                   values_are_there);
        if (first + warp_index() * 16 >= length) continue;

        // A lane turns pieces of two columns into two pieces of eight, of each of its rows.
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            const float inverse = 1.0f / quad_sum(tile.total[h]);
            const int row = tile.row + h * 8;
            element* to = out + static_cast<long long>(begin + row) * width + head * HEAD_DIM;
#pragma unroll
            for (int half = 0; half < PIECES; half += 4) {
                unsigned words[4];
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    words[i] =
                        pack(tile.sums[half + i][2 * h] * inverse, tile.sums[half + i][2 * h + 1] * inverse);
                transpose(words);
                if (row < length)
                    *reinterpret_cast<uint4*>(to + (half + lane_index() % 4) * 8) =
                        make_uint4(words[0], words[1], words[2], words[3]);
            }
        }
    }
}
