#!/usr/bin/env python3
"""The program while it computes: prompts, output, determinism, trace, signals, terminals, bad files, the name picolm.

    BITLOOM=build/tools/bitloom tests/cli/test_run.py     BITLOOM_TEST_MODEL: also the default model"""
import json
import os
import signal
import struct
import subprocess
import sys
import time
import unittest

from support import BITLOOM, ROOT, Case, clean_environment, path, run, run_on_terminal, tiny

sys.path.insert(0, os.path.join(ROOT, 'tests', 'tools'))
import tiny_model  # noqa: E402

LONG = ['--special', '--ignore-eos']


def text_of(*args, **kw):
    return run('run', tiny('llama'), '-q', *args, **kw)


class Prompts(Case):
    def test_same_prompt_from_everywhere(self):
        with open(path('prompt'), 'wb') as f:
            f.write(b'the end')
        rest = ['-n', '12', '--temp', '0', '-q'] + LONG
        want = self.ok('run', tiny('llama'), '-p', 'the end', *rest)[0]
        self.assertTrue(want)
        for args, stdin in ((['-f', path('prompt')], b''), ([], b'the end'), (['-f', '-'], b'the end'), (['--prompt=the end'], b''),
                            (['-p', 'the\\x20end'], b'')):
            self.assertEqual(self.ok('run', tiny('llama'), *args, *rest, stdin=stdin)[0], want, args)
        self.assertEqual(self.ok('run', '-m', tiny('llama'), '-p', 'the end', *rest)[0], want)
        escaped = self.ok('run', tiny('llama'), '-p', 'the\\nend', *rest)[0]
        self.assertEqual(self.ok('run', tiny('llama'), *rest, stdin=b'the\nend')[0], escaped)
        self.assertEqual(self.ok('run', tiny('llama'), '-p', 'the\\nend', '--no-escape', *rest)[0],
                         self.ok('run', tiny('llama'), *rest, stdin=b'the\\nend')[0])

    def test_text_on_stdout_statistics_on_stderr(self):
        args = ['run', tiny('llama'), '-p', 'the end', '-n', '6', '-s', '3'] + LONG
        out, err = self.ok(*args)
        for word in ('load ', 'prompt ', 'generated       6 tokens', 'tok/s', 'memory '):
            self.assertIn(word, err)
        quiet, nothing = self.ok(*args, '-q')
        self.assertEqual((quiet, nothing), (out, ''))

    def test_no_tokens(self):
        out, err = self.ok('run', tiny('llama'), '-p', 'the end', '-n', '0')
        self.assertEqual(out, b'')
        self.assertIn('generated       0 tokens', err)

    def test_determinism(self):
        for args in (['--temp', '0'], ['-s', '7']):
            base = ['run', tiny('llama'), '-p', 'the end', '-n', '40', '-q'] + LONG + args
            want = self.ok(*base)[0]
            for more in ([], ['-t', '1'], ['-t', '3'], ['-b', '1'], ['--schedule', 'serial'], ['--schedule', 'streams'], ['--no-mmap'], ['-c', '128']):
                self.assertEqual(self.ok(*base, *more)[0], want, more)
        self.assertNotEqual(self.ok(*base[:-1], '8')[0], want)

    def test_families_run(self):
        for family in ('llama', 'qwen3', 'gemma3', 'phi2', 'gpt2like'):
            self.assertTrue(self.ok('run', tiny(family), '-p', 'the end', '-n', '8', '-s', '1', '-q', *LONG)[0], family)

    def test_stop(self):
        base = ['run', tiny('llama'), '-p', 'the end', '-n', '40', '-s', '7', '-q'] + LONG
        want = self.ok(*base)[0].decode(errors='surrogateescape')
        at = len(want) // 2
        word = want[at:at + 3]
        self.assertEqual(self.ok(*base, '--stop', word, '--no-escape')[0].decode(errors='surrogateescape'), want[:want.index(word)])
        self.assertEqual(self.ok(*base, '--stop', 'never there', '-r', word, '--no-escape')[0].decode(errors='surrogateescape'), want[:want.index(word)])

    def test_logit_bias(self):
        base = ['run', tiny('llama'), '-p', 'the end', '-n', '5', '--temp', '0', '-q'] + LONG
        ids = self.ok('tokenize', tiny('llama'), '--no-bos', stdin=b'q')[0].decode().split(',')
        self.assertIn(b'qqqqq', self.ok(*base, '--logit-bias', ids[-1].strip() + '+1e9')[0])
        self.assertNotEqual(self.ok(*base)[0], self.ok(*base, '--logit-bias', ids[-1].strip() + '+1e9')[0])
        self.assertNotEqual(run(*base, '--logit-bias', '999999+1')[0], 0)

    def test_trace(self):
        self.ok('run', tiny('llama'), '-p', 'the end', '-n', '3', '-q', '-t', '2', '--trace', path('trace.json'), *LONG)
        with open(path('trace.json')) as f:
            events = json.load(f)['traceEvents']
        self.assertGreaterEqual(len({e['tid'] for e in events}), 2, 'one lane only')
        self.assertGreaterEqual(len({e['args']['step'] for e in events}), 3)
        self.assertTrue(all(e['ph'] == 'X' and e['dur'] >= 0 and e['name'] for e in events))
        self.refused(1, '/nowhere/x', 'run', tiny('llama'), '-p', 'x', '-q', '--trace', '/nowhere/x')
        self.refused(1, '/dev/full', 'run', tiny('llama'), '-p', 'x', '-n', '0', '-q', '--trace', '/dev/full')

    def test_context_overflow(self):
        self.refused(1, ['context full', '52 in the prompt', 'context 16'], 'run', tiny('llama'), '-q', '-c', '16', '-n', '4', stdin=b'the end of it ' * 10)

    def test_whole_context(self):
        """-c 0 is all that the model was made for; without -c it is at most 4,096."""
        with open(tiny('llama'), 'rb') as f:
            data = f.read()
        key = b'llama.context_length' + struct.pack('<I', 4)
        at = data.index(key) + len(key)
        with open(path('long.gguf'), 'wb') as f:
            f.write(data[:at] + struct.pack('<I', 8192) + data[at + 4:])
        for more, positions in (([], 4096), (['-c', '0'], 8192), (['-c', '100'], 100)):
            self.assertIn('for %d positions' % positions, self.ok('run', path('long.gguf'), '-p', 'x', '-n', '1', '-s', '1', *more)[1])

    @unittest.skipUnless(os.environ.get('BITLOOM_TEST_MODEL'), 'BITLOOM_TEST_MODEL is not set')
    def test_default_model(self):
        out = self.ok('run', os.environ['BITLOOM_TEST_MODEL'], '-p', 'The capital of France is', '-n', '8', '--temp', '0', '-q', '--device', 'cpu',
                      '--report', path('report'))[0]
        self.assertIn(b'Paris', out)
        with open(path('report')) as f:
            self.assertLessEqual(json.load(f)['launches'], 8 * 30 + 5) # eight per layer


