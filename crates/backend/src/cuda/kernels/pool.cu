// From hidden states to f32 results: the mean of a token range, the first token, or every row.
//
// All three set not_finite[s] to 1 where a result of sequence s holds NaN or infinity, and leave it as
// it was otherwise. Several threads may do so at once; they store the same value.
//
// Geometry of all three: grid (num_seqs, ceil(hidden_size / (32 * VECTOR))), block POOL_WARPS * 32.
// A block owns 32 * VECTOR columns of one sequence, and each of its warps every POOL_WARPS-th row.

constexpr int POOL_WARPS = 8;
constexpr int POOL_COLUMNS = WARP * VECTOR;

// A lane's VECTOR columns of one row: adjacent ones in one access, or, where rows are not aligned to 16
// bytes, single ones at a distance of 32.
struct Columns {
    int first;
    int step;
    int count;
    bool whole;

    __device__ Columns(int hidden_size) {
        const int start = blockIdx.y * POOL_COLUMNS;
        whole = hidden_size % VECTOR == 0;
        step = whole ? 1 : WARP;
        first = start + lane_index() * (whole ? VECTOR : 1);
        const int left = hidden_size - first;
        count = left <= 0 ? 0 : min(VECTOR, (left + step - 1) / step);
    }

    __device__ Vector load(const element* row) const {
        Vector v = {};
        if (whole) {
            if (count > 0) v = load_vector(row + first);
        } else {
#pragma unroll
            for (int i = 0; i < VECTOR; ++i)
                if (i < count) v.at[i] = to_float(row[first + i * step]);
        }
        return v;
    }

    // Stores one row of the result and reports what is not finite in it.
    __device__ void store(float* row, const Vector& v, int* not_finite) const {
        bool bad = false;
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) {
            if (i < count) {
                if (!whole) row[first + i * step] = v.at[i];
                bad |= is_not_finite(v.at[i]);
            }
        }
        if (whole && count > 0) store_floats(row + first, v);
        if (bad) *not_finite = 1;
    }
};

// Mean over the tokens left after skipping some at both ends, at most max_tokens of them; zeros where
// none is left. The order of the sum depends on the place within the range alone.
extern "C" __global__ void __launch_bounds__(POOL_WARPS * 32)
    mean_pool(const element* hidden, const int* cu_seqlens, int num_seqs, int hidden_size,
              int skip_first, int skip_last, int max_tokens, float* out, int* not_finite) {
    __shared__ float partial[POOL_WARPS][VECTOR][WARP];
    const int sequence = blockIdx.x;
    const int begin = cu_seqlens[sequence];
    const int end = max(cu_seqlens[sequence + 1] - begin - skip_last, 0);
    const int start = min(skip_first, end);
    const int tokens = min(end - start, max_tokens);
    const Columns columns(hidden_size);
    const element* row = hidden + static_cast<long long>(begin + start) * hidden_size;

    Vector sum = {};
#pragma unroll 4
    for (int t = warp_index(); t < tokens; t += POOL_WARPS) {
        const Vector v = columns.load(row + static_cast<long long>(t) * hidden_size);
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) sum.at[i] += v.at[i];
    }
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) partial[warp_index()][i][lane_index()] = sum.at[i];
    __syncthreads();
    if (warp_index() != 0) return;
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) {
        float total = 0.0f;
#pragma unroll
        for (int w = 0; w < POOL_WARPS; ++w) total += partial[w][i][lane_index()];
        sum.at[i] = tokens > 0 ? total / static_cast<float>(tokens) : 0.0f;
    }
    columns.store(out + static_cast<long long>(sequence) * hidden_size, sum, not_finite + sequence);
}

// The first row of each sequence.
extern "C" __global__ void __launch_bounds__(POOL_WARPS * 32)
    first_token(const element* hidden, const int* cu_seqlens, int num_seqs, int hidden_size,
                float* out, int* not_finite) {
    if (warp_index() != 0) return;
    const int sequence = blockIdx.x;
    const Columns columns(hidden_size);
    const long long from = static_cast<long long>(cu_seqlens[sequence]) * hidden_size;
    columns.store(out + static_cast<long long>(sequence) * hidden_size, columns.load(hidden + from),
                  not_finite + sequence);
}

// Every row as f32, `out` [total_tokens, hidden_size].
extern "C" __global__ void __launch_bounds__(POOL_WARPS * 32)
    widen_rows(const element* x, const int* cu_seqlens, int num_seqs, int hidden_size, float* out,
               int* not_finite) {
    const int sequence = blockIdx.x;
    const Columns columns(hidden_size);
    for (int t = cu_seqlens[sequence] + warp_index(); t < cu_seqlens[sequence + 1]; t += POOL_WARPS) {
        const long long at = static_cast<long long>(t) * hidden_size;
        columns.store(out + at, columns.load(x + at), not_finite + sequence);
    }
}
