// A thread's memory for what a step has in between.

#pragma once

#include "products.h"

namespace native {

class Scratch {
public:
    explicit Scratch(uint8_t *memory) : start_(memory), memory_(memory) {}
    template <class Number>
    Number *take(Index count) {
        uint8_t *const taken = memory_;
        memory_ += padded(count * static_cast<Index>(sizeof(Number)), 64) + 64;
        return reinterpret_cast<Number *>(taken);
    }
    Index bytes() const { return memory_ - start_; }

private:
    uint8_t *start_, *memory_;
};

}  // namespace native
