// The parts of attention by themselves, where something stands between them: products of matrices, rows of softmax.

#pragma once

#include "attention.h"
#include "scratch.h"

namespace native {

// quantize(a b) of some matrices, or quantize(f(a b)) with an activation function. b's codes lie side by side along the
// depth, or along the outputs (`columns`).
struct Matrices {
    Product product;
    Index count, rows;  // how many, and rows of each
    int32_t columns;
};

struct MatrixMemory {
    MatrixMemory(const Matrices &m, uint8_t *memory) {
        Scratch scratch(memory);
        const Layer &l = m.product.layer;
        weights = scratch.take<int8_t>(packed_bytes(l.outputs, l.depth));
        init = scratch.take<int32_t>(padded(l.outputs, WIDE));
        copy = scratch.take<uint8_t>(ROWS * padded(l.depth, 64));
        sums = scratch.take<int32_t>(ROWS * WIDE);
        bytes = scratch.bytes();
    }
    int8_t *weights;
    int32_t *init, *sums;
    uint8_t *copy;
    Index bytes;
};

// Some rows of each: a and out begin with the first of them.
inline void multiply_matrices(const Matrices &m, Index rows, Heads a, Heads b, Heads out, uint8_t *scratch) {
    const MatrixMemory memory(m, scratch);
    Layer layer = m.product.layer;
    layer.weights = memory.weights, layer.init = memory.init;
    const LayerStep finish{layer, Finish::quantize, m.product.quantizer, m.product.steps, nullptr};
    const Index depth4 = padded(layer.depth, 4);
    for (Index i = 0; i < m.count; ++i) {
        const uint8_t *const second = b.at + i * b.head;
        if (m.columns)
            pack_columns(second, b.token, layer.outputs, layer.depth, memory.weights);
        else
            pack_rows(second, b.token, layer.outputs, layer.depth, memory.weights);
        start_of(m.product, second, b.token, m.columns != 0, memory.init);
        for (Index first = 0; first < rows; first += ROWS) {
            const Index count = rows - first < ROWS ? rows - first : ROWS;
            const Rows from(a.at + i * a.head + first * a.token, a.token, count, layer.depth, memory.copy);
            Row row[ROWS];
            for (Index r = 0; r < count; ++r) row[r] = row_of(layer, sum_of(from.row(r), layer.depth));
            for (Index n = 0; n < layer.outputs; n += WIDE) {
                const Index outputs = layer.outputs - n < WIDE ? layer.outputs - n : WIDE;
                multiply(count, padded(outputs, LANES) / LANES, from.from(), from.stride(), memory.weights + n * depth4,
                         depth4, memory.init + n, memory.sums);
                for (Index r = 0; r < count; ++r) {
                    const RowSums<Shift::same, false> sums{layer, memory.sums + r * WIDE, row[r]};
                    uint8_t *const to = const_cast<uint8_t *>(out.at) + i * out.head + (first + r) * out.token;
                    if (finish.steps != nullptr)
                        finish_block<Finish::steps>(finish, sums, n, outputs, nullptr, to);
                    else
                        finish_block<Finish::quantize>(finish, sums, n, outputs, nullptr, to);
                }
            }
        }
    }
}

inline void softmax_by_rows(const Softmax &s, Index rows, Index width, Strided from, Strided to, uint8_t *memory) {
    Scratch scratch(memory);
    uint8_t *const logits = scratch.take<uint8_t>(padded(width, 64)), *const chances = scratch.take<uint8_t>(padded(width, 64));
    uint8_t *const table = scratch.take<uint8_t>(CODES);
    std::memset(table, static_cast<int>(s.quantizer->zero_point), CODES);
    for (Index r = 0; r < rows; ++r) {
        int32_t sum;
        std::memcpy(logits, from.at + r * from.stride, static_cast<size_t>(width));
        softmax_rows(s, logits, padded(width, 64), width, 1, table, chances, &sum);
        std::memcpy(const_cast<uint8_t *>(to.at) + r * to.stride, chances, static_cast<size_t>(width));
    }
}

inline Index softmax_scratch(Index width) { return 2 * padded(width, 64) + CODES + 4 * 64; }

}  // namespace native
