// Token embedding with ESM-2's token dropout.

// The factor of every token's embedding: 0 for a mask token, and for the other tokens of a sequence
// (1 - train_mask_ratio) / (1 - masked share of the sequence).
//
// One warp per sequence: grid ceil(num_seqs / (block / 32)), block a multiple of 32.
extern "C" __global__ void dropout_scale(const int* input_ids, const int* cu_seqlens, int num_seqs,
                                         int mask_token_id, float train_mask_ratio,
                                         float* token_scale) {
    const int sequence = blockIdx.x * warps_in_block() + warp_index();
    if (sequence >= num_seqs) return;
    const int begin = cu_seqlens[sequence], end = cu_seqlens[sequence + 1];
    int masked = 0;
    for (int t = begin + lane_index(); t < end; t += WARP) masked += input_ids[t] == mask_token_id;
    masked = warp_sum(masked);
    // In f64, as the twin: once per sequence, and the quotient is then exact to f32. A sequence of
    // masks alone divides by zero, but then no token takes the factor.
    const double share = static_cast<double>(masked) / (end - begin);
    const float scale = static_cast<float>((1.0 - static_cast<double>(train_mask_ratio)) / (1.0 - share));
    for (int t = begin + lane_index(); t < end; t += WARP)
        token_scale[t] = input_ids[t] == mask_token_id ? 0.0f : scale;
}

// out[t] = table[input_ids[t]] * token_scale[t] + shift; ids are checked by the host.
//
// One warp per token: grid ceil(total_tokens / (block / 32)), block a multiple of 32.
extern "C" __global__ void embed(const int* input_ids, const element* table, const float* shift,
                                 const float* token_scale, element* out, int total_tokens,
                                 int hidden_size) {
    const long long token = static_cast<long long>(blockIdx.x) * warps_in_block() + warp_index();
    if (token >= total_tokens) return;
    const float scale = token_scale ? token_scale[token] : 1.0f;
    const element* from = table + static_cast<long long>(input_ids[token]) * hidden_size;
    element* to = out + token * hidden_size;
    // A masked row is zero even where the table holds NaN or infinity.
    const bool masked = scale == 0.0f;
    if (hidden_size % VECTOR == 0) {
#pragma unroll 2
        for (int c = lane_index() * VECTOR; c < hidden_size; c += WARP * VECTOR) {
            Vector v = load_vector(from + c);
            Vector add = {};
            if (shift) add = load_floats(shift + c);
#pragma unroll
            for (int i = 0; i < VECTOR; ++i)
                v.at[i] = (masked ? 0.0f : v.at[i] * scale) + add.at[i];
            store_vector(to + c, v);
        }
    } else {
        for (int c = lane_index(); c < hidden_size; c += WARP) {
            const float scaled = masked ? 0.0f : to_float(from[c]) * scale;
            to[c] = from_float(scaled + (shift ? shift[c] : 0.0f));
        }
    }
}
