// Kernels of the native engine: exact integer sums, and around them the reference's float64 expressions in its order.
//
// Compiled once per instruction set, without contraction of a * b + c and without -ffast-math, so +, -, *, /, sqrt and
// rounding half to even give what IEEE 754 says, vectorized or not. Threads share out rows; no result depends on how.
//
// Sums of products: with unsigned codes a, w and zero points za, zw
//     sum (a - za)(w - zw) = sum a (w - 128) + (128 - zw) sum a - za sum (w - zw).
// Arithmetic modulo 2^32 may wrap on the way; the result is right since |sum| <= K 255 255 < 2^31 for K <= 33025.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "plan.h"
#include "selftest.h"
#include "weights.h"

#if defined(__AVX512VNNI__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

using native::Index;
using native::pool;

// ---- integer products ------------------------------------------------------------------------------------------

constexpr Index LANES = 16;  // outputs side by side in packed weights
constexpr Index ROWS = 6;    // rows of activations that a kernel takes at once
constexpr Index BLOCKS = 4;  // blocks of LANES outputs that it takes at once

Index padded(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

// Packed weights: [output / 16][k / 4][16][4], signed code - 128; padding holds 0.
void pack(const uint8_t *w, Index outputs, Index depth, Index output_stride, Index depth_stride, int8_t *packed,
          int32_t *code_sums) {
    const Index depth4 = padded(depth, 4), outputs16 = padded(outputs, LANES);
    std::memset(packed, 0, static_cast<size_t>(depth4 * outputs16));
    for (Index n = 0; n < outputs16; ++n) code_sums[n] = 0;
    for (Index n = 0; n < outputs; ++n) {
        int8_t *to = packed + n / LANES * LANES * depth4 + n % LANES * 4;
        const uint8_t *from = w + n * output_stride;
        int32_t sum = 0;
        for (Index k = 0; k < depth; ++k) {
            const int code = from[k * depth_stride];
            to[k / 4 * 4 * LANES + k % 4] = static_cast<int8_t>(code - 128);
            sum += code;
        }
        code_sums[n] = sum;
    }
}

// sums[r][n] = sum over k of a[r][k] (w[n][k] - 128), for M rows and B blocks of outputs.
template <int M, int B>
void multiply(const uint8_t *a, Index a_stride, const int8_t *w, Index depth4, int32_t *sums, Index sums_stride) {
#if defined(__AVX512VNNI__)
    // One variable for every register: GCC 12 keeps arrays of accumulators in memory, and copies every accumulator
    // around the intrinsic, which takes two to three times as long.
    const __m512i zero = _mm512_setzero_si512();
    __m512i t00 = zero, t01 = zero, t02 = zero, t03 = zero;
    __m512i t10 = zero, t11 = zero, t12 = zero, t13 = zero;
    __m512i t20 = zero, t21 = zero, t22 = zero, t23 = zero;
    __m512i t30 = zero, t31 = zero, t32 = zero, t33 = zero;
    __m512i t40 = zero, t41 = zero, t42 = zero, t43 = zero;
    __m512i t50 = zero, t51 = zero, t52 = zero, t53 = zero;
    __m512i w0 = zero, w1 = zero, w2 = zero, w3 = zero;
    const Index block = LANES * depth4;
#define LOAD(b) \
    if constexpr (B > b) w##b = _mm512_loadu_si512(w + b * block + k * LANES);
#define DOT(r, b) \
    if constexpr (B > b) asm("vpdpbusd %2, %1, %0" : "+v"(t##r##b) : "v"(codes), "v"(w##b));
#define ROW(r)                                         \
    if constexpr (M > r) {                             \
        int32_t four;                                  \
        std::memcpy(&four, a + r * a_stride + k, 4);   \
        const __m512i codes = _mm512_set1_epi32(four); \
        DOT(r, 0) DOT(r, 1) DOT(r, 2) DOT(r, 3)        \
    }
#define STORE(r, b) \
    if constexpr (M > r && B > b) _mm512_storeu_si512(sums + r * sums_stride + b * LANES, t##r##b);
#define STORE_ROW(r) STORE(r, 0) STORE(r, 1) STORE(r, 2) STORE(r, 3)
    for (Index k = 0; k < depth4; k += 4) {
        LOAD(0) LOAD(1) LOAD(2) LOAD(3)
        ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5)
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
                    std::memcpy(&four, a + r * a_stride + k, 4);
                    const __m256i codes = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
                    low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(codes, w0));
                    high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(codes, w1));
                }
            }
            for (int r = 0; r < M; ++r) {
                const __m256i pairs = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low[r], high[r]), 0xd8);
                _mm256_storeu_si256(reinterpret_cast<__m256i *>(sums + r * sums_stride + b * LANES + half * 8), pairs);
            }
        }
