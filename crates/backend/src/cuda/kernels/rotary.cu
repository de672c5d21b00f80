// Rotary position embedding of q and k, pairs (i, i + head_dim / 2), in f32 and in place.

// cos_sin[p][i] = (cos, sin) of p * base^(-2 i / head_dim). Frequency and angle are rounded to f32 as the
// reference rounds them; the functions are evaluated in f64, because f32 sines of large angles lose
// digits. It runs once per model. Grid-stride, any geometry.
extern "C" __global__ void rotary_table(float* cos_sin, int positions, int head_dim, float base) {
    const int half = head_dim / 2;
    const long long count = static_cast<long long>(positions) * half;
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count;
         at += step) {
        const double exponent = 2.0 * static_cast<double>(at % half) / head_dim;
        const float power = static_cast<float>(pow(static_cast<double>(base), exponent));
        const float angle = __fmul_rn(static_cast<float>(at / half), __fdiv_rn(1.0f, power));
        double s, c;
        sincos(static_cast<double>(angle), &s, &c);
        cos_sin[2 * at] = static_cast<float>(c);
        cos_sin[2 * at + 1] = static_cast<float>(s);
    }
}

// One block per token: grid total_tokens, any block. With a block that is a multiple of
// head_dim / 2 / VECTOR, a thread stays with the same dimensions from head to head.
extern "C" __global__ void rotary(element* qkv, const int* position_ids, const float* cos_sin,
                                  int total_tokens, int num_heads, int head_dim) {
    const int half = head_dim / 2;
    // The heads of q and of k lie side by side, so they are 2 * num_heads heads of one kind.
    element* row = qkv + static_cast<long long>(blockIdx.x) * 3 * num_heads * head_dim;
    const float* angles = cos_sin + static_cast<long long>(position_ids[blockIdx.x]) * head_dim;
    if (half % VECTOR == 0) {
        const int vectors = half / VECTOR;
        const int items = 2 * num_heads * vectors;
#pragma unroll 4
        for (int item = threadIdx.x; item < items; item += blockDim.x) {
            const int head = item / vectors, i = item % vectors * VECTOR;
            element* low_at = row + head * head_dim + i;
            element* high_at = low_at + half;
            Vector low = load_vector(low_at), high = load_vector(high_at);
            const Vector first = load_floats(angles + 2 * i);
            const Vector second = load_floats(angles + 2 * i + VECTOR);
#pragma unroll
            for (int k = 0; k < VECTOR; ++k) {
                const Vector& pairs = k < VECTOR / 2 ? first : second;
                rotate_pair(low.at[k], high.at[k], pairs.at[2 * k % VECTOR], pairs.at[2 * k % VECTOR + 1]);
            }
            store_vector(low_at, low);
            store_vector(high_at, high);
        }
    } else {
        const int items = 2 * num_heads * half;
        for (int item = threadIdx.x; item < items; item += blockDim.x) {
            const int head = item / half, i = item % half;
            element* low_at = row + head * head_dim + i;
            element* high_at = low_at + half;
            float a = to_float(*low_at), b = to_float(*high_at);
            rotate_pair(a, b, angles[2 * i], angles[2 * i + 1]);
            *low_at = from_float(a);
            *high_at = from_float(b);
        }
    }
}
