#!/usr/bin/env python3
"""What the program says about CUDA devices that are missing, too old, too small or lost. Usage: test_messages.py BITLOOM MODEL

Runs with the fake driver in LD_LIBRARY_PATH; its knobs make the device what a case needs."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM, MODEL = sys.argv[1:3]


def run(arguments, **knobs):
    env = dict(os.environ, **{'BITLOOM_FAKE_CUDA_' + k: str(v) for k, v in knobs.items()})
    done = subprocess.run([PROGRAM] + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def devices(**knobs):
    return [line for line in run(['devices'], **knobs)[1].split('\n') if line.startswith('cuda')]


def generate(device, fit='on', **knobs):
    return run(['run', '-m', MODEL, '-p', 'the', '-n', '4', '--temp', '0', '--schedule', 'grouped-streams', '--fit', fit, '--deterministic',
                '--device', device], **knobs)


class Messages(unittest.TestCase):
    def refused(self, words, device='cuda:0', **knobs):
        code, _, err = generate(device, **knobs)
        self.assertEqual(code, 1, err)
        for word in words:
            self.assertIn(word, err)

    def test_no_driver(self):
        self.assertIn('no CUDA driver', subprocess.run([PROGRAM, 'devices'], stdout=subprocess.PIPE, check=True,
                                                       env=dict(os.environ, LD_LIBRARY_PATH='')).stdout.decode())

    def test_devices(self):
        self.assertIn('finds no device', devices(DEVICES=0)[0])
        self.assertEqual([line.split()[0] for line in devices(DEVICES=3)], ['cuda:0', 'cuda:1', 'cuda:2'])
        self.refused(['cuda:5', 'no device 5'], 'cuda:5')

    def test_too_old(self):
        self.assertIn('compute capability 6.1, 7.5 is needed', devices(CAPABILITY=61)[0])
        self.refused(['compute capability 6.1'], CAPABILITY=61)

    def test_no_code(self):
        """A build without nvcc finds out before, one with it when its module is loaded."""
        code, _, err = generate('cuda:0', NO_CODE=1)
        self.assertEqual(code, 1)
        self.assertTrue('built without nvcc' in err or 'no code for compute capability 9.0' in err, err)

    def test_too_small(self):
        self.refused(['cuda:0: 1.0 MB free'], MEMORY=1000000)
        self.refused(['no memory for', 'bytes of "weights"', '1000000 of 1000000 bytes are free'], fit='off', MEMORY=1000000)

    def test_lost(self):
        for call in (30, 150, 200, 250):
            self.refused(['LAUNCH_FAILED'], LOST=call)

    def test_checked(self):
        """The emulator looks at every access to shared memory while a model runs."""
        code, out, err = generate('cuda:0', CHECKED=1)
        self.assertEqual((code, out), (0, generate('cpu')[1]), err)

    def test_inexact(self):
        """Kernels that are not exact are raced, named where they are used, and left out when asked for."""
        with tempfile.TemporaryDirectory() as folder:
            report, cache = os.path.join(folder, 'report'), os.path.join(folder, 'bitloom', 'measured')
            command = ['run', '-m', MODEL, '-p', ' '.join(['the'] * 20), '-n', '2', '--temp', '0', '--schedule', 'grouped-streams', '--report', report]

            def inexact(*more):
                env = dict(os.environ, XDG_CACHE_HOME=folder)
                done = subprocess.run([PROGRAM] + command + ['--device', 'cuda:0'] + list(more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
                                      timeout=60)
                self.assertEqual(done.returncode, 0, done.stderr)
                with open(report) as f:
                    text = json.load(f)['inexact']
                self.assertEqual(bool(text), b'inexact' in done.stderr)
                return text

            def choose(start, ways):
                with open(cache) as f:
                    lines = [line.split('\t')[0] + '\t' + ways + '\n' if line.startswith(start) else line for line in f]
                with open(cache, 'w') as f:
                    f.writelines(lines)

            inexact()
            self.assertEqual(inexact('--deterministic'), '')
            choose('ways', '1131131')
            self.assertEqual(inexact(), 'cuda:0 multiplies many rows in half floats')
            choose('ways', '1121121')
            self.assertEqual(inexact(), '')
            choose('exact ways', '1131131')  # somebody else's line is measured again, not believed
            self.assertEqual(inexact('--deterministic'), '')

    def test_split(self):
        """A model on two devices, and on one that is lost on the way: the same text."""
        want = generate('cpu')[1]
        for devices_asked in ('cuda:0,cpu', 'cpu,cuda:0', 'cuda:0,cuda:1'):
            self.assertEqual(generate(devices_asked, DEVICES=2)[:2], (0, want), devices_asked)
        for call in (100, 200, 250):
            code, out, err = generate('cuda:0,cpu', LOST=call)
            self.assertEqual((code, out), (0, want), err)
            self.assertIn('warning', err)


unittest.main(argv=sys.argv[:1])
