// Exact (erf) GELU, x * P(X <= x) for a standard normal X. The host puts this file between element.cu and
// the kernels that end in it.

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
