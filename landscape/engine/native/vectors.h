// Vectors of 16 numbers: AVX512 where it is there, else GCC's vectors, which any processor has instructions for.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace native {

constexpr int64_t LANES = 16;

// Adding 1.5 2^23 rounds half to even to an integer, for numbers below 2^22 in magnitude.
constexpr float ROUNDER_32 = 12582912.0f;

#if defined(__AVX512BW__) && defined(__AVX512DQ__)

using Floats = __m512;
using Ints = __m512i;

inline Floats all(float x) { return _mm512_set1_ps(x); }
inline Ints all(int32_t x) { return _mm512_set1_epi32(x); }
inline Floats load(const float *from) { return _mm512_loadu_ps(from); }
inline Ints load(const int32_t *from) { return _mm512_loadu_si512(from); }
inline Ints load(const uint8_t *from) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
}
inline Ints load(const int16_t *from) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
}
inline Floats floats(Ints x) { return _mm512_cvtepi32_ps(x); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline Ints subtract(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
inline Ints multiply(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats clamp(Floats x, float lowest, float highest) {
    return _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(lowest)), _mm512_set1_ps(highest));
}
inline Ints truncated(Floats x) { return _mm512_cvttps_epi32(x); }
inline Ints rounded(Floats x) { return _mm512_cvtps_epi32(x); }

// What rounding to the nearest integer leaves, -1/2 to 1/2.
inline Floats rest(Floats x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats larger_magnitude(Floats a, Floats b) { return _mm512_range_ps(a, b, 0b1011); }
inline uint32_t beyond(Floats x, Floats limit) {  // bits of the numbers of larger magnitude than the limit
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), limit, _CMP_GT_OQ);
}
inline uint32_t outside(Ints x, int32_t low, int32_t high) {  // bits of the numbers that are not within [low, high]
    return _mm512_cmplt_epi32_mask(x, all(low)) | _mm512_cmpgt_epi32_mask(x, all(high));
}
inline Ints bits_of(Floats x) { return _mm512_castps_si512(x); }
inline Floats floats_of_bits(Ints x) { return _mm512_castsi512_ps(x); }
inline Ints both(Ints a, int32_t mask) { return _mm512_and_si512(a, all(mask)); }

// 64 integers as codes 0 .. 255, the nearest where they are none.
inline void store_codes(const Ints (&x)[4], uint8_t *to) {
    const Ints low = _mm512_packs_epi32(x[0], x[1]), high = _mm512_packs_epi32(x[2], x[3]);
    const Ints order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high)));
}
inline void store(Ints x, int16_t *to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm512_cvtepi32_epi16(x));
}

// table[i] of two times 16 numbers, i from 0 to 31.
inline Floats pick(const float *table, Ints i) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(table), i, _mm512_loadu_ps(table + 16));
}

#else

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));

inline Floats all(float x) { return x - Floats{}; }
inline Ints all(int32_t x) { return x - Ints{}; }
inline Floats load(const float *from) {
    Floats x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
inline Ints load(const int32_t *from) {
    Ints x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
template <class Small>
inline Ints widened(const Small *from) {
    Ints x;
    for (int i = 0; i < LANES; ++i) x[i] = from[i];
    return x;
}
inline Ints load(const uint8_t *from) { return widened(from); }
inline Ints load(const int16_t *from) { return widened(from); }
inline Floats floats(Ints x) { return __builtin_convertvector(x, Floats); }
inline Ints add(Ints a, Ints b) { return a + b; }
inline Ints subtract(Ints a, Ints b) { return a - b; }
inline Ints multiply(Ints a, Ints b) { return a * b; }
inline Floats multiply(Floats a, Floats b) { return a * b; }
inline Floats subtract(Floats a, Floats b) { return a - b; }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats clamp(Floats x, float lowest, float highest) {
    x = x > lowest ? x : all(lowest);
    return x < highest ? x : all(highest);
}
// The trick with ROUNDER_32 holds for small numbers only; beyond these all are clamped to the same codes anyway.
inline Floats clamp_to_codes(Floats x) {
    x = x > -1024.0f ? x : all(-1024.0f);
    return x < 1024.0f ? x : all(1024.0f);
}
inline Ints truncated(Floats x) { return __builtin_convertvector(x, Ints); }
inline Ints rounded(Floats x) {
    x = clamp_to_codes(x);
    return __builtin_convertvector((x + ROUNDER_32) - ROUNDER_32, Ints);
}
inline Floats rest(Floats x) {
    x = clamp_to_codes(x);
    return x - ((x + ROUNDER_32) - ROUNDER_32);
}
inline Floats larger_magnitude(Floats a, Floats b) {
    a = a > 0.0f ? a : -a, b = b > 0.0f ? b : -b;
    return a > b ? a : b;
}
inline uint32_t bits_where(Ints far) {
    int32_t any = 0;
    for (int i = 0; i < LANES; ++i) any |= far[i];
    uint32_t bits = 0;
    if (any != 0)
        for (int i = 0; i < LANES; ++i) bits |= far[i] != 0 ? 1u << i : 0u;
    return bits;
}
inline uint32_t beyond(Floats x, Floats limit) {
    return bits_where((x > limit) | (-x > limit));
}
inline uint32_t outside(Ints x, int32_t low, int32_t high) {
    return bits_where((x < low) | (x > high));
}
inline Ints bits_of(Floats x) { return (Ints)x; }
inline Floats floats_of_bits(Ints x) { return (Floats)x; }
inline Ints both(Ints a, int32_t mask) { return a & mask; }
inline void store_codes(const Ints (&x)[4], uint8_t *to) {
    for (int b = 0; b < 4; ++b)
        for (int i = 0; i < LANES; ++i) to[b * LANES + i] = static_cast<uint8_t>(x[b][i] < 0 ? 0 : x[b][i] < 255 ? x[b][i] : 255);
}
inline void store(Ints x, int16_t *to) {
    for (int i = 0; i < LANES; ++i) to[i] = static_cast<int16_t>(x[i]);
}
inline Floats pick(const float *table, Ints index) {
    Floats x;
    for (int i = 0; i < LANES; ++i) x[i] = table[index[i]];
    return x;
}

#endif

}  // namespace native
