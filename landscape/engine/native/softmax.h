// Softmax of codes from a table of terms by distance from the row's largest code.
//
// Terms are multiples of 2^-40 up to 1 (see landscape.quant.softmax), so their sum is exact in int64. Where the processor
// permutes bytes (AVX512-VBMI), the terms are six tables of bytes that stay in registers; else they are looked up.
//
// Log-Int-Softmax has other terms, of as many bits, and powers of two in place of codes: 2^(smallest - code), of up to 16
// bits, in two bytes.

#pragma once

#include "products.h"

namespace native {

constexpr int PLANES = 6;  // bytes of a term in units of 2^-40: at most 2^40
constexpr int CODES = 256;

struct Softmax {
    const uint8_t *planes;  // (PLANES, 256): bytes of the terms
    const int64_t *units;   // (256): the terms, in units of 2^-40
    const float *terms;     // (256); of Log-Int-Softmax 1 / units
    const Quantizer *quantizer;
    int32_t span;  // distances from here on give the code of zero
    float tolerance;
    int32_t saturate;     // see `Fast` in layer.h
    int32_t reaches[16];  // the same as the span, for sums of terms from 2^i on
    int32_t powers;       // whether it is Log-Int-Softmax
    int32_t smallest;     // of that: its largest code but that of zero, at most 15
};

// Codes by distance; `codes` holds the code of zero from `span` (padded) on already.
inline void codes_of_distances(const Softmax &s, int64_t sum, uint8_t *codes) {
    const Quantizer &q = *s.quantizer;
    const double unit = 0x1p-40, total = static_cast<double>(sum) * unit;
    const Floats gain = all(static_cast<float>(1.0 / (total * q.scale[0])));
    const Floats zero = all(static_cast<float>(q.zero_point)), limit = all(tie_limit(s.tolerance));
    const int32_t reach = s.reaches[std::ilogb(total)];
    for (Index d = 0; d < s.span; d += WIDE) {
        if (d >= reach) {
            std::memset(codes + d, static_cast<int>(q.zero_point), WIDE);
            continue;
        }
        constexpr int B = 4;
        Floats u[B];
        Ints rounded_to[B];
        EACH(b) u[b] = multiply_add(load(s.terms + d + b * LANES), gain, zero);
        uint64_t near = round_to_codes<B>(u, static_cast<float>(q.highest), s.saturate != 0, limit, rounded_to);
        store_codes(rounded_to, codes + d);
        for (; near != 0; near &= near - 1) {
            const Index i = d + lowest_bit(near);
            codes[i] = static_cast<uint8_t>(code_exactly(static_cast<double>(s.units[i]) * unit / total, q, 0));
        }
    }
}

// The power of two of Log-Int-Softmax for a term: its code is the logarithm of the rounded ratio, rounded up from 1.5 2^f.
inline int32_t power_exactly(const Softmax &s, double total, Index distance) {
    const double ratio = std::nearbyint(total / static_cast<double>(s.units[distance]));
    int exponent;
    const double mantissa = std::frexp(ratio, &exponent);
    const int code = exponent - 1 + (mantissa >= 0.75 ? 1 : 0);
    return code <= s.smallest ? 1 << (s.smallest - code) : 0;
}

// All of them by distance, in bytes; both tables hold zeros from `span` (padded) on already.
//
// With z = ratio + 1/2 the code goes up where z is 2 or 1.5 2^f, f > 0: z's exponent and the first bit of its fraction
// decide it. z carries four roundings, 4 units of its last place; nearer to where those bits change, float64 decides.
inline void powers_of_distances(const Softmax &s, int64_t sum, uint8_t *__restrict low, uint8_t *__restrict high) {
    constexpr int32_t ulps = 8, first_bit = 22;
    const float total = static_cast<float>(sum);
    for (Index d = 0; d < s.span; d += WIDE) {
        int32_t near = 0;
        for (Index i = d; i < d + WIDE; ++i) {
            const float z = total * s.terms[i] + 0.5f;
            int32_t bits;
            std::memcpy(&bits, &z, sizeof bits);
            const int32_t halves = (bits >> first_bit) - 254;
            const int32_t code = z < 2.0f ? 0 : (halves >> 1) + (halves & 1);
            const int32_t shift = s.smallest - code;
            const int32_t power = shift >= 0 ? 1 << (shift & 31) : 0;
            near |= ((bits + ulps) & ((1 << first_bit) - 1)) < 2 * ulps ? 1 : 0;
            low[i] = static_cast<uint8_t>(power), high[i] = static_cast<uint8_t>(power >> 8);
        }
        if (near != 0)
            for (Index i = d; i < d + WIDE; ++i) {
                const int32_t power = power_exactly(s, static_cast<double>(sum), i);
                low[i] = static_cast<uint8_t>(power), high[i] = static_cast<uint8_t>(power >> 8);
            }
    }
}

// A row of integer logits, whose distances know no bound (masks): `units` are the terms by distance, in units of 2^-40,
// the last of all distances from there on.
inline void softmax_of_integers(const int32_t *logits, Index width, const int64_t *units, int64_t last, const Quantizer &q,
                                uint8_t *out) {
    int64_t most = logits[0], sum = 0;
    for (Index i = 1; i < width; ++i) most = logits[i] > most ? logits[i] : most;
    const auto term = [&](Index i) {
        const int64_t distance = most - logits[i];
        return units[distance < last ? distance : last];
    };
    for (Index i = 0; i < width; ++i) sum += term(i);
    const double total = static_cast<double>(sum) * 0x1p-40;
    const uint8_t none = static_cast<uint8_t>(code_exactly(0.0, q, 0));
    for (Index i = 0; i < width; ++i) {
        const int64_t unit = term(i);
        out[i] = unit == 0 ? none : static_cast<uint8_t>(code_exactly(static_cast<double>(unit) * 0x1p-40 / total, q, 0));
    }
}

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)