#else
    for (int r = 0; r < M; ++r)
        for (int b = 0; b < B; ++b)
            for (Index lane = 0; lane < LANES; ++lane) {
                int32_t total = 0;
                for (Index k = 0; k < depth4; ++k)
                    total += int32_t(a[r * a_stride + k]) *
                             w[b * LANES * depth4 + k / 4 * 4 * LANES + lane * 4 + k % 4];
                sums[r * sums_stride + b * LANES + lane] = total;
            }
#endif
}

template <int B>
void multiply_rows(Index rows, const uint8_t *a, Index a_stride, const int8_t *w, Index depth4, int32_t *sums,
                   Index sums_stride) {
    switch (rows) {
    case 1: return multiply<1, B>(a, a_stride, w, depth4, sums, sums_stride);
    case 2: return multiply<2, B>(a, a_stride, w, depth4, sums, sums_stride);
    case 3: return multiply<3, B>(a, a_stride, w, depth4, sums, sums_stride);
    case 4: return multiply<4, B>(a, a_stride, w, depth4, sums, sums_stride);
    case 5: return multiply<5, B>(a, a_stride, w, depth4, sums, sums_stride);
    default: return multiply<6, B>(a, a_stride, w, depth4, sums, sums_stride);
    }
}

// All outputs of up to ROWS rows.
void multiply_panel(Index rows, const uint8_t *a, Index a_stride, const int8_t *w, Index depth4, Index outputs16,
                    int32_t *sums) {
    Index n = 0;
    for (; n + BLOCKS * LANES <= outputs16; n += BLOCKS * LANES)
        multiply_rows<BLOCKS>(rows, a, a_stride, w + n * depth4, depth4, sums + n, outputs16);
    for (; n < outputs16; n += LANES)
        multiply_rows<1>(rows, a, a_stride, w + n * depth4, depth4, sums + n, outputs16);
}

int32_t sum_of(const uint8_t *a, Index count) {
    int32_t total = 0;
    for (Index k = 0; k < count; ++k) total += a[k];
    return total;
}

// ---- rounding --------------------------------------------------------------------------------------------------

// Adding 1.5 2^52 rounds half to even to an integer, which then stands in the low bits of the number.
constexpr double ROUNDER = 6755399441055744.0;

// clamp(round(x / scale + zero_point), 0, highest). Clamping to integers and rounding may change places. The product
// with 1 / scale differs from the quotient by less than 2^-50 of it; where the sum lies within 2^-30 of a tie between
// codes (or is a number so large that only the clamp matters), the division decides.
struct Quantizer {
    const double *scale;    // one, or one per channel (PTF)
    const double *inverse;  // 1 / scale
    const int32_t *factor;  // 2^exponent per channel, or null
    double zero_point, highest;
};

constexpr double NEAR_TIE = 0x1p-30;

int32_t code_exactly(double x, double scale, double zero_point, double highest) {
    double t = x / scale + zero_point;
    t = t > 0.0 ? t : 0.0;
    t = t < highest ? t : highest;
    return static_cast<int32_t>(std::nearbyint(t));
}

