// LayerNorm of each row.
//
// A row is read once and kept in registers: mean first, then the variance around it, so that a large
// mean costs no digits. The blocks stay and go over the rows, ROWS at a time, with the next rows on their
// way while the present ones are added up; gamma and beta, together larger than a row, are read once.
//
// Geometry: any grid, best multiprocessors * (1024 / block) but not more than `rows`; block
// cols / VECTOR threads rounded up to a multiple of 32, where cols is a multiple of VECTOR and that is
// at most MAX_THREADS, otherwise 256. The number of threads fixes the order of the sums, so it follows
// from `cols` alone.

// Also leaves 64 registers to a thread.
constexpr int MAX_THREADS = 1024;
// Rows at a time, which share the barriers.
constexpr int ROWS = 2;

// Adds up each of N values over the block; every thread gets the same bits. Each call between two
// barriers has its own `scratch`.
template <int N>
static __device__ __forceinline__ void block_sums(float (&values)[N], float (*scratch)[N]) {
#pragma unroll
    for (int r = 0; r < N; ++r) {
        values[r] = warp_sum(values[r]);
        if (lane_index() == 0) scratch[warp_index()][r] = values[r];
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < N; ++r) values[r] = scratch[0][r];
    for (int w = 1; w < warps_in_block(); ++w)
#pragma unroll
        for (int r = 0; r < N; ++r) values[r] += scratch[w][r];
}

// Rows that are not aligned to 16 bytes, or too long for the registers of a block: one after the other,
// element by element, read again for every pass.
static __device__ __forceinline__ void normalise_slowly(const element* x, const float* gamma,
                                                        const float* beta, element* out, int rows, int cols,
                                                        float eps) {
    __shared__ float mean_scratch[WARP][1], variance_scratch[WARP][1];
    const float count = static_cast<float>(cols);
#pragma unroll 1
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long start = static_cast<long long>(row) * cols;
        auto value = [&](int c) { return to_float(x[start + c]); };
        // The scratch of the row before has been read.
        __syncthreads();
        float sum[1] = {0.0f}, squares[1] = {0.0f};
#pragma unroll 1
        for (int c = threadIdx.x; c < cols; c += blockDim.x) sum[0] += value(c);
        block_sums(sum, mean_scratch);
        const float mean = sum[0] / count;
#pragma unroll 1
        for (int c = threadIdx.x; c < cols; c += blockDim.x) {
            const float off = value(c) - mean;
            squares[0] += off * off;
        }
        block_sums(squares, variance_scratch);
        const float inverse = rsqrtf(squares[0] / count + eps);
#pragma unroll 1
        for (int c = threadIdx.x; c < cols; c += blockDim.x)
            out[start + c] = from_float((value(c) - mean) * inverse * gamma[c] + beta[c]);
    }
}

// `out` may be x itself: a thread writes only places that it alone has read.
static __device__ __forceinline__ void normalise(const element* x, const float* gamma, const float* beta,
                                                 element* out, int rows, int cols, float eps) {
    if (cols % VECTOR != 0 || cols > blockDim.x * VECTOR) {
        normalise_slowly(x, gamma, beta, out, rows, cols, eps);
        return;
    }
    // Two of each, so that a fast warp can write the sums of the next rows while a slow one still reads.
    __shared__ __align__(16) float mean_scratch[2][WARP][ROWS], variance_scratch[2][WARP][ROWS];
    const int c = threadIdx.x * VECTOR;
    const bool inside = c < cols;
    auto place = [&](int row) { return static_cast<long long>(row) * cols + c; };
    Vector scale = {}, shift = {};
    if (inside) {
        scale = load_floats(gamma + c);
        shift = load_floats(beta + c);
    }
    uint4 raw[ROWS] = {};
    auto start_loads = [&](int first) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            if (!inside || first + r >= rows) continue;
            raw[r] = load_raw(x + place(first + r));
        }
    };
    const int step = gridDim.x * ROWS;
    int turn = 0;
    start_loads(blockIdx.x * ROWS);
#pragma unroll 1
    for (int first = blockIdx.x * ROWS; first < rows; first += step, turn ^= 1) {
        Vector held[ROWS];
        float mean[ROWS] = {}, variance[ROWS] = {};
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            held[r] = widen(raw[r]);
#pragma unroll
            for (int i = 0; i < VECTOR; ++i) mean[r] += held[r].at[i];
        }
        start_loads(first + step);
        block_sums(mean, mean_scratch[turn]);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            mean[r] /= static_cast<float>(cols);
#pragma unroll
            for (int i = 0; i < VECTOR; ++i) {
                const float off = held[r].at[i] - mean[r];
                variance[r] += inside ? off * off : 0.0f;
            }
        }
        block_sums(variance, variance_scratch[turn]);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            if (!inside || first + r >= rows) continue;
            const float inverse = rsqrtf(variance[r] / static_cast<float>(cols) + eps);
#pragma unroll
            for (int i = 0; i < VECTOR; ++i)
                held[r].at[i] = (held[r].at[i] - mean[r]) * inverse * scale.at[i] + shift.at[i];
            store_vector(out + place(first + r), held[r]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS)
    layer_norm(const element* x, const float* gamma, const float* beta, element* out, int rows,
               int cols, float eps) {
    normalise(x, gamma, beta, out, rows, cols, eps);
}
