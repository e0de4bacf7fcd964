"""Writes SPIR-V modules, packed, as a C header: embed.py OUT.h NAME.spv... (backends/vulkan/modules.c unpacks them)

All modules are one row of words. Packed it is a row of numbers, seven bits in a byte, the lowest first, the eighth bit set where more follow: 2n, and
n words, each a number; or 2n + 1, and how far back n words lie that come once more."""
import pathlib
import struct
import sys

LEAST, TRIES = 3, 16  # words of a repetition; places that are looked at


def number(n):
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return out


def longest(words, places, at):
    best, where = 0, 0
    for place in reversed(places[-TRIES:]):
        n = LEAST
        while at + n < len(words) and words[place + n] == words[at + n]:
            n += 1
        if n > best:
            best, where = n, place
    return best, where


def pack(words):
    out, seen, at, literal = bytearray(), {}, 0, 0

    def flush(end):
        if end > literal:
            out.extend(number(2 * (end - literal)))
            for word in words[literal:end]:
                out.extend(number(word))

    while at < len(words):
        n, where = longest(words, seen.get(words[at:at + LEAST], []), at)
        if n:
            flush(at)
            out.extend(number(2 * n + 1) + number(at - where))
            literal = at + n
        for i in range(at, at + max(n, 1)):
            seen.setdefault(words[i:i + LEAST], []).append(i)
        at += max(n, 1)
    flush(at)
    return out


words = ()
with open(sys.argv[1], "w") as header:
    header.write("#include <stdint.h>\n")
    for path in map(pathlib.Path, sys.argv[2:]):
        code = path.read_bytes()
        header.write(f"#define SPIRV_{path.stem} {len(words)}u, {len(code) // 4}u\n")
        words += struct.unpack(f"<{len(code) // 4}I", code)
    packed = ",".join(map(str, pack(words)))
    header.write(f"#define SPIRV_WORDS {len(words)}u\nextern const uint8_t vk_spirv_packed[];\n")
    header.write(f"#ifdef SPIRV_PACKED\nconst uint8_t vk_spirv_packed[] = {{{packed}}};\n#endif\n")
