// Layers: integer products, and behind them, while the sums are still in the nearest cache, all that follows:
// gain, bias, quantizer, an activation function as a step function, a residual sum.

#pragma once

#include "products.h"

namespace native {

// The float32 form of a layer's value in units of codes (or of a curve's cells), and how far it may be off:
// u = sum gain + total offset + bias, |u - t| <= tolerance + per_total |total|; total = sum of centred activations.
struct Fast {
    const float *gain, *offset, *bias;  // per output, padded to a multiple of WIDE; offset may be null
    float tolerance, per_total;
};

struct Layer {
    Index depth, outputs;
    int32_t zero;            // of the activations
    const int8_t *weights;   // packed
    const int32_t *init;     // per output, what the sums start with
    const int32_t *shift;    // per output, times the row's sum of codes; or null
    const double *gain;      // per output, as the reference multiplies them
    const double *offset;    // per output, or null
    const double *bias;      // per output, or null
    Fast fast;
};

// x -> quantize(f(x)) as a step function, and a piecewise polynomial near it, in cells of the layer's `Fast`.
struct Steps {
    const double *thresholds;  // ascending
    const uint8_t *codes;      // one more
    Index count;
    const float *coefficients;  // (5, 32) by power and cell
    float highest;
    float last;  // largest number below 32
};

// quantize(a + b), channel by channel: u = (a - a_zero) a_gain + (b - b_zero) b_gain + zero point.
struct Sum {
    int32_t a_wide, b_wide, a_zero, b_zero;  // wide: int16, else uint8
    double a_scale, b_scale;
    const Quantizer *quantizer;
    const float *a_gain, *b_gain;  // per channel, padded
    float tolerance;
};

struct Row {
    int32_t codes;    // sum of the activations' codes
    double total;     // of the centred ones
    float total_32;
    Floats limit;
};

inline Row row_of(const Layer &l, const uint8_t *a) {
    Row row;
    row.codes = sum_of(a, l.depth);
    row.total = static_cast<double>(row.codes - static_cast<int32_t>(l.depth) * l.zero);
    row.total_32 = static_cast<float>(row.total);
    row.limit = all(tie_limit(l.fast.tolerance + l.fast.per_total * std::fabs(row.total_32)));
    return row;
}

inline int32_t exact_sum(const Layer &l, int32_t sum, const Row &row, Index n) {
    return l.shift == nullptr ? sum : static_cast<int32_t>(static_cast<uint32_t>(sum) +
                                                           static_cast<uint32_t>(l.shift[n]) *
                                                               static_cast<uint32_t>(row.codes));
}

// The reference's float64 value.
inline double exact_value(const Layer &l, int32_t sum, const Row &row, Index n) {
    double x = static_cast<double>(exact_sum(l, sum, row, n)) * l.gain[n];
    if (l.offset != nullptr) x = x + row.total * l.offset[n];
    if (l.bias != nullptr) x = x + l.bias[n];
    return x;
}

// The float32 value of 16 outputs.
template <bool Shift, bool Offset>
inline Floats fast_value(const Layer &l, const int32_t *sums, const Row &row, Index n) {
    Ints s = load(sums);
    if constexpr (Shift) s = add(s, multiply(load(l.shift + n), all(row.codes)));
    Floats base = load(l.fast.bias + n);
    if constexpr (Offset) base = multiply_add(load(l.fast.offset + n), all(row.total_32), base);
    return multiply_add(floats(s), load(l.fast.gain + n), base);
}

// Codes of up to 64 outputs from n on; all 64 bytes are written.
template <bool Shift, bool Offset>
void quantized(const Layer &l, const int32_t *sums, const Row &row, Index n, Index count, const Quantizer &q,
               uint8_t *to) {
    Ints codes[BLOCKS] = {};
    uint64_t near = 0;
    for (Index b = 0; b < BLOCKS; ++b) {
        if (b * LANES >= count) break;
        const Floats u =
            clamp(fast_value<Shift, Offset>(l, sums + b * LANES, row, n + b * LANES), static_cast<float>(q.highest));
        near |= static_cast<uint64_t>(near_tie(u, row.limit)) << b * LANES;
        codes[b] = rounded(u);
    }
    store_codes(codes, to);
    for (near &= first_bits(count); near != 0; near &= near - 1) {
        const int i = lowest_bit(near);
        to[i] = static_cast<uint8_t>(code_exactly(exact_value(l, sums[i], row, n + i), q, n + i));
    }
}

inline uint8_t step_exactly(double x, const Steps &s) {
    Index low = 0, high = s.count;  // the number of thresholds at or below x
    while (low < high) {
        const Index middle = (low + high) / 2;
        if (s.thresholds[middle] <= x)
            low = middle + 1;
        else
            high = middle;
    }
    return s.codes[low];
}

template <bool Shift, bool Offset>
void stepped(const Layer &l, const int32_t *sums, const Row &row, Index n, Index count, const Steps &s, uint8_t *to) {
    Ints codes[BLOCKS] = {};
    uint64_t near = 0;
    for (Index b = 0; b < BLOCKS; ++b) {
        if (b * LANES >= count) break;
        const Floats y = clamp(fast_value<Shift, Offset>(l, sums + b * LANES, row, n + b * LANES), s.last);
        const Ints cell = truncated(y);
        const Floats x = subtract(y, floats(cell));
        Floats u = pick(s.coefficients + 4 * 32, cell);
        for (int power = 3; power >= 0; --power) u = multiply_add(u, x, pick(s.coefficients + power * 32, cell));
        u = clamp(u, s.highest);
        near |= static_cast<uint64_t>(near_tie(u, row.limit)) << b * LANES;
        codes[b] = rounded(u);
    }
    store_codes(codes, to);
    for (near &= first_bits(count); near != 0; near &= near - 1) {
        const int i = lowest_bit(near);
        to[i] = step_exactly(exact_value(l, sums[i], row, n + i), s);
    }
}

inline int32_t number_at(const void *values, int32_t wide, Index i) {
    return wide ? static_cast<const int16_t *>(values)[i] : static_cast<const uint8_t *>(values)[i];
}

inline Ints numbers_at(const void *values, int32_t wide, Index i) {
    return wide ? load(static_cast<const int16_t *>(values) + i) : load(static_cast<const uint8_t *>(values) + i);
}

// The sum of 64 numbers each, from channel n on; 64 codes, or with PTF 64 int16, are written.
inline void summed(const Sum &s, const void *a, const void *b, Index n, Index count, void *to) {
    const Quantizer &q = *s.quantizer;
    const Floats zero = all(static_cast<float>(q.zero_point)), limit = all(tie_limit(s.tolerance));
    Ints codes[BLOCKS] = {};
    uint64_t near = 0;
    for (Index i = 0; i < BLOCKS; ++i) {
        const Index at = i * LANES;
        if (at >= count) break;
        Floats u = multiply_add(floats(subtract(numbers_at(a, s.a_wide, at), all(s.a_zero))), load(s.a_gain + n + at), zero);
        if (b != nullptr)
            u = multiply_add(floats(subtract(numbers_at(b, s.b_wide, at), all(s.b_zero))), load(s.b_gain + n + at), u);
        u = clamp(u, static_cast<float>(q.highest));
        near |= static_cast<uint64_t>(near_tie(u, limit)) << at;
        codes[i] = rounded(u);
    }
    near &= first_bits(count);
    const auto exactly = [&](int i) {
        double x = static_cast<double>(number_at(a, s.a_wide, i) - s.a_zero) * s.a_scale;
        if (b != nullptr) x = x + static_cast<double>(number_at(b, s.b_wide, i) - s.b_zero) * s.b_scale;
        return code_exactly(x, q, n + i);
    };
    if (q.factor == nullptr) {
        uint8_t *out = static_cast<uint8_t *>(to);
        store_codes(codes, out);
        for (; near != 0; near &= near - 1) out[lowest_bit(near)] = static_cast<uint8_t>(exactly(lowest_bit(near)));
    } else {
        int16_t *out = static_cast<int16_t *>(to);
        const int32_t zero_point = static_cast<int32_t>(q.zero_point);
        for (Index i = 0; i < BLOCKS; ++i)
            if (i * LANES < count)
                store(multiply(subtract(codes[i], all(zero_point)), load(q.factor + n + i * LANES)), out + i * LANES);
        for (; near != 0; near &= near - 1) {
            const int i = lowest_bit(near);
            out[i] = static_cast<int16_t>((exactly(i) - zero_point) * q.factor[n + i]);
        }
    }
}

// What becomes of a layer's value.
enum class Finish : int32_t { quantize, powers_of_two, steps, sum, plain };

struct LayerStep {
    Layer layer;
    Finish finish;
    const Quantizer *quantizer;
    const Steps *steps;
    const Sum *sum;  // of this layer's codes (b) with another value (a)
};

struct Strided {
    const uint8_t *at;
    Index stride;  // bytes from row to row
};

template <bool Shift, bool Offset>
void finish_block(const LayerStep &s, const int32_t *sums, const Row &row, Index n, Index count, const uint8_t *other,
                  uint8_t *out) {
    const Layer &l = s.layer;
    alignas(64) uint8_t codes[WIDE];
    switch (s.finish) {
    case Finish::quantize:
    case Finish::steps: {
        uint8_t *to = count == WIDE ? out + n : codes;
        if (s.finish == Finish::quantize)
            quantized<Shift, Offset>(l, sums, row, n, count, *s.quantizer, to);
        else
            stepped<Shift, Offset>(l, sums, row, n, count, *s.steps, to);
        if (to == codes) std::memcpy(out + n, codes, static_cast<size_t>(count));
        return;
    }
    case Finish::powers_of_two: {
        quantized<Shift, Offset>(l, sums, row, n, count, *s.quantizer, codes);
        int16_t *to = reinterpret_cast<int16_t *>(out) + n;
        const int32_t zero = static_cast<int32_t>(s.quantizer->zero_point);
        for (Index i = 0; i < count; ++i) to[i] = static_cast<int16_t>((codes[i] - zero) * s.quantizer->factor[n + i]);
        return;
    }
    case Finish::sum: {
        quantized<Shift, Offset>(l, sums, row, n, count, *s.quantizer, codes);
        alignas(64) uint8_t operand[2 * WIDE], result[2 * WIDE];
        const Index width = s.sum->a_wide ? 2 : 1, size = s.sum->quantizer->factor != nullptr ? 2 : 1;
        const uint8_t *a = other + n * width;
        if (count < WIDE) a = static_cast<uint8_t *>(std::memcpy(operand, a, static_cast<size_t>(count * width)));
        uint8_t *to = count < WIDE ? result : out + n * size;
        summed(*s.sum, a, codes, n, count, to);
        if (count < WIDE) std::memcpy(out + n * size, result, static_cast<size_t>(count * size));
        return;
    }
    case Finish::plain: {
        double *to = reinterpret_cast<double *>(out) + n;
        for (Index i = 0; i < count; ++i) to[i] = exact_value(l, sums[i], row, n + i);
        return;
    }
    }
}

template <bool Shift, bool Offset>
void run_layer_as(const LayerStep &s, Strided a, Index rows, Strided other, Strided out, uint8_t *copy) {
    const Layer &l = s.layer;
    const Index depth4 = padded(l.depth, 4);
    alignas(64) int32_t sums[ROWS * WIDE] = {};
    for (Index first = 0; first < rows; first += ROWS) {
        const Index count = rows - first < ROWS ? rows - first : ROWS;
        const Rows from(a.at + first * a.stride, a.stride, count, l.depth, copy);
        Row row[ROWS];
        for (Index r = 0; r < count; ++r) row[r] = row_of(l, from.row(r));
        for (Index n = 0; n < l.outputs; n += WIDE) {
            const Index outputs = l.outputs - n < WIDE ? l.outputs - n : WIDE;
            multiply(count, padded(outputs, LANES) / LANES, from.from(), from.stride(), l.weights + n * depth4, depth4,
                     l.init + n, sums);
            for (Index r = 0; r < count; ++r)
                finish_block<Shift, Offset>(s, sums + r * WIDE, row[r], n, outputs,
                                            other.at + (first + r) * other.stride,
                                            const_cast<uint8_t *>(out.at) + (first + r) * out.stride);
        }
    }
}

// Rows through a layer. `copy` has room for ROWS rows of activations.
inline void run_layer(const LayerStep &s, Strided a, Index rows, Strided other, Strided out, uint8_t *copy) {
    const bool shift = s.layer.shift != nullptr, offset = s.layer.fast.offset != nullptr;
    if (shift && offset) return run_layer_as<true, true>(s, a, rows, other, out, copy);
    if (shift) return run_layer_as<true, false>(s, a, rows, other, out, copy);
    if (offset) return run_layer_as<false, true>(s, a, rows, other, out, copy);
    return run_layer_as<false, false>(s, a, rows, other, out, copy);
}

}  // namespace native
