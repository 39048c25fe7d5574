// Pools of images whose channels lie side by side: the largest code of a window, or the quantized average.

#pragma once

#include "parts.h"
#include "windows.h"

namespace native {

struct Pooling {
    Windows windows;
    const Quantizer *quantizer;  // of averages; null for the largest code
    double scale, count;         // of the input; numbers in a window, padding included
};

// Calls f with the first number of each pixel of a window that lies inside the image.
template <class Function>
inline void each_pixel(const Windows &w, const uint8_t *from, Index y, Index x, Function f) {
    for (Index i = 0; i < w.kernel_height; ++i) {
        const Index row = y * w.down + i * w.high - w.top;
        if (row < 0 || row >= w.height) continue;
        for (Index j = 0; j < w.kernel_width; ++j) {
            const Index column = x * w.right + j * w.wide - w.left;
            if (column >= 0 && column < w.width) f(from + row * w.row_stride + column * w.column_stride);
        }
    }
}

inline void largest_codes(const Windows &w, const uint8_t *from, Index y, Index x, Index count, uint8_t *out) {
    uint8_t most[WIDE] = {};
    each_pixel(w, from, y, x, [&](const uint8_t *codes) {
        if (count == WIDE)
            for (Index i = 0; i < WIDE; ++i) most[i] = most[i] > codes[i] ? most[i] : codes[i];
        else
            for (Index i = 0; i < count; ++i) most[i] = most[i] > codes[i] ? most[i] : codes[i];
    });
    std::memcpy(out, most, static_cast<size_t>(count));
}

// Padding counts as zero. The sums are exact in int32: the planner sees to it that windows are small enough.
inline void averages(const Pooling &p, const uint8_t *from, Index y, Index x, Index count, uint8_t *out) {
    const Windows &w = p.windows;
    int32_t sums[WIDE] = {};
    each_pixel(w, from, y, x, [&](const uint8_t *codes) {
        if (count == WIDE)
            for (Index i = 0; i < WIDE; ++i) sums[i] += codes[i] - w.zero;
        else
            for (Index i = 0; i < count; ++i) sums[i] += codes[i] - w.zero;
    });
    for (Index i = 0; i < count; ++i)
        out[i] = static_cast<uint8_t>(code_exactly(static_cast<double>(sums[i]) * p.scale / p.count, *p.quantizer, 0));
}

inline void run_pooling(const Pooling &p, const uint8_t *from, uint8_t *out, Part part) {
    const Windows &w = p.windows;
    const Range rows = range_of(w.out_height, 1, part);
    out += rows.first * w.out_width * w.channels;
    for (Index y = rows.first; y < rows.first + rows.count; ++y)
        for (Index x = 0; x < w.out_width; ++x, out += w.channels)
            for (Index c = 0; c < w.channels; c += WIDE) {
                const Index count = w.channels - c < WIDE ? w.channels - c : WIDE;
                if (p.quantizer == nullptr)
                    largest_codes(w, from + c, y, x, count, out + c);
                else
                    averages(p, from + c, y, x, count, out + c);
            }
}

}  // namespace native
