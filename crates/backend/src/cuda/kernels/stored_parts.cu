// Element types of stored weights, and their values.

static __device__ __forceinline__ float stored_float(float value) { return value; }

struct F16 {
    unsigned short bits;
};
struct Bf16 {
    unsigned short bits;
};
static __device__ __forceinline__ float stored_float(F16 value) { return f16_to_float(value.bits); }
static __device__ __forceinline__ float stored_float(Bf16 value) { return bf16_to_float(value.bits); }
