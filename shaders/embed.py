"""Writes SPIR-V modules, packed, as a C header: embed.py OUT.h NAME.spv... (backends/vulkan/modules.c unpacks them)

A module is its five words of head, then instructions. The first word of an instruction becomes the number of its form: that word, where its ids are, which
of them it defines. An id below GLOBALS is what one table for all modules has at that place (types, constants, bindings: the same thing has the same number
everywhere); any other becomes GLOBALS and how far it lies from what was defined last, 2n before it and 2n - 1 behind. So what differs by its numbers
alone is the same.

Modules so written stand in rows. Packed, a row is one of numbers, seven bits in a byte, the lowest first, the eighth bit set where more follow: 2n, and n
words, each a number; or 2n + 1, and how far back n words lie that come once more, at most WINDOW."""
import collections
import pathlib
import struct
import sys

LEAST, TRIES = 3, 64  # words of a repetition; places that are looked at
WINDOW, ROW = 1 << 16, 1 << 18  # words; a row ends with the module that makes it longer
HEAD, DECORATE, CONSTANT_OP, EXTRACT, ENTRY, FUNCTION, SWITCH = 5, 71, 52, 81, 15, 54, 251

# What the operands of an instruction are: i an id, r the one that it defines, n another word; the last for all that follow.
SHAPES = {'n': [10, 14, 17, 56, 252, 253, 255], 'i': [224, 225, 228, 249, 254], 'in': [16, 247], 'iin': [62, 246], 'iiin': [250], 'inn': [72],
          'r': [19, 20, 248], 'rn': [11, 21, 22, 71], 'ri': [27, 28, 29, 30, 33], 'rin': [23, 24, 25], 'rni': [32], 'irn': [43, 50],
          'iri': [1, 41, 42, 44, 46, 48, 49, 51, 55, 57, 65, 77, 78, 80, 100, *range(109, 216), 227, *range(229, 243), 245, 345, 346], 'irin': [61, 81],
          'irini': [12], 'irni': [54, 59], 'iriin': [79, 82, *range(4450, 4456)], 'iriini': [95]}
SHAPE_OF = {op: shape for shape, ops in SHAPES.items() for op in ops}


def shape_of(op, operands):
    n = len(operands)
    if unknown:
        shape = 'n'
    elif op == CONSTANT_OP:
        shape = 'irnin' if operands[2] == EXTRACT else 'irni'
    elif op == ENTRY:
        text = next(i for i in range(2, n) if operands[i] >> 24 == 0) + 1
        shape = 'ni' + 'n' * (text - 2) + 'i'
    elif op == SWITCH:
        shape = 'ii' + 'ni' * ((n - 2) // 2)
    else:
        shape = SHAPE_OF[op]
    return (shape + shape[-1] * n)[:n]


def opcodes(words):
    at = HEAD
    while at < len(words):
        yield words[at] & 0xffff
        at += words[at] >> 16


def instructions(words):
    at = HEAD
    for op in opcodes(words):
        operands = words[at + 1:at + (words[at] >> 16)]
        yield words[at], op, operands, shape_of(op, operands)
        at += len(operands) + 1


def renumber(words, known):
    """The new ids of what stands before the first function, by the table of all modules."""
    ids, seen = {}, collections.Counter()
    for _, op, operands, shape in instructions(words):
        if op == FUNCTION:
            break
        if 'r' in shape and op != DECORATE:
            r = shape.index('r')
            what = (op, *(0 if i == r else ids[w] if kind == 'i' else w for i, (w, kind) in enumerate(zip(operands, shape))))
            seen[what] += 1
            ids[operands[r]] = known.setdefault((what, seen[what]), len(known) + 1)
    return ids


def relative(words, ids, n_globals, forms):
    """The module with forms for first words and with ids as they are written; ids gets those of its functions."""
    n = n_globals
    for _, op, operands, shape in instructions(words):
        if 'r' in shape and op != DECORATE and operands[shape.index('r')] not in ids:
            ids[operands[shape.index('r')]] = n
            n += 1
    out, last = [*words[:3], max(n, words[3]), words[4]], n_globals
    for first, _, operands, shape in instructions(words):
        out.append(forms.setdefault((first, sum(1 << i for i, kind in enumerate(shape) if kind != 'n'), shape.find('r') & 0xff), len(forms)))
        for word, kind in zip(operands, shape):
            word = word if kind == 'n' else ids[word]
            if kind == 'n' or word < n_globals:
                out.append(word)
                continue
            if kind == 'r':
                back, last = last - word, word
            else:
                back = last - word
            out.append(n_globals + (2 * back if back >= 0 else -2 * back - 1))
    return out


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
        if at - place > WINDOW:
            break
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


paths = [pathlib.Path(name) for name in sys.argv[2:]]
modules, known, forms = {}, {}, {}
for path in paths:
    code = path.read_bytes()
    modules[path.stem] = struct.unpack(f"<{len(code) // 4}I", code)
unknown = {op for words in modules.values() for op in opcodes(words)} - {CONSTANT_OP, ENTRY, SWITCH, *SHAPE_OF}
if unknown:  # of a compiler that is newer than this: every word stays as it is
    print("embed.py: SHAPES lacks instructions", *sorted(unknown), file=sys.stderr)
ids = {name: {} if unknown else renumber(words, known) for name, words in modules.items()}
modules = {name: relative(words, ids[name], len(known) + 1, forms) for name, words in modules.items()}
packed, row = bytearray(), ()
with open(sys.argv[1], "w") as header:
    header.write("#include <stdint.h>\n")
    for name, words in modules.items():
        header.write(f"#define SPIRV_{name} {len(packed)}u, {len(row)}u, {len(words)}u\n")
        row += tuple(words)
        if len(row) > ROW:
            packed, row = packed + pack(row), ()
    packed += pack(row)
    forms = ",".join("{%du,%du,UINT64_C(%d)}" % (first, defined, ids) for first, ids, defined in forms)
    header.write(f"#define SPIRV_MODULES(X) {' '.join(f'X({name})' for name in modules)}\n")
    header.write(f"#ifdef SPIRV_PACKED\nenum {{ SPIRV_WINDOW = {WINDOW}, SPIRV_GLOBALS = {len(known) + 1} }};\n"
                 f"extern const uint8_t vk_spirv_packed[];\nconst uint8_t vk_spirv_packed[] = {{{','.join(map(str, packed))}}};\n"
                 "struct spirv_form {\n    uint32_t first, defined;\n    uint64_t ids;\n};\n"
                 f"extern const struct spirv_form vk_spirv_forms[];\nconst struct spirv_form vk_spirv_forms[] = {{{forms}}};\n#endif\n")