inline int largest_of(const uint8_t *row, Index width) {
    __m512i most = _mm512_setzero_si512();
    for (Index i = 0; i < width; i += 64)
        most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(first_bits(width - i), row + i));
    const __m256i half = _mm256_max_epu8(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
    __m128i few = _mm_max_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    few = _mm_xor_si128(few, _mm_set1_epi8(-1));  // the instruction finds the smallest, of 16 bits
    few = _mm_and_si128(_mm_min_epu8(few, _mm_srli_epi16(few, 8)), _mm_set1_epi16(255));
    return 255 - _mm_cvtsi128_si32(_mm_minpos_epu16(few)) % 65536;
}

// Sums of the terms of rows of distances. Only the tables of one half of the distances fit into registers at a time.
template <bool High>
inline void add_terms(const Softmax &s, const uint8_t *distances, Index width, __m512i (&totals)[3]) {
    const uint8_t *from = s.planes + (High ? 128 : 0);
#define PLANE(p) \
    const __m512i l##p = _mm512_loadu_si512(from + p * CODES), h##p = _mm512_loadu_si512(from + p * CODES + 64);
    PLANE(0) PLANE(1) PLANE(2) PLANE(3) PLANE(4) PLANE(5)
#undef PLANE
    const __m512i ones = _mm512_set1_epi8(1), none = _mm512_setzero_si512();
    __m512i a0 = none, a1 = none, a2 = none, a3 = none, a4 = none, a5 = none;
    for (Index i = 0; i < width; i += 64) {
        const __m512i d = _mm512_loadu_si512(distances + i);
        const __mmask64 high = _mm512_movepi8_mask(d);
        const __mmask64 mask = first_bits(width - i) & (High ? high : ~high);
#define ADD(p) \
    { \
        const __m512i terms = _mm512_maskz_permutex2var_epi8(mask, l##p, d, h##p); \
        asm("vpdpbusd %2, %1, %0" : "+v"(a##p) : "v"(terms), "v"(ones)); \
    }
        ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5)
#undef ADD
    }
    // Lanes stay below 2^17 for 2^13 distances, and below 2^26 with the next plane's.
    totals[0] = _mm512_add_epi32(totals[0], _mm512_add_epi32(a0, _mm512_slli_epi32(a1, 8)));
    totals[1] = _mm512_add_epi32(totals[1], _mm512_add_epi32(a2, _mm512_slli_epi32(a3, 8)));
    totals[2] = _mm512_add_epi32(totals[2], _mm512_add_epi32(a4, _mm512_slli_epi32(a5, 8)));
}

inline int64_t joined(const __m512i (&totals)[3]) {
    const __m512i low = _mm512_set1_epi64(0xffffffff);
    const auto pairs = [&](__m512i x) { return _mm512_add_epi64(_mm512_and_si512(x, low), _mm512_srli_epi64(x, 32)); };
    const __m512i upper = _mm512_add_epi64(_mm512_slli_epi64(pairs(totals[1]), 16), _mm512_slli_epi64(pairs(totals[2]), 32));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(pairs(totals[0]), upper));
}

// The codes of a row by its distances; returns their sum.
inline int32_t look_up(const Softmax &s, const uint8_t *codes, const uint8_t *distances, Index width, uint8_t *out) {
    const __m512i ones = _mm512_set1_epi8(1);
    const __m512i t0 = _mm512_loadu_si512(codes), t1 = _mm512_loadu_si512(codes + 64);
    __m512i sums = _mm512_setzero_si512();
    const bool low_only = s.span <= 128 && s.quantizer->zero_point == 0.0;
    for (Index i = 0; i < width; i += 64) {
        const __m512i d = _mm512_loadu_si512(distances + i);
        const __mmask64 inside = first_bits(width - i), high = _mm512_movepi8_mask(d);
        __m512i found = _mm512_maskz_permutex2var_epi8(inside & ~high, t0, d, t1);
        if (!low_only) {
            const __m512i t2 = _mm512_loadu_si512(codes + 128), t3 = _mm512_loadu_si512(codes + 192);
            found = _mm512_or_si512(found, _mm512_maskz_permutex2var_epi8(inside & high, t2, d, t3));
        }
        _mm512_storeu_si512(out + i, found);
        sums = _mm512_dpbusd_epi32(sums, found, ones);
    }
    return _mm512_reduce_add_epi32(sums);
}

// The sums of terms of rows, which become distances.
inline void distances_of(const Softmax &s, uint8_t *rows, Index stride, Index width, Index count, int64_t *totals) {
    bool far[ROWS];
    for (Index r = 0; r < count; ++r) {
        uint8_t *row = rows + r * stride;
        const __m512i top = _mm512_set1_epi8(static_cast<char>(largest_of(row, width)));
        uint64_t high = 0;
        for (Index i = 0; i < width; i += 64) {
            const __m512i d = _mm512_sub_epi8(top, _mm512_loadu_si512(row + i));
            high |= _mm512_movepi8_mask(d) & first_bits(width - i);
            _mm512_storeu_si512(row + i, d);
        }
        far[r] = high != 0;
    }
    for (Index r = 0; r < count; ++r) {
        __m512i parts[3] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
        add_terms<false>(s, rows + r * stride, width, parts);
        if (far[r]) add_terms<true>(s, rows + r * stride, width, parts);
        totals[r] = joined(parts);
    }
}

#else

inline int32_t look_up(const Softmax &, const uint8_t *codes, const uint8_t *distances, Index width, uint8_t *out) {
    int32_t sum = 0;
    for (Index i = 0; i < width; ++i) {
        out[i] = codes[distances[i]];
        sum += out[i];
    }
    std::memset(out + width, 0, static_cast<size_t>(padded(width, 64) - width));
    return sum;
}

inline void distances_of(const Softmax &s, uint8_t *rows, Index stride, Index width, Index count, int64_t *totals) {
    for (Index r = 0; r < count; ++r) {
        uint8_t *const row = rows + r * stride;
        int largest = 0;
        for (Index i = 0; i < width; ++i) largest = row[i] > largest ? row[i] : largest;
        for (Index i = 0; i < width; ++i) row[i] = static_cast<uint8_t>(largest - row[i]);
        int64_t parts[4] = {0, 0, 0, 0};
        Index i = 0;
        for (; i + 4 <= width; i += 4)
            for (int p = 0; p < 4; ++p) parts[p] += s.units[row[i + p]];
        for (; i < width; ++i) parts[0] += s.units[row[i]];
        totals[r] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    }
}

#endif

// Rows of codes to codes, step by step for all rows, so that the processor has independent work at hand. `rows` is
// overwritten; `tables` are 256 codes for each row that start with the code of zero everywhere. Output rows are filled
// with zeros up to the next multiple of 64. `sums`: of the codes of each row.
inline void softmax_rows(const Softmax &s, uint8_t *rows, Index stride, Index width, Index count, uint8_t *tables,
                         uint8_t *out, int32_t *sums) {
    int64_t totals[ROWS];
    distances_of(s, rows, stride, width, count, totals);
    for (Index r = 0; r < count; ++r) codes_of_distances(s, totals[r], tables + r * CODES);
    for (Index r = 0; r < count; ++r)
        sums[r] = look_up(s, tables + r * CODES, rows + r * stride, width, out + r * stride);
}

// The same of Log-Int-Softmax: the low bytes of the powers and, with tables of their own, the high ones.
inline void log_softmax_rows(const Softmax &s, uint8_t *rows, Index stride, Index width, Index count, uint8_t *tables,
                             uint8_t *high_tables, uint8_t *out, uint8_t *high, int32_t *sums) {
    int64_t totals[ROWS];
    distances_of(s, rows, stride, width, count, totals);
    for (Index r = 0; r < count; ++r)
        powers_of_distances(s, totals[r], tables + r * CODES, high_tables + r * CODES);
    for (Index r = 0; r < count; ++r) {
        sums[r] = look_up(s, tables + r * CODES, rows + r * stride, width, out + r * stride);
        sums[r] += 256 * look_up(s, high_tables + r * CODES, rows + r * stride, width, high + r * stride);
    }
}

}  // namespace native
