#!/usr/bin/env python3
"""The CUDA back end on the fake driver gives the CPU's bits: logits of tiny models, and the text of the default model.

    same_as_cpu.py logits PROGRAM MODEL [--long] [LOGITS-OPTION...]    prefill in one piece, in pieces, and row by row; --long: more positions
                                                                       than one split of attention holds, eight rows at a time
    same_as_cpu.py text PROGRAM TOKENS                        skips without BITLOOM_TEST_MODEL
"""
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
sys.exit(text(sys.argv[2], sys.argv[3]))