template <bool PerChannel>
void codes_of(const double *__restrict x, Index count, const Quantizer &q, Index channel, int32_t *__restrict codes) {
    const double *scale = q.scale + (PerChannel ? channel : 0), *inverse = q.inverse + (PerChannel ? channel : 0);
    const double zero_point = q.zero_point, highest = q.highest;
    const double one_inverse = inverse[0];
    int64_t near = 0;  // an integer, so that the loop is vectorized
    for (Index i = 0; i < count; ++i) {
        double t = x[i] * (PerChannel ? inverse[i] : one_inverse) + zero_point;
        t = t > 0.0 ? t : 0.0;
        t = t < highest ? t : highest;
        const double shifted = t + ROUNDER, distance = std::fabs(t - (shifted - ROUNDER));
        const double to_tie = 0.5 - distance;
        near |= to_tie < NEAR_TIE ? int64_t{1} : int64_t{0};
        int64_t bits;
        std::memcpy(&bits, &shifted, 8);
        codes[i] = static_cast<int32_t>(bits);
    }
    if (near != 0)
        for (Index i = 0; i < count; ++i)
            codes[i] = code_exactly(x[i], scale[PerChannel ? i : 0], zero_point, highest);
}

// Codes (factor null) or (code - zero point) 2^exponent.
constexpr Index STRIP = 64;

void store(const double *x, Index count, const Quantizer &q, Index channel, void *out, Index at) {
    int32_t codes[STRIP];
    for (Index i = 0; i < count; i += STRIP) {
        const Index n = count - i < STRIP ? count - i : STRIP;
        if (q.factor == nullptr) {
            codes_of<false>(x + i, n, q, 0, codes);
            uint8_t *to = static_cast<uint8_t *>(out) + at + i;
            for (Index j = 0; j < n; ++j) to[j] = static_cast<uint8_t>(codes[j]);
        } else {
            codes_of<true>(x + i, n, q, channel + i, codes);
            int16_t *to = static_cast<int16_t *>(out) + at + i;
            const int32_t zero = static_cast<int32_t>(q.zero_point);
            const int32_t *factor = q.factor + channel + i;
            for (Index j = 0; j < n; ++j) to[j] = static_cast<int16_t>((codes[j] - zero) * factor[j]);
        }
    }
}

// ---- step functions --------------------------------------------------------------------------------------------

struct Steps {
    const double *thresholds;  // ascending, with infinity behind the last
    const uint8_t *codes;
    const uint16_t *first;  // per cell of a grid: number of thresholds in the cells before it
    double low, per_unit;
    Index cells;
};

// The cell of x, monotone in x: thresholds in earlier cells are below x, those in later ones above it.
inline double cell_of(double x, double low, double per_unit, double last) {
    double c = (x - low) * per_unit;
    c = c > 0.0 ? c : 0.0;
    return c < last ? c : last;
}

void store_steps(const double *x, Index count, const Steps &s, uint8_t *out) {
    int32_t cells[STRIP];
    const double last = static_cast<double>(s.cells - 1);
    for (Index i = 0; i < count; i += STRIP) {
        const Index n = count - i < STRIP ? count - i : STRIP;
        for (Index j = 0; j < n; ++j) cells[j] = static_cast<int32_t>(cell_of(x[i + j], s.low, s.per_unit, last));
        for (Index j = 0; j < n; ++j) {
            Index step = s.first[cells[j]];
            step += s.thresholds[step] <= x[i + j];
            while (s.thresholds[step] <= x[i + j]) ++step;
            out[i + j] = s.codes[step];
        }
    }
}

template <class Number>
inline double number(const void *values, Index i, double zero) {
    return static_cast<double>(static_cast<const Number *>(values)[i]) - zero;
}

// A quantized operand of elementwise operations: (number - zero) * scale.
struct Operand {
    const void *values;  // uint8 or int16
    int32_t wide;        // int16
    double zero, scale;
    Index period;  // repeats after so many numbers
};

void load(const Operand &o, Index at, Index count, double *to) {
    if (o.wide) {
        const int16_t *from = static_cast<const int16_t *>(o.values) + at;
        for (Index i = 0; i < count; ++i) to[i] = (static_cast<double>(from[i]) - o.zero) * o.scale;
    } else {
        const uint8_t *from = static_cast<const uint8_t *>(o.values) + at;
        for (Index i = 0; i < count; ++i) to[i] = (static_cast<double>(from[i]) - o.zero) * o.scale;
    }
}

struct Layer {
    Index depth, outputs;
    int32_t zero;               // of the activations
    const int8_t *weights;      // packed
    const int32_t *code_sums;   // per output
    const int32_t *zeros;       // of the weights, per output (padded to 16)
    const double *gain;         // per output
    const double *offset;       // per output, or null
    const double *bias;         // per output, or null
};

