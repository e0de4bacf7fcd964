#!/usr/bin/env python3
"""Compares the logits of a tiny model with recorded ones of an independent implementation. Python's standard library only.

    tests/golden/check_tiny.py LOGITS-PROGRAM MODEL FAMILY [--kv-f32] [--device DEVICE] f32|q8

What was recorded is in tiny_FAMILY.txt (record_tiny.py). The family gpt2like exists nowhere else: it is computed here, in float64."""
import array
import math
import os
import random
import shlex
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
import tiny_model  # noqa: E402

VOCAB = tiny_model.VOCAB
# Largest NMSE for (activations, keys and values), and the largest that was observed over the families.
LIMITS = {('f32', 'kv f32'): (1e-10, '2.0e-12'), ('f32', 'kv f16'): (1e-6, '1.4e-7'),
          ('q8', 'kv f32'): (1e-3, '1.2e-4'), ('q8', 'kv f16'): (1e-3, '9.8e-5')}


def recorded(family):
    """ids, [(position, id, logit)]"""
    ids, values = [], []
    with open(os.path.join(HERE, 'tiny_%s.txt' % family)) as f:
        for line in f:
            words = line.split()
            if words[0] == 'ids':
                ids = [int(x) for x in words[1:]]
            elif words[0] == 'full':
                values += [(int(words[1]), i, float(x)) for i, x in enumerate(words[2:])]
            elif words[0] == 'top':
                values += [(int(words[1]), int(i), float(x)) for i, x in (w.split(':') for w in words[2:])]
    return ids, values


# ---- gpt2like in plain Python ----

def read_tensor(kind, dims, data):
    """Rows of floats."""
    n = math.prod(dims)
    if kind == 'F32':
        flat = struct.unpack('<%df' % n, data)
    elif kind == 'F16':
        flat = struct.unpack('<%de' % n, data)
    elif kind == 'Q8_0':
        flat = []
        for at in range(0, len(data), 34):
            d, *q = struct.unpack_from('<e32b', data, at)
            flat += [d * x for x in q]
    else:
        raise ValueError(kind)
    return [flat[r:r + dims[0]] for r in range(0, n, dims[0])]


def dot(a, b):
    return math.fsum(map(lambda x, y: x * y, a, b))


def linear(rows, x):
    return [dot(r, x) for r in rows]


def add(a, b):
    return [x + y for x, y in zip(a, b)]


def layer_norm(x, w, b):
    mean = math.fsum(x) / len(x)
    scale = 1 / math.sqrt(math.fsum((v - mean) ** 2 for v in x) / len(x) + 1e-5)
    return [(v - mean) * scale * w[i] + b[i] for i, v in enumerate(x)]


def attend(q, keys, values, heads):
    out, dh = [], len(q) // heads
    for h in range(heads):
        cut = slice(h * dh, (h + 1) * dh)
        scores = [dot(q[cut], k[cut]) / math.sqrt(dh) for k in keys]
        weights = [math.exp(s - max(scores)) for s in scores]
        total = math.fsum(weights)
        out += [math.fsum(w * v[i] for w, v in zip(weights, values)) / total for i in range(cut.start, cut.stop)]
    return out


def gpt2like():
    rng = random.Random(2024)
    ids = [rng.randrange(VOCAB) for _ in range(48)]
    w = {name: read_tensor(kind, dims, data) for name, kind, dims, data in tiny_model.FAMILIES['gpt2like'](1).tensors}
    cache, values = [([], []) for _ in range(2)], []

    def norm(x, name):
        return layer_norm(x, w[name + '.weight'][0], w[name + '.bias'][0])
    for position, token in enumerate(ids):
        x = add(w['token_embd.weight'][token], w['position_embd.weight'][position])
        d = len(x)
        for i, (keys, vals) in enumerate(cache):
            b = 'blk.%d.' % i
            qkv = linear(w[b + 'qkv.weight'], norm(x, b + 'ln_1'))
            keys.append(qkv[d:2 * d])
            vals.append(qkv[2 * d:])
            x = add(x, linear(w[b + 'proj.weight'], attend(qkv[:d], keys, vals, 2)))
            up = [max(v, 0.0) for v in linear(w[b + 'up.weight'], norm(x, b + 'ln_2'))]
            x = add(x, linear(w[b + 'down.weight'], up))
        logits = linear(w['token_embd.weight'], norm(x, 'ln_f'))
        values += [(position, i, 30 * math.tanh(v / 30)) for i, v in enumerate(logits)]
    return ids, values


# ---- the program under test ----

def run(program, model, ids, flags):
    with tempfile.TemporaryDirectory() as folder:
        ids_path, out_path = os.path.join(folder, 'ids'), os.path.join(folder, 'out')
        with open(ids_path, 'w') as f:
            f.write(','.join(map(str, ids)))
        wrapper = shlex.split(os.environ.get('MESON_EXE_WRAPPER', ''))
        answer = subprocess.run(wrapper + [program, model, ids_path, out_path] + flags, stderr=subprocess.PIPE, text=True)
        if answer.returncode and '--device' in flags and 'no Vulkan driver' in answer.stderr:
            print('SKIP: %s' % answer.stderr.strip())
            sys.exit(77)
        if answer.returncode:
            sys.exit(answer.stderr)
        got = array.array('f')
        with open(out_path, 'rb') as f:
            got.frombytes(f.read())
    if len(got) != len(ids) * VOCAB:
        sys.exit('%d logits, expected %d' % (len(got), len(ids) * VOCAB))
    return got


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    program, model, family, activations = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[-1]
    flags = sys.argv[4:-1] + (['--f32'] if activations == 'f32' else [])
    ids, values = gpt2like() if family == 'gpt2like' else recorded(family)
    got = run(program, model, ids, flags)
    if not all(math.isfinite(x) for x in got):
        sys.exit('a logit is not finite')
    error = math.fsum((got[p * VOCAB + i] - v) ** 2 for p, i, v in values)
    nmse = error / math.fsum(v * v for _, _, v in values)
    worst = max(values, key=lambda t: abs(got[t[0] * VOCAB + t[1]] - t[2]))
    limit, observed = LIMITS[activations, 'kv f32' if '--kv-f32' in flags else 'kv f16']
    print('%s %s: %d logits, NMSE %.3g (limit %g, observed %s), largest difference %.3g at position %d, id %d' % (
        family, ' '.join(sys.argv[4:]), len(values), nmse, limit, observed, abs(got[worst[0] * VOCAB + worst[1]] - worst[2]), worst[0], worst[1]))
    return 0 if nmse <= limit else 1


if __name__ == '__main__':
    sys.exit(main())
