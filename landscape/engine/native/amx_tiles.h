// The tile registers of AMX: their shapes, thread by thread.
//
// A thread that holds tiles makes the kernel save 8 KiB at every switch, and the registers belong to whoever runs next on
// the thread: so tiles are configured when a product needs them and released when a thread has done its share of jobs.

#pragma once

#if defined(LANDSCAPE_AMX)

#include <cstdint>

#if defined(LANDSCAPE_AMX_EMULATED)
#include "amx_emulated.h"
#else
#include <immintrin.h>
#endif

namespace native {

constexpr int64_t TILE_ROWS = 16, TILE_BYTES = 64;  // of palette 1

struct alignas(64) TileShapes {  // what LDTILECFG reads
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {};  // of a row, by tile
    uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64, "the layout is the processor's");

// Keeps the compiler from leaving out stores, or moving them behind an instruction that reads them: GCC's intrinsics do
// not say what memory they read.
inline void stores_are_done(const void *at) { asm volatile("" ::"r"(at) : "memory"); }

inline uint32_t &tile_shape() {  // of this thread: rows and depth, 0 where nothing is configured
    thread_local uint32_t shape = 0;
    return shape;
}

// Tiles for products of up to 32 rows with 32 outputs, `depth` bytes (at most 64) at a time: 0 to 3 sums (row tile 2 r +
// output tile), 4 and 5 activations, 6 and 7 weights. A tile that would hold no row stays without a shape.
inline void shape_tiles(int64_t rows, int64_t depth) {
    const uint32_t wanted = static_cast<uint32_t>(rows << 16 | depth);
    if (tile_shape() == wanted) return;
    TileShapes shapes;
    const auto set = [&shapes](int tile, int64_t count, int64_t bytes) {
        shapes.rows[tile] = static_cast<uint8_t>(count);
        shapes.bytes[tile] = static_cast<uint16_t>(count == 0 ? 0 : bytes);
    };
    for (int tile = 0; tile < 2; ++tile) {
        const int64_t left = rows - tile * TILE_ROWS;
        const int64_t count = left < 0 ? 0 : left < TILE_ROWS ? left : TILE_ROWS;
        set(2 * tile, count, TILE_BYTES), set(2 * tile + 1, count, TILE_BYTES);
        set(4 + tile, count, depth), set(6 + tile, depth / 4, TILE_BYTES);
    }
    stores_are_done(&shapes);
    _tile_loadconfig(&shapes);
    tile_shape() = wanted;
}

inline void release_tiles() {
    if (tile_shape() == 0) return;
    _tile_release();
    tile_shape() = 0;
}

}  // namespace native

#else

namespace native {
inline void release_tiles() {}
}  // namespace native

#endif
