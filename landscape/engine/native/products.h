// Sums of products of unsigned and signed bytes, exact in int32, and the layouts that they need.
//
// With unsigned codes a, w, zero points za, zw and any number m per output that brings w - m into -128 .. 127
//     sum (a - za)(w - zw) = sum a (w - m) + (m - zw) sum a - za sum (w - zw).
// Arithmetic modulo 2^32 may wrap on the way; the result is right since |sum| <= K 255 255 < 2^31 for K <= 33025.
// The last term does not depend on a: the accumulators start with it (`init`).

#pragma once

#include "rounding.h"

#if defined(LANDSCAPE_AMX)
#include "amx.h"
#endif

namespace native {

#if defined(LANDSCAPE_AMX)
constexpr Index ROWS = PANEL;        // rows of activations that a kernel takes at once
#else
constexpr Index ROWS = 6;
#endif
constexpr Index BLOCKS = WIDE / 16;  // blocks of 16 outputs that it takes at once

inline Index padded(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

// Packed weights: [output / 16][k / 4][16][4]; sums are WIDE apart.

#if !defined(LANDSCAPE_AMX)

// sums[r][n] = init[n] + sum over k of a[r][k] w[n][k], for M rows and B blocks of outputs.
template <int M, int B>
void tile(const uint8_t *a, Index stride, const int8_t *w, Index depth4, const int32_t *init, int32_t *sums) {
#if defined(__AVX512VNNI__)
    // One variable for every register: GCC 12 keeps arrays of accumulators in memory, and copies every accumulator
    // around the intrinsic, which takes two to three times as long.
    const __m512i i0 = _mm512_loadu_si512(init), i1 = B > 1 ? _mm512_loadu_si512(init + 16) : i0;
    const __m512i i2 = B > 2 ? _mm512_loadu_si512(init + 32) : i0, i3 = B > 3 ? _mm512_loadu_si512(init + 48) : i0;
    __m512i t00 = i0, t01 = i1, t02 = i2, t03 = i3, t10 = i0, t11 = i1, t12 = i2, t13 = i3;
    __m512i t20 = i0, t21 = i1, t22 = i2, t23 = i3, t30 = i0, t31 = i1, t32 = i2, t33 = i3;
    __m512i t40 = i0, t41 = i1, t42 = i2, t43 = i3, t50 = i0, t51 = i1, t52 = i2, t53 = i3;
    __m512i w0 = i0, w1 = i0, w2 = i0, w3 = i0;
    const Index block = LANES * depth4;
    const uint8_t *const a3 = a + 3 * stride;
#define LOAD(b) \
    if constexpr (B > b) w##b = _mm512_loadu_si512(w + b * block + k * LANES);
#define DOT(r, b) \
    if constexpr (B > b) asm("vpdpbusd %2, %1, %0" : "+v"(t##r##b) : "v"(codes), "v"(w##b));
#define ROW(r, from)                                   \
    if constexpr (M > r) {                             \
        int32_t four;                                  \
        std::memcpy(&four, from, 4);                   \
        const __m512i codes = _mm512_set1_epi32(four); \
        DOT(r, 0) DOT(r, 1) DOT(r, 2) DOT(r, 3)        \
    }
#define STORE(r, b) \
    if constexpr (M > r && B > b) _mm512_storeu_si512(sums + r * WIDE + b * LANES, t##r##b);
#define STORE_ROW(r) STORE(r, 0) STORE(r, 1) STORE(r, 2) STORE(r, 3)
    for (Index k = 0; k < depth4; k += 4) {
        LOAD(0) LOAD(1) LOAD(2) LOAD(3)
        ROW(0, a + k) ROW(1, a + stride + k) ROW(2, a + 2 * stride + k)
        ROW(3, a3 + k) ROW(4, a3 + stride + k) ROW(5, a3 + 2 * stride + k)
    }
    STORE_ROW(0) STORE_ROW(1) STORE_ROW(2) STORE_ROW(3) STORE_ROW(4) STORE_ROW(5)
#undef LOAD
#undef DOT
#undef ROW
#undef STORE
#undef STORE_ROW
#elif defined(__AVX2__)
    // Bytes widened to 16 bits: a product of bytes summed in pairs does not fit into 16 bits.
    for (int b = 0; b < B; ++b)
        for (int half = 0; half < 2; ++half) {
            __m256i low[M], high[M];  // 4 outputs each, two partial sums per output
            for (int r = 0; r < M; ++r) low[r] = high[r] = _mm256_setzero_si256();
            for (Index k = 0; k < depth4; k += 4) {
                const int8_t *from = w + b * LANES * depth4 + k * LANES + half * 32;
                const __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
                const __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from + 16)));
                for (int r = 0; r < M; ++r) {
                    int32_t four;
                    std::memcpy(&four, a + r * stride + k, 4);
                    const __m256i codes = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
                    low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(codes, w0));
                    high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(codes, w1));
                }
            }
            const __m256i start = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(init + b * LANES + half * 8));
            for (int r = 0; r < M; ++r) {
                const __m256i pairs = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low[r], high[r]), 0xd8);
                _mm256_storeu_si256(reinterpret_cast<__m256i *>(sums + r * WIDE + b * LANES + half * 8),
                                    _mm256_add_epi32(start, pairs));
            }
        }