// One row: the layer's float64 values from its integer sums.
void finish(const Layer &l, const int32_t *sums, int32_t row_sum, double *values) {
    const int32_t zero = l.zero, depth = static_cast<int32_t>(l.depth);
    const double total = static_cast<double>(row_sum - depth * zero);
    for (Index n = 0; n < l.outputs; ++n) {
        const int32_t centred = l.code_sums[n] - depth * l.zeros[n];
        const int32_t sum = static_cast<int32_t>(static_cast<uint32_t>(sums[n]) +
                                                 static_cast<uint32_t>((128 - l.zeros[n]) * row_sum) -
                                                 static_cast<uint32_t>(zero * centred));
        values[n] = static_cast<double>(sum) * l.gain[n];
    }
    if (l.offset != nullptr)
        for (Index n = 0; n < l.outputs; ++n) values[n] = values[n] + total * l.offset[n];
    if (l.bias != nullptr)
        for (Index n = 0; n < l.outputs; ++n) values[n] = values[n] + l.bias[n];
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void landscape_pack(const uint8_t *w, Index outputs, Index depth, int8_t *packed, int32_t *code_sums) {
    pack(w, outputs, depth, depth, 1, packed, code_sums);
}

// Rows (rows, depth) of codes through a layer; exactly one of quantizer, steps and plain is given.
void landscape_linear(int threads, const uint8_t *a, Index rows, const Layer *layer, const Quantizer *quantizer,
                      const Steps *steps, double *plain, void *out) {
    const Layer &l = *layer;
    const Index depth4 = padded(l.depth, 4), outputs16 = padded(l.outputs, LANES), chunk = 4 * ROWS;
    pool().run(threads, (rows + chunk - 1) / chunk, [&](Index job) {
        std::vector<int32_t> sums(static_cast<size_t>(ROWS * outputs16));
        std::vector<double> values(static_cast<size_t>(outputs16));
        std::vector<uint8_t> copy(depth4 == l.depth ? 0 : static_cast<size_t>(ROWS * depth4));
        const Index end = (job + 1) * chunk < rows ? (job + 1) * chunk : rows;
        for (Index row = job * chunk; row < end; row += ROWS) {
            const Index count = end - row < ROWS ? end - row : ROWS;
            const uint8_t *from = a + row * l.depth;
            if (!copy.empty()) {
                for (Index r = 0; r < count; ++r)
                    std::memcpy(copy.data() + r * depth4, from + r * l.depth, static_cast<size_t>(l.depth));
                from = copy.data();
            }
            multiply_panel(count, from, depth4, l.weights, depth4, outputs16, sums.data());
            for (Index r = 0; r < count; ++r) {
                const Index at = (row + r) * l.outputs;
                double *to = plain != nullptr ? plain + at : values.data();
                finish(l, sums.data() + r * outputs16, sum_of(from + r * depth4, l.depth), to);
                if (quantizer != nullptr) store(to, l.outputs, *quantizer, 0, out, at);
                if (steps != nullptr) store_steps(to, l.outputs, *steps, static_cast<uint8_t *>(out) + at);
            }
        }
    });
}

// out[o][i] = quantize((sum_k a[o][i][m][k] b[o][i][k][n]) factor) for all matrices of two leading axes.
// strides: of a (outer, inner, m, k), of b (outer, inner, k, n), of out (outer, inner, m); out has unit stride in n.
void landscape_matmul(int threads, const uint8_t *a, const uint8_t *b, const Index *strides, Index outer, Index inner,
                      Index rows, Index depth, Index columns, int32_t a_zero, int32_t b_zero, double factor,
                      const Quantizer *quantizer, uint8_t *out) {
    const Index depth4 = padded(depth, 4), columns16 = padded(columns, LANES);
    pool().run(threads, outer * inner, [&](Index job) {
        const Index o = job / inner, i = job % inner;
        const uint8_t *from = a + o * strides[0] + i * strides[1];
        std::vector<int8_t> packed(static_cast<size_t>(depth4 * columns16));
        std::vector<int32_t> code_sums(static_cast<size_t>(columns16)), zeros(static_cast<size_t>(columns16), b_zero);
        std::vector<double> gain(static_cast<size_t>(columns16), factor), values(static_cast<size_t>(columns16));
        std::vector<int32_t> sums(static_cast<size_t>(ROWS * columns16));
        std::vector<uint8_t> copy(static_cast<size_t>(ROWS * depth4));
        pack(b + o * strides[4] + i * strides[5], columns, depth, strides[7], strides[6], packed.data(),
             code_sums.data());
        const Layer layer{depth, columns, a_zero, packed.data(), code_sums.data(), zeros.data(), gain.data(),
                          nullptr, nullptr};
        for (Index row = 0; row < rows; row += ROWS) {
            const Index count = rows - row < ROWS ? rows - row : ROWS;
            for (Index r = 0; r < count; ++r) {
                const uint8_t *line = from + (row + r) * strides[2];
                if (strides[3] == 1)
                    std::memcpy(copy.data() + r * depth4, line, static_cast<size_t>(depth));
                else
                    for (Index k = 0; k < depth; ++k) copy[static_cast<size_t>(r * depth4 + k)] = line[k * strides[3]];
            }
            multiply_panel(count, copy.data(), depth4, packed.data(), depth4, columns16, sums.data());
            for (Index r = 0; r < count; ++r) {
                finish(layer, sums.data() + r * columns16, sum_of(copy.data() + r * depth4, depth), values.data());
                store(values.data(), columns, *quantizer, 0, out,
                      o * strides[8] + i * strides[9] + (row + r) * strides[10]);
            }
        }
    });
}

// Rows (rows, width) of codes; terms[d] by distance from the largest code, 256 of them. Sums of terms are exact.
void landscape_softmax(int threads, const uint8_t *logits, Index rows, Index width, const double *terms,
                       const Quantizer *quantizer, uint8_t *out) {
    const Index chunk = 64;
    pool().run(threads, (rows + chunk - 1) / chunk, [&](Index job) {
        const Index end = (job + 1) * chunk < rows ? (job + 1) * chunk : rows;
        double values[256];
        uint8_t codes[256];
        for (Index row = job * chunk; row < end; ++row) {
            const uint8_t *from = logits + row * width;
            uint8_t *to = out + row * width;
            int largest = 0, smallest = 255;
            for (Index j = 0; j < width; ++j) {
                largest = from[j] > largest ? from[j] : largest;
                smallest = from[j] < smallest ? from[j] : smallest;
            }
            double parts[4] = {0.0, 0.0, 0.0, 0.0};
            const double *term = terms + largest;
            Index j = 0;
            for (; j + 4 <= width; j += 4)
                for (int p = 0; p < 4; ++p) parts[p] += term[-static_cast<int>(from[j + p])];
            for (; j < width; ++j) parts[0] += term[-static_cast<int>(from[j])];
            const double sum = (parts[0] + parts[1]) + (parts[2] + parts[3]);
            const int span = largest - smallest + 1;
            for (int d = 0; d < span; ++d) values[d] = terms[d] / sum;
            store(values, span, *quantizer, 0, codes, 0);
            const uint8_t *code = codes + largest;
            for (j = 0; j < width; ++j) to[j] = code[-static_cast<int>(from[j])];
        }
    });
}

// Rows (rows, width) of integers with one scale; spread_offset = eps width^2 / scale^2.
void landscape_layer_norm(int threads, const Operand *x, Index rows, Index width, const double *weight,
                          const double *bias, double spread_offset, const Quantizer *quantizer, void *out) {
    const Index chunk = 16;
    const Operand unscaled{x->values, x->wide, x->zero, 1.0, x->period};
    pool().run(threads, (rows + chunk - 1) / chunk, [&](Index job) {
        std::vector<double> buffer(static_cast<size_t>(width));
        double *__restrict c = buffer.data();
        const Index end = (job + 1) * chunk < rows ? (job + 1) * chunk : rows;
        const double channels = static_cast<double>(width);
        for (Index row = job * chunk; row < end; ++row) {
            load(unscaled, row * width, width, c);
            int64_t total = 0, squares = 0;
            for (Index j = 0; j < width; ++j) {
                const int32_t v = static_cast<int32_t>(c[j]);
                total += v, squares += v * v;
            }
            const double sum = static_cast<double>(total);
            const double spread = channels * static_cast<double>(squares) - sum * sum;
            const double denominator = std::sqrt(spread + spread_offset);
            for (Index j = 0; j < width; ++j) c[j] = (channels * c[j] - sum) / denominator * weight[j] + bias[j];
            store(c, width, *quantizer, 0, out, row * width);
        }
    });
}

// quantize(a + b), or quantize(a) where b is null; rows (rows, width), channels along width.
void landscape_add(int threads, const Operand *a, const Operand *b, Index rows, Index width,
                   const Quantizer *quantizer, void *out) {
    const Index chunk = 32;
    pool().run(threads, (rows + chunk - 1) / chunk, [&](Index job) {
        std::vector<double> first(static_cast<size_t>(width)), second(static_cast<size_t>(width));
        const Index end = (job + 1) * chunk < rows ? (job + 1) * chunk : rows;
        for (Index row = job * chunk; row < end; ++row) {
            load(*a, row * width % a->period, width, first.data());
            if (b != nullptr) {
                load(*b, row * width % b->period, width, second.data());
                for (Index j = 0; j < width; ++j) first[static_cast<size_t>(j)] += second[static_cast<size_t>(j)];
            }
            store(first.data(), width, *quantizer, 0, out, row * width);
        }
    });
}

// quantize(x) of float64 numbers.
void landscape_quantize(int threads, const double *x, Index count, const Quantizer *quantizer, uint8_t *out) {
    const Index chunk = 1 << 14;
    pool().run(threads, (count + chunk - 1) / chunk, [&](Index job) {
        const Index start = job * chunk, n = count - start < chunk ? count - start : chunk;
        store(x + start, n, *quantizer, 0, out, start);
    });
}

// Cells of numbers on a grid, as `Steps` uses them.
void landscape_cells(const double *x, Index count, double low, double per_unit, Index cells, int64_t *out) {
    for (Index i = 0; i < count; ++i)
        out[i] = static_cast<int64_t>(static_cast<int32_t>(cell_of(x[i], low, per_unit, static_cast<double>(cells - 1))));
}

// ---- plans -----------------------------------------------------------------------------------------------------

void landscape_run(int threads, Index images, const native::Step *steps, Index count, const native::Buffer *buffers,
                   Index arena_bytes, Index scratch_bytes, double *seconds) {
    native::run_plan(threads, images, steps, count, buffers, arena_bytes, scratch_bytes, seconds);
}

Index landscape_convolution_scratch(const native::Convolution *c) { return native::convolution_scratch(*c); }

Index landscape_depthwise_bytes(Index period, Index taps) { return native::depthwise_bytes(period, taps); }

void landscape_pack_depthwise(const int8_t *packed, Index channels, Index taps, Index period, int8_t *to) {
    native::pack_depthwise(packed, channels, taps, period, to);
}

Index landscape_attention_scratch(const native::Attention *attention) { return native::attention_scratch(*attention); }

void landscape_quantize_weight(int threads, const native::WeightJob *job) { native::quantize_weight(threads, *job); }

int landscape_self_test() { return static_cast<int>(native::self_test_guarded()); }

Index landscape_rows() { return native::ROWS; }

// Numbers (1 or 4 bytes) of pixels (images, channels, area) from a table (channels, 256), as (images, area, channels).
void landscape_pixels(int threads, const uint8_t *pixels, Index images, Index channels, Index area, Index bytes,
                      const void *table, void *out) {
    pool().run(threads, images, [=](Index image) {
        const uint8_t *const from = pixels + image * channels * area;
        const auto look_up = [&](const auto *numbers, auto *to) {
            to += image * channels * area;
            for (Index i = 0; i < area; ++i)
                for (Index c = 0; c < channels; ++c) *to++ = numbers[c * 256 + from[c * area + i]];
        };
        if (bytes == 1)
            look_up(static_cast<const uint8_t *>(table), static_cast<uint8_t *>(out));
        else
            look_up(static_cast<const int32_t *>(table), static_cast<int32_t *>(out));
    });
}
}
#pragma GCC visibility pop
