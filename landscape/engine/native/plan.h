// A plan: the steps from some values of an image to others. One thread takes one image through all of them, so that
// everything in between stays in its cache; nothing here depends on which thread or on the number of images.

#pragma once

#include <algorithm>
#include <ctime>
#include <vector>

#include "attention.h"
#include "norm.h"

namespace native {

enum class Kind : int32_t { layer, norm, attention, sum, gather, patches };

struct Step {
    Kind kind;
    int32_t inputs[3], output;  // buffers; -1 for none
    const void *parameters;
    Index g[16];  // offsets, strides (bytes) and counts, see run_step
};

// Where a value lies: outside (a batch, or one constant for all images with stride 0), or in the thread's own memory.
struct Buffer {
    uint8_t *base;  // null: at `offset` of the thread's memory
    Index stride, offset;
};

// Windows of a convolution, side by side in rows: (out height, out width, channels, kernel height, kernel width).
struct Patches {
    Index channels, height, width, kernel_height, kernel_width, out_height, out_width;
    Index down, right, top, left, high, wide;  // stride, padding, dilation
    int32_t zero;                              // code of the padding
    Index channel_stride, row_stride, column_stride;
};

inline void cut(const Patches &p, const uint8_t *from, uint8_t *to) {
    for (Index y = 0; y < p.out_height; ++y)
        for (Index x = 0; x < p.out_width; ++x)
            for (Index c = 0; c < p.channels; ++c)
                for (Index i = 0; i < p.kernel_height; ++i, to += p.kernel_width) {
                    const Index row = y * p.down + i * p.high - p.top, left = x * p.right - p.left;
                    const uint8_t *line = from + c * p.channel_stride + row * p.row_stride;
                    const bool inside = row >= 0 && row < p.height;
                    if (inside && left >= 0 && left + p.kernel_width <= p.width && p.wide == 1 && p.column_stride == 1) {
                        if (p.kernel_width == 16)
                            std::memcpy(to, line + left, 16);
                        else
                            std::memcpy(to, line + left, static_cast<size_t>(p.kernel_width));
                        continue;
                    }
                    for (Index j = 0; j < p.kernel_width; ++j) {
                        const Index column = left + j * p.wide;
                        to[j] = inside && column >= 0 && column < p.width ? line[column * p.column_stride]
                                                                          : static_cast<uint8_t>(p.zero);
                    }
                }
}

inline void run_sum(const Sum &s, Strided a, Strided b, Index rows, Index width, Strided out) {
    const Index a_size = s.a_wide ? 2 : 1, b_size = s.b_wide ? 2 : 1, size = s.quantizer->factor != nullptr ? 2 : 1;
    alignas(64) uint8_t a_copy[2 * WIDE], b_copy[2 * WIDE], result[2 * WIDE];
    for (Index r = 0; r < rows; ++r)
        for (Index n = 0; n < width; n += WIDE) {
            const Index count = width - n < WIDE ? width - n : WIDE;
            const uint8_t *first = a.at + r * a.stride + n * a_size;
            const uint8_t *second = b.at == nullptr ? nullptr : b.at + r * b.stride + n * b_size;
            uint8_t *const to = const_cast<uint8_t *>(out.at) + r * out.stride + n * size;
            if (count == WIDE) {
                summed(s, first, second, n, count, to);
                continue;
            }
            std::memcpy(a_copy, first, static_cast<size_t>(count * a_size));
            if (second != nullptr) std::memcpy(b_copy, second, static_cast<size_t>(count * b_size));
            summed(s, a_copy, second == nullptr ? nullptr : b_copy, n, count, result);
            std::memcpy(to, result, static_cast<size_t>(count * size));
        }
}

inline void run_step(const Step &step, uint8_t *const (&at)[4], uint8_t *scratch) {
    const Index *g = step.g;
    switch (step.kind) {
    case Kind::layer: {  // rows, then offset and stride of activations, other summand, output
        const Strided other{at[1] == nullptr ? nullptr : at[1] + g[3], g[4]};
        return run_layer(*static_cast<const LayerStep *>(step.parameters), {at[0] + g[1], g[2]}, g[0], other,
                         {at[3] + g[5], g[6]}, scratch);
    }
    case Kind::norm:  // rows, then offset and stride of input, output
        return normalize(*static_cast<const Norm *>(step.parameters), g[0], at[0] + g[1], g[2], at[3] + g[3], g[4]);
    case Kind::attention: {  // heads, queries, then offset and strides by head and token of q, k, v, output
        const auto heads = [&](int i) { return Heads{at[i] + g[2 + 3 * i], g[3 + 3 * i], g[4 + 3 * i]}; };
        return attend(*static_cast<const Attention *>(step.parameters), g[0], g[1], heads(0), heads(1), heads(2),
                      heads(3), scratch);
    }
    case Kind::sum: {  // rows, width, then offset and stride of both summands and the output
        const Strided b{at[1] == nullptr ? nullptr : at[1] + g[4], g[5]};
        return run_sum(*static_cast<const Sum *>(step.parameters), {at[0] + g[2], g[3]}, b, g[0], g[1],
                       {at[3] + g[6], g[7]});
    }
    case Kind::gather: {  // count, bytes of a number, offset of the output; parameters: where each number stands
        const int32_t *index = static_cast<const int32_t *>(step.parameters);
        if (g[1] == 1)
            for (Index i = 0; i < g[0]; ++i) at[3][g[2] + i] = at[0][index[i]];
        else
            for (Index i = 0; i < g[0]; ++i)
                std::memcpy(at[3] + g[2] + i * g[1], at[0] + index[i] * g[1], static_cast<size_t>(g[1]));
        return;
    }
    case Kind::patches: return cut(*static_cast<const Patches *>(step.parameters), at[0] + g[0], at[3]);
    }
}

// Memory of a thread, kept from call to call; 64 bytes more, as vectors may be read past the end of a value.
inline uint8_t *own_memory(Index bytes) {
    thread_local std::vector<uint8_t> memory;
    if (static_cast<Index>(memory.size()) < bytes + 128) memory.resize(static_cast<size_t>(bytes + 128));
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    return memory.data() + (64 - address % 64) % 64;
}

inline double thread_seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// `seconds`, where given, gets the least processor time that any image took, by step (with one thread, for profiles).
inline void run_plan(int threads, Index images, const Step *steps, Index count, const Buffer *buffers, Index arena_bytes,
                     Index scratch_bytes, double *seconds) {
    pool().run(threads, images, [=](Index image) {
        uint8_t *const memory = own_memory(padded(arena_bytes, 64) + scratch_bytes);
        uint8_t *const scratch = memory + padded(arena_bytes, 64);
        const auto find = [&](int32_t buffer) -> uint8_t * {
            if (buffer < 0) return nullptr;
            const Buffer &b = buffers[buffer];
            return b.base != nullptr ? b.base + image * b.stride : memory + b.offset;
        };
        for (Index i = 0; i < count; ++i) {
            const Step &s = steps[i];
            uint8_t *const at[4] = {find(s.inputs[0]), find(s.inputs[1]), find(s.inputs[2]), find(s.output)};
            if (seconds == nullptr) {
                run_step(s, at, scratch);
                continue;
            }
            const double start = thread_seconds();
            run_step(s, at, scratch);
            seconds[i] = std::min(seconds[i], thread_seconds() - start);
        }
    });
}

}  // namespace native
