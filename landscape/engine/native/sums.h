// Epilogues of sums that lie in the order of the output: pixel after pixel, all outputs of each.
//
// Constants per output are repeated for as many pixels as fill whole vectors (a period), so that layers with few outputs
// waste no lanes. How far a float32 value may be off is bounded for all rows at once.

#pragma once

#include "layer.h"

namespace native {

// Sums in int32. `totals`, where rows' sums matter: of each number's codes.
template <bool Totals>
struct StreamSums {
    const Layer &layer;
    const int32_t *sums, *totals;

    Floats limit() const { return all(tie_limit(layer.fast.tolerance)); }

    template <int B>
    void fast(Index n, Floats (&u)[B]) const {
        const Layer &l = layer;
        Ints s[B];
        EACH(b) s[b] = load(sums + b * LANES);
        EACH(b) u[b] = load(l.fast.bias + n + b * LANES);
        if constexpr (Totals) {
            Ints total[B];
            EACH(b) total[b] = load(totals + b * LANES);
            if (l.shift != nullptr) EACH(b) s[b] = add(s[b], multiply(load(l.shift + n + b * LANES), total[b]));
            const Ints centre = all(static_cast<int32_t>(l.depth) * l.zero);
            if (l.fast.offset != nullptr) EACH(b)
                u[b] = multiply_add(load(l.fast.offset + n + b * LANES), floats(subtract(total[b], centre)), u[b]);
        }
        EACH(b) u[b] = multiply_add(floats(s[b]), load(l.fast.gain + n + b * LANES), u[b]);
    }

    double exact(Index n, int i) const {
        Row row;
        row.codes = Totals ? totals[i] : 0;
        row.total = static_cast<double>(row.codes - static_cast<int32_t>(layer.depth) * layer.zero);
        return exact_value(layer, sums[i], row, n + i);
    }
};

// Sums in float64, of activations that are large integers. They and their totals in float32 as well.
struct WideSums {
    const Layer &layer;
    const double *sums, *totals;
    const float *sums_32, *totals_32;

    Floats limit() const {
        float largest = 0.0f;
        if (layer.fast.offset != nullptr)
            for (Index i = 0; i < WIDE; ++i) largest = std::fmax(largest, std::fabs(totals_32[i]));
        return all(tie_limit(layer.fast.tolerance + layer.fast.per_total * largest));
    }

    template <int B>
    void fast(Index n, Floats (&u)[B]) const {
        const Layer &l = layer;
        EACH(b) u[b] = load(l.fast.bias + n + b * LANES);
        if (l.fast.offset != nullptr) EACH(b)
            u[b] = multiply_add(load(l.fast.offset + n + b * LANES), load(totals_32 + b * LANES), u[b]);
        EACH(b) u[b] = multiply_add(load(sums_32 + b * LANES), load(l.fast.gain + n + b * LANES), u[b]);
    }

    double exact(Index n, int i) const {
        double x = sums[i] * layer.gain[n + i];
        if (layer.offset != nullptr) x = x + totals[i] * layer.offset[n + i];
        if (layer.bias != nullptr) x = x + layer.bias[n + i];
        return x;
    }
};

inline bool needs_totals(const Layer &l) { return l.shift != nullptr || l.offset != nullptr; }

inline Index size_of_output(const LayerStep &s) {
    if (s.finish == Finish::plain) return 8;
    const bool wide = s.finish == Finish::powers_of_two || (s.finish == Finish::sum && s.sum->quantizer->factor != nullptr);
    return wide ? 2 : 1;
}

inline Index size_of_other(const LayerStep &s) { return s.finish == Finish::sum && s.sum->a_wide ? 2 : 1; }

// `count` numbers in periods of the layer's outputs.
template <Finish F, class SumsAt>
inline void finish_stream(const LayerStep &s, SumsAt sums_at, Index count, const uint8_t *other, uint8_t *out) {
    const Index period = s.layer.outputs, size = size_of_output(s), other_size = size_of_other(s);
    for (Index start = 0; start < count; start += period) {
        const Index end = count - start < period ? count - start : period;
        const uint8_t *const others = F == Finish::sum ? other + start * other_size : nullptr;
        for (Index n = 0; n < end; n += WIDE)
            finish_block<F>(s, sums_at(start + n), n, end - n < WIDE ? end - n : WIDE, others, out + start * size);
    }
}

// Sums in int32 or float64, all of a stream's.
struct Stream {
    const int32_t *sums, *totals;
    const double *wide_sums, *wide_totals;
    const float *sums_32, *totals_32;
};

// One function per way to finish and kind of sums, called for many numbers at once: convolutions need no copies of their
// own for each.
using Finisher = void (*)(const LayerStep &, const Stream &, Index count, const uint8_t *other, uint8_t *out);

template <Finish F, bool Totals>
void finish_narrow(const LayerStep &s, const Stream &x, Index count, const uint8_t *other, uint8_t *out) {
    finish_stream<F>(
        s, [&](Index i) { return StreamSums<Totals>{s.layer, x.sums + i, x.totals + i}; }, count, other, out);
}

template <Finish F>
void finish_wide(const LayerStep &s, const Stream &x, Index count, const uint8_t *other, uint8_t *out) {
    const auto sums_at = [&](Index i) {
        return WideSums{s.layer, x.wide_sums + i, x.wide_totals + i, x.sums_32 + i, x.totals_32 + i};
    };
    finish_stream<F>(s, sums_at, count, other, out);
}

template <Finish F>
inline Finisher finisher_as(const LayerStep &s, bool wide) {
    if (wide) return finish_wide<F>;
    return needs_totals(s.layer) ? finish_narrow<F, true> : finish_narrow<F, false>;
}

// How convolutions finish.
inline Finisher finisher_of(const LayerStep &s, bool wide) {
    switch (s.finish) {
    case Finish::powers_of_two: return finisher_as<Finish::powers_of_two>(s, wide);
    case Finish::steps: return finisher_as<Finish::steps>(s, wide);
    case Finish::sum: return finisher_as<Finish::sum>(s, wide);
    case Finish::plain: return finisher_as<Finish::plain>(s, wide);
    default: return finisher_as<Finish::quantize>(s, wide);
    }
}

}  // namespace native
