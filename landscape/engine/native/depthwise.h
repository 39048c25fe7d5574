// Depthwise convolutions: each output reads one channel.
//
// Rows of the input are copied once, padded, with columns apart by the stride side by side. Then every tap of the kernel
// is a shift of a line of numbers, whatever stride, padding and dilation are, and vectors run along pixels and channels
// alike.

#pragma once

#include "convolution.h"

namespace native {

#if defined(__AVX512VNNI__)
constexpr Index TAPS = 4;  // taps of a kernel that one instruction sums up
#elif defined(__AVX2__)
constexpr Index TAPS = 2;
#else
constexpr Index TAPS = 1;
#endif

// Where number i of 64 stands in a block of packed weights: in the order in which bytes are interleaved below.
inline Index place_of(Index i) {
    if constexpr (TAPS != 4) return i;
    return i % 16 / 4 * 16 + i / 16 * 4 + i % 4;
}

inline Index tap_groups(Index taps) { return padded(taps, TAPS) / TAPS; }

inline Index depthwise_bytes(Index period, Index taps) { return padded(period, WIDE) * tap_groups(taps) * TAPS; }

// From weights as layers have them (see products.h), (channels, taps), to [block of 64][group of taps][64][taps].
inline void pack_depthwise(const int8_t *packed, Index channels, Index taps, Index period, int8_t *to) {
    const Index depth4 = padded(taps, 4), groups = tap_groups(taps);
    std::memset(to, 0, static_cast<size_t>(depthwise_bytes(period, taps)));
    for (Index n = 0; n < period; ++n) {
        const Index channel = n % channels;
        const int8_t *from = packed + channel / LANES * LANES * depth4 + channel % LANES * 4;
        for (Index t = 0; t < taps; ++t)
            to[((n / WIDE * groups + t / TAPS) * WIDE + place_of(n % WIDE)) * TAPS + t % TAPS] =
                from[t / 4 * 4 * LANES + t % 4];
    }
}

#if defined(__AVX512VNNI__)

// Blocks of 16 numbers in order, from four whose 128-bit parts belong to one of them each.
inline void store_in_order(__m512i a, __m512i b, __m512i c, __m512i d, const int32_t *init, int32_t *to) {
    const __m512i ab_low = _mm512_shuffle_i32x4(a, b, 0x44), ab_high = _mm512_shuffle_i32x4(a, b, 0xee);
    const __m512i cd_low = _mm512_shuffle_i32x4(c, d, 0x44), cd_high = _mm512_shuffle_i32x4(c, d, 0xee);
    const auto put = [&](Index i, __m512i x) {
        if (init != nullptr) x = _mm512_add_epi32(x, _mm512_loadu_si512(init + i * LANES));
        _mm512_storeu_si512(to + i * LANES, x);
    };
    put(0, _mm512_shuffle_i32x4(ab_low, cd_low, 0x88)), put(1, _mm512_shuffle_i32x4(ab_low, cd_low, 0xdd));
    put(2, _mm512_shuffle_i32x4(ab_high, cd_high, 0x88)), put(3, _mm512_shuffle_i32x4(ab_high, cd_high, 0xdd));
}

// Sums of 64 numbers from `at` on: lines[t] is the line that tap t reads.
template <bool Totals>
inline void sum_taps(const uint8_t *const *lines, Index at, Index taps, const int8_t *w, const int32_t *init,
                     int32_t *sums, int32_t *totals) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i s0 = zero, s1 = zero, s2 = zero, s3 = zero, t0 = zero, t1 = zero, t2 = zero, t3 = zero;
    for (Index t = 0; t < taps; t += 4, w += 4 * WIDE) {
        const Index rest = taps - t;
        const __m512i a = _mm512_loadu_si512(lines[t] + at);
        const __m512i b = rest > 1 ? _mm512_loadu_si512(lines[t + 1] + at) : zero;
        const __m512i c = rest > 2 ? _mm512_loadu_si512(lines[t + 2] + at) : zero;
        const __m512i d = rest > 3 ? _mm512_loadu_si512(lines[t + 3] + at) : zero;
        const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
        const __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
        const __m512i q0 = _mm512_unpacklo_epi16(ab_low, cd_low), q1 = _mm512_unpackhi_epi16(ab_low, cd_low);
        const __m512i q2 = _mm512_unpacklo_epi16(ab_high, cd_high), q3 = _mm512_unpackhi_epi16(ab_high, cd_high);
        const __m512i ones = _mm512_set1_epi8(1);
#define DOT(sum, q, weights) asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(q), "v"(weights));
        DOT(s0, q0, _mm512_loadu_si512(w)) DOT(s1, q1, _mm512_loadu_si512(w + 64))
        DOT(s2, q2, _mm512_loadu_si512(w + 128)) DOT(s3, q3, _mm512_loadu_si512(w + 192))
        if constexpr (Totals) {
            DOT(t0, q0, ones) DOT(t1, q1, ones) DOT(t2, q2, ones) DOT(t3, q3, ones)
        }
#undef DOT
    }
    store_in_order(s0, s1, s2, s3, init, sums);
    if constexpr (Totals) store_in_order(t0, t1, t2, t3, nullptr, totals);
}

