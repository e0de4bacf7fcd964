#!/usr/bin/env python3
"""Hand-made bad files and graph texts. Each must be refused by the program with exit code 1, one line on stderr that names the file and the
word given here, within a second, with nothing on stdout.

    tests/hostile/cases.py BITLOOM"""
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tools'))
import tiny_model as tiny  # noqa: E402
from tiny_model import ARR, BOOL, F32, I32, STR, U32  # noqa: E402

U8, I8, U64, F64 = 0, 1, 10, 12


def q(n):
    return struct.pack('<Q', n)


def i(n):
    return struct.pack('<I', n & 0xffffffff)


def s(text):
    b = text if isinstance(text, bytes) else text.encode()
    return q(len(b)) + b


def header(tensors=0, keys=0, magic=b'GGUF', version=3):
    return magic + i(version) + q(tensors) + q(keys)


def raw(*parts):
    return b''.join(parts)


def model(change=None, **keys):
    """The smallest model with keys replaced (value None: removed; a (kind, value, element) tuple: replaced) and `change(g)` applied."""
    g = tiny.mini(1)
    for name, value in keys.items():
        name = name.replace('__', '.')
        g.keys = [k for k in g.keys if k[0] != name]
        if value is not None:
            g.keys.append((name,) + value)
    if change:
        change(g)
    return g.bytes()


def tensor(name, **fields):
    """Changes a tensor entry: kind, dims, data, rename; None as data drops it."""
    def change(g):
        for n, (tname, kind, dims, data) in enumerate(g.tensors):
            if tname == name:
                g.tensors[n] = (fields.get('rename', tname), fields.get('kind', kind), fields.get('dims', dims), fields.get('data', data))
        if fields.get('drop'):
            g.tensors = [t for t in g.tensors if t[0] != name]
    return change


def add_tensor(name, kind, dims, data):
    def change(g):
        g.tensors.append((name, kind, dims, data))
    return change


def directory(dims=(32,), kind=0, offset=0, name='t', n_dims=None, tail=bytes(4096)):
    """A file with one tensor entry written by hand."""
    entry = s(name) + i(len(dims) if n_dims is None else n_dims) + b''.join(q(d) for d in dims) + i(kind) + q(offset)
    head = header(1, 1) + s('general.architecture') + i(STR) + s('llama') + entry
    return head + bytes(-len(head) % 32) + tail


def nested(depth):
    out = i(ARR)
    for _ in range(depth):
        out += i(ARR) + q(1)
    return header(0, 1) + s('a') + out + i(U8) + q(1) + b'\0'


def tokens(n, change):
    def apply(g):
        for k, (name, kind, value, element) in enumerate(g.keys):
            if name == 'tokenizer.ggml.' + n:
                g.keys[k] = (name,) + change(kind, list(value), element)
    return apply


