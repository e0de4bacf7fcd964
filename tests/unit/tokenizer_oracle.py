#!/usr/bin/env python3
"""Compares whole tokenizers with independent ones on random text, through the shared library.

tokenizer_oracle.py LIBBITLOOM DATA_FOLDER [TEXTS]. Byte-level vocabularies against Hugging Face `tokenizers` made from the same tokens and
merges, the SentencePiece one against `sentencepiece` with the model it was converted from. Ends with 77 ("skipped") where the data or the
modules are missing.
"""
import ctypes
import os
import random
import struct
import sys
import unicodedata

LIBRARY, DATA = sys.argv[1], os.environ.get("BITLOOM_TEST_DATA", sys.argv[2])
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 400
lib = ctypes.CDLL(LIBRARY)
lib.bl_error_text.restype = ctypes.c_char_p


class Tokenizer:
    def __init__(self, path):
        self.handle = ctypes.c_void_p()
        if lib.bl_tokenizer_open(path.encode(), ctypes.byref(self.handle)) != 0:
            raise RuntimeError(lib.bl_error_text().decode())

    def encode(self, text, flags=0):
        found, out = ctypes.c_size_t(), (ctypes.c_int32 * (len(text) * 2 + 16))()
        status = lib.bl_tokenizer_encode(self.handle, text, ctypes.c_size_t(len(text)), flags, out, ctypes.c_size_t(len(out)), ctypes.byref(found))
        if status != 0:
            raise RuntimeError(lib.bl_error_text().decode())
        return list(out[:found.value])

    def close(self):
        lib.bl_tokenizer_destroy(self.handle)


def metadata(path):
    """The keys of a GGUF file, by a reader of its own."""
    data = open(path, "rb").read()
    at = 24
    sizes = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}

    def string():
        nonlocal at
        n = struct.unpack_from("<Q", data, at)[0]
        at += 8 + n
        return data[at - n:at]

    def value(kind):
        nonlocal at
        if kind == 8:
            return string()
        if kind == 9:
            inner, n = struct.unpack_from("<IQ", data, at)
            at += 12
            return [value(inner) for _ in range(n)]
        out = struct.unpack_from("<" + sizes[kind], data, at)[0]
        at += struct.calcsize(sizes[kind])
        return out

    keys = {}
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        key = string().decode()
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        keys[key] = value(kind)
    return keys


POOL = [chr(c) for c in range(0x20, 0x30000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co", "Cc")]
WORDS = ("the quick brown fox don't Hello WORLD they're 2024 3.14159 == != -> /* */ printf(\"%d\\n\") \t \n \n\n  for(i=0;i<n;i++) naïve Ünïcödé "
         "日本語テキスト 한국어 हिन्दी العربية ไทย русский 😀 👩‍👩‍👧 ½ ²").split(" ") + ["    ", "  ", "\n\n\n", "aaaaaaaaaaaa", "ababababab"]


def random_text(rng):
    out = []
    for _ in range(rng.randrange(1, 50)):
        out.append(rng.choice(WORDS) if rng.random() < 0.8 else "".join(rng.choice(POOL) for _ in range(rng.randrange(1, 6))))
        out.append(" " if rng.random() < 0.7 else "")
    return "".join(out)


def check(name, ours, theirs, rng):
    wrong = 0
    for _ in range(COUNT):
        text = random_text(rng)
        expected, got = theirs(text), ours.encode(text.encode())
        if expected != got:
            wrong += 1
            if wrong == 1:
                print(f"{name}: {text!a}\n  expected {expected}\n  got      {got}")
    print(f"{name}: {COUNT} texts, {wrong} wrong")
    return wrong


def byte_level(path, split):
    from tokenizers import Regex, Tokenizer as HFTokenizer, models, pre_tokenizers
    keys = metadata(path)
    tokens = [t.decode() for t in keys["tokenizer.ggml.tokens"]]
    types = keys.get("tokenizer.ggml.token_type", [1] * len(tokens))
    merges = [tuple(m.decode().split(" ", 1)) for m in keys["tokenizer.ggml.merges"]]
    tokenizer = HFTokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    stages = [pre_tokenizers.Split(Regex(e), "isolated") for e in split] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(stages)
    tokenizer.add_tokens([t for t, kind in zip(tokens, types) if kind == 4])
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def main():
    rng, n_run, n_wrong = random.Random(7), 0, 0
    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    for name, split in (("gpt-2", []), ("starcoder", [r"\p{N}", gpt2])):
        path = f"{DATA}/vocab/ggml-vocab-{name}.gguf"
        try:
            theirs = byte_level(path, split)
        except (ImportError, FileNotFoundError) as error:
            print(f"{name}: not tested: {error}")
            continue
        ours = Tokenizer(path)
        n_wrong += check(name, ours, theirs, rng)
        n_run += 1
        ours.close()
    try:
        import sentencepiece
        path = f"{DATA}/vocab/ggml-vocab-llama-spm.gguf"
        theirs = sentencepiece.SentencePieceProcessor(model_file=f"{DATA}/tokenizers/llama2.tokenizer.model")
        ours = Tokenizer(path)
        n_wrong += check("llama-spm", ours, theirs.encode, rng)
        n_run += 1
        ours.close()
    except (ImportError, OSError, RuntimeError) as error:
        print(f"llama-spm: not tested: {error}")
    if n_run == 0:
        print("SKIP: no vocabulary or no module to compare with")
        return 77
    return 1 if n_wrong else 0


sys.exit(main())