class Outside(Case):
    """Pipes, disks, signals, terminals."""

    def test_closed_pipe(self):
        child = subprocess.Popen([BITLOOM, 'run', tiny('llama'), '-p', 'the', '-n', '400', '-q', '-s', '1'] + LONG, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        child.stdout.close()
        err = child.stderr.read()
        child.stderr.close()
        self.assertIn(child.wait(timeout=60), (1, -signal.SIGPIPE), err)

    def test_full_disk(self):
        for args in (['run', tiny('llama'), '-p', 'the', '-n', '4', '-q', '-s', '1'] + LONG, ['inspect', tiny('llama')], ['help'], ['man'],
                     ['graph', tiny('llama')], ['devices'], ['tokenize', tiny('llama')], ['verify', tiny('llama')], ['run', '--help']):
            with open('/dev/full', 'wb') as full:
                self.refused(1, 'No space left', *args, stdout=full, stdin=b'the')

    def test_interrupt(self):
        child = subprocess.Popen([BITLOOM, 'run', tiny('llama'), '-p', 'the', '-n', '-1', '-c', '100000', '-s', '1'] + LONG, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=clean_environment(None))
        self.assertTrue(os.read(child.stdout.fileno(), 1))
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 130, err)
        self.assertIn(b'generated', err)

    def test_progress_bar_only_on_a_terminal(self):
        with open(path('long'), 'wb') as f:
            f.write(b'the end of it ' * 20)
        args = ['run', tiny('llama'), '-f', path('long'), '-n', '2', '-s', '1', '-b', '16'] + LONG
        plain, err = self.ok(*args, env={'TERM': 'xterm'})
        self.assertNotIn('reading the prompt', err)
        code, out, shown = run_on_terminal(args, env={'TERM': 'xterm'})
        self.assertEqual((code, out), (0, plain))
        self.assertIn(b'reading the prompt [', shown)
        for quiet in ((['-q'], {'TERM': 'xterm'}), ([], {'TERM': 'dumb'})):
            self.assertNotIn(b'reading', run_on_terminal(args + quiet[0], env=quiet[1])[2], quiet)