#elif defined(__AVX2__)

template <bool Totals>
inline void sum_taps(const uint8_t *const *lines, Index at, Index taps, const int8_t *w, const int32_t *init,
                     int32_t *sums, int32_t *totals) {
    for (Index n = 0; n < WIDE; n += 8) {
        __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(init + n)), total = _mm256_setzero_si256();
        for (Index t = 0; t < taps; t += 2) {
            const __m128i a = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(lines[t] + at + n));
            const __m128i b = t + 1 < taps ? _mm_loadl_epi64(reinterpret_cast<const __m128i *>(lines[t + 1] + at + n))
                                           : _mm_setzero_si128();
            const __m256i codes = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            const auto *from = reinterpret_cast<const __m128i *>(w + (t / 2 * WIDE + n) * 2);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, _mm256_cvtepi8_epi16(_mm_loadu_si128(from))));
            if constexpr (Totals) total = _mm256_add_epi32(total, _mm256_madd_epi16(codes, _mm256_set1_epi16(1)));
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(sums + n), sum);
        if constexpr (Totals) _mm256_storeu_si256(reinterpret_cast<__m256i *>(totals + n), total);
    }
}

#else

template <bool Totals>
inline void sum_taps(const uint8_t *const *lines, Index at, Index taps, const int8_t *w, const int32_t *init,
                     int32_t *sums, int32_t *totals) {
    std::memcpy(sums, init, WIDE * sizeof(int32_t));
    if constexpr (Totals) std::memset(totals, 0, WIDE * sizeof(int32_t));
    for (Index t = 0; t < taps; ++t)
        for (Index n = 0; n < WIDE; ++n) {
            const int32_t code = lines[t][at + n];
            sums[n] += code * w[t * WIDE + n];
            if constexpr (Totals) totals[n] += code;
        }
}

#endif

// Lines of padded rows. A row has a part for every remainder of its columns' numbers divided by the stride.
struct Lines {
    Lines(const Convolution &c, uint8_t *memory) : w(c.windows), multiplier(c.multiplier) {
        Scratch scratch(memory);
        channels = w.channels * c.groups * multiplier;
        slots = (w.kernel_height - 1) * w.high + 1;
        columns = (w.out_width - 1) * w.right + (w.kernel_width - 1) * w.wide + 1;
        part = padded((columns + w.right - 1) / w.right * channels, 64) + 64;
        rows = scratch.take<uint8_t>(slots * w.right * part);
        lines = scratch.take<const uint8_t *>(kernel_size(w));
        sums = scratch.take<int32_t>(padded(c.step.layer.outputs, WIDE));
        totals = scratch.take<int32_t>(padded(c.step.layer.outputs, WIDE));
        bytes = scratch.bytes();
    }
    uint8_t *row(Index padded_row) const { return rows + padded_row % slots * w.right * part; }

    // A pixel's codes, each as often as outputs read it.
    void put_pixel(const uint8_t *from, uint8_t *to) const {
        if (multiplier == 1) return copy_numbers(to, from, channels);
        for (Index i = 0; i < channels; ++i) to[i] = from[i / multiplier];
    }

