// A check of an instruction set's own code against plain loops, on pseudo-random numbers, before it is used.

#pragma once

#include <csetjmp>
#include <csignal>

#include "attention.h"

namespace native {

class Numbers {  // xorshift: the same on every machine
public:
    uint32_t next() {
        state_ ^= state_ << 13, state_ ^= state_ >> 17, state_ ^= state_ << 5;
        return state_;
    }

private:
    uint32_t state_ = 2463534242u;
};

inline bool products_are_right(Numbers &random, Index rows, Index outputs, Index depth) {
    const Index depth4 = padded(depth, 4), blocks = padded(outputs, LANES) / LANES;
    std::vector<uint8_t> a(static_cast<size_t>(rows * depth4)), w(static_cast<size_t>(outputs * depth));
    std::vector<int8_t> packed(static_cast<size_t>(blocks * LANES * depth4)), other(packed.size());
    std::vector<uint8_t> turned(w.size());
    for (auto &x : a) x = static_cast<uint8_t>(random.next());
    for (auto &x : w) x = static_cast<uint8_t>(random.next());
    for (Index n = 0; n < outputs; ++n)
        for (Index k = 0; k < depth; ++k) turned[static_cast<size_t>(k * outputs + n)] = w[static_cast<size_t>(n * depth + k)];
    pack_rows(w.data(), depth, outputs, depth, packed.data());
    pack_columns(turned.data(), outputs, outputs, depth, other.data());
    if (packed != other) return false;
    int32_t init[WIDE], sums[ROWS * WIDE];
    for (auto &x : init) x = static_cast<int32_t>(random.next() % 1000);
    multiply(rows, blocks, a.data(), depth4, packed.data(), depth4, init, sums);
    for (Index r = 0; r < rows; ++r) {
        int32_t codes = 0;
        for (Index k = 0; k < depth; ++k) codes += a[static_cast<size_t>(r * depth4 + k)];
        if (sum_of(a.data() + r * depth4, depth) != codes) return false;
        for (Index n = 0; n < outputs; ++n) {
            int32_t sum = init[n];
            for (Index k = 0; k < depth; ++k)
                sum += int32_t(a[static_cast<size_t>(r * depth4 + k)]) * (int32_t(w[static_cast<size_t>(n * depth + k)]) - 128);
            if (sums[r * WIDE + n] != sum) return false;
        }
    }
    return true;
}

inline bool rounding_is_right(Numbers &random) {
    Floats u[4];
    Ints codes[4];
    float x[WIDE];
    for (auto &number : x) number = static_cast<float>(random.next() % 270000) / 1000.0f - 7.0f;
    x[5] = 3.5f, x[40] = 254.5f;
    for (int b = 0; b < 4; ++b) u[b] = load(x + b * LANES);
    const bool saturate = random.next() % 2 == 0;
    const uint64_t near = round_to_codes<4>(u, 255.0f, saturate, all(tie_limit(0.0105f)), codes);
    uint8_t bytes[WIDE];
    store_codes(codes, bytes);
    for (int i = 0; i < WIDE; ++i) {
        const float clamped = x[i] < 0.0f ? 0.0f : x[i] > 255.0f ? 255.0f : x[i];
        const float whole = std::nearbyintf(clamped);
        const float exact = saturate ? x[i] : clamped;
        const bool close = std::fabs(exact - std::nearbyintf(exact)) > 0.4895f;  // between two numbers of the grid
        if (close != ((near >> i & 1) != 0) || bytes[i] != static_cast<uint8_t>(whole)) return false;
    }
    return true;
}

inline bool softmax_is_right(Numbers &random, Index width) {
    std::vector<int64_t> units(CODES);
    std::vector<uint8_t> planes(PLANES * CODES);
    std::vector<float> terms(CODES);
    for (size_t d = 0; d < CODES; ++d) {
        units[d] = d == 0 ? int64_t{1} << 40 : (int64_t{1} << 40) / static_cast<int64_t>(d * d + 1) + random.next() % 256;
        for (size_t p = 0; p < PLANES; ++p) planes[p * CODES + d] = static_cast<uint8_t>(units[d] >> (8 * p));
        terms[d] = static_cast<float>(units[d]) * 0x1p-40f;
    }
    const double scale = 1.0 / 255.0, inverse = 255.0;
    const Quantizer quantizer{&scale, &inverse, nullptr, 3.0, 255.0};
    Softmax s{planes.data(), units.data(), terms.data(), &quantizer, CODES, 1e-3f, 0, {}};
    for (auto &reach : s.reaches) reach = CODES;
    const Index stride = padded(width, 64);
    std::vector<uint8_t> rows(static_cast<size_t>(2 * stride)), kept, tables(2 * CODES, 3), out(rows.size());
    for (auto &x : rows) x = static_cast<uint8_t>(random.next());
    kept = rows;
    int32_t sums[2];
    softmax_rows(s, rows.data(), stride, width, 2, tables.data(), out.data(), sums);
    for (Index r = 0; r < 2; ++r) {
        const uint8_t *row = kept.data() + r * stride;
        int largest = 0;
        int64_t total = 0;
        int32_t codes = 0;
        for (Index i = 0; i < width; ++i) largest = row[i] > largest ? row[i] : largest;
        for (Index i = 0; i < width; ++i) total += units[static_cast<size_t>(largest - row[i])];
        for (Index i = 0; i < width; ++i) {
            const double term = static_cast<double>(units[static_cast<size_t>(largest - row[i])]) * 0x1p-40;
            const int32_t code = code_exactly(term / (static_cast<double>(total) * 0x1p-40), quantizer, 0);
            if (out[static_cast<size_t>(r * stride + i)] != code) return false;
            codes += code;
        }
        if (codes != sums[r]) return false;
    }
    return true;
}

inline bool self_test() {
    Numbers random;
    for (Index rows : {1, 2, 3, 4, 5, 6, 16, 17, 32})
        for (Index outputs : {1, 16, 30, 37, 64})
            for (Index depth : {1, 4, 60, 64, 133, 192, 252})
                if (rows <= ROWS && !products_are_right(random, rows, outputs, depth)) return false;
    release_tiles();
    for (int i = 0; i < 20; ++i)
        if (!rounding_is_right(random)) return false;
    for (Index width : {1, 17, 64, 197, 300})
        if (!softmax_is_right(random, width)) return false;
    return true;
}

enum class Verdict : int { wrong, right, illegal };

inline sigjmp_buf *&way_out() {  // of this thread, where the self-test runs in it
    thread_local sigjmp_buf *where = nullptr;
    return where;
}

inline void leave(int signal) {
    if (way_out() != nullptr) siglongjmp(*way_out(), 1);
    std::signal(signal, SIG_DFL);  // another thread's own
}

// The self-test, where an instruction that the processor does not take is a verdict and not the end of the program.
inline Verdict self_test_guarded() {
    struct sigaction own = {}, before;
    own.sa_handler = leave;
    if (sigaction(SIGILL, &own, &before) != 0) return self_test() ? Verdict::right : Verdict::wrong;
    sigjmp_buf where;
    volatile Verdict verdict = Verdict::illegal;
    if (sigsetjmp(where, 1) == 0) {
        way_out() = &where;
        verdict = self_test() ? Verdict::right : Verdict::wrong;
    }
    way_out() = nullptr;
    sigaction(SIGILL, &before, nullptr);
    return verdict;
}

}  // namespace native
