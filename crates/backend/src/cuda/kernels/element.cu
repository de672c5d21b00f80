// Element type, conversions, 16-byte access and warp sums: the host puts this file in front of every
// other kernel file. The element is chosen by -DELEMENT_F16, -DELEMENT_BF16 (sm_80 and newer) or
// -DELEMENT_F32; halves are stored as their bits, and all arithmetic is done in f32.

// No kernel uses every helper.
#pragma nv_diag_suppress 177

#if defined(ELEMENT_F32)
typedef float element;
#else
typedef unsigned short element;
#endif

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;
// Elements in one 16-byte access.
constexpr int VECTOR = 16 / sizeof(element);

static __device__ __forceinline__ float f16_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

static __device__ __forceinline__ float bf16_to_float(unsigned short bits) {
    return __uint_as_float(static_cast<unsigned>(bits) << 16);
}

static __device__ __forceinline__ float to_float(element x) {
#if defined(ELEMENT_F32)
    return x;
#elif defined(ELEMENT_BF16)
    return bf16_to_float(x);
#else
    return f16_to_float(x);
#endif
}

// Rounds to nearest even.
static __device__ __forceinline__ element from_float(float value) {
#if defined(ELEMENT_F32)
    return value;
#else
    unsigned short bits;
#if defined(ELEMENT_BF16)
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#endif
    return bits;
#endif
}

#if !defined(ELEMENT_F32)
// Two elements in one word, `low` in the lower half.
static __device__ __forceinline__ unsigned pack(float low, float high) {
    unsigned word;
#if defined(ELEMENT_BF16)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
#elif __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
#else
    word = from_float(low) | static_cast<unsigned>(from_float(high)) << 16;
#endif
    return word;
}

static __device__ __forceinline__ void unpack(unsigned word, float& low, float& high) {
#if defined(ELEMENT_BF16)
    low = __uint_as_float(word << 16);
    high = __uint_as_float(word & 0xffff0000u);
#else
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h; }"
        : "=f"(low), "=f"(high)
        : "r"(word));
#endif
}
#endif

// The f32 values of one 16-byte vector.
struct Vector {
    float at[VECTOR];
};

static __device__ __forceinline__ Vector widen(uint4 raw) {
    Vector v;
#if defined(ELEMENT_F32)
    v.at[0] = __uint_as_float(raw.x);
    v.at[1] = __uint_as_float(raw.y);
    v.at[2] = __uint_as_float(raw.z);
    v.at[3] = __uint_as_float(raw.w);
#else
    unpack(raw.x, v.at[0], v.at[1]);
    unpack(raw.y, v.at[2], v.at[3]);
    unpack(raw.z, v.at[4], v.at[5]);
    unpack(raw.w, v.at[6], v.at[7]);
#endif
    return v;
}

static __device__ __forceinline__ uint4 narrow(const Vector& v) {
#if defined(ELEMENT_F32)
    return make_uint4(__float_as_uint(v.at[0]), __float_as_uint(v.at[1]), __float_as_uint(v.at[2]),
                      __float_as_uint(v.at[3]));
#else
    return make_uint4(pack(v.at[0], v.at[1]), pack(v.at[2], v.at[3]), pack(v.at[4], v.at[5]),
                      pack(v.at[6], v.at[7]));
#endif
}

// `at` is a multiple of 16 bytes.
static __device__ __forceinline__ uint4 load_raw(const element* at) {
    return *reinterpret_cast<const uint4*>(at);
}

static __device__ __forceinline__ Vector load_vector(const element* at) {
    return widen(load_raw(at));
}

static __device__ __forceinline__ void store_vector(element* at, const Vector& v) {
    *reinterpret_cast<uint4*>(at) = narrow(v);
}

// Loads VECTOR floats; `at` is a multiple of 16 bytes.
static __device__ __forceinline__ Vector load_floats(const float* at) {
    Vector v;
#pragma unroll
    for (int i = 0; i < VECTOR; i += 4) {
        const float4 part = *reinterpret_cast<const float4*>(at + i);
        v.at[i] = part.x;
        v.at[i + 1] = part.y;
        v.at[i + 2] = part.z;
        v.at[i + 3] = part.w;
    }
    return v;
}

static __device__ __forceinline__ void store_floats(float* at, const Vector& v) {
#pragma unroll
    for (int i = 0; i < VECTOR; i += 4)
        *reinterpret_cast<float4*>(at + i) =
            make_float4(v.at[i], v.at[i + 1], v.at[i + 2], v.at[i + 3]);
}

// Rotates the pair (a, b). The order of the roundings is spelled out, so that every kernel that rotates
// gives the same bits.
static __device__ __forceinline__ void rotate_pair(float& a, float& b, float cosine, float sine) {
    const float low = fmaf(a, cosine, -__fmul_rn(b, sine));
    b = fmaf(b, cosine, __fmul_rn(a, sine));
    a = low;
}

// True for NaN and both infinities: their exponent is all ones.
static __device__ __forceinline__ bool is_not_finite(float value) {
    return (__float_as_uint(value) & 0x7f800000u) == 0x7f800000u;
}

// The butterfly gives every lane the same bits.
static __device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

static __device__ __forceinline__ int warp_sum(int value) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

static __device__ __forceinline__ int lane_index() { return threadIdx.x % WARP; }

static __device__ __forceinline__ int warp_index() { return threadIdx.x / WARP; }

static __device__ __forceinline__ int warps_in_block() { return blockDim.x / WARP; }
