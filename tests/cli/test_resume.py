"""test_resume.py: a compression that is killed at any moment goes on when it is called again, to the same bytes, and does not do again what it has
done; a full disk leaves nothing under the final name."""
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
import unittest

if os.path.isdir('/dev/shm') and os.access('/dev/shm', os.W_OK): # hundreds of fsyncs
    os.environ['TMPDIR'] = '/dev/shm'
from support import BITLOOM, FOLDER, clean_environment, path, run, tiny

KILL_AT = os.environ.get('KILL_AT_LIBRARY')
KILLS = 200


def has_blas():
    return 'install libopenblas' not in run('compress', tiny('mini'), '-o', path('none.gguf'), '--size', '1')[2]


def read(name):
    with open(name, 'rb') as f:
        return f.read()


@unittest.skipUnless(has_blas(), 'no OpenBLAS')
class Resume(unittest.TestCase):
    size = '17000'

    def command(self, out, *more):
        target = [] if '--max-kld' in more else ['--size', self.size]
        return ['compress', tiny('mini'), '-o', path(out), *target, *([] if '--state' in more else ['--calib-tokens', '1024']), '--checkpoint', '0', '--no-html', *more]

    def done(self, out, *more):
        code, _, errors = run(*self.command(out, *more))
        self.assertEqual(code, 0, errors)
        self.assertFalse(os.path.exists(path(out + '.work')))
        return read(path(out))

    @unittest.skipUnless(KILL_AT, 'no library that kills')
    def test_killed_at_a_write(self):
        for more in ([], ['--ram', '1MB'], ['--max-kld', '0.2']):
            expected = self.done('whole.gguf', '-q', *more)
            env = {'LD_PRELOAD': KILL_AT, 'KILL_COUNT': path('count')}
            code, _, errors = run(*self.command('count.gguf', *more), env=env)
            self.assertEqual(code, 0, errors)
            calls = int(read(path('count')))
            self.assertGreater(calls, 100)
            rng = random.Random(7)
            finished = killed = 0
            while killed < KILLS // 4:
                at = rng.randrange(1, calls // rng.choice((1, 1, 2, 4)) + 1)
                threads = str(killed % 3 + 1)
                code, _, errors = run(*self.command('killed.gguf', '-t', threads, *more), env={'LD_PRELOAD': KILL_AT, 'KILL_AT': str(at)})
                if code == -signal.SIGKILL:
                    killed += 1
                    continue
                self.assertEqual(code, 0, errors)
                self.assertEqual(read(path('killed.gguf')), expected)
                os.unlink(path('killed.gguf'))
                finished += 1
            self.assertGreater(finished, 0)
            self.assertEqual(self.done('killed.gguf', *more), expected)

    def test_killed_at_a_time(self):
        expected = self.done('whole.gguf', '-q')
        rng = random.Random(8)
        killed = 0
        while killed < KILLS // 4:
            child = subprocess.Popen([BITLOOM] + self.command('timed.gguf', '-q', '-t', str(killed % 3 + 1)), env=clean_environment(None),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.04)
            child.kill()
            if child.wait() == -signal.SIGKILL:
                killed += 1
            else:
                self.assertEqual(read(path('timed.gguf')), expected)
        self.assertEqual(self.done('timed.gguf'), expected)

    @unittest.skipUnless(KILL_AT, 'no library that kills')
    def test_goes_on(self):
        """A learned state is not learned again, and rounded matrices are not rounded again."""
        code, _, errors = run(*self.command('on.gguf'), env={'LD_PRELOAD': KILL_AT, 'KILL_COUNT': path('count')})
        calls = int(read(path('count')))
        os.unlink(path('on.gguf'))
        run(*self.command('on.gguf'), env={'LD_PRELOAD': KILL_AT, 'KILL_AT': str(calls * 3 // 4)})
        self.assertTrue(os.path.exists(path('on.gguf.work/learned')))
        code, _, errors = run(*self.command('on.gguf'), env={'LD_PRELOAD': KILL_AT, 'KILL_COUNT': path('count')})
        self.assertEqual(code, 0, errors)
        self.assertIn('as kept in the work folder', errors)
        self.assertLess(int(read(path('count'))), calls // 2)

    @unittest.skipUnless(KILL_AT, 'no library that kills')
    def test_of_another_command(self):
        expected = self.done('whole.gguf', '-q')
        other = self.command('other.gguf')
        other[other.index('--size') + 1] = '18000'
        code, _, errors = run(*self.command('other.gguf'), env={'LD_PRELOAD': KILL_AT, 'KILL_COUNT': path('count')})
        run(*other, env={'LD_PRELOAD': KILL_AT, 'KILL_AT': str(int(read(path('count'))) * 3 // 4)})
        code, _, errors = run(*self.command('other.gguf'))
        self.assertEqual(code, 0, errors)
        self.assertIn('other.gguf.work: of another input or other options', errors)
        self.assertEqual(read(path('other.gguf')), expected)
        # another text: what was learned is not used
        run(*self.command('other.gguf', '--objective', 'ppl'), env={'LD_PRELOAD': KILL_AT, 'KILL_AT': '200'})
        code, _, errors = run(*self.command('other.gguf'))
        self.assertIn('not used: ' + path('other.gguf.work/learned') + ': a state made for another --objective', errors)
        self.assertEqual(read(path('other.gguf')), expected)
        # damaged: found out, not used
        run(*self.command('other.gguf'), env={'LD_PRELOAD': KILL_AT, 'KILL_AT': '200'})
        for name in set(os.listdir(path('other.gguf.work'))) - {'lock'}:
            with open(os.path.join(path('other.gguf.work'), name), 'r+b') as f:
                f.seek(-1, 2)
                last = f.read(1)[0]
                f.seek(-1, 2)
                f.write(bytes([last ^ 1]))
        self.assertEqual(self.done('other.gguf'), expected)

    @unittest.skipUnless(KILL_AT, 'no library that lies')
    def test_room(self):
        """Looked at before anything is learned: for the file, the work folder and the state."""
        before = set(os.listdir(FOLDER.name))
        def needs(*more):
            code, _, errors = run(*self.command('room.gguf', *more), env={'LD_PRELOAD': KILL_AT, 'FREE_BYTES': '2000'})
            self.assertEqual(code, 1, errors)
            self.assertRegex(errors, r'needs \d+ bytes, 2000 bytes are free on its disk')
            self.assertNotIn('learn', errors)
            return int(re.search(r'needs (\d+)', errors).group(1))
        self.assertGreater(needs('--save-state', path('room.state')), needs())
        self.assertEqual(set(os.listdir(FOLDER.name)), before)

    def test_full_disk(self):
        expected = self.done('whole.gguf', '-q')
        before = set(os.listdir(FOLDER.name))
        for limit in (100, 5000, 12000, 16000, len(expected) - 1):
            def small():
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            done = subprocess.run([BITLOOM] + self.command('full.gguf', '-q'), env=clean_environment(None), capture_output=True, preexec_fn=small)
            self.assertEqual(done.returncode, 1, limit)
            self.assertIn(b'File too large', done.stderr)
            self.assertEqual(done.stderr.count(b'\n'), 1)
            self.assertEqual(set(os.listdir(FOLDER.name)) - before - {'full.gguf.work'}, set())
        self.assertEqual(self.done('full.gguf'), expected) # goes on when there is room
        shutil.rmtree(path('full.gguf.work'), ignore_errors=True)

    def test_memory(self):
        """Covariances that do not fit go through the work folder."""
        expected = self.done('whole.gguf', '-q')
        self.assertEqual(self.done('passes.gguf', '--ram', '1MB', '--save-state', path('passes.state')), expected)
        self.assertEqual(self.done('passes.gguf', '--save-state', path('whole.state')), expected)
        self.assertEqual(read(path('passes.state')), read(path('whole.state')))
        self.assertEqual(self.done('passes.gguf', '--ram', '1MB', '--state', path('whole.state')), expected)


if __name__ == '__main__':
    unittest.main()
