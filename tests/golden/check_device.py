#!/usr/bin/env python3
"""A device writes the tokens that the CPU writes: check_device.py PROGRAM MODEL DEVICE TOKENS [OWN]. MODEL is smollm2 or gemma3, found
through BITLOOM_TEST_MODEL and BITLOOM_TEST_MODEL_GEMMA. OWN: the process may take 1.1 times the file's bytes, those of the KV cache, and this many MB of the
driver's own: the device reads the file in place. Exit 77 where the model or the device is not here."""
import os
import re
import subprocess
import sys

program, model, device, tokens = sys.argv[1:5]
own_mb = float(sys.argv[5]) if len(sys.argv) > 5 else None
path = os.environ.get({'smollm2': 'BITLOOM_TEST_MODEL', 'gemma3': 'BITLOOM_TEST_MODEL_GEMMA'}[model])
if not path:
    print('SKIP: there is no model %s' % model)
    sys.exit(77)


def text_of(device):
    """(exit status, text, messages) of a greedy run; the statistics say how many tokens there were."""
    answer = subprocess.run([program, 'run', '-m', path, '-p', 'The capital of France is', '-n', tokens, '--temp', '0', '--device', device],
                            capture_output=True, text=True)
    return answer.returncode, answer.stdout, answer.stderr


devices = subprocess.run([program, 'devices'], capture_output=True, text=True).stdout.split('\n')
if not any(line.startswith(device + ' ') for line in devices):
    print('SKIP: there is no device %s' % device)
    sys.exit(77)
expected, got = text_of('cpu'), text_of(device)
print('cpu:\n%s\n%s\n%s:\n%s\n%s' % (expected[1], expected[2], device, got[1], got[2]))
if expected[0] or got[0] or not expected[1].strip() or expected[1] != got[1]:
    print('FAIL: not the same text')
    sys.exit(1)
if own_mb is not None:
    got = text_of(device)  # again: the first time the driver's compiler is in the peak, which keeps what it made
    file_mb, kv_mb, peak_mb = (float(re.search(pattern, got[2]).group(1)) for pattern in (r'file ([0-9.]+) MB', r'KV ([0-9.]+) MB', r'([0-9.]+) MB peak'))
    print('peak %.1f MB, file %.1f MB and KV %.1f MB' % (peak_mb, file_mb, kv_mb))
    if peak_mb > 1.1 * file_mb + kv_mb + own_mb:
        print('FAIL: the file was copied')
        sys.exit(1)
