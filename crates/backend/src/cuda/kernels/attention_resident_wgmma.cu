// Softmax attention on Hopper for sequences of 65 to 176 tokens and heads of 64: a block takes a whole sequence
// and keeps its keys and values in shared memory, where all tiles of queries find them, and a lane keeps the
// scores of its two rows with all keys in registers: their maximum is known before the first weight is. qkv
// [tokens, 3 * num_heads * 64] and out [tokens, num_heads * 64] are as in attention.cu, `sequences` has the first
// token and the length of each. One thread has the copy engine bring everything: to copy by lanes takes a block as
// long as a tile's products. The host puts copy_engine_parts.cu and attention_parts_wgmma.cu before it.
//
// Tensor maps of qkv in boxes of 64 columns and 64 or 16 rows. Geometry: grid num_sequences * num_heads, block 128,
// dynamic shared memory 53,248 bytes: a tile of queries, keys and values.

static_assert(HEAD_DIM == 64, "a panel for a block of keys");
// Groups of 16 keys in a block, and in the shortest and the longest sequence. Scores of one more group would not
// leave room for the sums.
constexpr int BLOCK_GROUPS = KEY_BLOCK / 16;
constexpr int LEAST_GROUPS = BLOCK_GROUPS + 1;
constexpr int MOST_GROUPS = 11;
constexpr int GROUP = 16 * 64;
constexpr int MIN_BLOCKS = 4;

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
#define PIECES_5 ALL_PIECES, PIECE(8), PIECE(9)
#define PIECES_6 PIECES_5, PIECE(10), PIECE(11)
#define PIECES_7 PIECES_6, PIECE(12), PIECE(13)
#define PIECES_8 PIECES_7, PIECE(14), PIECE(15)
#define PIECES_9 PIECES_8, PIECE(16), PIECE(17)
#define PIECES_10 PIECES_9, PIECE(18), PIECE(19)
#define PIECES_11 PIECES_10, PIECE(20), PIECE(21)
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

// Exchanges words among four lanes, in N sets: word i of lane q becomes word q of lane i. All sets go side by side,
// since an exchange takes longer than its turn.
template <int N>
static __device__ __forceinline__ void transpose(unsigned (&words)[N][4]) {
    const int lane = lane_index();
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
        const bool upper = lane & step;
#pragma unroll
        for (int set = 0; set < N; ++set)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (i & step) continue;
                unsigned& low = words[set][i];
                unsigned& high = words[set][i + step];
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
    const int column = lane_index() % 4 * 2;
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
        const unsigned values = keys + units(MOST_GROUPS * GROUP + b * STAGE);
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
    attention_resident(const __grid_constant__ TensorMap tiles, const __grid_constant__ TensorMap groups,
                       element* out, const int2* sequences, int num_heads, float softmax_scale,
                       const float* alibi_slopes) {
    extern __shared__ __align__(1024) element shared[];
    __shared__ unsigned long long barriers[3];
    element* queries = shared;
    // All keys, then all values.
    element* keys = shared + PANEL;
    element* values = keys + MOST_GROUPS * GROUP;

    const int head = blockIdx.x % num_heads;
    const int2 sequence = sequences[blockIdx.x / num_heads];
    const int begin = sequence.x, length = sequence.y, width = num_heads * HEAD_DIM;
    const unsigned queries_there = shared_address(barriers);
    const unsigned keys_there = queries_there + 8, values_there = queries_there + 16;

    // What stands behind the last row is another sequence's, or nothing.
    const auto start_queries = [&](int first) {
        expect(queries_there, PANEL * 2);
        load_box<false>(shared_address(queries), tiles, head * HEAD_DIM, begin + first, queries_there);
    };
    const auto start_all = [&](element* to, int part, unsigned there) {
        const int column = part * width + head * HEAD_DIM, wanted = (length + 15) / 16;
        expect(there, wanted * GROUP * 2);
        int group = 0;
        for (; group + BLOCK_GROUPS <= wanted; group += BLOCK_GROUPS)
            load_box<false>(shared_address(to + group * GROUP), tiles, column, begin + group * 16, there);
        for (; group < wanted; ++group)
            load_box<false>(shared_address(to + group * GROUP), groups, column, begin + group * 16, there);
    };
    // By way of a shuffle the compiler knows that it is the same for a warp.
    const bool is_first_warp = __shfl_sync(ALL_LANES, warp_index(), 0) == 0;
    if (is_first_warp && elect()) {
        for (int i = 0; i < 3; ++i) set_up_barrier(queries_there + i * 8, 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        start_queries(0);
        start_all(keys, 1, keys_there);
        start_all(values, 2, values_there);
    }
    const Scores scores(softmax_scale, alibi_slopes, head);
    __syncthreads();
    wait_for(keys_there, 0);

    for (int first = 0; first < length; first += TILE) {
        wait_for(queries_there, first / TILE % 2);
        const auto queries_are_read = [&] {
            __syncthreads();
            if (first + TILE < length && is_first_warp && elect()) start_queries(first + TILE);
        };
        const auto values_are_there = [&] {
            if (first > 0) return;
            wait_for(values_there, 0);
            // A weight of zero does not hide what is no number.
            if (length % 16 == 0) return;
            const int row = length + threadIdx.x / PIECES;
            if (row < (length + 15) / 16 * 16)
                *reinterpret_cast<uint4*>(values + place(row, threadIdx.x % PIECES)) = make_uint4(0, 0, 0, 0);
            // The matrix unit reads shared memory by another path than it was written.
            asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
            __syncthreads();
        };
        Tile tile;
        tile.row = first + warp_index() * 16 + lane_index() / 4;
        attend_groups<MOST_GROUPS>(tile, operand(queries), operand(keys), scores, length, queries_are_read,
                                   values_are_there);
        if (first + warp_index() * 16 >= length) continue;

        // A lane turns pieces of two columns into two pieces of eight, of each of its rows.
        unsigned words[4][4];
        float inverse[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) inverse[h] = 1.0f / quad_sum(tile.total[h]);
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
            for (int n = 0; n < PIECES; ++n)
                words[2 * h + n / 4][n % 4] =
                    pack(tile.sums[n][2 * h] * inverse[h], tile.sums[n][2 * h + 1] * inverse[h]);
        transpose(words);
        element* to = out + static_cast<long long>(begin + tile.row) * width + head * HEAD_DIM +
                      lane_index() % 4 * 8;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            if (tile.row + h * 8 >= length) break;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const unsigned(&each)[4] = words[2 * h + half];
                *reinterpret_cast<uint4*>(to + static_cast<long long>(h) * 8 * width + half * 32) =
                    make_uint4(each[0], each[1], each[2], each[3]);
            }
        }
    }
}
