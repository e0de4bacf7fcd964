#!/usr/bin/env python3
"""Compares the C dequantiser bit for bit with the Python package gguf on seeded random blocks.

usage: check_dequant.py PATH-OF-dequant-dump [seed]      exit status 77: the package is not installed
"""
import subprocess
import sys

try:
    import numpy as np
    import gguf
    from gguf.quants import dequantize
except ImportError as error:
    print(f"SKIP: {error}")
    sys.exit(77)

# Where a block keeps its f16 scales; they must be finite, everything else may be any bits.
SCALES = {"q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q2_k": [80, 82], "q3_k": [108],
          "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "f32": [], "f16": [], "bf16": []}
BLOCKS = 2000


def random_row(rng, name, block_bytes):
    if name == "f32":
        return rng.standard_normal(BLOCKS, dtype=np.float32).view(np.uint8)
    if name in ("f16", "bf16"):
        bits = rng.integers(0, 1 << 16, BLOCKS, dtype=np.uint16)
        exponent = 0x7c00 if name == "f16" else 0x7f80
        bits[(bits & exponent) == exponent] = 0
        return bits.view(np.uint8)
    rows = rng.integers(0, 256, (BLOCKS, block_bytes), dtype=np.uint8)
    rows[:20] = 0
    rows[20:40] = 255
    for at in SCALES[name]:
        scale = rng.integers(0, 1 << 16, BLOCKS, dtype=np.uint16)
        scale[(scale & 0x7c00) == 0x7c00] = 0x7bff  # the largest half
        rows[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return rows.reshape(-1)


def main():
    program = [sys.argv[1]]
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    failed = 0
    for name in SCALES:
        kind = gguf.GGMLQuantizationType[name.upper()]
        elements, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        row = random_row(rng, name, block_bytes)
        want = dequantize(row.reshape(1, -1), kind).astype(np.float32).reshape(-1).view(np.uint32)
        out = subprocess.run(program + [name, str(BLOCKS * elements)], input=row.tobytes(), stdout=subprocess.PIPE, check=True).stdout
        got = np.frombuffer(out, dtype=np.uint32)
        different = np.flatnonzero(got != want) if got.size == want.size else [0]
        if len(different):
            i = different[0]
            print(f"FAIL {name}: {len(different)} values differ, first at {i}: {got[i]:08x}, not {want[i]:08x}")
            failed += 1
    print(f"{len(SCALES) - failed} passed, {failed} failed, 0 skipped")
    return failed != 0


sys.exit(main())
