#!/usr/bin/env python3
"""Writes the Unicode category table of runtime/text/unicode.c as a C header: unicode_gen.py OUTPUT.

Two levels: a code point's block of 128 names one of the distinct blocks; a block holds one class per code point. Classes are general
categories (unicodedata), with White_Space and the Han script apart because splitters ask for them. Standard library only.
"""
import sys
import unicodedata

BLOCK = 128
# Order is shared with enum in unicode.h.
CLASSES = ["OTHER", "LU", "LL", "LT", "LM", "LO", "HAN_LO", "HAN_LM", "MARK", "ND", "NL", "HAN_NL", "NO", "PC", "PUNCT", "SYMBOL", "HAN_SYMBOL",
           "SPACE", "HAN_MARK"]
INDEX = {name: i for i, name in enumerate(CLASSES)}

# White_Space=Yes of PropList.txt; str.isspace() would add U+001C..U+001F.
SPACES = {*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}

# Script=Han of Scripts.txt; unicodedata does not know scripts.
HAN = [(0x2E80, 0x2E99), (0x2E9B, 0x2EF3), (0x2F00, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B),
       (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFA6D), (0xFA70, 0xFAD9), (0x16FE2, 0x16FE3), (0x16FF0, 0x16FF1), (0x20000, 0x2A6DF),
       (0x2A700, 0x2B739), (0x2B740, 0x2B81D), (0x2B820, 0x2CEA1), (0x2CEB0, 0x2EBE0), (0x2EBF0, 0x2EE5D), (0x2F800, 0x2FA1D),
       (0x30000, 0x3134A), (0x31350, 0x323AF)]
han = {c for first, last in HAN for c in range(first, last + 1)}


def class_of(code):
    if code in SPACES:
        return INDEX["SPACE"]
    category = unicodedata.category(chr(code))
    is_han = code in han
    if category in ("Lu", "Ll", "Lt"):
        name = category.upper()
    elif category in ("Lm", "Lo"):
        name = ("HAN_" if is_han else "") + category.upper()
    elif category[0] == "M":
        name = "HAN_MARK" if is_han else "MARK"
    elif category == "Nl":
        name = "HAN_NL" if is_han else "NL"
    elif category in ("Nd", "No"):
        name = category.upper()
    elif category == "Pc":
        name = "PC"
    elif category[0] == "P":
        name = "PUNCT"
    elif category[0] == "S":
        name = "HAN_SYMBOL" if is_han else "SYMBOL"
    elif is_han and category == "Cn":  # ideographs newer than this Python's table
        name = "HAN_LO"
    else:
        name = "OTHER"
    return INDEX[name]


def rows(values, width):
    for i in range(0, len(values), width):
        yield "    " + ", ".join(map(str, values[i:i + width])) + ","


def main():
    blocks, numbers, index = [], {}, []
    for first in range(0, 0x110000, BLOCK):
        block = tuple(class_of(c) for c in range(first, first + BLOCK))
        if block not in numbers:
            numbers[block] = len(blocks)
            blocks.append(block)
        index.append(numbers[block])
    kind = "uint8_t" if len(blocks) <= 256 else "uint16_t"
    with open(sys.argv[1], "w", encoding="ascii") as out:
        print(f"/* Made by unicode_gen.py from Unicode {unicodedata.unidata_version}; do not edit. */", file=out)
        print(f"#define UNICODE_BLOCK {BLOCK}", file=out)
        print(f"static const {kind} unicode_index[{len(index)}] = {{", file=out)
        print(*rows(index, 32), sep="\n", file=out)
        print(f"}};\nstatic const uint8_t unicode_blocks[{len(blocks)}][UNICODE_BLOCK] = {{", file=out)
        for block in blocks:
            print("    {" + ",".join(map(str, block)) + "},", file=out)
        print("};", file=out)


main()
