// The instructions of AMX that the kernels use, in plain C++: what the architecture says they do, with tiles of each
// thread's own. For tests on processors without AMX; what a processor would refuse ends the program with a message.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace native {
namespace emulated {

constexpr int TILES = 8, LARGEST_ROWS = 16, LARGEST_BYTES = 64;  // palette 1

struct Tile {
    int rows, bytes;  // bytes of a row
    uint8_t data[LARGEST_ROWS][LARGEST_BYTES];
};

struct Tiles {
    bool configured;
    Tile tiles[TILES];
};

inline Tiles &own_tiles() {
    thread_local Tiles tiles = {};
    return tiles;
}

inline void expect(bool holds, const char *what) {
    if (holds) return;
    std::fprintf(stderr, "emulated AMX: %s\n", what);
    std::abort();
}

inline Tile &tile(int name) {
    Tiles &own = own_tiles();
    expect(own.configured, "the tiles are not configured");
    expect(name >= 0 && name < TILES, "there is no such tile");
    expect(own.tiles[name].rows > 0, "the tile has no rows");
    return own.tiles[name];
}

inline void release() { std::memset(&own_tiles(), 0, sizeof(Tiles)); }

// LDTILECFG: byte 0 palette, byte 1 first row, 16 .. 47 bytes of a row as 16 numbers of 16 bits, 48 .. 63 rows.
inline void configure(const void *from) {
    uint8_t config[64];
    std::memcpy(config, from, sizeof config);
    release();
    if (config[0] == 0) return;
    expect(config[0] == 1, "unknown palette");
    for (int i = 2; i < 16; ++i) expect(config[i] == 0, "a reserved byte is not 0");
    Tiles &own = own_tiles();
    for (int name = 0; name < 16; ++name) {
        const int rows = config[48 + name], bytes = config[16 + 2 * name] | config[17 + 2 * name] << 8;
        expect(name < TILES || (rows == 0 && bytes == 0), "more tiles than the palette has");
        expect(rows <= LARGEST_ROWS && bytes <= LARGEST_BYTES, "a tile is larger than the palette permits");
        expect((rows == 0) == (bytes == 0), "a tile has rows without bytes, or bytes without rows");
        if (name < TILES) own.tiles[name].rows = rows, own.tiles[name].bytes = bytes;
    }
    expect(config[1] == 0, "loads that start at a later row are not emulated");
    own.configured = true;
}

// TILELOADD: rows `stride` bytes apart; what lies beyond the tile's shape becomes 0.
inline void load(int name, const void *base, int64_t stride) {
    Tile &t = tile(name);
    std::memset(t.data, 0, sizeof t.data);
    for (int r = 0; r < t.rows; ++r)
        std::memcpy(t.data[r], static_cast<const uint8_t *>(base) + r * stride, static_cast<size_t>(t.bytes));
}

// TILESTORED
inline void store(int name, void *base, int64_t stride) {
    const Tile &t = tile(name);
    for (int r = 0; r < t.rows; ++r)
        std::memcpy(static_cast<uint8_t *>(base) + r * stride, t.data[r], static_cast<size_t>(t.bytes));
}

// TILEZERO
inline void zero(int name) {
    Tile &t = tile(name);
    std::memset(t.data, 0, sizeof t.data);
}

// TDPBUSD: to each 32-bit sum of c the products of four unsigned bytes of a row of a with four signed bytes of b, for all
// groups of four; sums wrap around.
inline void add_products(int c_name, int a_name, int b_name) {
    expect(c_name != a_name && c_name != b_name && a_name != b_name, "a tile is named twice");
    Tile &c = tile(c_name);
    const Tile &a = tile(a_name), &b = tile(b_name);
    expect(c.bytes % 4 == 0 && a.bytes % 4 == 0 && b.bytes % 4 == 0, "rows are no multiples of four bytes");
    expect(c.rows == a.rows && c.bytes == b.bytes && a.bytes / 4 == b.rows, "the tiles' shapes do not fit together");
    for (int m = 0; m < c.rows; ++m) {
        uint32_t sums[LARGEST_BYTES / 4];
        std::memcpy(sums, c.data[m], sizeof sums);
        for (int k = 0; k < a.bytes / 4; ++k)
            for (int n = 0; n < c.bytes / 4; ++n)
                for (int i = 0; i < 4; ++i)
                    sums[n] += static_cast<uint32_t>(int32_t(a.data[m][4 * k + i]) *
                                                     int32_t(static_cast<int8_t>(b.data[k][4 * n + i])));
        std::memset(c.data[m], 0, LARGEST_BYTES);
        std::memcpy(c.data[m], sums, static_cast<size_t>(c.bytes));
    }
    for (int m = c.rows; m < LARGEST_ROWS; ++m) std::memset(c.data[m], 0, LARGEST_BYTES);
}

}  // namespace emulated
}  // namespace native

// In place of the compiler's intrinsics.
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbusd
#define _tile_loadconfig(from) native::emulated::configure(from)
#define _tile_release() native::emulated::release()
#define _tile_loadd(tile, base, stride) native::emulated::load(tile, base, stride)
#define _tile_stored(tile, base, stride) native::emulated::store(tile, base, stride)
#define _tile_zero(tile) native::emulated::zero(tile)
#define _tile_dpbusd(c, a, b) native::emulated::add_products(c, a, b)
