#!/usr/bin/env python3
"""Compares every splitter with the regular expressions that it means, run by Python's `regex` module, on random Unicode text.

split_oracle.py SPLIT_DUMP [TEXTS_PER_NAME]. Ends with 77 ("skipped") where `regex` is missing. Only characters assigned in this Python's
Unicode table are used, since the splitters' table is made from it.
"""
import random
import struct
import subprocess
import sys
import unicodedata

try:
    import regex
except ImportError:
    print("SKIP: Python module regex is missing")
    sys.exit(77)

CONTRACT = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPACES = r"|\s+(?!\S)|\s+"


def llama3(number, words=r"[^\r\n\p{L}\p{N}]?\p{L}+", marks=r" ?[^\s\p{L}\p{N}]+[\r\n]*", spaces=r"|\s*[\r\n]+" + SPACES, contract=CONTRACT + "|"):
    return contract + words + "|" + number + "|" + marks + spaces


def cased(number, tail, suffix=CONTRACT + "?", upper=r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", lower=r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"):
    prefix = r"[^\r\n\p{L}\p{N}]?"
    return (f"{prefix}{upper}*{lower}+{suffix}|{prefix}{upper}+{lower}*{suffix}|{number}"
            r"| ?[^\s\p{L}\p{N}]+" + tail + r"|\s*[\r\n]+" + SPACES)


