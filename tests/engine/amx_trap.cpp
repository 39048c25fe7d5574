// Carries out the AMX instructions that a processor without AMX refuses: loaded before all else (LD_PRELOAD), so that the
// very machine code which the compiler made for AMX can be tested anywhere. See Intel's manual, volume 2, for the encodings.

#include <atomic>
#include <csignal>
#include <dlfcn.h>
#include <ucontext.h>

#include "amx_emulated.h"

namespace {

namespace tiles = native::emulated;

std::atomic<int64_t> count{0};

const int REGISTERS[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                           REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

// A three-byte VEX instruction of the map 0F38 with a 128-bit length and W = 0.
struct Instruction {
    const uint8_t *at;
    int prefix, opcode, mod, reg, rm, v, length;
    bool extend_index, extend_base;
    int64_t base, index;  // of a memory operand
};

bool decode(const greg_t *registers, Instruction &i) {
    const uint8_t *code = i.at;
    if (code[0] != 0xc4 || (code[1] & 0x1f) != 2 || (code[2] & 0x84) != 0) return false;
    i.extend_index = (code[1] & 0x40) == 0, i.extend_base = (code[1] & 0x20) == 0;
    i.prefix = code[2] & 3, i.v = ~(code[2] >> 3) & 15, i.opcode = code[3];
    const int modrm = code[4];
    i.mod = modrm >> 6, i.reg = modrm >> 3 & 7, i.rm = modrm & 7, i.length = 5;
    if (i.mod == 3) return true;
    const auto value = [registers](int number) { return static_cast<int64_t>(registers[REGISTERS[number]]); };
    i.base = i.index = 0;
    int base = i.rm | (i.extend_base ? 8 : 0), displacement = i.mod == 1 ? 1 : i.mod == 2 ? 4 : 0;
    if (i.rm == 4) {
        const int sib = code[i.length++], index = (sib >> 3 & 7) | (i.extend_index ? 8 : 0);
        base = (sib & 7) | (i.extend_base ? 8 : 0);
        if (index != 4) i.index = value(index) << (sib >> 6);
        if ((sib & 7) == 5 && i.mod == 0) base = -1, displacement = 4;
    } else if (i.rm == 5 && i.mod == 0) {
        base = -1, displacement = 4;
    }
    const bool relative = i.rm == 5 && i.mod == 0;
    if (base >= 0) i.base = value(base);
    if (displacement == 1) i.base += static_cast<int8_t>(code[i.length]);
    if (displacement == 4) {
        int32_t far;
        std::memcpy(&far, code + i.length, 4);
        i.base += far;
    }
    i.length += displacement;
    if (relative) i.base += reinterpret_cast<int64_t>(code) + i.length;
    return true;
}

bool carry_out(const Instruction &i) {
    enum { NONE, P66, PF3, PF2 };
    void *const memory = reinterpret_cast<void *>(i.base);
    if (i.opcode == 0x49 && i.mod != 3 && i.reg == 0 && i.prefix == NONE)
        tiles::configure(reinterpret_cast<const uint8_t *>(i.base) + i.index);
    else if (i.opcode == 0x49 && i.mod == 3 && i.reg == 0 && i.rm == 0 && i.prefix == NONE)
        tiles::release();
    else if (i.opcode == 0x49 && i.mod == 3 && i.rm == 0 && i.prefix == PF2)
        tiles::zero(i.reg);
    else if (i.opcode == 0x4b && i.mod != 3 && (i.prefix == PF2 || i.prefix == P66))
        tiles::load(i.reg, memory, i.index);
    else if (i.opcode == 0x4b && i.mod != 3 && i.prefix == PF3)
        tiles::store(i.reg, memory, i.index);
    else if (i.opcode == 0x5e && i.mod == 3 && i.prefix == P66)
        tiles::add_products(i.reg, i.rm, i.v);
    else
        return false;
    return true;
}

void trap(int, siginfo_t *, void *context) {
    greg_t *const registers = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
    Instruction i{};
    i.at = reinterpret_cast<const uint8_t *>(registers[REG_RIP]);
    tiles::expect(decode(registers, i) && carry_out(i), "an instruction that is not AMX was refused");
    registers[REG_RIP] += i.length;
    count.fetch_add(1, std::memory_order_relaxed);
}

using Sigaction = int (*)(int, const struct sigaction *, struct sigaction *);

Sigaction real_sigaction() {
    static const auto found = reinterpret_cast<Sigaction>(dlsym(RTLD_NEXT, "sigaction"));
    return found;
}

__attribute__((constructor)) void install() {
    struct sigaction own = {};
    own.sa_sigaction = trap, own.sa_flags = SA_SIGINFO | SA_NODEFER;
    real_sigaction()(SIGILL, &own, nullptr);
}

}  // namespace

extern "C" {

// Nobody else gets to handle the signal.
__attribute__((visibility("default"))) int sigaction(int signal, const struct sigaction *wanted, struct sigaction *old) {
    if (signal != SIGILL) return real_sigaction()(signal, wanted, old);
    if (old != nullptr) *old = {};
    return 0;
}

__attribute__((visibility("default"))) int64_t trapped() { return count.load(); }
}
