// A plan: the steps from some values of an image to others. One thread takes one image through all of them, so that
// everything in between stays in its cache; where there are fewer images than threads, several share an image's rows.
// Nothing here depends on which thread or on the number of images.

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

// Where a value lies: outside (a batch, or one constant for all images with stride 0), or in memory for one image.
struct Buffer {
    uint8_t *base;  // null: at `offset` of the image's memory
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

// Rows of a value from the first of a range on.
inline Strided rows_from(uint8_t *at, Index offset, Index stride, Range rows) {
    return {at == nullptr ? nullptr : at + offset + rows.first * stride, stride};
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

// A thread's part of a step.
inline void run_step(const Step &step, uint8_t *const (&at)[4], uint8_t *scratch, Part part) {
    const Index *g = step.g;
    switch (step.kind) {
    case Kind::layer: {  // rows, then offset and stride of activations, other summand, output
        const Range rows = range_of(g[0], ROWS, part);
        const Strided other = rows_from(at[1], g[3], g[4], rows);
        return run_layer(*static_cast<const LayerStep *>(step.parameters), rows_from(at[0], g[1], g[2], rows), rows.count,
                         other, rows_from(at[3], g[5], g[6], rows), scratch);
    }
    case Kind::norm: {  // rows, then offset and stride of input, output
        const Norm &norm = *static_cast<const Norm *>(step.parameters);
        const Range rows = range_of(g[0], ROWS, part);
        return (norm.integer != 0 ? normalize_integers : normalize)(
            norm, rows.count, at[0] + g[1] + rows.first * g[2], g[2], at[3] + g[3] + rows.first * g[4], g[4]);
    }
    case Kind::attention: {  // heads, queries, then offset and strides by head and token of q, k, v, output
        const Range queries = range_of(g[1], ROWS, part);
        const auto heads = [&](int i, Index first) {
            return Heads{at[i] + g[2 + 3 * i] + first * g[4 + 3 * i], g[3 + 3 * i], g[4 + 3 * i]};
        };
        return attend(*static_cast<const Attention *>(step.parameters), g[0], queries.count, heads(0, queries.first),
                      heads(1, 0), heads(2, 0), heads(3, queries.first), scratch);
    }
    case Kind::sum: {  // rows, width, then offset and stride of both summands and the output
        const Range rows = range_of(g[0], 1, part);
        return run_sum(*static_cast<const Sum *>(step.parameters), rows_from(at[0], g[2], g[3], rows),
                       rows_from(at[1], g[4], g[5], rows), rows.count, g[1], rows_from(at[3], g[6], g[7], rows));
    }
    case Kind::gather: return gather(*static_cast<const Runs *>(step.parameters), at[0], at[3]);  // in one part
    case Kind::convolution:  // offset of the input
        return run_convolution(*static_cast<const Convolution *>(step.parameters), at[0] + g[0], at[1], at[3], scratch,
                               part);
    case Kind::matrices: {  // offset and strides by matrix and row of a, b, output
        const Matrices &m = *static_cast<const Matrices *>(step.parameters);
        const Range rows = range_of(m.rows, ROWS, part);
        const auto heads = [&](int i, Index first) {
            return Heads{at[i == 2 ? 3 : i] + g[3 * i] + first * g[2 + 3 * i], g[1 + 3 * i], g[2 + 3 * i]};
        };
        return multiply_matrices(m, rows.count, heads(0, rows.first), heads(1, 0), heads(2, rows.first), scratch);
    }
    case Kind::softmax: {  // rows, width, offset and stride of the input
        const Range rows = range_of(g[0], 1, part);
        return softmax_by_rows(*static_cast<const Softmax *>(step.parameters), rows.count, g[1],
                               rows_from(at[0], g[2], g[3], rows), rows_from(at[3], 0, g[1], rows), scratch);
    }
    case Kind::table: {  // rows, width, then offset and stride of the input, the output
        const Range rows = range_of(g[0], 1, part);
        return look_up(*static_cast<const Table *>(step.parameters), rows.count, g[1], rows_from(at[0], g[2], g[3], rows),
                       rows_from(at[3], g[4], g[5], rows));
    }
    case Kind::pairs: {  // rows, width, then offset and stride of both inputs, stride of the output
        const Range rows = range_of(g[0], 1, part);
        return look_up_pairs(*static_cast<const Table *>(step.parameters), rows.count, g[1],
                             rows_from(at[0], g[2], g[3], rows), rows_from(at[1], g[4], g[5], rows),
                             rows_from(at[3], 0, g[6], rows));
    }
    case Kind::resample:  // offset of the input
        return run_resample(*static_cast<const Resample *>(step.parameters), at[0] + g[0], at[3], scratch, part);
    case Kind::pooling: return run_pooling(*static_cast<const Pooling *>(step.parameters), at[0] + g[0], at[3], part);
    }
}

// Memory kept from call to call; 64 bytes more, as vectors may be read past the end of a value.
inline uint8_t *kept(std::vector<uint8_t> &memory, Index bytes) {
    if (static_cast<Index>(memory.size()) < bytes + 128) memory.resize(static_cast<size_t>(bytes + 128));
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    return memory.data() + (64 - address % 64) % 64;
}

// Of a thread, for what a step has in between.
inline uint8_t *own_memory(Index bytes) {
    thread_local std::vector<uint8_t> memory;
    return kept(memory, bytes);
}

// Of the thread that asks for a plan to be run, for values between the steps of all images at once.
inline uint8_t *shared_memory(Index bytes) {
    thread_local std::vector<uint8_t> memory;
    return kept(memory, bytes);
}

inline double thread_seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Into how many parts a step is taken apart for a team. Attention and products of matrices repeat some work in each.
inline Index parts_of(const Step &step, Index team) {
    if (step.kind == Kind::gather) return 1;
    return step.kind == Kind::attention || step.kind == Kind::matrices ? team : 2 * team;
}

// `seconds`, where given, gets the least processor time that any image took, by step (with one thread, for profiles).
inline void run_plan(int threads, Index images, const Step *steps, Index count, const Buffer *buffers, Index arena_bytes,
                     Index scratch_bytes, double *seconds) {
    const Index team = seconds == nullptr ? team_size(threads, images) : 1, arena = padded(arena_bytes, 64) + 64;
    uint8_t *const shared = team > 1 ? shared_memory(images * arena) : nullptr;
    std::vector<Progress> progress(static_cast<size_t>(team > 1 ? images : 0));
    pool().run(threads, images * team, [&](Index job) {
        const Index image = job / team;
        const Index values = team > 1 ? 0 : arena;  // those of an image that a thread has for itself
        uint8_t *const own = own_memory(values + scratch_bytes), *const scratch = own + values;
        uint8_t *const memory = team > 1 ? shared + image * arena : own;
        const auto find = [&](int32_t buffer) -> uint8_t * {
            if (buffer < 0) return nullptr;
            const Buffer &b = buffers[buffer];
            return b.base != nullptr ? b.base + image * b.stride : memory + b.offset;
        };
        const auto run = [&](Index i, Part part) {
            const Step &s = steps[i];
            uint8_t *const at[4] = {find(s.inputs[0]), find(s.inputs[1]), find(s.inputs[2]), find(s.output)};
            run_step(s, at, scratch, part);
        };
        if (team > 1) {
            Progress &shown = progress[static_cast<size_t>(image)];
            for (Progress::Claim claim = shown.claim(); claim.step < count; claim = shown.claim()) {
                const Index parts = parts_of(steps[claim.step], team);
                if (claim.part >= parts) {
                    shown.await(claim.step);
                    continue;
                }
                run(claim.step, {claim.part, parts});
                shown.finish(claim.step, parts);
            }
            return;
        }
        for (Index i = 0; i < count; ++i) {
            const double start = seconds == nullptr ? 0.0 : thread_seconds();
            run(i, {0, 1});
            if (seconds != nullptr) seconds[i] = std::min(seconds[i], thread_seconds() - start);
        }
    });
}

}  // namespace native
