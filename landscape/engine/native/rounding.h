// From numbers to codes: the reference's float64 expressions, for what the float32 paths leave open.
//
// Every float32 path comes with a bound on how far it may be from the reference's float64 number, in units of codes
// (derived in bounds.py). Where it lies closer than that to a tie between two codes, the float64 expression decides.

#pragma once

#include <cmath>

#include "threads.h"
#include "vectors.h"

namespace native {

constexpr Index WIDE = 64;  // outputs that an epilogue takes at once; arrays per output are padded to a multiple

// clamp(round(x / scale + zero_point), lowest, highest); with PTF a scale and a factor per channel.
struct Quantizer {
    const double *scale;
    const double *inverse;
    const int32_t *factor;  // 2^exponent per channel, or null
    double zero_point, highest;
    double lowest = 0.0;  // above 0 (or highest below the largest code) with an activation function that only clamps
};

inline int32_t code_exactly(double x, double scale, double zero_point, double highest) {
    double t = x / scale + zero_point;
    t = t > 0.0 ? t : 0.0;
    t = t < highest ? t : highest;
    return static_cast<int32_t>(std::nearbyint(t));
}

inline int32_t code_exactly(double x, const Quantizer &q, Index channel) {
    const int32_t code = code_exactly(x, q.scale[q.factor != nullptr ? channel : 0], q.zero_point, q.highest);
    const int32_t lowest = static_cast<int32_t>(q.lowest);
    return code < lowest ? lowest : code;
}

// Codes of float64 numbers. The product with 1 / scale differs from the quotient by less than 2^-50 of it; where it lies
// within 2^-30 of a tie between codes (or is so large that only the clamp matters), the division decides.
inline void quantize_numbers(const double *__restrict x, Index count, const Quantizer &q, uint8_t *__restrict codes) {
    constexpr double rounder = 6755399441055744.0;  // 1.5 2^52: rounds half to even
    const double inverse = q.inverse[0], zero_point = q.zero_point, highest = q.highest;
    constexpr Index strip = 64;
    for (Index start = 0; start < count; start += strip) {
        const Index end = count - start < strip ? count : start + strip;
        int64_t near = 0;  // an integer, so that the loop is vectorized
        for (Index i = start; i < end; ++i) {
            double t = x[i] * inverse + zero_point;
            t = t > 0.0 ? t : 0.0;
            t = t < highest ? t : highest;
            const double whole = (t + rounder) - rounder;
            near |= 0.5 - std::fabs(t - whole) < 0x1p-30 ? int64_t{1} : int64_t{0};
            codes[i] = static_cast<uint8_t>(static_cast<int32_t>(whole));
        }
        if (near != 0)
            for (Index i = start; i < end; ++i) codes[i] = static_cast<uint8_t>(code_exactly(x[i], q, 0));
    }
}

// The distance from the nearest integer beyond which a number within `tolerance` may round differently; less the rounding
// of the difference itself.
inline float tie_limit(float tolerance) { return 0.5f - tolerance - 0x1p-24f; }

// For every block, one operation after the other: then the processor finds independent operations side by side.
#define EACH(b) _Pragma("GCC unroll 4") for (int b = 0; b < B; ++b)

// Rounds 16 B numbers to codes. Returns the bits of those too near to a tie. Where the numbers are known to fit into
// int32 and the highest code is 255, clamping is left to `store_codes`.
template <int B, bool Clamp>
inline uint64_t round_to_codes(Floats (&u)[B], float lowest, float highest, Floats limit, Ints (&codes)[4]) {
    Floats rests[B];
    if constexpr (Clamp) EACH(b) u[b] = clamp(u[b], lowest, highest);
    EACH(b) codes[b] = rounded(u[b]);
    EACH(b) rests[b] = rest(u[b]);
    Floats most = rests[0];
#pragma GCC unroll 4
    for (int b = 1; b < B; ++b) most = larger_magnitude(most, rests[b]);
    if (__builtin_expect(beyond(most, limit) == 0, 1)) return 0;
    uint64_t near = 0;
    for (int b = 0; b < B; ++b) near |= static_cast<uint64_t>(beyond(rests[b], limit)) << b * LANES;
    return near;
}

template <int B>
inline uint64_t round_to_codes(Floats (&u)[B], float highest, bool saturate, Floats limit, Ints (&codes)[4]) {
    return saturate ? round_to_codes<B, false>(u, 0.0f, highest, limit, codes)
                    : round_to_codes<B, true>(u, 0.0f, highest, limit, codes);
}

template <int B>
inline uint64_t round_to_codes(Floats (&u)[B], const Quantizer &q, bool saturate, Floats limit, Ints (&codes)[4]) {
    const float lowest = static_cast<float>(q.lowest), highest = static_cast<float>(q.highest);
    return saturate ? round_to_codes<B, false>(u, lowest, highest, limit, codes)
                    : round_to_codes<B, true>(u, lowest, highest, limit, codes);
}

inline int lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }

inline uint64_t first_bits(Index count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

}  // namespace native
