// Softmax attention of packed sequences over themselves in true f32: the entry point and the arguments
// of attention.cu, on ordinary multiply-adds.
//
// Four neighbouring lanes share two query rows, each with a quarter of the dimensions; a block of keys
// and values lies in shared memory, where the rows of a warp read the same key at the same time.
// Compile with -DHEAD_DIM=n, a multiple of 8. Geometry: grid num_tiles * num_heads, block 128, static
// shared memory only; TILE is 64 query rows.

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * WARP;
constexpr int LANE_ROWS = 2;
constexpr int WARP_ROWS = WARP / 4 * LANE_ROWS;
constexpr int KEY_BLOCK = 32;
// Keys that share one update of the running maximum.
constexpr int KEY_GROUP = 4;
// Neighbouring dimensions that a lane takes at a time; lanes take turns.
constexpr int PIECE = HEAD_DIM % 16 == 0 ? 4 : 2;
constexpr int LANE_DIMS = HEAD_DIM / 4;
constexpr float LOG2_E = 1.4426950408889634f;
#define MINUS_INFINITY __int_as_float(0xff800000)

// The dimension that a lane holds in place i.
static __device__ __forceinline__ int dimension(int i) {
    return (i / PIECE * 4 + lane_index() % 4) * PIECE + i % PIECE;
}

static __device__ __forceinline__ float quad_sum(float value) {
    value += __shfl_xor_sync(ALL_LANES, value, 1);
    return value + __shfl_xor_sync(ALL_LANES, value, 2);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention(const element* qkv, element* out, const int* cu_seqlens, const int2* tiles, int num_heads,
              float softmax_scale, const float* alibi_slopes) {
    __shared__ __align__(16) float keys[KEY_BLOCK * HEAD_DIM], values[KEY_BLOCK * HEAD_DIM];
    const int head = blockIdx.x % num_heads;
    const int2 tile = tiles[blockIdx.x / num_heads];
    const int begin = cu_seqlens[tile.x];
    const int length = cu_seqlens[tile.x + 1] - begin;
    const int width = num_heads * HEAD_DIM;
    const long long row_stride = 3LL * width;
    const float* sequence = qkv + begin * row_stride + head * HEAD_DIM;
    const int first_row = tile.y + warp_index() * WARP_ROWS;
    const float scale = softmax_scale * LOG2_E;
    const float slope = alibi_slopes ? alibi_slopes[head] * LOG2_E : 0.0f;

    int row[LANE_ROWS];
    float q[LANE_ROWS][LANE_DIMS], sum[LANE_ROWS][LANE_DIMS], top[LANE_ROWS], total[LANE_ROWS];
#pragma unroll
    for (int r = 0; r < LANE_ROWS; ++r) {
        row[r] = first_row + r * (WARP / 4) + lane_index() / 4;
        top[r] = MINUS_INFINITY;
        total[r] = 0.0f;
#pragma unroll
        for (int i = 0; i < LANE_DIMS; ++i) {
            q[r][i] = row[r] < length ? sequence[row[r] * row_stride + dimension(i)] : 0.0f;
            sum[r][i] = 0.0f;
        }
    }

    for (int first_key = 0; first_key < length; first_key += KEY_BLOCK) {
        __syncthreads();
        for (int item = threadIdx.x; item < KEY_BLOCK * HEAD_DIM / 4; item += THREADS) {
            const int key = item / (HEAD_DIM / 4), at = item % (HEAD_DIM / 4) * 4;
            float4 k = make_float4(0.0f, 0.0f, 0.0f, 0.0f), v = k;
            if (first_key + key < length) {
                const float* from = sequence + (first_key + key) * row_stride + width + at;
                k = *reinterpret_cast<const float4*>(from);
                v = *reinterpret_cast<const float4*>(from + width);
            }
            *reinterpret_cast<float4*>(keys + key * HEAD_DIM + at) = k;
            *reinterpret_cast<float4*>(values + key * HEAD_DIM + at) = v;
        }
        __syncthreads();
        if (first_row >= length) continue;

        const int here = min(KEY_BLOCK, length - first_key);
        for (int group = 0; group < here; group += KEY_GROUP) {
            float score[LANE_ROWS][KEY_GROUP] = {};
#pragma unroll
            for (int i = 0; i < LANE_DIMS; ++i)
#pragma unroll
                for (int j = 0; j < KEY_GROUP; ++j) {
                    const float k = keys[(group + j) * HEAD_DIM + dimension(i)];
#pragma unroll
                    for (int r = 0; r < LANE_ROWS; ++r) score[r][j] += q[r][i] * k;
                }
#pragma unroll
            for (int r = 0; r < LANE_ROWS; ++r) {
                float highest = top[r];
#pragma unroll
                for (int j = 0; j < KEY_GROUP; ++j) {
                    const float away = static_cast<float>(abs(row[r] - (first_key + group + j)));
                    const float full = quad_sum(score[r][j]) * scale - slope * away;
                    score[r][j] = group + j < here ? full : MINUS_INFINITY;
                    highest = fmaxf(highest, score[r][j]);
                }
                const float shrink = exp2f(top[r] - highest);
                top[r] = highest;
                total[r] *= shrink;
#pragma unroll
                for (int j = 0; j < KEY_GROUP; ++j) {
                    score[r][j] = exp2f(score[r][j] - highest);
                    total[r] += score[r][j];
                }
#pragma unroll
                for (int i = 0; i < LANE_DIMS; ++i) sum[r][i] *= shrink;
            }
#pragma unroll
            for (int i = 0; i < LANE_DIMS; ++i)
#pragma unroll
                for (int j = 0; j < KEY_GROUP; ++j) {
                    const float v = values[(group + j) * HEAD_DIM + dimension(i)];
#pragma unroll
                    for (int r = 0; r < LANE_ROWS; ++r) sum[r][i] += score[r][j] * v;
                }
        }
    }

#pragma unroll
    for (int r = 0; r < LANE_ROWS; ++r) {
        if (row[r] >= length) continue;
        float* to = out + static_cast<long long>(begin + row[r]) * width + head * HEAD_DIM;
        const float inverse = 1.0f / total[r];
#pragma unroll
        for (int i = 0; i < LANE_DIMS; ++i) to[dimension(i)] = sum[r][i] * inverse;
    }
}
