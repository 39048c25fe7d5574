// What Python calls: plans, weights, and what stands before and between them.
//
// Compiled once per instruction set, without contraction of a * b + c and without -ffast-math, so +, -, *, /, sqrt and
// rounding half to even give what IEEE 754 says, vectorized or not. Threads share out images or rows; no result depends
// on how.

#include <vector>

#include "plan.h"
#include "selftest.h"
#include "weights.h"

using native::Index;
using native::pool;

#pragma GCC visibility push(default)
extern "C" {

void landscape_run(int threads, Index images, const native::Step *steps, Index count, const native::Buffer *buffers,
                   Index arena_bytes, Index scratch_bytes, double *seconds) {
    native::run_plan(threads, images, steps, count, buffers, arena_bytes, scratch_bytes, seconds);
}

Index landscape_convolution_scratch(const native::Convolution *c) { return native::convolution_scratch(*c); }

Index landscape_depthwise_bytes(Index period, Index taps) { return native::depthwise_bytes(period, taps); }

void landscape_pack_depthwise(const int8_t *packed, Index channels, Index taps, Index period, int8_t *to) {
    native::pack_depthwise(packed, channels, taps, period, to);
}

Index landscape_resample_scratch(const native::Resample *r) { return native::resample_scratch(*r); }

Index landscape_matrices_scratch(const native::Matrices *m) { return native::MatrixMemory(*m, nullptr).bytes; }

Index landscape_softmax_scratch(Index width) { return native::softmax_scratch(width); }

Index landscape_attention_scratch(const native::Attention *attention) { return native::attention_scratch(*attention); }

void landscape_quantize_weight(int threads, const native::WeightJob *job) { native::quantize_weight(threads, *job); }

int landscape_self_test() { return static_cast<int>(native::self_test_guarded()); }

// quantize(x) of float64 numbers.
void landscape_quantize(int threads, const double *x, Index count, const native::Quantizer *quantizer, uint8_t *out) {
    const Index chunk = 1 << 14;
    pool().run(threads, (count + chunk - 1) / chunk, [&](Index job) {
        const Index start = job * chunk, n = count - start < chunk ? count - start : chunk;
        native::quantize_numbers(x + start, n, *quantizer, out + start);
    });
}

// Rows of integer logits to codes of their softmax.
void landscape_softmax(int threads, const int32_t *logits, Index rows, Index width, const int64_t *units, Index last,
                       const native::Quantizer *quantizer, uint8_t *out) {
    const Index chunk = 64;
    pool().run(threads, (rows + chunk - 1) / chunk, [=](Index job) {
        const Index end = (job + 1) * chunk < rows ? (job + 1) * chunk : rows;
        for (Index r = job * chunk; r < end; ++r)
            native::softmax_of_integers(logits + r * width, width, units, last, *quantizer, out + r * width);
    });
}

// quantize(x y) of codes x (images, pixels, channels) and y (images, channels), as squeeze-and-excite has it.
void landscape_gated(int threads, Index images, Index pixels, Index channels, const uint8_t *x, int32_t x_zero,
                     double x_scale, const uint8_t *y, int32_t y_zero, double y_scale, const native::Quantizer *quantizer,
                     uint8_t *out) {
    const Index chunk = 16, jobs = (pixels + chunk - 1) / chunk;
    pool().run(threads, images * jobs, [=](Index job) {
        const Index image = job / jobs, first = job % jobs * chunk;
        const Index end = first + chunk < pixels ? first + chunk : pixels;
        std::vector<double> gates(static_cast<size_t>(channels)), row(static_cast<size_t>(channels));
        for (Index c = 0; c < channels; ++c) gates[c] = (y[image * channels + c] - y_zero) * y_scale;
        for (Index p = image * pixels + first; p < image * pixels + end; ++p) {
            for (Index c = 0; c < channels; ++c) row[c] = (x[p * channels + c] - x_zero) * x_scale * gates[c];
            native::quantize_numbers(row.data(), channels, *quantizer, out + p * channels);
        }
    });
}

Index landscape_rows() { return native::ROWS; }

// Numbers (1 or 4 bytes) of pixels (images, channels, area) from a table (channels, 256), as (images, area, channels).
void landscape_pixels(int threads, const uint8_t *pixels, Index images, Index channels, Index area, Index bytes,
                      const void *table, void *out) {
    constexpr Index chunk = 4096;
    const Index jobs = (area + chunk - 1) / chunk;
    pool().run(threads, images * jobs, [=](Index job) {
        const Index image = job / jobs, first = job % jobs * chunk, count = first + chunk < area ? chunk : area - first;
        for (Index c = 0; c < channels; ++c) {
            const uint8_t *const from = pixels + (image * channels + c) * area + first;
            const Index at = (image * area + first) * channels + c;
            if (bytes == 1) {
                uint8_t found[chunk], *const to = static_cast<uint8_t *>(out) + at;
                native::look_up_alike(static_cast<const uint8_t *>(table) + c * 256, 1, count, {from, 0}, {found, 0});
                for (Index i = 0; i < count; ++i) to[i * channels] = found[i];
            } else {
                const int32_t *const numbers = static_cast<const int32_t *>(table) + c * 256;
                int32_t *const to = static_cast<int32_t *>(out) + at;
                for (Index i = 0; i < count; ++i) to[i * channels] = numbers[from[i]];
            }
        }
    });
}
}
#pragma GCC visibility pop