NAN = struct.unpack('<f', struct.pack('<I', 0x7fc00000))[0]
A = 'llama.'
CASES = [  # (name, bytes, word that the line must have)
    ('empty', b'', 'empty'),
    ('one byte', b'G', 'magic'),
    ('magic only', b'GGUF', ''),
    ('wrong magic', header(magic=b'GGML'), 'magic'),
    ('big endian magic', header(magic=b'FUGG'), ''),
    ('version 0', header(version=0), 'version'),
    ('version 1', header(version=1), 'version'),
    ('version 4', header(version=4), 'version'),
    ('big endian version', b'GGUF' + struct.pack('>I', 3) + q(0) + q(0), 'endian'),
    ('header cut', header()[:20], ''),
    ('no keys', header(), 'general.architecture'),
    ('2^63 keys', header(keys=1 << 63), 'metadata count'),
    ('2^64-1 tensors', header(tensors=(1 << 64) - 1), 'tensor'),
    ('65537 keys claimed', header(keys=65537) + bytes(2000000), 'metadata count'),
    ('65537 tensors claimed', header(tensors=65537) + bytes(4000000), 'tensor'),
    ('more keys than bytes', header(keys=1000), ''),
    ('key length 2^64-1', raw(header(keys=1), q((1 << 64) - 1), b'a'), ''),
    ('key length past the end', raw(header(keys=1), q(100), b'a'), ''),
    ('key longer than 64 KiB', raw(header(keys=1), s(b'a' * 65537), i(U8), b'\0'), 'key'),
    ('empty key', raw(header(keys=1), s(''), i(U8), b'\0'), ''),
    ('value type 13', raw(header(keys=1), s('a'), i(13), bytes(64)), 'type'),
    ('value type 2^32-1', raw(header(keys=1), s('a'), i(0xffffffff), bytes(64)), 'type'),
    ('string length 2^64-1', raw(header(keys=1), s('a'), i(STR), q((1 << 64) - 1)), ''),
    ('string length 2^63', raw(header(keys=1), s('a'), i(STR), q(1 << 63), b'abc'), ''),
    ('string past the end', raw(header(keys=1), s('a'), i(STR), q(1000), b'abc'), ''),
    ('string above 16 MiB', raw(header(keys=1), s('a'), i(STR), q((1 << 24) + 1), bytes((1 << 24) + 1)), ''),
    ('array of 2^64-1 bytes', raw(header(keys=1), s('a'), i(ARR), i(U8), q((1 << 64) - 1)), ''),
    ('array product wraps', raw(header(keys=1), s('a'), i(ARR), i(U64), q(1 << 61)), ''),
    ('array of strings past the end', raw(header(keys=1), s('a'), i(ARR), i(STR), q(1 << 40)), ''),
    ('array element type 99', raw(header(keys=1), s('a'), i(ARR), i(99), q(1), bytes(8)), 'type'),
    ('array depth 5', nested(5), 'depth'),
    ('array depth 10000', nested(10000), 'depth'),
    ('array depth 100000', nested(100000), 'depth'),
    ('bool 2', raw(header(keys=1), s('a'), i(BOOL), b'\2'), ''),
    ('same key twice', raw(header(keys=2), s('a'), i(U8), b'\0', s('a'), i(U8), b'\0'), "a"),
    ('alignment 0', model(general__alignment=(U32, 0, None)), 'alignment'),
    ('alignment 3', model(general__alignment=(U32, 3, None)), 'alignment'),
    ('alignment 4', model(general__alignment=(U32, 4, None)), 'alignment'),
    ('alignment 131072', model(general__alignment=(U32, 131072, None)), 'alignment'),
    ('alignment 2^31', model(general__alignment=(U32, 1 << 31, None)), 'alignment'),
    ('alignment as text', model(general__alignment=(STR, '32', None)), 'alignment'),
    ('architecture as number', model(general__architecture=(U32, 1, None)), 'general.architecture'),
    ('architecture missing', model(general__architecture=None), 'general.architecture'),
    ('architecture empty', model(general__architecture=(STR, '', None)), 'general.architecture'),
    ('architecture unknown', model(general__architecture=(STR, 'mamba', None)), 'mamba'),
    ('architecture with control bytes', model(general__architecture=(STR, 'a\x1b[31m\n', None)), '\\x1b'),
    ('0 dimensions', directory(dims=(), n_dims=0), 'dim'),
    ('5 dimensions', directory(dims=(1, 1, 1, 1, 1)), 'dim'),
    ('2^32-1 dimensions', directory(n_dims=0xffffffff), 'dim'),
    ('dimension 0', directory(dims=(0,)), 'dim'),
    ('second dimension 0', directory(dims=(32, 0)), 'dim'),
    ('product 2^49', directory(dims=(1 << 25, 1 << 24)), ''),
    ('product wraps', directory(dims=(1 << 32, 1 << 32)), ''),
    ('dimension 2^63', directory(dims=(1 << 63,)), ''),
    ('dimension -1', directory(dims=((1 << 64) - 1,)), ''),
    ('tensor past the end', directory(dims=(32, 64)), 't'),
    ('offset past the end', directory(offset=8192), 't'),
    ('offset wraps', directory(offset=(1 << 64) - 32), 't'),
    ('offset not aligned', directory(offset=7), 'multiple of 32'),
    ('tensor type 999 used', model(tensor('blk.0.attn_q.weight')).replace(s('blk.0.attn_q.weight') + i(2) + q(32) + q(32) + i(2),
                                                                        s('blk.0.attn_q.weight') + i(2) + q(32) + q(32) + i(999)), '999'),
    ('tensor type IQ2_XXS used', model(tensor('blk.0.attn_q.weight')).replace(s('blk.0.attn_q.weight') + i(2) + q(32) + q(32) + i(2),
                                                                             s('blk.0.attn_q.weight') + i(2) + q(32) + q(32) + i(20)), 'IQ4_NL'),
    ('rows are no whole blocks', directory(dims=(33, 2), kind=2), 'multiple of 32'),
    ('tensor name longer than 64 KiB', directory(name='t' * 65537), 'name'),
    ('tensor name empty', directory(name=''), ''),
    ('same tensor twice', model(add_tensor('output_norm.weight', 'F32', (32,), bytes(128))), 'output_norm.weight'),
    ('tensor unused', model(add_tensor('blk.0.secret.weight', 'F32', (32,), bytes(128))), 'blk.0.secret.weight'),
    ('tensor missing', model(tensor('blk.0.ffn_up.weight', drop=True)), 'blk.0.ffn_up'),
    ('embedding missing', model(tensor('token_embd.weight', drop=True)), 'token_embd'),
    ('matrix too wide', model(tensor('blk.0.attn_q.weight', kind='F32', dims=(64, 32), data=bytes(64 * 32 * 4))), 'attn_q'),
    ('norm too long', model(tensor('output_norm.weight', dims=(64,), data=bytes(256))), ''),
    ('norm is a matrix', model(tensor('output_norm.weight', dims=(32, 2), data=bytes(256))), 'output_norm'),
    ('block count missing', model(llama__block_count=None), 'llama.block_count'),
    ('block count 0', model(llama__block_count=(U32, 0, None)), ''),
    ('block count 2', model(llama__block_count=(U32, 2, None)), 'blk.1'),
    ('block count 2^32-1', model(llama__block_count=(U32, 0xffffffff, None)), 'limit'),
    ('block count as text', model(llama__block_count=(STR, 'two', None)), ''),
    ('block count as array', model(llama__block_count=(ARR, [1], U32)), 'llama.block_count'),
    ('block count 1.5', model(llama__block_count=(F32, 1.5, None)), 'limit'),
    ('head count 0', model(llama__attention__head_count=(U32, 0, None)), ''),
    ('head count 3', model(llama__attention__head_count=(U32, 3, None)), ''),
    ('head count 2^32-1', model(llama__attention__head_count=(U32, 0xffffffff, None)), ''),
    ('head count missing', model(llama__attention__head_count=None), 'head_count'),
    ('key length 0', model(llama__attention__key_length=(U32, 0, None)), ''),
    ('key length 48', model(llama__attention__key_length=(U32, 48, None)), ''),
    ('eps NaN', model(llama__attention__layer_norm_rms_epsilon=(F32, NAN, None)), ''),
    ('eps -1', model(llama__attention__layer_norm_rms_epsilon=(F32, -1.0, None)), ''),
    ('eps missing', model(llama__attention__layer_norm_rms_epsilon=None), 'epsilon'),
    ('rope dimensions odd', model(llama__rope__dimension_count=(U32, 7, None)), 'n_rot'),
    ('rope dimensions above the head', model(llama__rope__dimension_count=(U32, 64, None)), 'n_rot'),
    ('rope base 0', model(llama__rope__freq_base=(F32, 0.0, None)), 'base'),
    ('rope base infinite', model(llama__rope__freq_base=(F32, float('inf'), None)), 'base'),
    ('rope scaling unknown', model(llama__rope__scaling__type=(STR, 'su', None)), 'rope scaling'),
    ('rope scaling factor 0', model(llama__rope__scaling__type=(STR, 'linear', None), llama__rope__scaling__factor=(F32, 0.0, None)), ''),
    ('tokenizer model unknown', model(tokenizer__ggml__model=(STR, 'magic', None)), 'magic'),
    ('tokenizer model as number', model(tokenizer__ggml__model=(U32, 3, None)), 'tokenizer.ggml.model'),
    ('pre unknown', model(tokenizer__ggml__model=(STR, 'gpt2', None), tokenizer__ggml__pre=(STR, 'nonsense', None), tokenizer__ggml__merges=(ARR, [], STR)), 'nonsense'),
    ('tokens missing', model(tokenizer__ggml__tokens=None), 'tokenizer.ggml.tokens'),
    ('tokens as numbers', model(tokenizer__ggml__tokens=(ARR, [1, 2], U32)), 'tokenizer.ggml.tokens'),
    ('tokens as one string', model(tokenizer__ggml__tokens=(STR, 'abc', None)), 'tokenizer.ggml.tokens'),
    ('no token', model(tokenizer__ggml__tokens=(ARR, [], STR)), 'tokenizer.ggml'),
    ('more tokens than rows', model(tokens('tokens', lambda k, v, e: (k, v + ['x%d' % n for n in range(99)], e))), ''),
    ('scores as texts', model(tokens('scores', lambda k, v, e: (k, ['a'] * len(v), STR))), 'scores'),
    ('scores too short', model(tokens('scores', lambda k, v, e: (k, v[:5], e))), 'scores'),
    ('scores NaN', model(tokens('scores', lambda k, v, e: (k, [NAN] * len(v), e))), 'score of token 0'),
    ('types too long', model(tokens('token_type', lambda k, v, e: (k, v + [1], e))), 'token_type'),
    ('types out of range', model(tokens('token_type', lambda k, v, e: (k, [77] * len(v), e))), 'token_type'),
    ('types negative', model(tokens('token_type', lambda k, v, e: (k, [-1] * len(v), e))), 'token_type'),
    ('bos out of range', model(tokenizer__ggml__bos_token_id=(U32, 264, None)), 'bos_token_id'),
    ('eos 2^31', model(tokenizer__ggml__eos_token_id=(U32, 1 << 31, None)), 'eos_token_id'),
    ('eos -2', model(tokenizer__ggml__eos_token_id=(I32, -2, None)), 'eos_token_id'),
    ('unknown id as text', model(tokenizer__ggml__unknown_token_id=(STR, 'x', None)), 'unknown_token_id'),
    ('graph key as number', model(bitloom__graph=(U32, 1, None)), 'bitloom.graph'),
    ('graph of 2 MiB', model(bitloom__graph=(STR, '#' * (2 << 20), None)), 'limit'),
]

