// Interpolation and averages over unequal windows, of images whose channels lie side by side.
//
// The weights are no integers, so the sums are the reference's: the same float64 operations in the same order, first
// along the columns of pixels, then along the rows.

#pragma once

#include "parts.h"
#include "rounding.h"

namespace native {

// Which numbers an axis's results are made of: `count` places and weights each, (count, length).
struct Taps {
    const int32_t *places;
    const double *weights;
    Index count, length;
};

struct Resample {
    Index width, channels, row_stride, column_stride;  // of the input, in codes
    Taps rows, columns;
    int32_t zero;
    double scale;
    const Quantizer *quantizer;
};

inline Index resample_scratch(const Resample &r) {
    return (r.width + 1) * r.channels * static_cast<Index>(sizeof(double)) + 64;
}

inline void run_resample(const Resample &r, const uint8_t *from, uint8_t *out, uint8_t *scratch, Part part) {
    double *const row = reinterpret_cast<double *>(scratch), *const sums = row + r.width * r.channels;
    const Index channels = r.channels;
    const Range rows = range_of(r.rows.length, 1, part);
    out += rows.first * r.columns.length * channels;
    for (Index y = rows.first; y < rows.first + rows.count; ++y) {
        for (Index tap = 0; tap < r.rows.count; ++tap) {
            const Index at = tap * r.rows.length + y;
            const double weight = r.rows.weights[at];
            const uint8_t *const codes = from + r.rows.places[at] * r.row_stride;
            for (Index x = 0; x < r.width; ++x) {
                const uint8_t *const pixel = codes + x * r.column_stride;
                double *const to = row + x * channels;
                const auto term = [&](Index c) { return static_cast<double>(pixel[c] - r.zero) * r.scale * weight; };
                if (tap == 0)
                    for (Index c = 0; c < channels; ++c) to[c] = term(c);
                else
                    for (Index c = 0; c < channels; ++c) to[c] += term(c);
            }
        }
        for (Index x = 0; x < r.columns.length; ++x, out += channels) {
            for (Index tap = 0; tap < r.columns.count; ++tap) {
                const Index at = tap * r.columns.length + x;
                const double weight = r.columns.weights[at];
                const double *const values = row + r.columns.places[at] * channels;
                if (tap == 0)
                    for (Index c = 0; c < channels; ++c) sums[c] = values[c] * weight;
                else
                    for (Index c = 0; c < channels; ++c) sums[c] += values[c] * weight;
            }
            quantize_numbers(sums, channels, *r.quantizer, out);
        }
    }
}

}  // namespace native
