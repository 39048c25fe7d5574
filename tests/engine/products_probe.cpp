// Lets a test call the products of an instruction set, on memory that ends where the operands end.

#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "products.h"

namespace {

using native::Index;

// Bytes right before a page that must not be touched.
class Guarded {
public:
    explicit Guarded(Index bytes) : page_(sysconf(_SC_PAGESIZE)), size_(native::padded(bytes, page_)) {
        base_ = static_cast<uint8_t *>(
            mmap(nullptr, static_cast<size_t>(size_ + page_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        mprotect(base_ + size_, static_cast<size_t>(page_), PROT_NONE);
        at_ = base_ + size_ - bytes;
    }
    ~Guarded() { munmap(base_, static_cast<size_t>(size_ + page_)); }
    Guarded(const Guarded &) = delete;
    Guarded &operator=(const Guarded &) = delete;
    uint8_t *at() const { return at_; }

private:
    Index page_, size_;
    uint8_t *base_, *at_;
};

}  // namespace

// sums[r][n] = init[n] + sum over k of a[r][k] (w[n][k] - 128); a (rows, stride), of which depth are read.
extern "C" __attribute__((visibility("default"))) void probe_products(Index rows, Index outputs, Index depth, Index stride,
                                                                      const uint8_t *a, const uint8_t *w,
                                                                      const int32_t *init, int32_t *sums) {
    const Index depth4 = native::padded(depth, 4), outputs16 = native::padded(outputs, native::LANES);
    const Index bytes = (rows - 1) * stride + depth;
    const Guarded activations(bytes), packed(outputs16 * depth4), copy(native::ROWS * depth4);
    std::memcpy(activations.at(), a, static_cast<size_t>(bytes));
    native::pack_rows(w, depth, outputs, depth, reinterpret_cast<int8_t *>(packed.at()));
    for (Index row = 0; row < rows; row += native::ROWS) {
        const Index count = rows - row < native::ROWS ? rows - row : native::ROWS;
        const native::Rows from(activations.at() + row * stride, stride, count, depth, copy.at());
        for (Index n = 0; n < outputs; n += native::WIDE) {
            const Index wide = outputs - n < native::WIDE ? outputs - n : native::WIDE;
            int32_t start[native::WIDE] = {}, tile[native::ROWS * native::WIDE];
            std::memcpy(start, init + n, static_cast<size_t>(wide) * sizeof(int32_t));
            native::multiply(count, native::padded(wide, native::LANES) / native::LANES, from.from(), from.stride(),
                             reinterpret_cast<int8_t *>(packed.at()) + n * depth4, depth4, start, tile);
            for (Index r = 0; r < count; ++r)
                std::memcpy(sums + (row + r) * outputs + n, tile + r * native::WIDE,
                            static_cast<size_t>(wide) * sizeof(int32_t));
        }
    }
    native::release_tiles();
}
