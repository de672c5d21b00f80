// What all kernels on Hopper's warpgroup matrix instructions share: how their operands lie in shared
// memory, and the names of their types. The host puts this file behind element.cu.
//
// An operand is described by its address in units of 16 bytes, so that adding moves it, and an upper half
// that is the same for all: 1024 bytes from one group of eight rows to the next, and pieces of 16 bytes
// exchanged by the last three bits of the row's number.

#define UPPER_HALF "0x40000040"

static __device__ constexpr unsigned units(int elements) { return elements / 8; }

#if defined(ELEMENT_BF16)
#define TYPES "f32.bf16.bf16"
#else
#define TYPES "f32.f16.f16"
#endif
