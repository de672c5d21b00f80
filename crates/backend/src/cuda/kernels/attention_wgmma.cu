// Softmax attention of packed sequences over themselves on Hopper: the arguments and the plan of attention.cu.
// The host puts attention_parts_wgmma.cu before it.
//
// Geometry: grid num_tiles * num_heads, block 128, dynamic shared memory (64 + 4 * KEY_BLOCK) * HEAD_DIM * 2
// bytes; TILE is 64 query rows. (Two warpgroups on 128 rows halve the reads from the L2 cache but leave 16
// instead of 20 warps on a multiprocessor: a sixth slower on an H200.)

// Blocks of a multiprocessor, for which the compiler saves registers.
constexpr int MIN_BLOCKS = HEAD_DIM > 64 ? 3 : 5;

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

    const Scores scores(softmax_scale, alibi_slopes, head);
    Running running;
    float sum[PIECES][4] = {};

    for (int first_key = 0; first_key < length; first_key += KEY_BLOCK) {
        wait_for_copies();
        // The matrix unit reads shared memory by another path than the copies wrote it.
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        // Everybody's copies are there, and nobody still reads the stage that is filled next.
        __syncthreads();
        const unsigned keys = operand(stages + first_key / KEY_BLOCK % 2 * 2 * STAGE);
        const int left = length - first_key;
        if (left > KEY_BLOCK) {
            element* next = stages + (first_key / KEY_BLOCK + 1) % 2 * 2 * STAGE + copy_to;
            from += KEY_BLOCK * row_stride;
            start_rows(next, from, pass_stride, copy_row, left - KEY_BLOCK);
            start_rows(next + STAGE, from + width, pass_stride, copy_row, left - KEY_BLOCK);
        }
        attend_block(sum, running, SharedQueries{operand(queries)}, keys, scores, busy, first_row + lane / 4,
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
