// Several threads on one image: they take parts of a step's rows, one after the other, and the step after that begins when
// all parts are done. No thread waits for one that has taken nothing: whoever does not get the processor is not missed.

#pragma once

#include <atomic>
#include <thread>

#include "products.h"

namespace native {

struct Part {
    Index index, count;
};

struct Range {
    Index first, count;
};

// A part's share of some rows, in whole units but for the last.
inline Range range_of(Index rows, Index unit, Part part) {
    const Index units = (rows + unit - 1) / unit;
    const Index first = units * part.index / part.count * unit, end = units * (part.index + 1) / part.count * unit;
    return {first, (end < rows ? end : rows) - first};
}

constexpr Index LARGEST_TEAM = 16;  // threads: with more, waiting for each other costs more than they save

// How many threads work on one image: several where there are more threads, and processors for them, than images.
inline Index team_size(Index threads, Index images) {
    static const Index processors = static_cast<Index>(std::thread::hardware_concurrency());
    const Index size = images < 1 ? 1 : (threads < processors ? threads : processors) / images;
    return size < 1 ? 1 : size < LARGEST_TEAM ? size : LARGEST_TEAM;
}

// How far the threads on one image have come.
class Progress {
public:
    struct Claim {
        Index step, part;
    };

    // The next part of the present step; there may be none of that number.
    Claim claim() {
        const uint64_t found = next_.fetch_add(1, std::memory_order_acq_rel);
        return {static_cast<Index>(found >> 32), static_cast<Index>(found & 0xffffffff)};
    }

    // Of a part that was claimed, of so many.
    void finish(Index step, Index parts) {
        if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 < parts) return;
        done_.store(0, std::memory_order_relaxed);
        next_.store(static_cast<uint64_t>(step + 1) << 32, std::memory_order_release);
    }

    // Until a step is over. Steps take microseconds, so a thread looks for a while before it gives up its turn, as it must
    // where others want the processor.
    void await(Index step) const {
        for (int looked = 0; static_cast<Index>(next_.load(std::memory_order_acquire) >> 32) == step;) {
            if (++looked > LOOKS) {
                std::this_thread::yield();
                continue;
            }
#if defined(__SSE2__)
            _mm_pause();
#endif
        }
    }

private:
    static constexpr int LOOKS = 2000;
    std::atomic<uint64_t> next_{0};  // step and part
    std::atomic<Index> done_{0};     // parts of it
};

}  // namespace native