    void put_row(const uint8_t *from, Index padded_row) const {
        uint8_t *const to = row(padded_row);
        const Index y = padded_row - w.top;
        if (y < 0 || y >= w.height) {
            std::memset(to, w.zero, static_cast<size_t>(w.right * part));
            return;
        }
        const uint8_t *const line = from + y * w.row_stride;
        const Index last = w.left + w.width < columns ? w.left + w.width : columns;
        const auto fill = [&](Index start, Index stop) {
            for (Index q = start; q < stop; ++q) std::memset(at(to, q), w.zero, static_cast<size_t>(channels));
        };
        fill(0, w.left < columns ? w.left : columns);
        if (multiplier == 1 && w.right == 1 && w.column_stride == channels) {
            if (last > w.left) std::memcpy(at(to, w.left), line, static_cast<size_t>((last - w.left) * channels));
        } else {
            for (Index q = w.left; q < last; ++q) put_pixel(line + (q - w.left) * w.column_stride, at(to, q));
        }
        fill(w.left > last ? w.left : last, columns);
    }
    uint8_t *at(uint8_t *row, Index column) const { return row + column % w.right * part + column / w.right * channels; }

    void find_lines(Index y) const {
        for (Index i = 0; i < w.kernel_height; ++i)
            for (Index j = 0; j < w.kernel_width; ++j)
                lines[i * w.kernel_width + j] = at(row(y * w.down + i * w.high), j * w.wide);
    }

    const Windows &w;
    Index multiplier, channels, slots, columns, part, bytes;
    uint8_t *rows;
    const uint8_t **lines;
    int32_t *sums, *totals;
};

template <bool Totals>
void sum_line(const Convolution &c, const Lines &l, Index start, Index count) {
    const Index taps = kernel_size(l.w), block_bytes = tap_groups(taps) * TAPS * WIDE;
    for (Index n = 0; n < count; n += WIDE)
        sum_taps<Totals>(l.lines, start + n, taps, c.taps + n / WIDE * block_bytes, c.step.layer.init + n, l.sums + n,
                         l.totals + n);
}

inline void convolve_depthwise(const Convolution &c, const uint8_t *from, const uint8_t *other, uint8_t *out,
                               uint8_t *memory, Part part) {
    const Lines l(c, memory);
    const Finisher finish = finisher_of(c.step, false);
    const bool totals = needs_totals(c.step.layer);
    const Index period = c.step.layer.outputs, width = l.w.out_width * l.channels;
    const Index size = size_of_output(c.step), other_size = size_of_other(c.step);
    const Range rows = range_of(l.w.out_height, 1, part);
    Index ready = 0;
    for (Index y = rows.first; y < rows.first + rows.count; ++y) {
        if (ready < y * l.w.down) ready = y * l.w.down;
        for (; ready < y * l.w.down + l.slots; ++ready) l.put_row(from, ready);
        l.find_lines(y);
        for (Index start = 0; start < width; start += period) {
            const Index count = width - start < period ? width - start : period, at = y * width + start;
            totals ? sum_line<true>(c, l, start, count) : sum_line<false>(c, l, start, count);
            finish(c.step, {l.sums, l.totals, nullptr, nullptr, nullptr, nullptr}, count,
                   other == nullptr ? nullptr : other + at * other_size, out + at * size);
        }
    }
}

// Bytes of memory that a thread needs for a convolution.
inline Index convolution_scratch(const Convolution &c) {
    if (c.wide != nullptr) return WideMemory(c, nullptr).bytes;
    return c.taps != nullptr ? Lines(c, nullptr).bytes : DenseMemory(c, nullptr).bytes;
}

inline void run_convolution(const Convolution &c, const uint8_t *from, const uint8_t *other, uint8_t *out, uint8_t *memory,
                            Part part) {
    if (c.wide != nullptr) return convolve_wide(c, reinterpret_cast<const int32_t *>(from), other, out, memory, part);
    if (c.taps != nullptr) return convolve_depthwise(c, from, other, out, memory, part);
    convolve(c, from, other, out, memory, part);
}

}  // namespace native
