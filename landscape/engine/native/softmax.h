// Softmax of codes from a table of terms by distance from the row's largest code.
//
// Terms are multiples of 2^-40 up to 1 (see landscape.quant.softmax), so their sum is exact in int64. Where the processor
// permutes bytes (AVX512-VBMI), the terms are six tables of bytes that stay in registers; else they are looked up.

#pragma once

#include "rounding.h"

namespace native {

constexpr int PLANES = 6;    // bytes of a term in units of 2^-40: at most 2^40
constexpr int CODES = 256;

struct Softmax {
    const uint8_t *planes;  // (PLANES, 256): bytes of the terms
    const int64_t *units;   // (256): the terms, in units of 2^-40
    const float *terms;     // (256)
    const Quantizer *quantizer;
    int32_t span;           // distances from here on give the code of zero
    float tolerance;
};

inline int64_t largest_and_sum(const Softmax &s, const uint8_t *row, Index width, int &largest) {
#if defined(__AVX512VBMI__) && defined(__AVX512BW__)
    __m512i most = _mm512_setzero_si512();
    for (Index i = 0; i < width; i += 64)
        most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(first_bits(width - i), row + i));
    __m256i half = _mm256_max_epu8(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
    __m128i few = _mm_max_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    few = _mm_xor_si128(few, _mm_set1_epi8(-1));  // the instruction finds the smallest of 16 bits
    few = _mm_min_epu8(few, _mm_srli_epi16(few, 8));
    largest = 255 - (_mm_extract_epi16(_mm_minpos_epu16(_mm_and_si128(few, _mm_set1_epi16(255))), 0));
    const __m512i top = _mm512_set1_epi8(static_cast<char>(largest));
    __m512i total = _mm512_setzero_si512();
    for (int p = 0; p < PLANES; ++p) {
        const uint8_t *plane = s.planes + p * CODES;
        const __m512i t0 = _mm512_loadu_si512(plane), t1 = _mm512_loadu_si512(plane + 64);
        const __m512i t2 = _mm512_loadu_si512(plane + 128), t3 = _mm512_loadu_si512(plane + 192);
        __m512i sums = _mm512_setzero_si512();
        for (Index i = 0; i < width; i += 64) {
            const __mmask64 inside = first_bits(width - i);
            const __m512i d = _mm512_sub_epi8(top, _mm512_maskz_loadu_epi8(inside, row + i));
            const __m512i low = _mm512_permutex2var_epi8(t0, d, t1), high = _mm512_permutex2var_epi8(t2, d, t3);
            const __m512i bytes = _mm512_mask_blend_epi8(_mm512_movepi8_mask(d), low, high);
            sums = _mm512_add_epi64(sums, _mm512_sad_epu8(_mm512_maskz_mov_epi8(inside, bytes), _mm512_setzero_si512()));
        }
        total = _mm512_add_epi64(total, _mm512_slli_epi64(sums, static_cast<unsigned>(8 * p)));
    }
    return _mm512_reduce_add_epi64(total);
#else
    int most = 0;
    for (Index i = 0; i < width; ++i) most = row[i] > most ? row[i] : most;
    largest = most;
    const int64_t *unit = s.units + most;
    int64_t parts[4] = {0, 0, 0, 0};
    Index i = 0;
    for (; i + 4 <= width; i += 4)
        for (int p = 0; p < 4; ++p) parts[p] += unit[-static_cast<int>(row[i + p])];
    for (; i < width; ++i) parts[0] += unit[-static_cast<int>(row[i])];
    return (parts[0] + parts[1]) + (parts[2] + parts[3]);
#endif
}

// Codes by distance; `codes` holds the code of zero from `span` (padded) on already.
inline void codes_of_distances(const Softmax &s, int64_t sum, uint8_t *codes) {
    const Quantizer &q = *s.quantizer;
    const double unit = 0x1p-40, total = static_cast<double>(sum) * unit;
    const Floats gain = all(static_cast<float>(1.0 / (total * q.scale[0])));
    const Floats zero = all(static_cast<float>(q.zero_point)), limit = all(tie_limit(s.tolerance));
    for (Index d = 0; d < s.span; d += WIDE) {
        Ints rounded_to[4] = {};
        uint64_t near = 0;
        for (Index b = 0; b < 4; ++b) {
            const Floats u =
                clamp(multiply_add(load(s.terms + d + b * LANES), gain, zero), static_cast<float>(q.highest));
            near |= static_cast<uint64_t>(near_tie(u, limit)) << b * LANES;
            rounded_to[b] = rounded(u);
        }
        store_codes(rounded_to, codes + d);
        for (; near != 0; near &= near - 1) {
            const Index i = d + lowest_bit(near);
            codes[i] =
                static_cast<uint8_t>(code_exactly(static_cast<double>(s.units[i]) * unit / total, q, 0));
        }
    }
}

// A row of codes to codes. `codes` is a table of 256 that starts with the code of zero everywhere. Up to the next
// multiple of 64 the output is filled with zeros. Returns the sum of the codes.
inline int32_t softmax_row(const Softmax &s, const uint8_t *row, Index width, uint8_t *codes, uint8_t *out) {
    int largest;
    codes_of_distances(s, largest_and_sum(s, row, width, largest), codes);
#if defined(__AVX512VBMI__) && defined(__AVX512BW__)
    const __m512i top = _mm512_set1_epi8(static_cast<char>(largest));
    const __m512i t0 = _mm512_loadu_si512(codes), t1 = _mm512_loadu_si512(codes + 64);
    const __m512i t2 = _mm512_loadu_si512(codes + 128), t3 = _mm512_loadu_si512(codes + 192);
    __m512i sums = _mm512_setzero_si512();
    for (Index i = 0; i < width; i += 64) {
        const __mmask64 inside = first_bits(width - i);
        const __m512i d = _mm512_sub_epi8(top, _mm512_maskz_loadu_epi8(inside, row + i));
        const __m512i low = _mm512_permutex2var_epi8(t0, d, t1), high = _mm512_permutex2var_epi8(t2, d, t3);
        const __m512i found = _mm512_maskz_mov_epi8(inside, _mm512_mask_blend_epi8(_mm512_movepi8_mask(d), low, high));
        _mm512_storeu_si512(out + i, found);
        sums = _mm512_add_epi64(sums, _mm512_sad_epu8(found, _mm512_setzero_si512()));
    }
    return static_cast<int32_t>(_mm512_reduce_add_epi64(sums));
#else
    const uint8_t *code = codes + largest;
    int32_t total = 0;
    for (Index i = 0; i < width; ++i) {
        out[i] = code[-static_cast<int>(row[i])];
        total += out[i];
    }
    std::memset(out + width, 0, static_cast<size_t>((width + 63) / 64 * 64 - width));
    return total;
#endif
}

}  // namespace native
