"""Writes SPIR-V modules as C arrays: embed.py OUT.h NAME.spv..."""
import pathlib
import struct
import sys

with open(sys.argv[1], "w") as out:
    out.write("#include <stdint.h>\n")
    for path in map(pathlib.Path, sys.argv[2:]):
        code = path.read_bytes()
        words = struct.unpack(f"<{len(code) // 4}I", code)
        out.write(f"static const uint32_t spirv_{path.stem}[] = {{{','.join(f'{word}u' for word in words)}}};\n")