class BadModels(Case):
    def test_missing_and_strange(self):
        for verb in ('run', 'inspect', 'verify', 'graph', 'tokenize'):
            more = ['-p', 'x', '-q'] if verb == 'run' else []
            self.refused(1, path('absent.gguf'), verb, path('absent.gguf'), *more)
            self.refused(1, '/tmp', verb, '/tmp', *more)
            self.refused(1, '/dev/null', verb, '/dev/null', *more)

    def test_pipe_as_model(self):
        fifo = path('fifo')
        os.mkfifo(fifo)
        try:
            self.refused(1, fifo, 'run', fifo, '-p', 'x', '-q', timeout=10)
        finally:
            os.remove(fifo)

    def test_model_shrinks_while_in_use(self):
        """Read into memory nothing happens; mapped it is a line and exit 1, not a crash."""
        with open(tiny('llama'), 'rb') as f:
            data = f.read()
        for more, code, line in ((['--no-mmap'], 0, b''), ([], 1, b'shrinking.gguf: the file shrank while in use')):
            with open(path('shrinking.gguf'), 'wb') as f:
                f.write(data)
            child = subprocess.Popen([BITLOOM, 'run', path('shrinking.gguf'), '-n', '20', '-q', '-s', '1'] + LONG + more, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(None))
            time.sleep(1.5)  # the model is open; the prompt is awaited
            os.truncate(path('shrinking.gguf'), 4096)
            err = child.communicate(b'the', timeout=60)[1]
            self.assertEqual(child.returncode, code, err)
            self.assertIn(line, err)


class PicoLM(Case):
    @classmethod
    def setUpClass(cls):
        cls.name = path('picolm')
        os.symlink(BITLOOM, cls.name)

    def test_flags_mean_what_picolm_means(self):
        base = ['-p', 'the end', '-n', '12', '-t', '0', '-j', '2', '-c', '64']
        want = self.ok('run', tiny('llama'), '-p', 'the end', '-n', '12', '--temp', '0', '-q')[0]
        self.assertEqual(self.ok(tiny('llama'), *base, program=self.name)[0], want)
        sampled = self.ok('run', tiny('llama'), '-p', 'the end', '-n', '12', '--temp', '1.5', '--top-p', '0.7', '--top-k', '0', '--min-p', '0', '-s', '9')[0]
        self.assertEqual(self.ok(tiny('llama'), '-p', 'the end', '-n', '12', '-t', '1.5', '-k', '0.7', '-s', '9', program=self.name)[0], sampled)

    def test_defaults(self):
        ours = ['run', tiny('llama'), '-n', '256', '--temp', '0.8', '--top-p', '0.9', '--top-k', '0', '--min-p', '0', '-s', '42', '-t', '4', '-q']
        self.assertEqual(self.ok(tiny('llama'), program=self.name, stdin=b'the')[0], self.ok(*ours, stdin=b'the')[0])

    def test_not_yet_and_usage(self):
        self.refused(1, '--json: not yet', tiny('llama'), '--json', program=self.name)
        self.refused(1, '--cache: not yet', tiny('llama'), '--cache', 'x', program=self.name)
        code, out, err = run(program=self.name)
        self.assertEqual((code, out), (2, b''))
        self.assertIn('usage: picolm', err)
        self.refused(2, 'picolm: unknown argument --frob', tiny('llama'), '--frob', program=self.name)
        self.refused(2, 'picolm: -n needs a value', tiny('llama'), '-n', program=self.name)

    def test_limits_in_its_own_names(self):
        for args, words in ((['-k', '2'], '-k 2: must be in 0..1'), (['-j', '0'], '-j 0: must be in 1..1024'), (['-t', '-1'], '-t -1: must be'),
                            (['-n', '-1'], '-n -1: must be'), (['-c', '0'], '-c 0: must be'), (['-s', 'x'], '-s x: must be')):
            self.refused(2, 'picolm: ' + words, 'absent', *args, program=self.name)
        self.refused(1, 'picolm: absent: cannot open', 'absent', '-p', 'x', program=self.name)
        self.assertIn(b'usage: picolm', self.ok('--help', program=self.name)[0])


def chatty():
    """A tiny model with the turn marks of ChatML."""
    out = path('chatty.gguf')
    if not os.path.exists(out):
        g = tiny_model.FAMILIES['llama'](1)
        named = {k[0]: k[2] for k in g.keys}
        for i, token in enumerate(('<|im_start|>', '<|im_end|>')):
            named['tokenizer.ggml.tokens'][-1 - i], named['tokenizer.ggml.token_type'][-1 - i] = token, 3
        with open(out, 'wb') as f:
            f.write(g.bytes())
    return out


