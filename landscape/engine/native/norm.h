// Float LayerNorm, and RMS norm, of integers from exact sums; see landscape.quant.layer_norm for the definitions.

#pragma once

#include "layer.h"

namespace native {

struct Norm {
    Index width;
    int32_t wide, zero;  // of the input
    double spread_offset;  // eps width^2 / scale^2
    const double *weight, *bias;
    const Quantizer *quantizer;
    const float *gain, *shift;  // weight / scale of the output, bias / scale + zero point; padded
    float tolerance;
    int32_t saturate;  // see `Fast` in layer.h
    // Of RMS norm: no mean, and the least denominator.
    int32_t around_zero;
    double floor;
    // Of integer LayerNorm, see integer_norm.h.
    int32_t integer;
    double scale;  // of the input
    float largest_gain, per_mean;
};

inline void row_sums(const Norm &l, const void *from, int64_t &total, int64_t &squares) {
    total = squares = 0;
    Index i = 0;
#if defined(__AVX512BW__)
    if (l.wide) {
        // Pairs of squares stay below 2^31 for |c| <= 2040; as 64-bit numbers they are summed without a bound on width.
        const int16_t *c = static_cast<const int16_t *>(from);
        __m512i sums = _mm512_setzero_si512(), powers = _mm512_setzero_si512();
        for (; i < l.width; i += 32) {
            const Index rest = l.width - i;
            const __m512i x = rest >= 32 ? _mm512_loadu_si512(c + i)
                                         : _mm512_maskz_loadu_epi16(static_cast<uint32_t>(first_bits(rest)), c + i);
            sums = _mm512_add_epi32(sums, _mm512_madd_epi16(x, _mm512_set1_epi16(1)));
            const __m512i pairs = _mm512_madd_epi16(x, x);
            powers = _mm512_add_epi64(powers, _mm512_add_epi64(_mm512_and_si512(pairs, _mm512_set1_epi64(0xffffffff)),
                                                               _mm512_srli_epi64(pairs, 32)));
        }
        total = _mm512_reduce_add_epi32(sums), squares = _mm512_reduce_add_epi64(powers);
        return;
    }
#endif
    for (; i < l.width; ++i) {
        const int32_t c = number_at(from, l.wide, i) - l.zero;
        total += c, squares += c * c;
    }
}

struct Statistics {
    int64_t total;
    double denominator;
    float reciprocal;
};

inline Statistics statistics_of(const Norm &l, const void *from) {
    Statistics found;
    int64_t squares;
    row_sums(l, from, found.total, squares);
    if (l.around_zero) found.total = 0;
    const double channels = static_cast<double>(l.width), sum = static_cast<double>(found.total);
    found.denominator = std::sqrt(channels * static_cast<double>(squares) - sum * sum + l.spread_offset);
    if (found.denominator < l.floor) found.denominator = l.floor;
    found.reciprocal = static_cast<float>(1.0 / found.denominator);
    return found;
}

template <bool Wide>
inline void normalize_as(const Norm &l, const Statistics &found, const uint8_t *from, uint8_t *out) {
    const Quantizer &q = *l.quantizer;
    const double channels = static_cast<double>(l.width), sum = static_cast<double>(found.total);
    const double denominator = found.denominator;
    const float reciprocal = found.reciprocal;
    // The bound holds for reciprocals that float32 has to full precision; else the float64 expression gives all codes.
    const bool precise = reciprocal > 1e-30f && reciprocal < 1e30f;
    const Floats inverse = all(precise ? reciprocal : 0.0f), limit = all(precise ? tie_limit(l.tolerance) : -1.0f);
    const Ints width = all(static_cast<int32_t>(l.width));
    const Ints less = all(static_cast<int32_t>(found.total) + l.zero * static_cast<int32_t>(l.width));
    constexpr Index size = Wide ? 2 : 1;
    alignas(64) uint8_t operand[2 * WIDE] = {}, codes[WIDE];
    for (Index n = 0; n < l.width; n += WIDE) {
        const Index count = l.width - n < WIDE ? l.width - n : WIDE;
        const uint8_t *c = from + n * size;
        if (count < WIDE) c = static_cast<uint8_t *>(std::memcpy(operand, c, static_cast<size_t>(count * size)));
        uint8_t *to = count < WIDE || q.factor != nullptr ? codes : out + n;
        constexpr int B = BLOCKS;
        Floats u[B];
        Ints numbers[B], rounded_to[B];
        EACH(b) numbers[b] = Wide ? load(reinterpret_cast<const int16_t *>(c) + b * LANES) : load(c + b * LANES);
        EACH(b) numbers[b] = subtract(multiply(numbers[b], width), less);
        EACH(b) u[b] = multiply(floats(numbers[b]), inverse);
        EACH(b) u[b] = multiply_add(u[b], load(l.gain + n + b * LANES), load(l.shift + n + b * LANES));
        uint64_t near = round_to_codes<B>(u, static_cast<float>(q.highest), l.saturate != 0 && precise, limit, rounded_to);
        store_codes(rounded_to, to);
        for (near &= first_bits(count); near != 0; near &= near - 1) {
            const int i = lowest_bit(near);
            const double number = static_cast<double>(number_at(c, Wide, i) - l.zero);
            const double x = (channels * number - sum) / denominator * l.weight[n + i] + l.bias[n + i];
            to[i] = static_cast<uint8_t>(code_exactly(x, q, n + i));
        }
        if (q.factor != nullptr)
            put_powers_of_two(q, codes, n, count, out);
        else if (to == codes)
            std::memcpy(out + n, codes, static_cast<size_t>(count));
    }
}

// Rows, some at a time: first the statistics of all, whose square roots and divisions then overlap.
inline void normalize(const Norm &l, Index rows, const uint8_t *from, Index stride, uint8_t *out, Index out_stride) {
    constexpr Index GROUP = 8;
    Statistics found[GROUP];
    for (Index first = 0; first < rows; first += GROUP) {
        const Index count = rows - first < GROUP ? rows - first : GROUP;
        for (Index r = 0; r < count; ++r) found[r] = statistics_of(l, from + (first + r) * stride);
        for (Index r = 0; r < count; ++r) {
            const uint8_t *row = from + (first + r) * stride;
            uint8_t *to = out + (first + r) * out_stride;
            l.wide ? normalize_as<true>(l, found[r], row, to) : normalize_as<false>(l, found[r], row, to);
        }
    }
}

}  // namespace native
