// Stored weights to elements, rounded to nearest even. The host puts stored_parts.cu before it.
//
// Each thread makes VECTOR elements: grid ceil(n / (block * VECTOR)), any block. `src` and `out` are
// aligned to their own types; where both are aligned to 16 bytes, all accesses have that width.

template <typename Stored>
static __device__ __forceinline__ void convert(const void* src, element* out, long long n) {
    const Stored* from = static_cast<const Stored*>(src);
    const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * VECTOR;
    if (at >= n) return;
    constexpr int BYTES = VECTOR * sizeof(Stored);
    constexpr int PIECE = BYTES < 16 ? BYTES : 16;
    const unsigned long long both =
        reinterpret_cast<unsigned long long>(src) | reinterpret_cast<unsigned long long>(out);
    if (at + VECTOR <= n && both % 16 == 0) {
        // Bits first, so that the reads are as wide as they can be.
        union {
            Stored values[VECTOR];
            uint4 wide[(BYTES + 15) / 16];
            uint2 half;
        } read;
        if constexpr (PIECE == 8) {
            read.half = *reinterpret_cast<const uint2*>(from + at);
        } else {
#pragma unroll
            for (int i = 0; i < BYTES / 16; ++i)
                read.wide[i] = reinterpret_cast<const uint4*>(from + at)[i];
        }
        Vector v;
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) v.at[i] = stored_float(read.values[i]);
        store_vector(out + at, v);
    } else {
        for (long long i = at; i < min(n, at + VECTOR); ++i) out[i] = from_float(stored_float(from[i]));
    }
}

extern "C" __global__ void convert_f32(const void* src, element* out, long long n) {
    convert<float>(src, out, n);
}

extern "C" __global__ void convert_f16(const void* src, element* out, long long n) {
    convert<F16>(src, out, n);
}

extern "C" __global__ void convert_bf16(const void* src, element* out, long long n) {
    convert<Bf16>(src, out, n);
}