G = [  # (name, graph text, word)
    ('nothing', '#\n', 'logits'),
    ('unknown op', 'x = conjure(tokens, token_embd)\n', 'conjure'),
    ('unknown name', 'x = embed(tokens, tok_embd)\n', 'tok_embd'),
    ('unknown key', 'n = {arch}.no_such_key\n', 'no_such_key'),
    ('unknown argument', 'x = embed(tokens, token_embd, colour=1)\n', 'colour'),
    ('missing argument', 'x = embed(tokens)\n', 'W'),
    ('too many arguments', 'x = embed(tokens, token_embd, 1)\n', 'argument'),
    ('17 arguments', 'x = min(%s)\n' % ','.join('1' * 17), 'argument'),
    ('argument twice', 'x = min(1, a=2)\n', 'twice'),
    ('plain after named', 'x = min(a=1, 2)\n', 'plain'),
    ('open bracket', 'x = (1 + 2\n', 'bracket'),
    ('closed bracket', 'x = 1)\n', "')'"),
    ('open string', 'x = "abc\n', 'quote'),
    ('strange byte', 'x = 1 $ 2\n', '0x24'),
    ('tab', '\tx = 1\n', '0x09'),
    ('NUL', 'x = 1\0\n', ''),
    ('malformed number', 'x = 1e\n', 'number'),
    ('number and letter', 'x = 12ab\n', 'number'),
    ('no value', 'x =\n', 'value'),
    ('operator at the end', 'x = 1 +\n', 'value'),
    ('two operators', 'x = 1 + * 2\n', 'value'),
    ('no name', '= 1\n', 'NAME'),
    ('number as name', '1 = 1\n', 'NAME'),
    ('1 / 0', 'x = 1 / 0\n', 'finite'),
    ('0 % 0', 'x = 0 % 0\n', 'finite'),
    ('log(0)', 'x = log(0)\n', 'finite'),
    ('string + number', 'x = "a" + 1\n', 'string'),
    ('tokens + 1', 'x = tokens + 1\n', ''),
    ('deep brackets', 'x = %s1\n' % ('(' * 100), 'deep'),
    ('deep minus', 'x = %s1\n' % ('-' * 1000), 'deep'),
    ('100,000 brackets', 'x = %s1\n' % ('(' * 100000), 'deep'),
    ('many operands', 'x = min(%s1\n' % ('1, ' * 10), 'bracket'),
    ('deep blocks', ''.join(' ' * n + 'if 1\n' for n in range(80)), 'deep'),
    ('block without lines', 'repeat i in 3\nx = 1\n', 'deeper'),
    ('else without if', 'else\n  x = 1\n', 'else'),
    ('else after a block', 'repeat i in 1\n  y = 1\nelse\n  x = 1\n', 'else'),
    ('indent without block', 'x = 1\n  y = 2\n', 'indent'),
    ('repeat without in', 'repeat i of 3\n  x = 1\n', 'repeat'),
    ('repeat -1', 'repeat i in -1\n  x = 1\n', 'repeat'),
    ('repeat 1e9', 'repeat i in 1e9\n  x = 1\n', 'repeat'),
    ('repeat 2.5', 'repeat i in 2.5\n  x = 1\n', 'repeat'),
    ('repeat text', 'repeat i in "a"\n  x = 1\n', 'number'),
    ('too many steps', 'repeat i in 1000\n  repeat j in 1000\n    repeat k in 1000\n      x = 1\n', 'evaluated'),
    ('too many nodes', 'x = embed(tokens, token_embd)\nrepeat i in 1000\n  repeat j in 100\n    x = silu(x)\n', 'nodes'),
    ('too many variables', ''.join('v%d = 1\n' % n for n in range(300)), 'variables'),
    ('5000 lines', 'x = 1\n' * 5000, 'lines'),
    ('braces open', 'x = blk.{i\n', ''),
    ('braces of nothing', 'x = blk.{}.q\n', ''),
    ('braces unknown', 'x = blk.{zzz}.attn_q\n', 'zzz'),
    ('name of 300 bytes', 'x = %s\n' % ('a' * 300), '255'),
    ('name grown by braces', 'n = "%s"\nx = a.{n}{n}\n' % ('b' * 200), '255'),
    ('param twice', 'param a = 1\nparam a = 2\n', 'twice'),
    ('param of a value', 'param a = embed(tokens, token_embd)\n', 'param'),
    ('slice past the end', 'x = linear(embed(tokens, token_embd), blk.0.attn_q[0 : 999])\n', '999'),
    ('slice reversed', 'x = linear(embed(tokens, token_embd), blk.0.attn_q[8 : 4])\n', 'rows'),
    ('slice of -1', 'x = linear(embed(tokens, token_embd), blk.0.attn_q[-1 : 4])\n', 'index'),
    ('index of a tensor', 'x = blk.0.attn_q[1]\n', '[i]'),
    ('layer twice', 'x = embed(tokens, token_embd)\na = attention(x, x, x, layer=0, d_head=32)\na = attention(x, x, x, layer=0, d_head=32)\n', 'twice'),
    ('layer with a gap', 'x = embed(tokens, token_embd)\na = attention(x, x, x, layer=1, d_head=32)\n', 'layer'),
    ('head size that does not fit', 'x = embed(tokens, token_embd)\na = attention(x, x, x, layer=0, d_head=31)\n', 'heads'),
    ('rope without layout', 'x = rope(embed(tokens, token_embd), pos, d_head=32, base=10000)\n', 'layout'),
    ('rope layout unknown', 'x = rope(embed(tokens, token_embd), pos, d_head=32, base=10000, layout="spiral")\n', 'layout'),
    ('logits on all rows', 'logits = linear(embed(tokens, token_embd), token_embd)\n', 'select'),
    ('logits a number', 'logits = 3\n', 'logits'),
    ('logits from select', 'logits = select(embed(tokens, token_embd), outputs)\n', 'logits'),
    ('select twice', 'x = select(select(embed(tokens, token_embd), outputs), outputs)\n', 'select'),
    ('wrong width', 'x = linear(embed(tokens, token_embd)[0:3], token_embd)\n', ''),
    ('if on values', 'x = embed(tokens, token_embd)\ny = if(1, x, x)\n', 'if'),
    ('require', 'x = require(0, "a flux capacitor")\n', 'flux'),
    ('keyword as value', 'x = and\n', 'value'),
]


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def check(program, arguments, word, name, name_in_line, sanitized):
    start = time.time()
    run = subprocess.run([program] + arguments, stdin=subprocess.DEVNULL, capture_output=True, preexec_fn=None if sanitized else limits)
    took = time.time() - start
    lines = run.stderr.decode('utf-8', 'backslashreplace').splitlines()
    problem = None
    if run.returncode != 1:
        problem = 'exit code %d' % run.returncode
    elif len(lines) != 1:
        problem = '%d lines on stderr' % len(lines)
    elif word not in lines[0] or name_in_line not in lines[0]:
        problem = 'the line does not name %r and %r' % (name_in_line, word)
    elif run.stdout:
        problem = 'output on stdout'
    elif took > (10 if sanitized else 1):
        problem = 'took %.1f s' % took
    if problem:
        print('%s: %s\n    %s' % (name, problem, '\n    '.join(lines[:5])))
    elif '-v' in sys.argv:
        print('%s\n    %s' % (name, lines[0]))
    return problem is None


def main():
    program, passed, total = sys.argv[1], 0, 0
    sanitized = b'__asan_init' in open(program, 'rb').read()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'bad.gguf')
        for name, data, word in CASES:
            with open(path, 'wb') as f:
                f.write(data)
            total += 1
            passed += check(program, ['run', '-m', path, '-p', 'he', '-n', '1', '-q'], word, name, 'bad.gguf', sanitized)
        with open(path, 'wb') as f:
            f.write(model())
        text = os.path.join(folder, 'bad.graph')
        for name, graph, word in G:
            with open(text, 'wb') as f:
                f.write(graph.encode('latin-1'))
            total += 1
            passed += check(program, ['run', '-m', path, '--graph', text, '-p', 'he', '-n', '1', '-q'], word, 'graph: ' + name, 'bad.graph', sanitized)
    print('%d of %d bad cases refused as they must be' % (passed, total))
    return 0 if passed == total else 1


sys.exit(main())
