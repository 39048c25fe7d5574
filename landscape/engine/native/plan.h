// A plan: the steps from some values of an image to others. One thread takes one image through all of them, so that
// everything in between stays in its cache; nothing here depends on which thread or on the number of images.

#pragma once

#include <algorithm>
#include <ctime>
#include <vector>

#include "depthwise.h"
#include "matrices.h"
#include "integer_norm.h"
#include "pooling.h"
#include "resample.h"

namespace native {

enum class Kind : int32_t {
    layer, norm, attention, sum, gather, convolution, pooling, matrices, softmax, table, pairs, resample
};

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

// Numbers copied from where runs of them lie, side by side or at equal steps; a run from -1 is made of zeros.
struct Runs {
    const int32_t *runs;  // (count, 3): where, how many, step
    Index count, bytes;   // of a number
    int32_t zero;         // number that stands for zero
};

inline void gather(const Runs &r, const uint8_t *from, uint8_t *to) {
    for (Index i = 0; i < r.count; ++i) {
        const int32_t *const run = r.runs + 3 * i;
        const Index bytes = run[1] * r.bytes;
        const uint8_t *const first = from + run[0] * r.bytes;
        if (run[0] < 0)
            std::memset(to, r.zero, static_cast<size_t>(bytes));  // of int16 the zero is 0
        else if (run[2] == 1)
            std::memcpy(to, first, static_cast<size_t>(bytes));
        else if (r.bytes == 1)
            for (Index n = 0; n < run[1]; ++n) to[n] = first[n * run[2]];
        else
            for (Index n = 0; n < run[1]; ++n)
                std::memcpy(to + n * r.bytes, first + n * run[2] * r.bytes, static_cast<size_t>(r.bytes));
        to += bytes;
    }
}

// What a code turns into, by channel: (channels, 256), or one row for all. What two do: (256, 256), by the first and
// the second.
struct Table {
    const uint8_t *codes;
    Index channels;
};

#if defined(__AVX512VBMI__)
// One table for all: 64 codes at a time.
inline void look_up_alike(const uint8_t *table, Index rows, Index width, Strided in, Strided out) {
    const __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + 64);
    const __m512i c = _mm512_loadu_si512(table + 128), d = _mm512_loadu_si512(table + 192);
    for (Index r = 0; r < rows; ++r) {
        const uint8_t *const from = in.at + r * in.stride;
        uint8_t *const to = const_cast<uint8_t *>(out.at) + r * out.stride;
        for (Index i = 0; i < width; i += 64) {
            const __mmask64 some = width - i < 64 ? (uint64_t{1} << (width - i)) - 1 : ~uint64_t{0};
            const __m512i x = _mm512_maskz_loadu_epi8(some, from + i);
            const __m512i low = _mm512_permutex2var_epi8(a, x, b), high = _mm512_permutex2var_epi8(c, x, d);
            _mm512_mask_storeu_epi8(to + i, some, _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high));
        }
    }
}
#else
inline void look_up_alike(const uint8_t *table, Index rows, Index width, Strided in, Strided out) {
    for (Index r = 0; r < rows; ++r) {
        const uint8_t *const from = in.at + r * in.stride;
        uint8_t *const to = const_cast<uint8_t *>(out.at) + r * out.stride;
        for (Index i = 0; i < width; ++i) to[i] = table[from[i]];
    }
}
#endif

inline void look_up(const Table &t, Index rows, Index width, Strided in, Strided out) {
    if (t.channels == 1) return look_up_alike(t.codes, rows, width, in, out);
    for (Index r = 0; r < rows; ++r) {
        const uint8_t *const from = in.at + r * in.stride;
        uint8_t *const to = const_cast<uint8_t *>(out.at) + r * out.stride;
        for (Index i = 0; i < width; ++i) to[i] = t.codes[256 * i + from[i]];
    }
}

inline void look_up_pairs(const Table &t, Index rows, Index width, Strided a, Strided b, Strided out) {
    for (Index r = 0; r < rows; ++r) {
        const uint8_t *const first = a.at + r * a.stride, *const second = b.at + r * b.stride;
        uint8_t *const to = const_cast<uint8_t *>(out.at) + r * out.stride;
        for (Index i = 0; i < width; ++i) to[i] = t.codes[256 * first[i] + second[i]];
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
    case Kind::norm: {  // rows, then offset and stride of input, output
        const Norm &norm = *static_cast<const Norm *>(step.parameters);
        return (norm.integer != 0 ? normalize_integers : normalize)(norm, g[0], at[0] + g[1], g[2], at[3] + g[3], g[4]);
    }
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
    case Kind::gather: return gather(*static_cast<const Runs *>(step.parameters), at[0], at[3]);
    case Kind::convolution:  // offset of the input
        return run_convolution(*static_cast<const Convolution *>(step.parameters), at[0] + g[0], at[1], at[3], scratch);
    case Kind::matrices: {  // offset and strides by matrix and row of a, b, output
        const auto heads = [&](int i) { return Heads{at[i == 2 ? 3 : i] + g[3 * i], g[1 + 3 * i], g[2 + 3 * i]}; };
        return multiply_matrices(*static_cast<const Matrices *>(step.parameters), heads(0), heads(1), heads(2), scratch);
    }
    case Kind::softmax:  // rows, width, offset and stride of the input
        return softmax_by_rows(*static_cast<const Softmax *>(step.parameters), g[0], g[1], {at[0] + g[2], g[3]},
                               {at[3], g[1]}, scratch);
    case Kind::table:  // rows, width, then offset and stride of the input, the output
        return look_up(*static_cast<const Table *>(step.parameters), g[0], g[1], {at[0] + g[2], g[3]},
                       {at[3] + g[4], g[5]});
    case Kind::pairs:  // rows, width, then offset and stride of both inputs, stride of the output
        return look_up_pairs(*static_cast<const Table *>(step.parameters), g[0], g[1], {at[0] + g[2], g[3]},
                             {at[1] + g[4], g[5]}, {at[3], g[6]});
    case Kind::resample:  // offset of the input
        return run_resample(*static_cast<const Resample *>(step.parameters), at[0] + g[0], at[3], scratch);
    case Kind::pooling: return run_pooling(*static_cast<const Pooling *>(step.parameters), at[0] + g[0], at[3]);
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
