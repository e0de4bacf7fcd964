#!/usr/bin/env python3
"""Writes tiny seeded models as GGUF files, with Python's standard library only: the same bytes on every machine.

    tests/tools/tiny_model.py FAMILY OUT [--seed N] [--vocab-only]      FAMILY: mini llama qwen3 gemma3 phi2 gpt2like

Weights are random; between them the families hold every weight format, so a wrong unpacker, op, layout or key shows in the logits.
`gpt2like` is a family that has no built-in graph: learned positions, fused q/k/v, ReLU; its graph comes in the key bitloom.graph."""
import math
import random
import struct
import sys

GGML = {'F32': (0, 1, 4), 'F16': (1, 1, 2), 'BF16': (30, 1, 2), 'Q4_0': (2, 32, 18), 'Q4_1': (3, 32, 20), 'Q5_0': (6, 32, 22),
        'Q5_1': (7, 32, 24), 'Q8_0': (8, 32, 34), 'Q2_K': (10, 256, 84), 'Q3_K': (11, 256, 110), 'Q4_K': (12, 256, 144),
        'Q5_K': (13, 256, 176), 'Q6_K': (14, 256, 210)}
U32, I32, F32, BOOL, STR, ARR = 4, 5, 6, 7, 8, 9


def half(x):
    return struct.pack('<e', x)


def bfloat(x):
    return struct.pack('<f', x)[2:]


def block(rng, kind, size):
    """One random block whose values spread like `size`."""
    r = rng.randbytes
    s = size * rng.uniform(0.6, 1.4)
    if kind == 'F32':
        return struct.pack('<f', rng.gauss(0, size))
    if kind == 'F16':
        return half(rng.gauss(0, size))
    if kind == 'BF16':
        return bfloat(rng.gauss(0, size))
    if kind == 'Q4_0':
        return half(s / 4.6) + r(16)
    if kind == 'Q4_1':
        return half(s / 4.6) + half(-7.5 * s / 4.6) + r(16)
    if kind == 'Q5_0':
        return half(s / 9.2) + r(20)
    if kind == 'Q5_1':
        return half(s / 9.2) + half(-15.5 * s / 9.2) + r(20)
    if kind == 'Q8_0':
        return half(s / 74) + r(32)
    if kind == 'Q2_K':
        return r(16) + r(64) + half(s / 12) + half(s / 8)
    if kind == 'Q3_K':
        return r(32) + r(64) + r(12) + half(s / 42)
    if kind == 'Q4_K':
        return half(s / 200) + half(s / 40) + r(12) + r(128)
    if kind == 'Q5_K':
        return half(s / 400) + half(s / 40) + r(12) + r(32) + r(128)
    if kind == 'Q6_K':
        return r(128) + r(64) + bytes(rng.randrange(-60, 60) & 255 for _ in range(16)) + half(s / 640)
    raise ValueError(kind)


