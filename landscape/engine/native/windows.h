// Windows of images whose channels lie side by side: what convolutions and pools read for one output pixel.

#pragma once

#include "products.h"

namespace native {

struct Windows {
    Index channels;                   // of one group
    Index height, width;              // of the input
    Index row_stride, column_stride;  // in numbers
    Index out_height, out_width;
    Index kernel_height, kernel_width, down, right, top, left, high, wide;  // kernel, stride, padding, dilation
    int32_t zero;                                                           // number of the padding
};

inline Index kernel_size(const Windows &w) { return w.kernel_height * w.kernel_width; }

// Copies numbers, and may write up to 64 bytes past them.
template <class Number>
inline void copy_numbers(Number *to, const Number *from, Index count) {
#if defined(__AVX512BW__)
    constexpr Index step = 64 / static_cast<Index>(sizeof(Number));
    for (; count >= step; count -= step, to += step, from += step) _mm512_storeu_si512(to, _mm512_loadu_si512(from));
    const Index bytes = count * static_cast<Index>(sizeof(Number));
    if (bytes > 0) _mm512_storeu_si512(to, _mm512_maskz_loadu_epi8(first_bits(bytes), from));
#else
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(Number));
#endif
}

template <class Number>
inline void fill_numbers(Number *to, int32_t value, Index count) {
    std::fill_n(to, count, static_cast<Number>(value));
}

// The window of output pixel (y, x), in the order (kernel row, kernel column, channel).
template <class Number>
inline void cut_window(const Windows &w, const Number *from, Index y, Index x, Number *to) {
    const Index first = x * w.right - w.left, line_length = w.kernel_width * w.channels;
    const bool side_by_side =
        w.wide == 1 && w.column_stride == w.channels && first >= 0 && first + w.kernel_width <= w.width;
    for (Index i = 0; i < w.kernel_height; ++i) {
        const Index row = y * w.down + i * w.high - w.top;
        if (row < 0 || row >= w.height) {
            fill_numbers(to, w.zero, line_length);
            to += line_length;
            continue;
        }
        const Number *line = from + row * w.row_stride + first * w.column_stride;
        if (side_by_side) {
            copy_numbers(to, line, line_length);
            to += line_length;
            continue;
        }
        for (Index j = 0; j < w.kernel_width; ++j, to += w.channels) {
            const Index column = first + j * w.wide;
            if (column < 0 || column >= w.width)
                fill_numbers(to, w.zero, w.channels);
            else
                copy_numbers(to, line + j * w.wide * w.column_stride, w.channels);
        }
    }
}

}  // namespace native
