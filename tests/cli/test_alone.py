#!/usr/bin/env python3
"""The program with nothing around it: a folder with its libraries and a model as the root of the file system; no driver, no loader, no /proc,
no /dev, no home. It starts, computes, and says what it lacks. Needs the right to chroot; skips without.

    BITLOOM=build/tools/bitloom tests/cli/test_alone.py"""
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

from support import BITLOOM, Case, path, run, tiny

ALONE = path('alone')


def fill_root():
    os.makedirs(ALONE)
    shutil.copy(BITLOOM, os.path.join(ALONE, 'bitloom'))
    shutil.copy(tiny('llama'), os.path.join(ALONE, 'model.gguf'))
    for library in set(re.findall(r'(/\S+) \(0x', subprocess.run(['ldd', BITLOOM], check=True, capture_output=True, text=True).stdout)):
        to = ALONE + library
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(library, to)


def enter():
    os.chroot(ALONE)
    os.chdir('/')


def alone(*args):
    done = subprocess.run(['/bitloom'] + list(args), stdin=subprocess.DEVNULL, capture_output=True, preexec_fn=enter, env={}, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode(errors='replace')


class Alone(Case):
    def test_devices_explains(self):
        code, out, err = alone('devices', '--json')
        self.assertEqual((code, err), (0, ''))
        devices = {d['backend']: d for d in json.loads(out)}
        self.assertNotIn('missing', devices['cpu'])
        self.assertTrue(devices['cpu']['auto'])
        self.assertGreater(devices['cpu']['total_bytes'], 0)
        for name in ('vulkan', 'cuda'):
            if name in devices:
                self.assertTrue(devices[name]['missing'], name)
        code, out, err = alone('devices')
        self.assertEqual((code, err), (0, ''))
        self.assertIn(b'auto takes cpu', out)

    def test_runs(self):
        args = ['-p', 'the end', '-n', '12', '--temp', '0', '--special', '--ignore-eos']
        code, out, err = alone('run', '-m', 'model.gguf', *args)
        self.assertEqual(code, 0, err)
        self.assertNotIn('warning', err)
        self.assertEqual(out, run('run', '-m', tiny('llama'), *args)[1])

    def test_what_is_not_there_is_an_error(self):
        for device in ('vulkan:0', 'cuda:0', 'cpu,vulkan:0'):
            code, out, err = alone('run', '-m', 'model.gguf', '-p', 'x', '--device', device)
            self.assertEqual((code, out, err.count('\n')), (1, b'', 1), err)


if __name__ == '__main__':
    fill_root()
    try:
        alone('version')
    except (PermissionError, subprocess.SubprocessError) as e:
        print('cannot change the root: %s' % e)
        sys.exit(77)
    unittest.main()