class Chat(Case):
    def talk(self, *lines, context=96):
        text = ''.join(line + '\n' for line in lines).encode()
        return self.ok('chat', chatty(), '-c', context, '-n', '8', '--temp', '0', '--ignore-eos', stdin=text)

    def test_the_oldest_turns_go_when_the_context_is_full(self):
        out, err = self.talk('the one', 'the two', 'the three', 'the four', 'the five')
        self.assertIn('the context is full: the oldest', err)
        self.assertEqual(len([line for line in err.splitlines() if 'in the context]' in line]), 5, err)
        for line in err.splitlines():
            if 'in the context]' in line:
                self.assertLessEqual(int(line.split()[-4]), 96)
        self.assertNotIn('is full', self.talk('the one', 'the two', context=512)[1])

    def test_a_turn_larger_than_the_context_is_a_line(self):
        out, err = self.talk('the one', 'the end ' * 200, 'the two', context=128)
        self.assertIn('context full', err)
        self.assertEqual(len([line for line in err.splitlines() if 'in the context]' in line]), 2, err)

    def test_reset(self):
        first = self.talk('the one')[0]
        again = self.talk('the one', '/reset', 'the one')[0]
        self.assertEqual(again, first + first)


class Placement(Case):
    BASE = ['-p', 'the end', '-n', '12', '--temp', '0', '--special', '--ignore-eos']

    def report(self, *args, env=None):
        """(text, report) of a run with these arguments."""
        out, err = self.ok('run', tiny('llama'), *self.BASE, '--report', path('report'), *args, env=env)
        with open(path('report')) as f:
            return out, json.load(f), err

    def test_layers_where_they_are_asked_for(self):
        want, report, _ = self.report()
        self.assertEqual((report['placement'], report['fallback'], report['generated_tokens']), ('cpu: everything', '', 12))
        for args, placement in ((['--device', 'cpu,cpu'], 'cpu: embedding, layer'), (['--device', 'chaos(cpu)', '-ngl', 'all'], 'chaos(cpu): everything'),
                                (['--device', 'chaos(cpu)', '-ngl', '0'], 'cpu: everything'), (['--device', 'chaos(cpu)', '-ngl', '99'], 'chaos(cpu): everything'),
                                (['--device', 'chaos(cpu)', '-ngl', '1'], 'cpu: embedding, layer 0; chaos(cpu): layer 1; cpu: output'),
                                (['--device', 'chaos(cpu),cpu', '--gpu-layers', '2'], 'cpu: embedding; chaos(cpu): layers 0-1; cpu: output'),
                                (['--device', 'cpu,chaos(cpu)', '-ngl', 'auto'], 'chaos(cpu): everything')):
            out, report, err = self.report(*args)
            self.assertEqual((out, report['fallback']), (want, ''), args)
            self.assertIn(placement, report['placement'], args)
            self.assertNotIn('warning', err, args)
            self.assertEqual('placement ' in err, ';' in report['placement'], args)

    def test_what_does_not_fit(self):
        want, report, _ = self.report()
        out, report, err = self.report('--device', 'chaos(cpu),cpu', '--fit-target', '1048576')
        self.assertEqual((out, report['placement']), (want, 'cpu: everything'))
        self.assertIn('room for 0 of 2 layers', report['fallback'])
        self.assertIn('warning: ' + report['fallback'], err)
        out, report, err = self.report('--device', 'chaos(cpu),cpu', '--fit-target', '1048576', '--fit', 'off')
        self.assertEqual((out, report['placement'], report['fallback']), (want, 'chaos(cpu): everything', ''))
        for more in ([], ['-ngl', '1']):
            self.refused(1, ['chaos(cpu)', 'MB free', 'margin 1099511.6 MB'], 'run', tiny('llama'), *self.BASE, '--device', 'chaos(cpu)', '--fit-target', '1048576', *more)
        out, report, err = self.report('-ngl', '3')
        self.assertIn('(-ngl) are ignored', report['fallback'])
        self.assertEqual(out, want)
        self.refused(1, 'cannot write', 'run', tiny('llama'), *self.BASE, '-q', '--report', '/nowhere/report', stdout=subprocess.DEVNULL)

    def test_schedule_auto_is_remembered(self):
        want, report, _ = self.report(env={'XDG_CACHE_HOME': path('cache')})
        self.assertFalse(os.path.exists(path('cache')))
        texts = []
        for _ in range(2):
            out, report, err = self.report('--schedule', 'auto', '-v', env={'XDG_CACHE_HOME': path('cache')})
            self.assertEqual(out, want)
            self.assertIn('times serial', report['schedule'])
            texts.append((report['schedule'], '32 rows: serial' in err))
        self.assertEqual(texts[0][0], texts[1][0])
        self.assertEqual([raced for _, raced in texts], [True, False])
        with open(path('cache') + '/bitloom/measured', 'a') as f:
            f.write('nonsense')
        out, report, err = self.report('--schedule', 'auto', env={'XDG_CACHE_HOME': path('cache')})
        self.assertEqual(out, want)
        self.assertIn('measured: left out', err)


if __name__ == '__main__':
    unittest.main()