#else
    for (int r = 0; r < M; ++r)
        for (int b = 0; b < B; ++b) {
            int32_t totals[LANES];
            std::memcpy(totals, init + b * LANES, sizeof totals);
            for (Index k = 0; k < depth4; ++k) {
                const int32_t code = a[r * stride + k];
                const int8_t *from = w + b * LANES * depth4 + k / 4 * 4 * LANES + k % 4;
                for (Index lane = 0; lane < LANES; ++lane) totals[lane] += code * from[lane * 4];
            }
            std::memcpy(sums + r * WIDE + b * LANES, totals, sizeof totals);
        }
#endif
}

template <int B>
void tile_rows(Index rows, const uint8_t *a, Index stride, const int8_t *w, Index depth4, const int32_t *init,
               int32_t *sums) {
    switch (rows) {
    case 1: return tile<1, B>(a, stride, w, depth4, init, sums);
    case 2: return tile<2, B>(a, stride, w, depth4, init, sums);
    case 3: return tile<3, B>(a, stride, w, depth4, init, sums);
    case 4: return tile<4, B>(a, stride, w, depth4, init, sums);
    case 5: return tile<5, B>(a, stride, w, depth4, init, sums);
    default: return tile<6, B>(a, stride, w, depth4, init, sums);
    }
}

#endif

// sums[r][n] = init[n] + sum over k of a[r][k] w[n][k], for up to ROWS rows and BLOCKS blocks of outputs.
inline void multiply(Index rows, Index blocks, const uint8_t *a, Index stride, const int8_t *w, Index depth4,
                     const int32_t *init, int32_t *sums) {
#if defined(LANDSCAPE_AMX)
    multiply_in_tiles(rows, blocks, a, stride, w, depth4, init, sums);
#else
    switch (blocks) {
    case 1: return tile_rows<1>(rows, a, stride, w, depth4, init, sums);
    case 2: return tile_rows<2>(rows, a, stride, w, depth4, init, sums);
    case 3: return tile_rows<3>(rows, a, stride, w, depth4, init, sums);
    default: return tile_rows<4>(rows, a, stride, w, depth4, init, sums);
    }
#endif
}

inline int32_t sum_of(const uint8_t *a, Index count) {
    Index k = 0;
    int32_t total = 0;
#if defined(__AVX512BW__)
    __m512i sums = _mm512_setzero_si512();
    for (; k + 64 <= count; k += 64)
        sums = _mm512_add_epi64(sums, _mm512_sad_epu8(_mm512_loadu_si512(a + k), _mm512_setzero_si512()));
    if (k < count) {
        const __m512i rest = _mm512_maskz_loadu_epi8(first_bits(count - k), a + k);
        sums = _mm512_add_epi64(sums, _mm512_sad_epu8(rest, _mm512_setzero_si512()));
    }
    return static_cast<int32_t>(_mm512_reduce_add_epi64(sums));
#endif
    for (; k < count; ++k) total += a[k];
    return total;
}

// Rows of codes that a product reads: copied where the kernels would read beyond a row's end.
class Rows {
public:
    Rows(const uint8_t *from, Index stride, Index count, Index depth, uint8_t *copy) : from_(from), stride_(stride) {
        const Index depth4 = padded(depth, 4);
        if (depth4 == depth) return;
        for (Index r = 0; r < count; ++r) {
            std::memcpy(copy + r * depth4, from + r * stride, static_cast<size_t>(depth));
            std::memset(copy + r * depth4 + depth, 0, static_cast<size_t>(depth4 - depth));
        }
        from_ = copy, stride_ = depth4;
    }
    const uint8_t *from() const { return from_; }
    Index stride() const { return stride_; }
    const uint8_t *row(Index r) const { return from_ + r * stride_; }

private:
    const uint8_t *from_;
    Index stride_;
};

