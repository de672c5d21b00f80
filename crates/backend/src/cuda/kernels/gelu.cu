// GELU of gelu_parts.cu alone and as the gate of a GLU.

// In place. Each block takes block * VECTOR * GELU_VECTORS elements: grid ceil(n / that).
constexpr int GELU_VECTORS = 4;

extern "C" __global__ void __launch_bounds__(256) gelu(element* x, long long n) {
    const long long first =
        (static_cast<long long>(blockIdx.x) * blockDim.x * GELU_VECTORS + threadIdx.x) * VECTOR;
    // All loads before the first use, so that enough bytes are on their way.
    uint4 raw[GELU_VECTORS];
#pragma unroll
    for (int k = 0; k < GELU_VECTORS; ++k) {
        const long long at = first + static_cast<long long>(k) * blockDim.x * VECTOR;
        if (at + VECTOR <= n) raw[k] = load_raw(x + at);
    }
#pragma unroll
    for (int k = 0; k < GELU_VECTORS; ++k) {
        const long long at = first + static_cast<long long>(k) * blockDim.x * VECTOR;
        if (at + VECTOR <= n) {
            Vector v = widen(raw[k]);
#pragma unroll
            for (int i = 0; i < VECTOR; ++i) v.at[i] = gelu_of(v.at[i]);
            store_vector(x + at, v);
        } else {
            for (long long i = at; i < n; ++i) x[i] = from_float(gelu_of(to_float(x[i])));
        }
    }
}

// out = gelu(first half of each row) * second half. One block per row: grid rows, any block.
extern "C" __global__ void __launch_bounds__(1024)
    gated_gelu(const element* x, element* out, int rows, int intermediate) {
    const element* gate = x + static_cast<long long>(blockIdx.x) * 2 * intermediate;
    const element* value = gate + intermediate;
    element* to = out + static_cast<long long>(blockIdx.x) * intermediate;
    if (intermediate % VECTOR == 0) {
#pragma unroll 2
        for (int c = threadIdx.x * VECTOR; c < intermediate; c += blockDim.x * VECTOR) {
            const Vector a = load_vector(gate + c), b = load_vector(value + c);
            Vector v;
#pragma unroll
            for (int i = 0; i < VECTOR; ++i) v.at[i] = gelu_of(a.at[i]) * b.at[i];
            store_vector(to + c, v);
        }
    } else {
        for (int c = threadIdx.x; c < intermediate; c += blockDim.x)
            to[c] = from_float(gelu_of(to_float(gate[c])) * to_float(value[c]));
    }
}
