// LayerNorm as a part of the linear layer behind it. Of
//     W (gamma (x - mean) / deviation + beta) + b
// the weights take gamma and the subtraction of the mean, which is a projection: each of their rows is made
// to sum to zero. The bias takes beta. What is left to do for a row of x is one factor, 1 / deviation, which
// the product applies to its sums. The host puts stored_parts.cu before it.
//
// Rounding the weights leaves them a sum of a few steps of rounding, so a mean that is not small beside the
// deviation costs as many digits as it is larger. (Nothing behind the residual additions of a model sees a
// common shift of a row, so training has no reason to make one.) A row whose mean is more than MOST deviations
// becomes NaN and is flagged as such, like one that overflows: better computed again than silently less exact.
// bench/kernel_lab/far_means.py tells how much less.

constexpr int BLOCK = 256;
constexpr float MOST = 3.5f;

static __device__ __forceinline__ float scale_of(float mean, float variance, float eps) {
    const float scale = rsqrtf(variance + eps);
    return fabsf(mean) * scale > MOST ? __int_as_float(0x7fffffff) : scale;
}

// A block of BLOCK threads makes a row of the layer: grid `rows` of the stored weights. `bias` has f32 values.
template <typename Stored>
static __device__ __forceinline__ void fold(const void* stored, const float* bias, const float* gamma,
                                            const float* beta, element* weights, element* out_bias,
                                            int cols) {
    const long long start = static_cast<long long>(blockIdx.x) * cols;
    const Stored* from = static_cast<const Stored*>(stored) + start;
    float scaled = 0.0f, shifted = 0.0f;
    for (int c = threadIdx.x; c < cols; c += BLOCK) {
        const float w = stored_float(from[c]);
        scaled += w * gamma[c];
        shifted += w * beta[c];
    }
    __shared__ float sums[2][BLOCK / WARP];
    scaled = warp_sum(scaled);
    shifted = warp_sum(shifted);
    if (lane_index() == 0) {
        sums[0][warp_index()] = scaled;
        sums[1][warp_index()] = shifted;
    }
    __syncthreads();
    scaled = shifted = 0.0f;
    for (int w = 0; w < BLOCK / WARP; ++w) {
        scaled += sums[0][w];
        shifted += sums[1][w];
    }
    const float mean = scaled / static_cast<float>(cols);
    for (int c = threadIdx.x; c < cols; c += BLOCK)
        weights[start + c] = from_float(stored_float(from[c]) * gamma[c] - mean);
    if (threadIdx.x == 0) out_bias[blockIdx.x] = from_float(bias[blockIdx.x] + shifted);
}

#define FOLD(name, Stored)                                                                               \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                  \
        name(const void* stored, const float* bias, const float* gamma, const float* beta,              \
             element* weights, element* out_bias, int cols) {                                            \
        fold<Stored>(stored, bias, gamma, beta, weights, out_bias, cols);                                \
    }

FOLD(fold_f32, float)
FOLD(fold_f16, F16)
FOLD(fold_bf16, Bf16)

// 1 / deviation of each row of x. A warp takes a row and reads it twice, so that a large mean costs no digits:
// grid ceil(rows / 8), block 256; cols is a multiple of VECTOR.
extern "C" __global__ void __launch_bounds__(BLOCK)
    scales_of_rows(const element* x, float* scales, int rows, int cols, float eps) {
    const int row = blockIdx.x * (BLOCK / WARP) + warp_index();
    if (row >= rows) return;
    const element* from = x + static_cast<long long>(row) * cols;
    float sum = 0.0f, squares = 0.0f;
    for (int c = lane_index() * VECTOR; c < cols; c += WARP * VECTOR) {
        const Vector v = load_vector(from + c);
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) sum += v.at[i];
    }
    const float mean = warp_sum(sum) / static_cast<float>(cols);
    for (int c = lane_index() * VECTOR; c < cols; c += WARP * VECTOR) {
        const Vector v = load_vector(from + c);
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) squares += (v.at[i] - mean) * (v.at[i] - mean);
    }
    squares = warp_sum(squares);
    if (lane_index() == 0) scales[row] = scale_of(mean, squares / static_cast<float>(cols), eps);
}

// The same from what linear_residual_wgmma.cu leaves: for each of a row's `tiles` and each row the mean of the tile's
// values and the sum of their squares around it. A block takes 32 rows, and each of its warps every eighth tile of
// them, so that what a lane loads is not one value behind the other: grid ceil(rows / 32), block 256.
extern "C" __global__ void __launch_bounds__(BLOCK)
    scales_of_tiles(const float2* moments, float* scales, int rows, int tiles, int cols, float eps) {
    constexpr int WARPS = BLOCK / WARP;
    __shared__ float sums[WARPS][WARP], squares[WARPS][WARP];
    const int lane = lane_index(), warp = warp_index(), row = blockIdx.x * WARP + lane;
    const float2* from = moments + min(row, rows - 1);
    float sum = 0.0f, square = 0.0f;
#pragma unroll 4
    for (int t = warp; t < tiles; t += WARPS) sum += from[static_cast<long long>(t) * rows].x;
    sums[warp][lane] = sum;
    __syncthreads();
    sum = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) sum += sums[w][lane];
    const float mean = sum / static_cast<float>(tiles), each = static_cast<float>(cols / tiles);
#pragma unroll 4
    for (int t = warp; t < tiles; t += WARPS) {
        const float2 tile = from[static_cast<long long>(t) * rows];
        const float off = tile.x - mean;
        square += tile.y + off * off * each;
    }
    squares[warp][lane] = square;
    __syncthreads();
    if (warp > 0 || row >= rows) return;
    square = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) square += squares[w][lane];
    scales[row] = scale_of(mean, square / static_cast<float>(cols), eps);
}
