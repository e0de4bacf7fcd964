#!/usr/bin/env python3
"""Seeds for the fuzz targets: make_seeds.py KIND FOLDER [PROGRAM [MUTANTS]].

Writes well-formed and slightly wrong inputs of a KIND (gguf, graph, tokenizer, xq) into FOLDER, and, when a replay PROGRAM is named, MUTANTS random
variations of them (always the same ones), and runs the program over the folder.
"""
import glob
import os
import random
import re
import struct
import subprocess
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def value(kind, content):
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        inner, elements = content
        return struct.pack("<IQ", inner, len(elements)) + b"".join(value(inner, e) for e in elements)
    return struct.pack("<" + PACK[kind], content)


def gguf(meta, tensors, version=3, alignment=32, data=None):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(meta))
    for key, kind, content in meta:
        out += text(key) + struct.pack("<I", kind) + value(kind, content)
    for name, dims, kind, offset in tensors:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset)
    out += b"\0" * (-len(out) % alignment)
    return out + (data if data is not None else b"\x3c" * 1024 if tensors else b"")


def byte_chars():
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    extra = iter(range(0x100, 0x200))
    return [chr(b if b in plain else next(extra)) for b in range(256)]


def gguf_seeds():
    tokens = byte_chars() + ["he", "ll", "hell", "<s>", "</s>"]
    types = [1] * 259 + [3, 3]
    bpe = [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "llama-bpe"), ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
           ("tokenizer.ggml.token_type", ARRAY, (I32, types)), ("tokenizer.ggml.merges", ARRAY, (STRING, ["h e", "l l", "he ll"])),
           ("tokenizer.ggml.bos_token_id", U32, 259), ("tokenizer.ggml.eos_token_id", U32, 260), ("tokenizer.ggml.add_bos_token", BOOL, 1)]
    pieces = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] + ["\u2581", "a", "b", "ab", "\u2581a"]
    spm = [("tokenizer.ggml.model", STRING, "llama"), ("tokenizer.ggml.tokens", ARRAY, (STRING, pieces)),
           ("tokenizer.ggml.scores", ARRAY, (F32, [-float(i) for i in range(len(pieces))])),
           ("tokenizer.ggml.token_type", ARRAY, (I32, [2, 3, 3] + [6] * 256 + [1] * 5)), ("tokenizer.ggml.unknown_token_id", U32, 0)]
    every = [(f"k{kind}", kind, 1) for kind in PACK] + [(f"a{kind}", ARRAY, (kind, [0, 1, 1])) for kind in PACK]
    nested = [("n", ARRAY, (ARRAY, [(U8, [1, 2]), (ARRAY, [(STRING, ["x", ""])]), (F64, [])]))]
    blocks = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144),
              13: (256, 176), 14: (256, 210), 16: (256, 66), 30: (1, 2), 99: (1, 1)}
    yield gguf([], [])
    yield gguf([], [], version=2)
    yield gguf(bpe, [])
    yield gguf(spm, [])
    yield gguf(every, [])
    yield gguf(nested, [])
    for kind, (elements, _) in blocks.items():
        yield gguf([("general.architecture", STRING, "llama")], [("t", [elements, 2], kind, 0), ("u", [elements], kind, 512)])
    for alignment in (8, 64, 4096):
        yield gguf([("general.alignment", U32, alignment)], [("t", [4], 0, 0), ("u", [4], 0, alignment)], alignment=alignment, data=b"\0" * 2 * alignment)
    yield gguf(every, [("t", [4], 0, 0)], version=1)
    yield gguf([("a", U8, 1), ("a", U8, 1)], [])


def tokenizer_seeds():
    tokens = bytes([1, 9, 2]) + b"xy" + bytes([4, 0, 4]) + b"<<>>" + bytes([3, 1, 5]) + b"<ctl>" + bytes([0, 0, 0])
    merges = bytes([3, 5, 9, 2, 1, 1])
    texts = [b"hello aab  12345\n\n don't", "h\u00e9llo \u65e5\u672c\u8a9e \U0001f600".encode(), b"<<>><ctl></s><|im_end|>", b"\xff\xc3\xe2\x96 \xf0\x9f"]
    for kind in (0, 1):
        for pre in range(0, 96 if kind == 0 else 1, 3):
            for flags in (0, 2, 6, 8):
                yield bytes([kind, pre, flags]) + tokens + merges + texts[(pre + flags) % 4]


def graph_seeds():
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.join(here, "..", "tools"))
    import tiny_model
    for path in sorted(glob.glob(os.path.join(here, "../../runtime/model/graphs/*.graph"))):
        with open(path, "rb") as file:
            yield b"\n".join(line for line in file.read().split(b"\n") if not line.startswith(b"#"))
    yield tiny_model.GRAPH.encode()
    yield b"logits = linear(select(embed(tokens, token_embd), outputs), output)\n"
    yield b"x = embed(tokens, token_embd)\nrepeat i in 3\n  if i % 2 == 0\n    x = x + silu(x)\n  else\n    x = x * 2\nlogits = linear(select(x, outputs), output)\n"


def xq_seeds():
    """Shape, segments, outliers, codes, changes: fuzz_xq.c makes a matrix of any bytes."""
    for i in range(40):
        rng = random.Random(i)
        yield bytes(rng.randrange(256) for _ in range(50 << i % 5))


def mutate_text(rng, seed):
    """Words and lines of a text dropped, doubled, swapped and replaced by others."""
    words = re.findall(rb"[A-Za-z_0-9.{}]+|[^A-Za-z_0-9.{}]", seed)
    for _ in range(rng.randrange(1, 6)):
        a, b = rng.randrange(len(words)), rng.randrange(len(words))
        choice = rng.randrange(5)
        if choice == 0:
            words[a] = words[b]
        elif choice == 1:
            words[a], words[b] = words[b], words[a]
        elif choice == 2 and len(words) > 9:
            del words[a:a + rng.randrange(1, 9)]
        elif choice == 3:
            words[a] = rng.choice((b"0", b"-1", b"1e308", b"4294967296", b"(", b")", b"[", b"?", b"none", b"'", b'"', b"\xff", b"{i}", b"repeat"))
        else:
            words[a:a] = words[b:b + rng.randrange(1, 99)]
    return b"".join(words)


def mutate(rng, seed):
    out = bytearray(seed)
    for _ in range(rng.randrange(1, 6)):
        if not out:
            break
        at = rng.randrange(len(out))
        choice = rng.randrange(5)
        if choice == 0:
            out[at] = rng.randrange(256)
        elif choice == 1:
            out[at:at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(out))))
        elif choice == 2:
            del out[at:at + rng.randrange(1, 9)]
        elif choice == 3:
            out[at:at] = out[at:at + rng.randrange(1, 9)]
        else:
            out[at] ^= 1 << rng.randrange(8)
    return bytes(out[:rng.randrange(len(out))]) if out and rng.random() < 0.1 else bytes(out)


def main():
    kind, folder = sys.argv[1], sys.argv[2]
    seeds = list({"gguf": gguf_seeds, "graph": graph_seeds, "tokenizer": tokenizer_seeds, "xq": xq_seeds}[kind]())
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        os.remove(os.path.join(folder, old))
    rng = random.Random(1)
    mutants = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    for i, seed in enumerate(seeds + [(mutate_text if kind == "graph" else mutate)(rng, rng.choice(seeds)) for _ in range(mutants)]):
        with open(os.path.join(folder, f"{kind}-{i:05}"), "wb") as out:
            out.write(seed)
    return subprocess.run([sys.argv[3], folder]).returncode if len(sys.argv) > 3 else 0


sys.exit(main())
