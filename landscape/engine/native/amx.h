// Sums of products with AMX: tiles of 16 rows by 16 outputs, of which 2 x 2 are summed at a time, so that every tile of
// activations and of weights that is loaded is used twice, and loading takes less time than multiplying.
//
// Packed weights are tiles as they lie: 16 groups of four k, 16 outputs each, are 16 rows of 64 bytes. Activations are
// read from where they are, a row of a tile from each of 16 rows.
//
// A depth that is no multiple of 64 leaves a rest. A tile of other shape for it would need another configuration, which
// clears the sums; so the last 64 weights of each output are taken again, whole, with activations copied to where those
// that were summed before are 0. Nothing is read beyond the weights, and the layout stays that of the other kernels.
// A depth below 64 needs no rest: its tiles are as deep as it is.

#pragma once

#include <cstring>

#include "amx_tiles.h"
#include "rounding.h"

namespace native {

constexpr Index PANEL = 2 * TILE_ROWS;  // rows of activations at a time

// One step in depth, of R tiles of rows and N of outputs; `block` bytes between the weights of the tiles of outputs.
template <int R, int N>
inline void add_tiles(const uint8_t *a, Index stride, const int8_t *w, Index block) {
    _tile_loadd(4, a, stride);
    _tile_loadd(6, w, TILE_BYTES);
    _tile_dpbusd(0, 4, 6);
    if constexpr (N > 1) {
        _tile_loadd(7, w + block, TILE_BYTES);
        _tile_dpbusd(1, 4, 7);
    }
    if constexpr (R > 1) {
        _tile_loadd(5, a + TILE_ROWS * stride, stride);
        _tile_dpbusd(2, 5, 6);
        if constexpr (N > 1) _tile_dpbusd(3, 5, 7);
    }
}

struct Depth {
    Index deep;           // of a tile
    Index whole;          // in tiles of that depth, without rest
    Index last;           // where the last tile's weights begin
    const uint8_t *rest;  // activations of the last tile, or null
};

template <int R, int N>
inline void multiply_tiles(const uint8_t *a, Index stride, const int8_t *w, Index block, const Depth &depth,
                           const int32_t *init, int32_t *sums) {
    _tile_loadd(0, init, 0);  // a stride of 0: the same for all rows
    if constexpr (N > 1) _tile_loadd(1, init + LANES, 0);
    if constexpr (R > 1) _tile_loadd(2, init, 0);
    if constexpr (R > 1 && N > 1) _tile_loadd(3, init + LANES, 0);
    for (Index k = 0; k < depth.whole; k += depth.deep) add_tiles<R, N>(a + k, stride, w + k * LANES, block);
    if (depth.rest != nullptr) add_tiles<R, N>(depth.rest, TILE_BYTES, w + depth.last * LANES, block);
    constexpr Index row = WIDE * sizeof(int32_t);
    int32_t *const below = sums + TILE_ROWS * WIDE;
    _tile_stored(0, sums, row);
    if constexpr (N > 1) _tile_stored(1, sums + LANES, row);
    if constexpr (R > 1) _tile_stored(2, below, row);
    if constexpr (R > 1 && N > 1) _tile_stored(3, below + LANES, row);
}

// The last `count` (below 64) of so many numbers of each row, behind zeros that fill them up to 64.
inline void copy_rest(const uint8_t *a, Index stride, Index rows, Index depth, Index count, uint8_t *to) {
    for (Index r = 0; r < rows; ++r, a += stride, to += TILE_BYTES) {
#if defined(__AVX512BW__)
        const uint64_t mask = first_bits(count) << (TILE_BYTES - count);
        _mm512_store_si512(to, _mm512_maskz_loadu_epi8(mask, a + depth - TILE_BYTES));
#else
        std::memset(to, 0, static_cast<size_t>(TILE_BYTES - count));
        std::memcpy(to + TILE_BYTES - count, a + depth - count, static_cast<size_t>(count));
#endif
    }
}

// As `multiply` of products.h, for up to PANEL rows and 4 blocks of outputs.
inline void multiply_in_tiles(Index rows, Index blocks, const uint8_t *a, Index stride, const int8_t *w, Index depth4,
                              const int32_t *init, int32_t *sums) {
    alignas(64) uint8_t rest[PANEL * TILE_BYTES];
    Depth depth{depth4 < TILE_BYTES ? depth4 : TILE_BYTES, 0, depth4 - TILE_BYTES, nullptr};
    depth.whole = depth4 / depth.deep * depth.deep;
    if (depth.whole < depth4) {
        copy_rest(a, stride, rows, depth4, depth4 - depth.whole, rest);
        depth.rest = rest;
    }
    shape_tiles(rows, depth.deep);
    stores_are_done(rest);
    const Index block = LANES * depth4;
    for (Index b = 0; b < blocks; b += 2, w += 2 * block, init += 2 * LANES, sums += 2 * LANES) {
        const bool two = b + 1 < blocks;
        if (rows > TILE_ROWS && two)
            multiply_tiles<2, 2>(a, stride, w, block, depth, init, sums);
        else if (rows > TILE_ROWS)
            multiply_tiles<2, 1>(a, stride, w, block, depth, init, sums);
        else if (two)
            multiply_tiles<1, 2>(a, stride, w, block, depth, init, sums);
        else
            multiply_tiles<1, 1>(a, stride, w, block, depth, init, sums);
    }
}

}  // namespace native
