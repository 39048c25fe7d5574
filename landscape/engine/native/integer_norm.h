// Integer LayerNorm with a uniform quantizer behind it; see landscape.quant.layer_norm for the definition.
//
// Every channel's factor A = gain / std is cut to M 2^-N with M of 8 bits, which is A in float32 with 16 bits of its
// fraction cleared: so a float32 A decides M unless these bits are close to those of a multiple. The rest is M 2^-N c, of
// at most 20 bits, plus a constant, which the definition rounds to a multiple of 2^-N: half of that, at most |A| / 256, is
// part of the tolerance.

#pragma once

#include "norm.h"

namespace native {

struct IntegerRow {
    double inverse, mean;  // scale / std and mean / std; 0 for a constant row
    Floats inverse_32, less_mean, limit;
};

inline IntegerRow integer_row_of(const Norm &l, const void *from) {
    int64_t sum, squares;
    row_sums(l, from, sum, squares);
    const double channels = static_cast<double>(l.width), total = static_cast<double>(sum);
    const double spread = channels * static_cast<double>(squares) - total * total;
    IntegerRow row{0.0, 0.0, all(0.0f), all(0.0f), all(0.0f)};
    if (spread > 0.0) {
        const double std = l.scale / channels * std::sqrt(spread);
        row.inverse = l.scale / std;
        row.mean = total / channels * l.scale / std;
    }
    const float inverse = static_cast<float>(row.inverse), mean = static_cast<float>(row.mean);
    const float tolerance = l.tolerance + l.per_mean * std::fabs(mean) + inverse * l.largest_gain * (1.001f / 256.0f);
    row.inverse_32 = all(inverse), row.less_mean = all(-mean);
    row.limit = all(tolerance < 0.5f ? tie_limit(tolerance) : -1.0f);
    return row;
}

inline int32_t integer_code(const Norm &l, const IntegerRow &row, double c, Index channel) {
    const Quantizer &q = *l.quantizer;
    const double scale = q.scale[0], weight = l.weight[channel];
    const double a = row.inverse * weight / scale, size = std::fabs(a);
    int exponent;
    std::frexp(size, &exponent);
    const int shift = size > 0.0 ? std::min(std::max(8 - exponent, 0), 31) : 31;
    const double power = std::ldexp(1.0, shift);
    const double factor = std::copysign(std::min(std::floor(size * power), 255.0), a);
    const double constant = std::nearbyint((l.bias[channel] - row.mean * weight) / scale * power);
    return code_exactly(std::nearbyint((factor * c + constant) / power) * scale, q, channel);
}

template <bool Wide>
inline void normalize_integers_as(const Norm &l, const IntegerRow &row, const uint8_t *from, uint8_t *out) {
    constexpr int32_t smallest = 103 << 23, largest = (135 << 23) - 1;  // bits of 2^-24, and of what is next to 256
    constexpr int32_t ulps = 4;  // A carries three roundings, of at most 3 units of its last place
    constexpr Index size = Wide ? 2 : 1;
    alignas(64) uint8_t operand[2 * WIDE] = {}, codes[WIDE];
    for (Index n = 0; n < l.width; n += WIDE) {
        const Index count = l.width - n < WIDE ? l.width - n : WIDE;
        const uint8_t *c = from + n * size;
        if (count < WIDE) c = static_cast<uint8_t *>(std::memcpy(operand, c, static_cast<size_t>(count * size)));
        uint8_t *to = count < WIDE ? codes : out + n;
        constexpr int B = BLOCKS;
        Floats u[B], gain[B];
        Ints numbers[B], bits[B], rounded_to[B];
        EACH(b) gain[b] = load(l.gain + n + b * LANES);
        EACH(b) bits[b] = bits_of(multiply(gain[b], row.inverse_32));
        EACH(b) u[b] = multiply_add(gain[b], row.less_mean, load(l.shift + n + b * LANES));
        EACH(b) numbers[b] = Wide ? load(reinterpret_cast<const int16_t *>(c) + b * LANES) : load(c + b * LANES);
        EACH(b) numbers[b] = subtract(numbers[b], all(l.zero));
        EACH(b) u[b] = multiply_add(floats_of_bits(both(bits[b], -65536)), floats(numbers[b]), u[b]);
        uint64_t near = round_to_codes<B>(u, static_cast<float>(l.quantizer->highest), false, row.limit, rounded_to);
        EACH(b) near |= uint64_t{outside(both(add(bits[b], all(ulps)), 65535), 2 * ulps, 65535)} << b * LANES;
        EACH(b) near |= uint64_t{outside(both(bits[b], 0x7fffffff), smallest, largest)} << b * LANES;
        store_codes(rounded_to, to);
        for (near &= first_bits(count); near != 0; near &= near - 1) {
            const int i = lowest_bit(near);
            to[i] = static_cast<uint8_t>(integer_code(l, row, static_cast<double>(number_at(c, Wide, i) - l.zero), n + i));
        }
        if (to == codes) std::memcpy(out + n, codes, static_cast<size_t>(count));
    }
}

inline void normalize_integers(const Norm &l, Index rows, const uint8_t *from, Index stride, uint8_t *out,
                               Index out_stride) {
    for (Index r = 0; r < rows; ++r) {
        const IntegerRow row = integer_row_of(l, from + r * stride);
        l.wide ? normalize_integers_as<true>(l, row, from + r * stride, out + r * out_stride)
               : normalize_integers_as<false>(l, row, from + r * stride, out + r * out_stride);
    }
}

}  // namespace native