class Gguf:
    def __init__(self, arch, seed):
        self.rng = random.Random(seed)
        self.arch, self.keys, self.tensors = arch, [], []
        self.key('general.architecture', STR, arch)

    def key(self, name, kind, value, element=None):
        self.keys.append((name, kind, value, element))

    def arch_key(self, name, kind, value):
        self.key(self.arch + '.' + name, kind, value)

    def matrix(self, name, kind, columns, rows, size=None):
        _, elements, _ = GGML[kind]
        size = columns ** -0.5 if size is None else size
        data = b''.join(block(self.rng, kind, size) for _ in range(columns * rows // elements))
        self.tensors.append((name, kind, (columns, rows), data))

    def vector(self, name, n, mean, spread):
        data = struct.pack('<%df' % n, *(self.rng.gauss(mean, spread) for _ in range(n)))
        self.tensors.append((name, 'F32', (n,), data))

    @staticmethod
    def string(s):
        b = s.encode() if isinstance(s, str) else s
        return struct.pack('<Q', len(b)) + b

    def value(self, kind, v, element):
        if kind == STR:
            return self.string(v)
        if kind == ARR:
            return struct.pack('<IQ', element, len(v)) + b''.join(self.value(element, x, None) for x in v)
        return struct.pack({U32: '<I', I32: '<i', F32: '<f', BOOL: '<?'}[kind], v)

    def bytes(self):
        out = b'GGUF' + struct.pack('<IQQ', 3, len(self.tensors), len(self.keys))
        for name, kind, v, element in self.keys:
            out += self.string(name) + struct.pack('<I', kind) + self.value(kind, v, element)
        offset = 0
        for name, kind, dims, data in self.tensors:
            out += self.string(name) + struct.pack('<I%dQIQ' % len(dims), len(dims), *dims, GGML[kind][0], offset)
            offset += (len(data) + 31) // 32 * 32
        out += bytes(-len(out) % 32)
        for _, _, _, data in self.tensors:
            out += data + bytes(-len(data) % 32)
        return out


WORDS = ['the', 'a', 'of', 'and', 'to', 'in', 'is', 'he', 'she', 'it', 'was', 'on', 'th', 'er', 'in', 'an', 'ou', 'st', 're', 'en']


def tokenizer(g, size):
    """SentencePiece-style: control tokens, all bytes, letters, pairs; padded to `size`."""
    tokens, types, scores = ['<unk>', '<s>', '</s>'], [2, 3, 3], [0.0, 0.0, 0.0]
    for b in range(256):
        tokens.append('<0x%02X>' % b)
        types.append(6)
        scores.append(0.0)
    pieces = ['\u2581'] + [chr(c) for c in range(97, 123)]
    for w in WORDS:
        for n in range(2, len(w) + 1):
            pieces += [w[:n], '\u2581' + w[:n]]
        pieces.append('\u2581' + w[0])
    for i, p in enumerate(dict.fromkeys(pieces)):
        tokens.append(p)
        types.append(1)
        scores.append(-float(i))
    while len(tokens) < size:
        tokens.append('<unused%d>' % len(tokens))
        types.append(5)
        scores.append(0.0)
    tokens, types, scores = tokens[:size], types[:size], scores[:size]
    g.key('tokenizer.ggml.model', STR, 'llama')
    g.key('tokenizer.ggml.tokens', ARR, tokens, STR)
    g.key('tokenizer.ggml.scores', ARR, scores, F32)
    g.key('tokenizer.ggml.token_type', ARR, types, I32)
    g.key('tokenizer.ggml.bos_token_id', U32, 1)
    g.key('tokenizer.ggml.eos_token_id', U32, 2)
    g.key('tokenizer.ggml.unknown_token_id', U32, 0)


def common(g, layers, d, ff, heads, kv, context=512):
    g.arch_key('block_count', U32, layers)
    g.arch_key('context_length', U32, context)
    g.arch_key('embedding_length', U32, d)
    g.arch_key('feed_forward_length', U32, ff)
    g.arch_key('attention.head_count', U32, heads)
    g.arch_key('attention.head_count_kv', U32, kv)


VOCAB = 352


def llama(seed):
    g = Gguf('llama', seed)
    d, ff, heads, kv, dh = 256, 512, 4, 2, 64
    common(g, 2, d, ff, heads, kv)
    g.arch_key('attention.layer_norm_rms_epsilon', F32, 1e-5)
    g.arch_key('rope.dimension_count', U32, dh)
    g.arch_key('rope.freq_base', F32, 10000.0)
    tokenizer(g, VOCAB)
    g.matrix('token_embd.weight', 'Q8_0', d, VOCAB, 1.0)
    formats = [['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q2_K', 'Q3_K'], ['Q4_K', 'Q5_K', 'Q6_K', 'F16', 'BF16', 'F32', 'Q4_K']]
    for i in range(2):
        f, b = formats[i], 'blk.%d.' % i
        g.vector(b + 'attn_norm.weight', d, 1, 0.1)
        g.matrix(b + 'attn_q.weight', f[0], d, heads * dh)
        g.matrix(b + 'attn_k.weight', f[1], d, kv * dh)
        g.matrix(b + 'attn_v.weight', f[2], d, kv * dh)
        g.matrix(b + 'attn_output.weight', f[3], heads * dh, d)
        g.vector(b + 'ffn_norm.weight', d, 1, 0.1)
        g.matrix(b + 'ffn_gate.weight', f[4], d, ff)
        g.matrix(b + 'ffn_up.weight', f[5], d, ff)
        g.matrix(b + 'ffn_down.weight', f[6], ff, d)
    g.vector('output_norm.weight', d, 1, 0.1)
    g.matrix('output.weight', 'Q6_K', d, VOCAB, 0.2)
    return g


def qwen3(seed):
    g = Gguf('qwen3', seed)
    d, ff, heads, kv, dh = 128, 192, 3, 1, 32
    common(g, 3, d, ff, heads, kv)
    g.arch_key('attention.key_length', U32, dh)
    g.arch_key('attention.value_length', U32, dh)
    g.arch_key('attention.layer_norm_rms_epsilon', F32, 1e-6)
    g.arch_key('rope.freq_base', F32, 1000000.0)
    tokenizer(g, VOCAB)
    g.matrix('token_embd.weight', 'F16', d, VOCAB, 1.0)
    for i in range(3):
        b, f = 'blk.%d.' % i, ['Q8_0', 'F32', 'Q5_0'][i]
        g.vector(b + 'attn_norm.weight', d, 1, 0.1)
        g.matrix(b + 'attn_q.weight', f, d, heads * dh)
        g.matrix(b + 'attn_k.weight', f, d, kv * dh)
        g.matrix(b + 'attn_v.weight', f, d, kv * dh)
        g.vector(b + 'attn_q_norm.weight', dh, 1, 0.1)
        g.vector(b + 'attn_k_norm.weight', dh, 1, 0.1)
        g.matrix(b + 'attn_output.weight', f, heads * dh, d)
        g.vector(b + 'ffn_norm.weight', d, 1, 0.1)
        g.matrix(b + 'ffn_gate.weight', f, d, ff)
        g.matrix(b + 'ffn_up.weight', f, d, ff)
        g.matrix(b + 'ffn_down.weight', f, ff, d)
    g.vector('output_norm.weight', d, 1, 0.1)
    return g


def gemma3(seed):
    g = Gguf('gemma3', seed)
    d, ff, heads, kv, dh = 128, 256, 4, 2, 64
    common(g, 7, d, ff, heads, kv)
    g.arch_key('attention.key_length', U32, dh)
    g.arch_key('attention.value_length', U32, dh)
    g.arch_key('attention.layer_norm_rms_epsilon', F32, 1e-6)
    g.arch_key('attention.sliding_window', U32, 16)
    g.arch_key('rope.freq_base', F32, 1000000.0)
    tokenizer(g, VOCAB)
    g.matrix('token_embd.weight', 'Q5_1', d, VOCAB, 0.1)
    for i in range(7):
        b, f = 'blk.%d.' % i, ['F16', 'Q4_0', 'Q8_0', 'Q5_0', 'Q4_1', 'BF16', 'F32'][i]
        g.vector(b + 'attn_norm.weight', d, 1, 0.1)
        g.matrix(b + 'attn_q.weight', f, d, heads * dh)
        g.matrix(b + 'attn_k.weight', f, d, kv * dh)
        g.matrix(b + 'attn_v.weight', f, d, kv * dh)
        g.vector(b + 'attn_q_norm.weight', dh, 1, 0.1)
        g.vector(b + 'attn_k_norm.weight', dh, 1, 0.1)
        g.matrix(b + 'attn_output.weight', f, heads * dh, d)
        g.vector(b + 'post_attention_norm.weight', d, 1, 0.1)
        g.vector(b + 'ffn_norm.weight', d, 1, 0.1)
        g.matrix(b + 'ffn_gate.weight', f, d, ff)
        g.matrix(b + 'ffn_up.weight', f, d, ff)
        g.matrix(b + 'ffn_down.weight', f, ff, d)
        g.vector(b + 'post_ffw_norm.weight', d, 1, 0.1)
    g.vector('output_norm.weight', d, 1, 0.1)
    return g


def phi2(seed):
    g = Gguf('phi2', seed)
    d, ff, heads = 128, 256, 4
    common(g, 2, d, ff, heads, heads)
    g.arch_key('attention.layer_norm_epsilon', F32, 1e-5)
    g.arch_key('rope.dimension_count', U32, 12)
    tokenizer(g, VOCAB)
    g.matrix('token_embd.weight', 'F16', d, VOCAB, 1.0)
    for i in range(2):
        b, f = 'blk.%d.' % i, ['Q8_0', 'F32'][i]
        g.vector(b + 'attn_norm.weight', d, 1, 0.1)
        g.vector(b + 'attn_norm.bias', d, 0, 0.1)
        g.matrix(b + 'attn_qkv.weight', f, d, 3 * d)
        g.vector(b + 'attn_qkv.bias', 3 * d, 0, 0.1)
        g.matrix(b + 'attn_output.weight', f, d, d)
        g.vector(b + 'attn_output.bias', d, 0, 0.1)
        g.matrix(b + 'ffn_up.weight', f, d, ff)
        g.vector(b + 'ffn_up.bias', ff, 0, 0.1)
        g.matrix(b + 'ffn_down.weight', f, ff, d)
        g.vector(b + 'ffn_down.bias', d, 0, 0.1)
    g.vector('output_norm.weight', d, 1, 0.1)
    g.vector('output_norm.bias', d, 0, 0.1)
    g.matrix('output.weight', 'Q8_0', d, VOCAB, 0.2)
    g.vector('output.bias', VOCAB, 0, 0.1)
    return g


GRAPH = '''# learned positions, fused q/k/v, ReLU: no built-in family
param context = {arch}.context_length
d = columns(token_embd)
n_head = {arch}.attention.head_count
x = embed(tokens, token_embd) + embed(pos, position_embd)
repeat i in {arch}.block_count
  h = layer_norm(x, blk.{i}.ln_1, 1e-5)
  q = linear(h, blk.{i}.qkv[0 : d])  k = linear(h, blk.{i}.qkv[d : 2 * d])  v = linear(h, blk.{i}.qkv[2 * d : 3 * d])
  x = x + linear(attention(q, k, v, layer=i, d_head=d / n_head), blk.{i}.proj)
  x = x + linear(relu(linear(layer_norm(x, blk.{i}.ln_2, 1e-5), blk.{i}.up)), blk.{i}.down)
logits = softcap(linear(layer_norm(select(x, outputs), ln_f, 1e-5), token_embd), 30)
'''


def gpt2like(seed):
    g = Gguf('gpt2like', seed)
    d, ff, heads = 64, 172, 2
    common(g, 2, d, ff, heads, heads, 128)
    g.key('bitloom.graph', STR, GRAPH)
    tokenizer(g, VOCAB)
    g.matrix('token_embd.weight', 'F32', d, VOCAB, 0.3)
    g.matrix('position_embd.weight', 'F32', d, 128, 0.3)
    for i in range(2):
        b = 'blk.%d.' % i
        for n in ('ln_1', 'ln_2'):
            g.vector(b + n + '.weight', d, 1, 0.1)
            g.vector(b + n + '.bias', d, 0, 0.1)
        g.matrix(b + 'qkv.weight', 'Q8_0', d, 3 * d)
        g.matrix(b + 'proj.weight', 'F16', d, d)
        g.matrix(b + 'up.weight', 'F16', d, ff)
        g.matrix(b + 'down.weight', 'F32', ff, d)
    g.vector('ln_f.weight', d, 1, 0.1)
    g.vector('ln_f.bias', d, 0, 0.1)
    return g


def mini(seed):
    """The smallest thing that runs: for tests that load it a hundred thousand times."""
    g = Gguf('llama', seed)
    d, ff = 32, 32
    common(g, 1, d, ff, 1, 1, 64)
    g.arch_key('attention.layer_norm_rms_epsilon', F32, 1e-5)
    tokenizer(g, 264)
    g.matrix('token_embd.weight', 'Q8_0', d, 264, 1.0)
    b = 'blk.0.'
    g.vector(b + 'attn_norm.weight', d, 1, 0.1)
    for name, kind in (('attn_q', 'Q4_0'), ('attn_k', 'Q4_1'), ('attn_v', 'Q5_0'), ('attn_output', 'Q5_1'), ('ffn_gate', 'F16'), ('ffn_up', 'BF16'),
                       ('ffn_down', 'F32')):
        g.matrix(b + name + '.weight', kind, d, d)
    g.vector(b + 'ffn_norm.weight', d, 1, 0.1)
    g.vector('output_norm.weight', d, 1, 0.1)
    return g


def llama_linear(seed):
    g = llama(seed)
    g.arch_key('rope.scaling.type', STR, 'linear')
    g.arch_key('rope.scaling.factor', F32, 4.0)
    return g


def llama_yarn(seed):
    g = llama(seed)
    g.arch_key('rope.scaling.type', STR, 'yarn')
    g.arch_key('rope.scaling.factor', F32, 4.0)
    g.arch_key('rope.scaling.original_context_length', U32, 128)
    return g


def llama_3(seed):
    """Llama 3.1: a divisor for every pair, as a tensor (factor 8, low 1, high 4, made for 64 positions)."""
    g = llama(seed)
    factors = []
    for j in range(32):
        turns = 64 / (2 * math.pi * 10000.0 ** (2 * j / 64))  # in the context that the model was first made for
        smooth = min(max((turns - 1) / (4 - 1), 0), 1)
        factors.append(1 / (smooth + (1 - smooth) / 8))
    g.tensors.append(('rope_freqs.weight', 'F32', (32,), struct.pack('<32f', *factors)))
    return g


FAMILIES = {'mini': mini, 'llama': llama, 'llama-linear': llama_linear, 'llama-yarn': llama_yarn, 'llama-3': llama_3, 'qwen3': qwen3, 'gemma3': gemma3, 'phi2': phi2, 'gpt2like': gpt2like}


def main():
    args = [a for a in sys.argv[1:] if not a.startswith('--')]
    seed = int(sys.argv[sys.argv.index('--seed') + 1]) if '--seed' in sys.argv else 1
    if len(args) < 2 or args[0] not in FAMILIES:
        sys.exit(__doc__)
    g = FAMILIES[args[0]](seed)
    if '--vocab-only' in sys.argv:
        g.tensors = []
    with open(args[1], 'wb') as f:
        f.write(g.bytes())


if __name__ == '__main__':
    main()