// Codes (outputs, depth) - 128 in the packed layout; padding holds 0. Each output's codes lie side by side.
inline void pack_rows(const uint8_t *codes, Index stride, Index outputs, Index depth, int8_t *packed) {
    const Index depth4 = padded(depth, 4);
    Index n = 0;
#if defined(__SSE2__)
    const __m128i flip = _mm_set1_epi8(-128);
    const Index whole = depth / 16 * 16;
    for (; n + 4 <= outputs; n += 4) {
        int8_t *to = packed + n / LANES * LANES * depth4 + n % LANES * 4;
        const uint8_t *from = codes + n * stride;
        for (Index k = 0; k < whole; k += 16) {
            const auto row = [&](Index r) {
                return _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from + r * stride + k)), flip);
            };
            const __m128i r0 = row(0), r1 = row(1), r2 = row(2), r3 = row(3);
            const __m128i low01 = _mm_unpacklo_epi32(r0, r1), low23 = _mm_unpacklo_epi32(r2, r3);
            const __m128i high01 = _mm_unpackhi_epi32(r0, r1), high23 = _mm_unpackhi_epi32(r2, r3);
            const auto put = [&](Index four, __m128i x) {
                _mm_storeu_si128(reinterpret_cast<__m128i *>(to + (k + 4 * four) * LANES), x);
            };
            put(0, _mm_unpacklo_epi64(low01, low23)), put(1, _mm_unpackhi_epi64(low01, low23));
            put(2, _mm_unpacklo_epi64(high01, high23)), put(3, _mm_unpackhi_epi64(high01, high23));
        }
        for (Index r = 0; r < 4; ++r)
            for (Index k = whole; k < depth4; ++k)
                to[k / 4 * 4 * LANES + r * 4 + k % 4] =
                    k < depth ? static_cast<int8_t>(from[r * stride + k] ^ 128) : int8_t{0};
    }
#endif
    for (; n < padded(outputs, LANES); ++n) {
        int8_t *to = packed + n / LANES * LANES * depth4 + n % LANES * 4;
        for (Index k = 0; k < depth4; ++k)
            to[k / 4 * 4 * LANES + k % 4] =
                n < outputs && k < depth ? static_cast<int8_t>(codes[n * stride + k] ^ 128) : int8_t{0};
    }
}

// The same of codes (depth, outputs): the codes of each k lie side by side.
inline void pack_columns(const uint8_t *codes, Index stride, Index outputs, Index depth, int8_t *packed) {
    const Index depth4 = padded(depth, 4);
    Index n = 0;
#if defined(__SSE2__)
    const __m128i flip = _mm_set1_epi8(-128);
    for (; n + LANES <= outputs; n += LANES)
        for (Index k = 0; k < depth4; k += 4) {
            const auto row = [&](Index r) {
                if (k + r >= depth) return _mm_setzero_si128();
                const uint8_t *from = codes + (k + r) * stride + n;
                return _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)), flip);
            };
            const __m128i r0 = row(0), r1 = row(1), r2 = row(2), r3 = row(3);
            const __m128i low01 = _mm_unpacklo_epi8(r0, r1), low23 = _mm_unpacklo_epi8(r2, r3);
            const __m128i high01 = _mm_unpackhi_epi8(r0, r1), high23 = _mm_unpackhi_epi8(r2, r3);
            int8_t *to = packed + n * depth4 + k * LANES;
            const auto put = [&](Index four, __m128i x) {
                _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 16 * four), x);
            };
            put(0, _mm_unpacklo_epi16(low01, low23)), put(1, _mm_unpackhi_epi16(low01, low23));
            put(2, _mm_unpacklo_epi16(high01, high23)), put(3, _mm_unpackhi_epi16(high01, high23));
        }
#endif
    for (; n < padded(outputs, LANES); ++n) {
        int8_t *to = packed + n / LANES * LANES * depth4 + n % LANES * 4;
        for (Index k = 0; k < depth4; ++k)
            to[k / 4 * 4 * LANES + k % 4] =
                n < outputs && k < depth ? static_cast<int8_t>(codes[k * stride + n] ^ 128) : int8_t{0};
    }
}

}  // namespace native
