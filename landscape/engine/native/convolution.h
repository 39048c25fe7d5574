// Convolutions of images whose channels lie side by side, in one step with all that follows; see layer.h.

#pragma once

#include "parts.h"
#include "scratch.h"
#include "sums.h"
#include "windows.h"

namespace native {

struct Convolution {
    LayerStep step;  // constants repeated by period: step.layer.outputs = outputs of some pixels
    Windows windows;
    Index groups, outputs;  // outputs of one group
    const int8_t *taps;     // depthwise: packed for it
    const double *wide;     // of wide activations (int32): centred weights (depth, outputs padded to 16)
    int32_t rows;           // the windows are the pixels themselves: nothing to cut
    int32_t multiplier;     // depthwise: outputs of each channel
};

constexpr Index STREAM = 3072;  // numbers that wait for their epilogue

inline Index outputs_of(const Convolution &c) { return c.groups * c.outputs; }

// Pixels at a time.
inline Index pixels_at_once(const Convolution &c) {
    const Index tiles = STREAM / (outputs_of(c) * ROWS);
    return ROWS * (tiles < 1 ? 1 : tiles > 8 ? 8 : tiles);
}

inline void store_first(Ints x, int32_t *to, Index count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_epi32(to, static_cast<__mmask16>(first_bits(count)), x);
#else
    std::memcpy(to, &x, static_cast<size_t>(count) * sizeof(int32_t));
#endif
}

// `count` numbers of a tile's row to where they belong.
inline void put_row(const int32_t *from, Index count, int32_t *to) {
    Index n = 0;
    for (; n + LANES <= count; n += LANES) std::memcpy(to + n, from + n, LANES * sizeof(int32_t));
    if (n < count) store_first(load(from + n), to + n, count - n);
}

struct DenseMemory {
    explicit DenseMemory(const Convolution &c, uint8_t *memory) {
        Scratch scratch(memory);
        depth4 = padded(c.windows.channels * kernel_size(c.windows), 4);
        rows = scratch.take<uint8_t>(ROWS * depth4);
        sums = scratch.take<int32_t>(pixels_at_once(c) * outputs_of(c));
        totals = scratch.take<int32_t>(pixels_at_once(c) * outputs_of(c));
        tile = scratch.take<int32_t>(ROWS * WIDE);
        bytes = scratch.bytes();
    }
    uint8_t *rows;
    int32_t *sums, *totals, *tile;
    Index depth4, bytes;
};

// Sums of up to ROWS pixels and one group, and the sums of their codes.
inline void convolve_tile(const Convolution &c, const DenseMemory &m, const uint8_t *from, Index pixel, Index count, Index g,
                          int32_t *sums, int32_t *totals) {
    const Windows &w = c.windows;
    const Index all_outputs = outputs_of(c), depth = w.channels * kernel_size(w);
    const uint8_t *rows = m.rows;
    Index stride = m.depth4;
    if (c.rows) {
        rows = from + pixel * w.column_stride + g * w.channels, stride = w.column_stride;
        if (depth % 4 != 0) {
            for (Index r = 0; r < count; ++r) copy_numbers(m.rows + r * m.depth4, rows + r * stride, depth);
            rows = m.rows, stride = m.depth4;
        }
    } else {
        Index y = pixel / w.out_width, x = pixel % w.out_width;
        for (Index r = 0; r < count; ++r) {
            cut_window(w, from + g * w.channels, y, x, m.rows + r * m.depth4);
            if (++x == w.out_width) x = 0, ++y;
        }
    }
    if (totals != nullptr)
        for (Index r = 0; r < count; ++r)
            std::fill_n(totals + r * all_outputs + g * c.outputs, c.outputs, sum_of(rows + r * stride, depth));
    const Index group_bytes = padded(c.outputs, LANES) * m.depth4;
    for (Index n = 0; n < c.outputs; n += WIDE) {
        const Index outputs = c.outputs - n < WIDE ? c.outputs - n : WIDE;
        multiply(count, padded(outputs, LANES) / LANES, rows, stride, c.step.layer.weights + g * group_bytes + n * m.depth4,
                 m.depth4, c.step.layer.init + g * c.outputs + n, m.tile);
        for (Index r = 0; r < count; ++r)
            put_row(m.tile + r * WIDE, outputs, sums + r * all_outputs + g * c.outputs + n);
    }
}

inline Index pixels_of(const Convolution &c) { return c.windows.out_height * c.windows.out_width; }

inline void convolve(const Convolution &c, const uint8_t *from, const uint8_t *other, uint8_t *out, uint8_t *memory,
                     Part part) {
    const DenseMemory m(c, memory);
    const Finisher finish = finisher_of(c.step, false);
    const Index chunk = pixels_at_once(c), outputs = outputs_of(c);
    const Index size = size_of_output(c.step), other_size = size_of_other(c.step);
    const bool totals = needs_totals(c.step.layer);
    const Range pixels = range_of(pixels_of(c), chunk, part);
    const Index last = pixels.first + pixels.count;
    for (Index first = pixels.first; first < last; first += chunk) {
        const Index end = last - first < chunk ? last - first : chunk;
        for (Index p = 0; p < end; p += ROWS)
            for (Index g = 0; g < c.groups; ++g)
                convolve_tile(c, m, from, first + p, end - p < ROWS ? end - p : ROWS, g, m.sums + p * outputs,
                              totals ? m.totals + p * outputs : nullptr);
        finish(c.step, {m.sums, m.totals, nullptr, nullptr, nullptr, nullptr}, end * outputs,
               other == nullptr ? nullptr : other + first * outputs * other_size, out + first * outputs * size);
    }
}

// ---- wide activations: integers of up to 2^25, exact in float64 ------------------------------------------------

struct WideMemory {
    explicit WideMemory(const Convolution &c, uint8_t *memory) {
        Scratch scratch(memory);
        const Index depth = c.windows.channels * kernel_size(c.windows), count = ROWS * outputs_of(c);
        window = scratch.take<int32_t>(depth);
        row = scratch.take<double>(depth);
        accumulators = scratch.take<double>(padded(c.outputs, LANES));
        sums = scratch.take<double>(count), totals = scratch.take<double>(count);
        sums_32 = scratch.take<float>(count), totals_32 = scratch.take<float>(count + WIDE);
        bytes = scratch.bytes();
    }
    int32_t *window;
    double *row, *accumulators, *sums, *totals;
    float *sums_32, *totals_32;
    Index bytes;
};

// accumulators[n] = sum over k of row[k] weights[k][n]; every product and sum is an integer below 2^53, so a fused
// multiplication and addition gives the same.
inline void multiply_wide(const double *row, Index depth, const double *weights, Index outputs, double *accumulators) {
    const Index width = padded(outputs, LANES);
    for (Index n = 0; n < width; n += LANES) {
        const double *w = weights + n;
#if defined(__AVX512F__)
        __m512d low = _mm512_setzero_pd(), high = low, low_odd = low, high_odd = low;  // two chains of additions each
        Index k = 0;
        for (; k + 2 <= depth; k += 2, w += 2 * width) {
            const __m512d x = _mm512_set1_pd(row[k]), y = _mm512_set1_pd(row[k + 1]);
            low = _mm512_fmadd_pd(x, _mm512_loadu_pd(w), low), high = _mm512_fmadd_pd(x, _mm512_loadu_pd(w + 8), high);
            low_odd = _mm512_fmadd_pd(y, _mm512_loadu_pd(w + width), low_odd);
            high_odd = _mm512_fmadd_pd(y, _mm512_loadu_pd(w + width + 8), high_odd);
        }
        if (k < depth) {
            const __m512d x = _mm512_set1_pd(row[k]);
            low = _mm512_fmadd_pd(x, _mm512_loadu_pd(w), low), high = _mm512_fmadd_pd(x, _mm512_loadu_pd(w + 8), high);
        }
        _mm512_storeu_pd(accumulators + n, _mm512_add_pd(low, low_odd));
        _mm512_storeu_pd(accumulators + n + 8, _mm512_add_pd(high, high_odd));
#else
        double sums[LANES] = {};
        for (Index k = 0; k < depth; ++k, w += width)
            for (Index i = 0; i < LANES; ++i) sums[i] += row[k] * w[i];
        std::memcpy(accumulators + n, sums, sizeof sums);
#endif
    }
}

inline void convolve_wide_pixel(const Convolution &c, const WideMemory &m, const int32_t *from, Index pixel, Index at) {
    const Windows &w = c.windows;
    const Index depth = w.channels * kernel_size(w), width = padded(c.outputs, LANES);
    for (Index g = 0; g < c.groups; ++g, at += c.outputs) {
        cut_window(w, from + g * w.channels, pixel / w.out_width, pixel % w.out_width, m.window);
        double total = 0.0;
        for (Index k = 0; k < depth; ++k) m.row[k] = static_cast<double>(m.window[k]), total += m.row[k];
        multiply_wide(m.row, depth, c.wide + g * depth * width, c.outputs, m.accumulators);
        for (Index n = 0; n < c.outputs; ++n) {
            m.sums[at + n] = m.accumulators[n], m.totals[at + n] = total;
            m.sums_32[at + n] = static_cast<float>(m.accumulators[n]), m.totals_32[at + n] = static_cast<float>(total);
        }
    }
}

inline void convolve_wide(const Convolution &c, const int32_t *from, const uint8_t *other, uint8_t *out, uint8_t *memory,
                          Part part) {
    const WideMemory m(c, memory);
    const Finisher finish = finisher_of(c.step, true);
    const Index outputs = outputs_of(c), size = size_of_output(c.step), other_size = size_of_other(c.step);
    const Range pixels = range_of(pixels_of(c), ROWS, part);
    const Index last = pixels.first + pixels.count;
    for (Index first = pixels.first; first < last; first += ROWS) {
        const Index end = last - first < ROWS ? last - first : ROWS;
        for (Index p = 0; p < end; ++p) convolve_wide_pixel(c, m, from, first + p, p * outputs);
        finish(c.step, {nullptr, nullptr, m.sums, m.totals, m.sums_32, m.totals_32}, end * outputs,
               other == nullptr ? nullptr : other + first * outputs * other_size, out + first * outputs * size);
    }
}

}  // namespace native
