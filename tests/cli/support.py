"""support.py: what the tests of the program share: running it, a pseudo terminal, tiny models. Standard library only."""
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
BITLOOM = os.path.abspath(os.environ.get('BITLOOM', 'build/tools/bitloom'))
VERBS = ['run', 'chat', 'inspect', 'verify', 'tokenize', 'graph', 'compress', 'eval', 'bench', 'devices', 'completion', 'man', 'version', 'help']
FOLDER = tempfile.TemporaryDirectory(prefix='bitloom-cli-')


def path(name):
    return os.path.join(FOLDER.name, name)


def tiny(family):
    """The path of a tiny model, made when it is first asked for."""
    out = path(family + '.gguf')
    if not os.path.exists(out):
        subprocess.run([sys.executable, os.path.join(ROOT, 'tests/tools/tiny_model.py'), family, out], check=True)
    return out


def clean_environment(extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith('BITLOOM_ARG_')}
    env.update(extra or {})
    return env


def run(*args, stdin=b'', env=None, program=None, stdout=subprocess.PIPE, timeout=120):
    """(exit code, stdout, stderr), all text as bytes but stderr."""
    done = subprocess.run([program or BITLOOM] + [str(a) for a in args], input=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=timeout,
                          env=clean_environment(env))
    return done.returncode, done.stdout, done.stderr.decode(errors='replace')


def run_on_terminal(args, env=None, seconds=60):
    """(exit code, stdout, what the terminal on stderr got)."""
    master, slave = pty.openpty()
    with open(path('stdout'), 'wb') as out:
        child = subprocess.Popen([BITLOOM] + args, stdin=subprocess.DEVNULL, stdout=out, stderr=slave, env=clean_environment(env))
    os.close(slave)
    got, end = b'', time.monotonic() + seconds
    while time.monotonic() < end:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        got += data
    os.close(master)
    code = child.wait(timeout=10)
    with open(path('stdout'), 'rb') as f:
        return code, f.read(), got


class Case(unittest.TestCase):
    """Checks that name what was run when they fail."""

    def ok(self, *args, **kw):
        code, out, err = run(*args, **kw)
        self.assertEqual(code, 0, '%s: %s' % (args, err))
        return out, err

    def refused(self, code, words, *args, **kw):
        """Exit `code`, nothing on stdout, one line on stderr with all the words."""
        got, out, err = run(*args, **kw)
        self.assertEqual(got, code, '%s: %s' % (args, err))
        self.assertEqual(out or b'', b'', args)
        self.assertEqual(err.count('\n'), 1, '%s: not one line: %r' % (args, err))
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, err, args)
        return err
