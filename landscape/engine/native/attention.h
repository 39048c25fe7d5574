// Attention of one image: quantize(softmax(quantize(q k^T)) v), head by head, a few rows of logits at a time.

#pragma once

#include "layer.h"
#include "softmax.h"

namespace native {

// Products of two activations as layers: what differs from head to head (weights, init) is filled in here.
struct Product {
    Layer layer;      // depth, outputs, zero of a; gain, fast and shift (128 - b's zero point) of a constant
    int32_t b_zero;
    const Quantizer *quantizer;
    const Steps *steps;  // of an activation function behind it, or null
};

struct Attention {
    Product logits, output;
    Softmax softmax;
};

struct Heads {  // strides in bytes from head to head and from token to token
    const uint8_t *at;
    Index head, token;
};

// init[n] = -za sum over k of (b[n][k] - zb), b's codes side by side for each n, or (columns) for each k.
inline void start_of(const Product &p, const uint8_t *b, Index stride, bool columns, int32_t *init) {
    const Layer &l = p.layer;
    std::memset(init, 0, static_cast<size_t>(padded(l.outputs, WIDE)) * sizeof(int32_t));
    if (l.zero == 0) return;
    if (columns) {
        for (Index k = 0; k < l.depth; ++k)
            for (Index n = 0; n < l.outputs; ++n) init[n] += b[k * stride + n];
    } else {
        for (Index n = 0; n < l.outputs; ++n) init[n] = sum_of(b + n * stride, l.depth);
    }
    for (Index n = 0; n < l.outputs; ++n)
        init[n] = -l.zero * (init[n] - static_cast<int32_t>(l.depth) * p.b_zero);
}

inline Index packed_bytes(Index outputs, Index depth) { return padded(outputs, LANES) * padded(depth, 4); }

// Bytes of scratch that a thread needs.
inline Index attention_scratch(const Attention &a) {
    const Layer &logits = a.logits.layer, &output = a.output.layer;
    const Index tokens = padded(logits.outputs, WIDE), width = padded(output.outputs, WIDE);
    return padded(packed_bytes(logits.outputs, logits.depth), 64) + padded(packed_bytes(output.outputs, output.depth), 64) +
           4 * (tokens + width) + 3 * ROWS * tokens + ROWS * padded(logits.depth, 64) + 2 * ROWS * CODES + 64;
}

template <int B>
inline void quantize_tile_as(const Product &p, const Layer &l, const int32_t *sums, const Row *rows, Index n, Index count,
                             Index outputs, uint8_t *to, Index stride) {
    for (Index r = 0; r < count; ++r)
        quantized<B>(RowSums<Shift::same, false>{l, sums + r * WIDE, rows[r]}, n, outputs, *p.quantizer, to + r * stride);
}

inline void quantize_tile(const Product &p, const Layer &l, const int32_t *sums, const Row *rows, Index n, Index count,
                          Index outputs, uint8_t *to, Index stride) {
    if (outputs > 2 * LANES) return quantize_tile_as<4>(p, l, sums, rows, n, count, outputs, to, stride);
    if (outputs > LANES) return quantize_tile_as<2>(p, l, sums, rows, n, count, outputs, to, stride);
    return quantize_tile_as<1>(p, l, sums, rows, n, count, outputs, to, stride);
}

inline void attend(const Attention &a, Index heads, Index queries, Heads q, Heads k, Heads v, Heads out,
                   uint8_t *scratch) {
    Layer logits = a.logits.layer, output = a.output.layer;
    const Index tokens = padded(logits.outputs, WIDE), width = padded(output.outputs, WIDE);
    const auto take = [&scratch](Index bytes) {
        uint8_t *const taken = scratch;
        scratch += padded(bytes, 64);
        return taken;
    };
    int8_t *const keys = reinterpret_cast<int8_t *>(take(packed_bytes(logits.outputs, logits.depth)));
    int8_t *const values = reinterpret_cast<int8_t *>(take(packed_bytes(output.outputs, output.depth)));
    int32_t *const logits_init = reinterpret_cast<int32_t *>(take(4 * tokens));
    int32_t *const output_init = reinterpret_cast<int32_t *>(take(4 * width));
    uint8_t *const logit_codes = take(ROWS * tokens), *const chances = take(ROWS * tokens);
    uint8_t *const copy = take(ROWS * padded(logits.depth, 64)), *const tables = take(ROWS * CODES);
    uint8_t *const high_chances = take(ROWS * tokens), *const high_tables = take(ROWS * CODES);  // of Log-Int-Softmax
    const bool powers = a.softmax.powers != 0;
    logits.weights = keys, logits.init = logits_init, output.weights = values, output.init = output_init;
    std::memset(tables, static_cast<int>(a.softmax.quantizer->zero_point), ROWS * CODES);
    std::memset(high_tables, 0, ROWS * CODES);
    alignas(64) int32_t sums[ROWS * WIDE] = {}, high_sums[ROWS * WIDE] = {};
    const Index key_depth = padded(logits.depth, 4), value_depth = padded(output.depth, 4);
    const LayerStep finish{output, Finish::quantize, a.output.quantizer, nullptr, nullptr};
    for (Index h = 0; h < heads; ++h) {
        const uint8_t *const key = k.at + h * k.head, *const value = v.at + h * v.head;
        pack_rows(key, k.token, logits.outputs, logits.depth, keys);
        pack_columns(value, v.token, output.outputs, output.depth, values);
        start_of(a.logits, key, k.token, false, logits_init);
        start_of(a.output, value, v.token, true, output_init);
        for (Index first = 0; first < queries; first += ROWS) {
            const Index count = queries - first < ROWS ? queries - first : ROWS;
            const Rows from(q.at + h * q.head + first * q.token, q.token, count, logits.depth, copy);
            Row row[ROWS];
            for (Index r = 0; r < count; ++r) row[r] = row_of(logits, sum_of(from.row(r), logits.depth));
            for (Index n = 0; n < logits.outputs; n += WIDE) {
                const Index outputs = logits.outputs - n < WIDE ? logits.outputs - n : WIDE;
                multiply(count, padded(outputs, LANES) / LANES, from.from(), from.stride(), keys + n * key_depth,
                         key_depth, logits_init + n, sums);
                quantize_tile(a.logits, logits, sums, row, n, count, outputs, logit_codes + n, tokens);
            }
            int32_t totals[ROWS];
            if (powers)
                log_softmax_rows(a.softmax, logit_codes, tokens, logits.outputs, count, tables, high_tables, chances,
                                 high_chances, totals);
            else
                softmax_rows(a.softmax, logit_codes, tokens, logits.outputs, count, tables, chances, totals);
            for (Index r = 0; r < count; ++r) row[r] = row_of(output, totals[r]);
            for (Index n = 0; n < output.outputs; n += WIDE) {
                const Index outputs = output.outputs - n < WIDE ? output.outputs - n : WIDE;
                multiply(count, padded(outputs, LANES) / LANES, chances, tokens, values + n * value_depth, value_depth,
                         output_init + n, sums);
                if (powers) {  // the init is 0, as the zero point
                    multiply(count, padded(outputs, LANES) / LANES, high_chances, tokens, values + n * value_depth,
                             value_depth, output_init + n, high_sums);
                    for (Index i = 0; i < count * WIDE; ++i) sums[i] += 256 * high_sums[i];
                }
                for (Index r = 0; r < count; ++r)
                    finish_block<Finish::quantize>(finish, RowSums<Shift::same, false>{finish.layer, sums + r * WIDE, row[r]},
                                                   n, outputs, nullptr,
                                                   const_cast<uint8_t *>(out.at) + h * out.head +
                                                       (first + r) * out.token);
            }
        }
    }
}

}  // namespace native
