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
    int32_t saturate;  // |u| is below 2^30 for all activations, and the highest code is 255
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

// How a row's sum of codes enters: not at all, times a number of each output, or times the same for all outputs.
enum class Shift { none, each, same };

struct Row {
    int32_t codes;    // sum of the activations' codes
    int32_t shifted;  // times the first output's shift
    double total;     // of the centred ones
    float total_32;
    Floats limit;
};

inline Row row_of(const Layer &l, int32_t codes) {
    Row row;
    row.codes = codes;
    row.shifted = l.shift == nullptr ? 0 : l.shift[0] * codes;
    row.total = static_cast<double>(codes - static_cast<int32_t>(l.depth) * l.zero);
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

// Sums of one row, outputs side by side. What else an epilogue reads values from (see sums.h) has the same members.
template <Shift S, bool Offset>
struct RowSums {
    const Layer &layer;
    const int32_t *sums;
    const Row &row;

    Floats limit() const { return row.limit; }

    // The float32 values of 16 B outputs from n on.
    template <int B>
    void fast(Index n, Floats (&u)[B]) const {
        const Layer &l = layer;
        Ints s[B];
        EACH(b) s[b] = load(sums + b * LANES);
        if constexpr (S == Shift::each) EACH(b) s[b] = add(s[b], multiply(load(l.shift + n + b * LANES), all(row.codes)));
        if constexpr (S == Shift::same) EACH(b) s[b] = add(s[b], all(row.shifted));
        EACH(b) {
            u[b] = load(l.fast.bias + n + b * LANES);
            if constexpr (Offset) u[b] = multiply_add(load(l.fast.offset + n + b * LANES), all(row.total_32), u[b]);
        }
        EACH(b) u[b] = multiply_add(floats(s[b]), load(l.fast.gain + n + b * LANES), u[b]);
    }

    // The reference's float64 value of output n + i.
    double exact(Index n, int i) const { return exact_value(layer, sums[i], row, n + i); }
};

// Codes of up to 16 B outputs from n on; all 64 bytes are written.
template <int B, class Sums>
inline void quantized(const Sums &sums, Index n, Index count, const Quantizer &q, uint8_t *to) {
    Floats u[B];
    Ints codes[BLOCKS] = {};
    sums.fast(n, u);
    uint64_t near = round_to_codes<B>(u, q, sums.layer.fast.saturate != 0, sums.limit(), codes);
    store_codes(codes, to);
    for (near &= first_bits(count); near != 0; near &= near - 1) {
        const int i = lowest_bit(near);
        to[i] = static_cast<uint8_t>(code_exactly(sums.exact(n, i), q, n + i));
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

template <class Sums>
inline void stepped(const Sums &sums, Index n, Index count, const Steps &s, uint8_t *to) {
    constexpr int B = BLOCKS;
    Floats x[B], u[B];
    Ints cell[B], codes[B];
    sums.fast(n, x);
    EACH(b) x[b] = clamp(x[b], 0.0f, s.last);
    EACH(b) cell[b] = truncated(x[b]);
    EACH(b) u[b] = pick(s.coefficients + 4 * 32, cell[b]);
    EACH(b) x[b] = subtract(x[b], floats(cell[b]));
#pragma GCC unroll 4
    for (int power = 3; power >= 0; --power)
        EACH(b) u[b] = multiply_add(u[b], x[b], pick(s.coefficients + power * 32, cell[b]));
    uint64_t near = round_to_codes<B>(u, s.highest, s.highest == 255.0f, sums.limit(), codes);
    store_codes(codes, to);
    for (near &= first_bits(count); near != 0; near &= near - 1) {
        const int i = lowest_bit(near);
        to[i] = step_exactly(sums.exact(n, i), s);
    }
}

inline int32_t number_at(const void *values, int32_t wide, Index i) {
    return wide ? static_cast<const int16_t *>(values)[i] : static_cast<const uint8_t *>(values)[i];
}

inline Ints numbers_at(const void *values, int32_t wide, Index i) {
    return wide ? load(static_cast<const int16_t *>(values) + i) : load(static_cast<const uint8_t *>(values) + i);
}

// The sum of up to 64 numbers each, from channel n on; 64 codes, or with PTF 64 int16, are written.
template <bool Wide, bool Both>
inline void summed_as(const Sum &s, const void *a, const uint8_t *b, const int16_t *wide_b, Index n, Index count, void *to) {
    const Quantizer &q = *s.quantizer;
    const Floats zero = all(static_cast<float>(q.zero_point));
    constexpr int B = BLOCKS;
    Floats u[B];
    Ints codes[B];
    EACH(i) {
        const Index at = i * LANES;
        const Ints first = Wide ? load(static_cast<const int16_t *>(a) + at) : load(static_cast<const uint8_t *>(a) + at);
        u[i] = multiply_add(floats(Wide ? first : subtract(first, all(s.a_zero))), load(s.a_gain + n + at), zero);
    }
    if constexpr (Both) EACH(i) {
        const Index at = i * LANES;
        const Ints second = b != nullptr ? load(b + at) : load(wide_b + at);
        u[i] = multiply_add(floats(subtract(second, all(s.b_zero))), load(s.b_gain + n + at), u[i]);
    }
    uint64_t near = round_to_codes<B>(u, q, false, all(tie_limit(s.tolerance)), codes) & first_bits(count);
    const auto exactly = [&](int i) {
        const int32_t first = Wide ? static_cast<const int16_t *>(a)[i] : static_cast<const uint8_t *>(a)[i];
        double x = static_cast<double>(first - s.a_zero) * s.a_scale;
        if (Both) x = x + static_cast<double>((b != nullptr ? b[i] : wide_b[i]) - s.b_zero) * s.b_scale;
        return code_exactly(x, q, n + i);
    };
    if (q.factor == nullptr) {
        uint8_t *out = static_cast<uint8_t *>(to);
        store_codes(codes, out);
        for (; near != 0; near &= near - 1) out[lowest_bit(near)] = static_cast<uint8_t>(exactly(lowest_bit(near)));
        return;
    }
    int16_t *out = static_cast<int16_t *>(to);
    const int32_t zero_point = static_cast<int32_t>(q.zero_point);
#pragma GCC unroll 4
    for (Index i = 0; i < BLOCKS; ++i)
        store(multiply(subtract(codes[i], all(zero_point)), load(q.factor + n + i * LANES)), out + i * LANES);
    for (; near != 0; near &= near - 1) {
        const int i = lowest_bit(near);
        out[i] = static_cast<int16_t>((exactly(i) - zero_point) * q.factor[n + i]);
    }
}

inline void summed(const Sum &s, const void *a, const void *b, Index n, Index count, void *to) {
    const uint8_t *small = s.b_wide ? nullptr : static_cast<const uint8_t *>(b);
    const int16_t *wide = s.b_wide ? static_cast<const int16_t *>(b) : nullptr;
    if (b == nullptr) {
        if (s.a_wide) return summed_as<true, false>(s, a, nullptr, nullptr, n, count, to);
        return summed_as<false, false>(s, a, nullptr, nullptr, n, count, to);
    }
    if (s.a_wide) return summed_as<true, true>(s, a, small, wide, n, count, to);
    return summed_as<false, true>(s, a, small, wide, n, count, to);
}

// Codes of the outputs from n on as int16 integers: zero point off, factor in.
inline void put_powers_of_two(const Quantizer &q, const uint8_t *codes, Index n, Index count, uint8_t *out) {
    int16_t *to = reinterpret_cast<int16_t *>(out) + n;
    const int32_t zero = static_cast<int32_t>(q.zero_point);
    for (Index i = 0; i < count; ++i) to[i] = static_cast<int16_t>((codes[i] - zero) * q.factor[n + i]);
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

// Up to 64 outputs from n on; `other` and `out` point to output 0 of their rows.
template <Finish F, class Sums>
inline void finish_block(const LayerStep &s, const Sums &sums, Index n, Index count, const uint8_t *other, uint8_t *out) {
    alignas(64) uint8_t codes[WIDE];
    if constexpr (F == Finish::quantize || F == Finish::steps) {
        uint8_t *to = count == WIDE ? out + n : codes;
        if constexpr (F == Finish::quantize)
            quantized<BLOCKS>(sums, n, count, *s.quantizer, to);
        else
            stepped(sums, n, count, *s.steps, to);
        if (to == codes) std::memcpy(out + n, codes, static_cast<size_t>(count));
    } else if constexpr (F == Finish::powers_of_two) {
        quantized<BLOCKS>(sums, n, count, *s.quantizer, codes);
        put_powers_of_two(*s.quantizer, codes, n, count, out);
    } else if constexpr (F == Finish::sum) {
        quantized<BLOCKS>(sums, n, count, *s.quantizer, codes);
        alignas(64) uint8_t operand[2 * WIDE], result[2 * WIDE];
        const Index width = s.sum->a_wide ? 2 : 1, size = s.sum->quantizer->factor != nullptr ? 2 : 1;
        const uint8_t *a = other + n * width;
        if (count < WIDE) a = static_cast<uint8_t *>(std::memcpy(operand, a, static_cast<size_t>(count * width)));
        uint8_t *to = count < WIDE ? result : out + n * size;
        summed(*s.sum, a, codes, n, count, to);
        if (count < WIDE) std::memcpy(out + n * size, result, static_cast<size_t>(count * size));
    } else {
        double *to = reinterpret_cast<double *>(out) + n;
        for (Index i = 0; i < count; ++i) to[i] = sums.exact(n, static_cast<int>(i));
    }
}

template <Finish F, Shift S, bool Offset>
void run_layer_as(const LayerStep &s, Strided a, Index rows, Strided other, Strided out, uint8_t *copy) {
    const Layer &l = s.layer;
    const Index depth4 = padded(l.depth, 4);
    alignas(64) int32_t sums[ROWS * WIDE] = {};
    for (Index first = 0; first < rows; first += ROWS) {
        const Index count = rows - first < ROWS ? rows - first : ROWS;
        const Rows from(a.at + first * a.stride, a.stride, count, l.depth, copy);
        Row row[ROWS];
        for (Index r = 0; r < count; ++r) row[r] = row_of(l, sum_of(from.row(r), l.depth));
        for (Index n = 0; n < l.outputs; n += WIDE) {
            const Index outputs = l.outputs - n < WIDE ? l.outputs - n : WIDE;
            multiply(count, padded(outputs, LANES) / LANES, from.from(), from.stride(), l.weights + n * depth4, depth4,
                     l.init + n, sums);
            for (Index r = 0; r < count; ++r)
                finish_block<F>(s, RowSums<S, Offset>{l, sums + r * WIDE, row[r]}, n, outputs,
                                other.at + (first + r) * other.stride,
                                const_cast<uint8_t *>(out.at) + (first + r) * out.stride);
        }
    }
}

template <Finish F>
void run_layer_to(const LayerStep &s, Strided a, Index rows, Strided other, Strided out, uint8_t *copy) {
    const bool shift = s.layer.shift != nullptr, offset = s.layer.fast.offset != nullptr;
    if (shift && offset) return run_layer_as<F, Shift::each, true>(s, a, rows, other, out, copy);
    if (shift) return run_layer_as<F, Shift::each, false>(s, a, rows, other, out, copy);
    if (offset) return run_layer_as<F, Shift::none, true>(s, a, rows, other, out, copy);
    return run_layer_as<F, Shift::none, false>(s, a, rows, other, out, copy);
}

// Rows through a layer. `copy` has room for ROWS rows of activations.
inline void run_layer(const LayerStep &s, Strided a, Index rows, Strided other, Strided out, uint8_t *copy) {
    switch (s.finish) {
    case Finish::quantize: return run_layer_to<Finish::quantize>(s, a, rows, other, out, copy);
    case Finish::powers_of_two: return run_layer_to<Finish::powers_of_two>(s, a, rows, other, out, copy);
    case Finish::steps: return run_layer_to<Finish::steps>(s, a, rows, other, out, copy);
    case Finish::sum: return run_layer_to<Finish::sum>(s, a, rows, other, out, copy);
    case Finish::plain: return run_layer_to<Finish::plain>(s, a, rows, other, out, copy);
    }
}

}  // namespace native