DEEPSEEK3 = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"""
CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
EAST = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
HAN_OUT = r"(?!\p{Han})"
CASED_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿ\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"
    "\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
    "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943")
STOPS = r" ?[^(\s|.,!?…。，、।۔،)]+"
YOUTU = "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，\u3001-\u303f\ufe30-\ufe4f]+|[ㄅ-ㄯ]+|" + CJK
ASIAN = ("[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff"
         "\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+")
CASCADE = r"|\s*[\r\n]+" + "".join(r"|\s{%d}(?!\S)" % n for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"
LINES = [r"[^\n]+|[\n]+"]
MARK_TAIL = r" ?[^\s\p{L}\p{N}]+"

EXPRESSIONS = [
    ("default", [r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    ("llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe chatglm-bpe glm4 glm5",
     [llama3(r"\p{N}{1,3}")]),
    ("jais-2", [llama3(r"\p{N}{1,3}", spaces=CASCADE)]),
    ("minicpm5", [r"\p{N}{1,3}", llama3(r"\p{N}+")]),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", [llama3(r"\p{N}")]),
    ("bailingmoe bailingmoe2 llada-moe",
     [llama3(r"\p{N}", contract=r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|", words=r"[^\r\n\p{L}\p{N}]?+\p{L}+",
             marks=r" ?[^\s\p{L}\p{N}]++[\r\n]*", spaces=r"|\s*[\r\n]" + SPACES)]),
    ("qwen35", [llama3(r"\p{N}", words=r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", marks=r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*")]),
    ("ufakzeka", [llama3(r"\p{N}", contract="")]),
    ("seed-coder", [llama3(r"\p{N}{1}", marks=r" ?[^\s\p{L}\p{N}\r\n]+")]),
    ("laguna", LINES + [llama3(r"\p{N}")]),
    ("exaone-moe", [llama3(r"\p{N}", words=r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+", marks=MARK_TAIL + r"[\r\n/]?",
                           spaces=r"|\s*[\r\n]" + SPACES)]),
    ("gpt-2 phi-2 jina-es jina-de gigachat jina-v1-en jina-v2-es jina-v2-de jina-v2-code a.x-4.0 mellum modern-bert roberta-bpe exaone4 mpt "
     "olmo jais trillion granite-docling", [GPT2]),
    ("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", [r"\p{N}", GPT2]),
    ("falcon", [r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"]),
    ("deepseek-llm", ["[\r\n]", r"\s?[" + CASED_LETTERS + "]+", "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", r"\s+$", EAST, r"\p{N}+"]),
    ("deepseek-coder", ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST, r"\p{N}"]),
    ("deepseek-v3 hunyuan-dense hy_v4 joyai-llm", [r"\p{N}{1,3}", CJK, DEEPSEEK3 + r"[\r\n]*|\s*[\r\n]+" + SPACES]),
    ("spark2_5", [r"\p{N}{1,3}", CJK, DEEPSEEK3 + r"|[\r\n]" + SPACES, r"\p{N}"]),
    ("gpt-4o llama4 kanana2 talkie minimax-m2 granite-embed-multi-97m", [cased(r"\p{N}{1,3}", r"[\r\n/]*")]),
    ("tiny_aya cohere2moe", [r"\d{1,3}(?=(?:\d{3})*(?![\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}]))", cased(r"\p{N}{1,3}", r"[\r\n/]*")]),
    ("youtu", [YOUTU, cased(r"\p{N}", r"[\r\n/]*")]),
    ("tekken", [cased(r"\p{N}", r"[\r\n/]*", suffix="")]),
    ("kimi-k2", [r"[\p{Han}]+|" + cased(r"\p{N}{1,3}", r"[\r\n]*", upper=r"(?:" + HAN_OUT + r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])",
                                       lower=r"(?:" + HAN_OUT + r"[\p{Ll}\p{Lm}\p{Lo}\p{M}])")]),
    ("afmoe", [r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", ASIAN, DEEPSEEK3 + r"[\r\n]*|\s*[\r\n]+" + SPACES]),
    ("bloom gpt3-finnish poro-chat", [STOPS]),
    ("viking", [STOPS, r"\p{N}"]),
    ("superbpe", [r"\p{N}+", r"(?=(?:\d{3})+(?!\d))"]),
    ("chameleon", [r"<sentinel:[0-9]+>", r"(?:IMGIMG)(?:(?:A|B|C|D|E|F|G|H|I){1,4})Z", r"(?:[\t\n]|    |  )", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]",
                   GPT2]),
    ("gemma4 granite-embed-multi-311m sarvam-moe", LINES),
    ("whitespace", [r"\S+"]),
]


def pieces(expressions, text):
    parts = [text]
    for expression in expressions:
        compiled, cut = regex.compile(expression), []
        for part in parts:
            at = 0
            for match in compiled.finditer(part):
                cut += [part[at:match.start()], match.group()]
                at = match.end()
            cut.append(part[at:])
        parts = [part for part in cut if part]
    return parts


ASSIGNED = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
POOLS = {}
for char in ASSIGNED:
    POOLS.setdefault(unicodedata.category(char), []).append(char)
SPACE = " \n\r\t\x0b\x0c\x85\xa0\u1680\u2003\u2028\u202f\u3000"
WORDS = ["'s", "'S", "'ll", "'Re", "'ve", "don't", "HELLO", "Hello", "camelCase", "1234567", "12", "３４５", "½", "日本語", "한국어", "ไทย", "हिन्दी",
         "〇々", "ABCd", "ǅa", "ʰA", "IMGIMGABZ", "IMGIMGABCDEZ", "<sentinel:12>", "foo_bar", "...", "!!\n\n", "/\n/", "  ", "   ", "\r\n", " \n ",
         "\n\n", "。", "、", "،", "(a)", "|", "é", "e\u0301", "\u0301a", "\u200d", "😀", "_a", ".a", "$x", "=b", "١٢٣٤", "Ⅷ", "ㄅㄆ", "…", "“”", "﹏"]


def random_text(rng):
    out = []
    for _ in range(rng.randrange(1, 40)):
        kind = rng.random()
        if kind < 0.25:
            out.append(rng.choice(SPACE if rng.random() < 0.5 else " \n") * rng.choice((1, 1, 1, 2, 3, 5)))
        elif kind < 0.5:
            out.append(rng.choice(WORDS))
        elif kind < 0.6:
            out.append("".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 9))))
        elif kind < 0.75:
            out.append(chr(rng.randrange(0x20, 0x7F)))
        elif kind < 0.9:
            out.append(rng.choice(POOLS[rng.choice(list(POOLS))]))
        else:
            out.append("".join(rng.choice(POOLS[rng.choice(("Lu", "Ll", "Lt", "Lm", "Lo", "Mn"))]) for _ in range(rng.randrange(1, 5))))
    return "".join(out)


def main():
    program, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 150
    rng = random.Random(20260101)
    cases = [(name, expressions) for names, expressions in EXPRESSIONS for name in names.split()]
    listed = subprocess.run([program, "--names"], capture_output=True, check=True).stdout.decode().split()
    untested = set(listed) ^ {name for name, _ in cases}
    if untested:
        print("names without an expression here, or the other way round:", *sorted(untested))
        return 1
    texts, records, seen = [], bytearray(), {}
    for name, expressions in cases:
        key = tuple(expressions)
        for i in range(count if key not in seen else max(10, count // 20)):
            text = random_text(rng) if i else "x" + " " * 1300 + "y" + " " * 700 + "\n" + " " * 517
            encoded = text.encode()
            records += struct.pack("<I", len(name)) + name.encode() + struct.pack("<I", len(encoded)) + encoded
            texts.append((name, expressions, text))
        seen[key] = name
    out = subprocess.run([program], input=bytes(records), capture_output=True, check=True).stdout
    at, wrong = 0, {}
    for name, expressions, text in texts:
        n = struct.unpack_from("<I", out, at)[0]
        lengths = struct.unpack_from(f"<{n}I", out, at + 4)
        at += 4 + 4 * n
        expected, encoded, got, begin = pieces(expressions, text), text.encode(), [], 0
        for length in lengths:
            got.append(encoded[begin:begin + length].decode(errors="replace"))
            begin += length
        if got != expected:
            wrong[name] = wrong.get(name, 0) + 1
            if wrong[name] == 1:
                first = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), 0)
                print(f"{name}: piece {first}: expected {expected[first:first + 4]!a}, got {got[first:first + 4]!a}")
    print(f"{len(texts)} texts over {len(cases)} names, wrong:", wrong if wrong else "none")
    return 1 if wrong else 0


sys.exit(main())
