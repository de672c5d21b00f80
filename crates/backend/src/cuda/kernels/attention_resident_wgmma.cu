// Softmax attention on Hopper for sequences of at most 192 tokens and heads of 64: a block takes a whole
// sequence and keeps its keys and values in shared memory, where all tiles of queries find them, instead of
// bringing them again for each. Products, their order and the softmax are those of attention_wgmma.cu, and so
// are the bits; the arguments too, but for `sequences`, which has numbers of sequences. The host puts
// attention_parts_wgmma.cu before it.
//
// Geometry: grid num_sequences * num_heads, block 128, dynamic shared memory 57,344 bytes: a tile of queries,
// three blocks of keys and three of values.

static_assert(HEAD_DIM == 64, "a panel for a block of keys");
constexpr int KEY_BLOCKS = 3;
static_assert(KEY_BLOCKS == 3, "one wait for each block below");
// Their shared memory, with the kilobyte that each has reserved, is all that a multiprocessor has.
constexpr int MIN_BLOCKS = 4;

// A warp's 16 rows of queries, as the left operand of products with keys.
struct HeldQueries {
    unsigned words[HEAD_DIM / 16][4];

    // From the warp's rows of a panel.
    __device__ __forceinline__ void load(const element* rows) {
        const int row = lane_index() % 16, half = lane_index() / 16;
#pragma unroll
        for (int k = 0; k < HEAD_DIM / 16; ++k)
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                         : "=r"(words[k][0]), "=r"(words[k][1]), "=r"(words[k][2]), "=r"(words[k][3])
                         : "r"(shared_address(rows + place(row, 2 * k + half)))
                         : "memory");
    }

    __device__ __forceinline__ void multiply(float (*c)[4], unsigned keys) const {
#pragma unroll
        for (int k = 0; k < HEAD_DIM / 16; ++k)
            multiply_registers<false>(c, words[k], keys + dimensions(k), k > 0);
    }
};

// Marks the end of a group of copies.
static __device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `LEFT` groups of the thread's own copies are under way.
template <int LEFT>
static __device__ __forceinline__ void wait_for_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

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

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    attention_resident(const element* qkv, element* out, const int* cu_seqlens, const int* sequences,
                       int num_heads, float softmax_scale, const float* alibi_slopes) {
    extern __shared__ __align__(1024) element shared[];
    // Pairs of a block of keys and its values.
    element* stages = shared + PANEL;

    const int head = blockIdx.x % num_heads;
    const int sequence = sequences[blockIdx.x / num_heads];
    const int begin = cu_seqlens[sequence];
    const int length = cu_seqlens[sequence + 1] - begin;
    const int width = num_heads * HEAD_DIM;
    const long long row_stride = 3LL * width;
    const element* from = qkv + begin * row_stride + head * HEAD_DIM;
    const int lane = lane_index();
    const int warp_row = warp_index() * 16;

    // A warp copies and reads its queries by itself: 16 rows of a tile, a lane every fourth.
    const int copy_row = threadIdx.x / PIECES, copy_piece = threadIdx.x % PIECES;
    element* queries = shared + warp_row * 64;
    const int query_row = warp_row + lane / PIECES;
    const element* query_from = from + query_row * row_stride + copy_piece * 8;
    const auto start_queries = [&](int tile) {
#pragma unroll
        for (int i = 0; i < 16; i += 4)
            start_copy(shared + place(query_row + i, copy_piece), query_from + (tile + i) * row_stride,
                       tile + query_row + i < length);
    };
    start_queries(0);
    from += copy_row * row_stride + copy_piece * 8 + width;
#pragma unroll
    for (int i = 0; i < KEY_BLOCKS; ++i) {
        const int left = length - i * KEY_BLOCK;
        if (left > 0) {
            element* to = stages + 2 * i * STAGE + place(copy_row, copy_piece);
            start_rows(to, from, PASS * row_stride, copy_row, left);
            start_rows(to + STAGE, from + width, PASS * row_stride, copy_row, left);
            from += KEY_BLOCK * row_stride;
        }
        end_group();
    }

    const Scores scores(softmax_scale, alibi_slopes, head);

    for (int tile = 0; tile < length; tile += TILE) {
        // The first queries came with the first keys.
        if (tile == 0)
            wait_for_groups<KEY_BLOCKS - 1>();
        else
            wait_for_groups<0>();
        __syncwarp();
        HeldQueries held;
        held.load(queries);
        __syncwarp();
        if (tile + TILE < length) start_queries(tile + TILE);
        end_group();

        const int first_row = tile + warp_row;
        const bool busy = first_row < length;
        Running running;
        float sum[PIECES][4] = {};
        for (int first_key = 0; first_key < length; first_key += KEY_BLOCK) {
            if (tile == 0) {
                // The first keys are there; behind those of a block come other keys and the next queries.
                if (first_key == KEY_BLOCK) wait_for_groups<KEY_BLOCKS - 1>();
                if (first_key > KEY_BLOCK) wait_for_groups<KEY_BLOCKS - 2>();
                // The matrix unit reads shared memory by another path than the copies wrote it.
                asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
                __syncthreads();
            }
            const unsigned keys = operand(stages) + first_key / KEY_BLOCK * units(2 * STAGE);
            attend_block(sum, running, held, keys, scores, busy, first_row + lane / 4, first_key,
                         length - first_key);
        }
        if (!busy) continue;

        // A lane turns pieces of two columns into two pieces of eight, of each of its rows.
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            const float inverse = 1.0f / quad_sum(running.total[h]);
            const int row = first_row + h * 8 + lane / 4;
            element* to = out + static_cast<long long>(begin + row) * width + head * HEAD_DIM;
#pragma unroll
            for (int half = 0; half < PIECES; half += 4) {
                unsigned words[4];
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    words[i] = pack(sum[half + i][2 * h] * inverse, sum[half + i][2 * h + 1] * inverse);
                transpose(words);
                if (row < length)
                    *reinterpret_cast<uint4*>(to + (half + lane % 4) * 8) =
                        make_uint4(words[0], words[1], words[2], words[3]);
            }
        }
    }
}
