// Exact (erf) GELU, x * P(X <= x) for a standard normal X. The host puts this file between element.cu and
// the kernels that end in it.

#if defined(ELEMENT_F32)
// erfc keeps all digits where 1 + erf would cancel.
static __device__ __forceinline__ float gelu_of(float x) {
    return 0.5f * x * erfcf(-0.70710678118654752f * x);
}
#else
// gelu(x) = max(x, 0) - t P(X <= -t) with t = |x|. The logarithm of P(X <= -t) is all but a parabola: here to the
// base of 2, as a polynomial fitted by weighted least squares (bench/kernel_lab/fit_gelu.py). Its error becomes
// that of P relative to itself. In f16 that is at most 1.1e-4, less than a quarter of a step, up to where a tenth of
// the smallest number is more; in bf16 3.2e-4, a twelfth of a step, and 1.9e-3 at the end of its range. It falls
// beyond, so nothing needs to be cut off. Eight instructions and an absolute value: what a tile of a linear layer
// costs besides its products is instructions.
#if defined(ELEMENT_F16)
constexpr float LOG_TAIL[] = {-1.0f,           -1.150263829f,   -4.624480807e-1f,
                              -4.919091203e-2f, 6.056770359e-3f, -3.402457093e-4f};
#else
constexpr float LOG_TAIL[] = {-1.0f,           -1.147841299f,    -4.663828704e-1f, -4.779662712e-2f,
                              6.286548378e-3f, -5.217802231e-4f, 2.411471883e-5f,  -4.687163158e-7f};
#endif

static __device__ __forceinline__ float gelu_of(float x) {
    constexpr int DEGREE = sizeof(LOG_TAIL) / sizeof(float) - 1;
    const float t = fabsf(x);
    float log = LOG_TAIL[DEGREE], tail;
#pragma unroll
    for (int i = DEGREE - 1; i >= 0; --i) log = fmaf(log, t, LOG_TAIL[i]);
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(tail) : "f"(log));
    return fmaf(-t, tail, fmaxf(x, 0.0f));
}
#endif
