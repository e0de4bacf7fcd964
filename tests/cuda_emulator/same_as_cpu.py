#!/usr/bin/env python3
"""The CUDA back end on the fake driver gives the CPU's bits: logits of tiny models, and the text of the default model.

    same_as_cpu.py logits PROGRAM MODEL [--long] [LOGITS-OPTION...]    prefill in one piece, in pieces, and row by row; --long: more positions
                                                                       than one split of attention holds, eight rows at a time
    same_as_cpu.py half PROGRAM [MODEL]                       the kernels that are not exact: as near to f32 activations as q8 ones are
    same_as_cpu.py text PROGRAM TOKENS                        these two skip without MODEL and BITLOOM_TEST_MODEL
"""
import array
import math
import os
import random
import subprocess
import sys
import tempfile


def logits(program, model, options):
    is_long = '--long' in options
    options = [o for o in options if o != '--long']
    draw = random.Random(7)
    ids = [draw.randrange(1, 200) for _ in range(400 if is_long else 70)]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        ids_path = os.path.join(folder, 'ids')
        with open(ids_path, 'w') as f:
            f.write(' '.join(map(str, ids)))
        for batch in ['8'] if is_long else ['512', '24', '7', '1']:
            answers = []
            for device in ['cpu', 'cuda:0']:
                out = os.path.join(folder, 'out')
                subprocess.run([program, model, ids_path, out, '--device', device, '--batch', batch] + options, check=True)
                with open(out, 'rb') as f:
                    answers.append(f.read())
            same = answers[0] == answers[1] and len(answers[0]) > 0
            print('%s batch %s: %d bytes %s' % ('ok  ' if same else 'FAIL', batch, len(answers[0]), 'are the same' if same else 'differ'))
            failed += not same
    return failed != 0


def divergence(p, q):
    """KL of softmaxes of logits."""
    def logs(x):
        most = max(x)
        total = most + math.log(sum(math.exp(v - most) for v in x))
        return [v - total for v in x]
    p, q = logs(p), logs(q)
    return sum(math.exp(a) * (a - b) for a, b in zip(p, q))


def half(program, model):
    model = model or os.environ.get('BITLOOM_TEST_MODEL')
    if not model:
        print('BITLOOM_TEST_MODEL is not set')
        return 77
    draw, n = random.Random(7), 70
    with tempfile.TemporaryDirectory() as folder:
        ids, out, cache = (os.path.join(folder, name) for name in ('ids', 'out', 'cache'))
        with open(ids, 'w') as f:
            f.write(' '.join(str(draw.randrange(1, 200)) for _ in range(n)))

        def logits(device, *more):
            subprocess.run([program, model, ids, out, '--device', device, '--cache', cache, '--schedule', 'grouped-streams'] + list(more), check=True)
            with open(out, 'rb') as f:
                values = array.array('f', f.read())
            return [values[i * len(values) // n:(i + 1) * len(values) // n] for i in range(n)]
        logits('cuda:0')  # races the ways; then those for many rows become the ones in half floats
        with open(os.path.join(cache, 'measured')) as f:
            lines = [line.split('\t')[0] + '\t1131131\n' if line.startswith('ways') else line for line in f]
        with open(os.path.join(cache, 'measured'), 'w') as f:
            f.writelines(lines)
        exact, fast, truth = logits('cpu'), logits('cuda:0'), logits('cpu', '--f32')
    of_fast, of_exact = (sum(divergence(p, q) for p, q in zip(truth, x)) / n for x in (fast, exact))
    ok = exact != fast and of_fast <= 1e-4
    print('%s mean KL to f32 activations on the CPU: %.2e; of the exact kernels, with q8 ones: %.2e' % ('ok  ' if ok else 'FAIL', of_fast, of_exact))
    return not ok


def text(program, tokens):
    model = os.environ.get('BITLOOM_TEST_MODEL')
    if not model:
        print('BITLOOM_TEST_MODEL is not set')
        return 77
    command = [program, 'run', '-m', model, '-p', 'The capital of France is', '-n', tokens, '--temp', '0', '--schedule', 'grouped-streams', '--deterministic']
    answers = [subprocess.run(command + ['--device', device], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
               for device in ['cpu', 'cuda:0']]
    print('cpu:  %r\ncuda: %r' % tuple(answers))
    return answers[0] != answers[1] or len(answers[0]) == 0


if sys.argv[1] == 'logits':
    sys.exit(logits(sys.argv[2], sys.argv[3], sys.argv[4:]))
if sys.argv[1] == 'half':
    sys.exit(half(sys.argv[2], (sys.argv + [None])[3]))
sys.exit(text(sys.argv[2], sys.argv[3]))
