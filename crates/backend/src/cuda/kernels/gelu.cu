// Exact (erf) GELU, x * P(X <= x) for a standard normal X, alone and as the gate of a GLU.

#if defined(ELEMENT_F32)
// erfc keeps all digits where 1 + erf would cancel.
static __device__ __forceinline__ float gelu_of(float x) {
    return 0.5f * x * erfcf(-0.70710678118654752f * x);
}
#else
// gelu(x) = max(x, 0) - t P(X <= -t) with t = |x|, and P(X <= -t) = exp(-t^2 / 2) G(t), where
// G(t) = exp(t^2 / 2) erfc(t / sqrt 2) / 2 is smooth: a polynomial of degree 5 in u = 1 / (1 + 3 t / 8)
// without constant term, fitted here by weighted least squares to a relative error of 3.1e-5 over
// t = 0..14 (bench/kernel_lab/fit_gelu.py). That is a tenth of an f16 step in both tails, for half
// the instructions of erff, which would be the limit of this kernel instead of memory.
static __device__ __forceinline__ float gelu_of(float x) {
    const float t = fabsf(x);
    float u, e;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(u) : "f"(fmaf(t, 0.375f, 1.0f)));
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(t * t * -0.72134752044448170f));
    float g = -0.0906428703f;
    g = fmaf(g, u, 0.2002817636f);
    g = fmaf(g, u, 0.0835639953f);
    g = fmaf(g, u, 0.1577339948f);
    g = fmaf(g, u, 0.1490610268f);
    return fmaxf(x, 0.0f) - t * (g * u * e);
}
#endif

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
