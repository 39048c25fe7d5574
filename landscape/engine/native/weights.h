// From a float weight to the packed one: codes, their sums, and the factor and shift that restore the weight's moments.

#pragma once

#include <vector>

#include "products.h"

namespace native {

// Float64 expressions as in landscape.quant (qparams.quantize, bias_correction.match_moments); sums of codes are exact.
struct WeightJob {
    const double *weight;  // (outputs, depth)
    Index outputs, depth;
    const double *scale, *zero_point;  // per output
    double highest;
    const double *mean, *squared_deviations;  // of the weight, per output; null without correction
    // Results
    int8_t *packed;
    int32_t *centre;     // per output: m of products.h, what was taken off before packing
    int32_t *code_sums;  // per output: of codes with the zero point taken off
    double *gain, *offset;
};

inline void quantize_weight(int threads, const WeightJob &job) {
    const Index depth = job.depth, depth4 = padded(depth, 4), outputs16 = padded(job.outputs, LANES);
    std::memset(job.packed, 0, static_cast<size_t>(depth4 * outputs16));
    const auto codes_of = [&job, depth](Index n, int32_t *codes) {
        const double *w = job.weight + n * depth;
        const double scale = job.scale[n], zero_point = job.zero_point[n], highest = job.highest;
        for (Index k = 0; k < depth; ++k) {
            double t = w[k] / scale + zero_point;
            t = t > 0.0 ? t : 0.0;
            t = t < highest ? t : highest;
            constexpr double rounder = 6755399441055744.0;  // 1.5 2^52: rounds half to even
            codes[k] = static_cast<int32_t>((t + rounder) - rounder);
        }
    };
    pool().run(threads, outputs16 / LANES, [&](Index block) {
        std::vector<int32_t> buffer(static_cast<size_t>(depth));
        int32_t *codes = buffer.data();
        const Index end = (block + 1) * LANES < job.outputs ? (block + 1) * LANES : job.outputs;
        for (Index n = block * LANES; n < end; ++n) {
            codes_of(n, codes);
            const int32_t zero = static_cast<int32_t>(job.zero_point[n]);
            int32_t least = codes[0], most = codes[0];
            int64_t total = 0, squares = 0;
            for (Index k = 0; k < depth; ++k) {
                least = codes[k] < least ? codes[k] : least, most = codes[k] > most ? codes[k] : most;
                const int32_t c = codes[k] - zero;
                total += c, squares += c * c;
            }
            int32_t m = zero;  // as near to the zero point as the signed bytes permit
            m = m > least + 128 ? least + 128 : m;
            m = m < most - 127 ? most - 127 : m;
            job.centre[n] = m, job.code_sums[n] = static_cast<int32_t>(total);
            int8_t *to = job.packed + n / LANES * LANES * depth4 + n % LANES * 4;
            for (Index k = 0; k < depth; ++k) to[k / 4 * 4 * LANES + k % 4] = static_cast<int8_t>(codes[k] - m);
            if (job.mean == nullptr) {
                job.gain[n] = job.scale[n];
                continue;
            }
            const double count = static_cast<double>(depth), sum = static_cast<double>(total);
            const double deviations = (count * static_cast<double>(squares) - sum * sum) / count;
            const double gain =
                deviations > 0.0 ? std::sqrt(job.squared_deviations[n] / deviations) : job.scale[n];
            job.gain[n] = gain, job.offset[n] = job.mean[n] - gain * (sum / count);
        }
    });
}

}  // namespace native
