"""test_compress.py: bitloom compress on tiny models: what comes out runs, keeps its target, is the same for any number of threads, is found out when
a bit of it changes; and what bad input is answered. Skipped where there is no OpenBLAS."""
import ctypes
import fcntl
import hashlib
import json
import os
import random
import re
import struct
import unittest
from xml.etree import ElementTree

from support import FOLDER, path, run, tiny

def compress(*args):
    return run('compress', *args, *([] if '--state' in args else ['--calib-tokens', '1024']))


def target_of(name):
    """A size between the smallest and the source's."""
    code, _, text = compress(tiny(name), '-o', path('none.gguf'), '--size', '1')
    return int(text.split('the smallest possible is ')[1]) if code == 1 and 'smallest possible' in text else None


def read(name):
    with open(name, 'rb') as f:
        return f.read()


def write(name, data):
    with open(name, 'wb') as f:
        f.write(data)


def has_blas():
    return 'install libopenblas' not in compress(tiny('mini'), '-o', path('none.gguf'), '--size', '1')[2]


@unittest.skipUnless(has_blas(), 'no OpenBLAS')
class Compress(unittest.TestCase):
    def made(self, name, out, *args):
        code, text, errors = compress(tiny(name), '-o', path(out), '-q', *args)
        self.assertEqual(code, 0, errors)
        self.line = text.decode()
        return path(out)

    def test_families(self):
        for name in ('mini', 'llama', 'qwen3', 'gemma3', 'phi2', 'gpt2like'):
            least = target_of(name)
            self.assertIsNotNone(least, name)
            for more in (1.0, 1.3, 1.9):
                size = int(least * more)
                out = self.made(name, name + '.xq.gguf', '--size', str(size))
                self.assertLessEqual(os.path.getsize(out), size)
                self.assertEqual(run('verify', out)[0], 0, run('verify', out)[1])
                code, text, errors = run('run', '-m', out, '-p', 'ab', '-n', '4', '--temp', '0', '-q')
                self.assertEqual(code, 0, errors)

    def test_size_is_used(self):
        least = target_of('llama')
        size = int(least * 1.5)
        out = self.made('llama', 'used.gguf', '--size', str(size))
        self.assertGreater(os.path.getsize(out), size * 0.98) # small matrices take large steps

    def test_same_bytes(self):
        size = str(int(target_of('llama') * 1.4))
        first = read(self.made('llama', 'a.gguf', '--size', size, '-t', '1'))
        for threads in ('2', '3', '7'):
            self.assertEqual(read(self.made('llama', 'b.gguf', '--size', size, '-t', threads)), first)

    def test_state_and_curve(self):
        least = target_of('mini')
        size, more = str(int(least * 1.3)), str(int(least * 1.6))
        first = read(self.made('mini', 'c.gguf', '--size', size, '--save-state', path('mini.state')))
        self.assertEqual(read(self.made('mini', 'd.gguf', '--size', size, '--state', path('mini.state'))), first)
        self.made('mini', 'e.gguf', '--curve', size + ',' + more, '--state', path('mini.state'))
        self.assertEqual(read(path('e-%s.gguf' % size)), first)
        self.assertGreater(os.path.getsize(path('e-%s.gguf' % more)), len(first))
        lines = self.line.split('\n')
        self.assertEqual(len(lines), 4) # a heading, two files
        self.assertTrue(lines[1].split()[0] == str(len(first)) and lines[1].endswith(path('e-%s.gguf' % size)), lines[1])
        picture = ElementTree.parse(path('e.gguf.curve.svg')).getroot()
        self.assertEqual(len(picture.findall('{http://www.w3.org/2000/svg}circle')), 2)
        # the text need not be given again, and not another one
        write(path('words.txt'), b''.join(b'The %d words of line %d are not the built-in ones. ' % (i, i * i) for i in range(400)))
        first = read(self.made('mini', 'w.gguf', '--size', size, '--calib', path('words.txt'), '--save-state', path('words.state')))
        judged = self.line
        for calib in ([], ['--calib', path('words.txt'), '--calib-tokens', '1024']):
            self.assertEqual(read(self.made('mini', 'w.gguf', '--size', size, '--state', path('words.state'), *calib)), first)
            self.assertEqual(self.line, judged)
        self.assertIn('from the state', compress(tiny('mini'), '-o', path('w.gguf'), '--size', size, '--state', path('words.state'), '--dry-run')[1].decode())
        write(path('words.txt'), read(path('words.txt')).replace(b'The', b'Our'))
        state = [tiny('mini'), '-o', path('x.gguf'), '--size', size, '--state', path('words.state')]
        self.refused(['another calibration text'], *state, '--calib', path('words.txt'), '--calib-tokens', '1024')
        self.refused(['--calib-tokens does not go with --state'], *state, '--calib-tokens', '1024', code=2)
        self.refused(['--save-state does not go with --state'], *state, '--save-state', path('other.state'), code=2)
        data = bytearray(read(path('words.state')))
        struct.pack_into('<I', data, 4, 3)
        write(path('words.state'), data)
        self.refused(['a state of version 3, this program reads 5'], *state)
        self.refused(['mini.state'], tiny('llama'), '-o', path('x.gguf'), '--bpw', '9', '--state', path('mini.state'))

    # What the allocation expects, what rounding then loses by the same measure, and what the network says of the file.
    def test_expected_loss(self):
        for model in ('llama', 'gemma3'):
            out = self.made(model, 'expected.gguf', '--bpw', '5', '--calib-tokens', '2000')
            figures = json.loads(read(out + '.report.json'))['figures']
            expected = figures['expected_loss']
            self.assertTrue(0.7 < figures['rounded_loss'] / expected < 1.3, figures)
            self.assertTrue(0.3 < figures['kl'] / expected < 12, figures) # learned from little text

    # The report names what was given, what came of it, and the files by their checksums; its keys are for programs.
    def test_report(self):
        write(path('a <b>.txt'), b''.join(b'The %d words of line %d are a text of its own. ' % (i, i * i) for i in range(800)))
        out = self.made('mini', 'report.gguf', '--size', '20KB', '--calib', path('a <b>.txt'), '--quick', '-t', '2')
        report = json.loads(read(out + '.report.json'))
        for part in ('options', 'figures'):
            for key in report[part]:
                self.assertRegex(key, '^[a-z][a-z0-9_]*$')
        options, figures = report['options'], report['figures']
        self.assertEqual([options[k] for k in ('method', 'size', 'bpw', 'max_kld', 'bits', 'objective', 'task', 'quick', 'threads', 'calib_tokens', 'rounds', 'calib')],
                         ['xq', 20000, None, None, None, 'kld', None, True, 2, 1024, 1, [path('a <b>.txt')]])
        self.assertGreater(options['windows'], 0)
        self.assertEqual(figures['bytes'], os.path.getsize(out))
        self.assertEqual(figures['original_bytes'], os.path.getsize(tiny('mini')))
        self.assertEqual(figures['input_sha256'], hashlib.sha256(read(tiny('mini'))).hexdigest())
        self.assertEqual(figures['output_sha256'], hashlib.sha256(read(out)).hexdigest())
        self.assertAlmostEqual(figures['ppl'] / figures['original_ppl'], figures['ppl_ratio'], places=4)
        stages = [figures['seconds_' + s] for s in ('learn', 'measure', 'round', 'judge')]
        self.assertTrue(all(s > 0 for s in stages) and sum(stages) < figures['seconds'], figures)
        self.assertGreater(figures['peak_memory_bytes'], 1e6)
        page = read(out + '.report.html').decode()
        self.assertIn('<td>20,000</td>', page)
        self.assertIn('a &#60;b&#62;.txt', page)
        self.assertNotIn('--max-kld', page) # not given
        for word in ('second-order model', 'Outliers are', 'Group scales: beside', 'what --objective says'):
            self.assertIn(word, page)
        out = self.made('mini', 'report.gguf', '--method', 'gptq', '--bits', '3', '--group', '64')
        options = json.loads(read(out + '.report.json'))['options']
        self.assertEqual([options[k] for k in ('method', 'bits', 'group', 'size', 'quick')], ['gptq', 3, 64, None, False])

    def test_baselines(self):
        for method, groups in (('gptq', ('32', '64', '128', '0')), ('rtn', ('32', '128', '0'))):
            made = []
            for group in groups:
                out = self.made('llama', method + '.gguf', '--method', method, '--bits', '3', '--group', group)
                self.assertEqual(run('verify', out)[0], 0)
                made.append((read(out), json.loads(read(out + '.report.json'))['figures']['rounded_loss']))
            self.assertEqual(len(set(data for data, _ in made)), len(groups))
            self.assertEqual(len(made[0][0]), len(made[-2][0])) # the format keeps a scale for every 32 columns
            for i in range(1, len(groups)):
                self.assertLess(made[i - 1][1], made[i][1])
        self.refused(['symmetric'], tiny('mini'), '-o', path('x.gguf'), '--method', 'gptq', '--bits', '3', '--asym', code=2)
        self.refused(['--group goes with'], tiny('mini'), '-o', path('x.gguf'), '--bpw', '4', '--group', '64', code=2)
        self.refused(['--bits goes with'], tiny('mini'), '-o', path('x.gguf'), '--bpw', '4', '--bits', '3', code=2)

    def test_inspect(self):
        out = self.made('llama', 'inspect.gguf', '--size', str(int(target_of('llama') * 1.4)))
        code, text, _ = run('inspect', out, '--tensors', '--json')
        tensors = [t for t in json.loads(text)['tensors'] if t['type'] == 'XQ']
        self.assertTrue(tensors)
        meta = json.loads(text)['metadata']
        self.assertEqual((meta['xq.version'], meta['xq.objective']), (1, 'kld'))
        self.assertIn('%.3f bits' % meta['xq.bits_per_weight'], self.line)
        self.assertEqual(len(meta['xq.calibration.hash']), 16)
        self.assertGreater(meta['xq.tokens'], 500)
        self.assertGreater(meta['xq.kl_valid'], 0)
        for t in tensors:
            self.assertAlmostEqual(sum(t['depths']), 1, places=4)
        again, _, errors = compress(out, '-o', path('again.gguf'), '--bpw', '8')
        self.assertEqual(again, 1)
        self.assertIn('X-bit already', errors)

    @unittest.skipUnless('LIBBITLOOM' in os.environ, 'no shared library')
    def test_changed_bits(self):
        out = self.made('mini', 'flip.gguf', '--size', str(int(target_of('mini') * 1.3)))
        library = ctypes.CDLL(os.environ['LIBBITLOOM'])
        ignore = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(lambda user, text, n: None)
        data = bytearray(read(out))
        flipped = path('flipped.gguf')
        write(flipped, data)
        self.assertEqual(library.bl_file_verify(flipped.encode(), ignore, None), 0)
        rng = random.Random(5)
        with open(flipped, 'r+b', buffering=0) as f:
            for _ in range(10000):
                at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
                os.pwrite(f.fileno(), bytes([data[at] ^ bit]), at)
                self.assertNotEqual(library.bl_file_verify(flipped.encode(), ignore, None), 0, 'bit %d of byte %d' % (bit, at))
                os.pwrite(f.fileno(), bytes([data[at]]), at)

    def test_one_fault_is_one_finding(self):
        out = self.made('mini', 'fault.gguf', '--size', str(int(target_of('mini') * 1.3)))
        tensors = json.loads(run('inspect', out, '--tensors', '--json')[1])['tensors']
        index, matrix = [t for t in tensors if t['name'] == 'xq.index'][0], [t for t in tensors if t['type'] == 'XQ'][0]
        plain = [t for t in tensors if t['type'] == 'F32'][0]
        data = read(out)
        for t, at in ((matrix, matrix['bytes'] - 1), (plain, 0), (index, index['bytes'] - 1)):
            changed = bytearray(data)
            changed[t['offset'] + at] ^= 1
            write(path('fault.gguf'), changed)
            code, text, errors = run('verify', path('fault.gguf'))
            self.assertEqual((code, text.count(b'\n')), (1, 1), text)
            self.assertIn("tensor '%s': its data is not what was written" % t['name'], text.decode())
            self.assertNotIn(b'limit', text)
            self.assertTrue(errors.endswith(': 1 finding\n'), errors)

    def test_type_of_the_source_is_not_that_of_the_result(self):
        data = read(tiny('mini')) # two keys more, of 64 bytes together: what is aligned stays so
        text = lambda s: struct.pack('<Q', len(s)) + s
        keys = text(b'general.file_type') + struct.pack('<II', 4, 3) + text(b'x') + struct.pack('<I', 8) + text(b'0123456789')
        self.assertEqual(len(keys), 64)
        write(path('typed.gguf'), data[:16] + struct.pack('<Q', struct.unpack_from('<Q', data, 16)[0] + 2) + keys + data[24:])
        self.assertEqual(json.loads(run('inspect', path('typed.gguf'), '--json')[1])['metadata']['general.file_type'], 3)
        code, _, errors = compress(path('typed.gguf'), '-o', path('typed.xq.gguf'), '-q', '--size', str(int(target_of('mini') * 1.5)))
        self.assertEqual(code, 0, errors)
        meta = json.loads(run('inspect', path('typed.xq.gguf'), '--json')[1])['metadata']
        self.assertEqual((meta['x'], 'general.file_type' in meta), ('0123456789', False))

    def refused(self, words, *args, code=1):
        before = set(os.listdir(FOLDER.name))
        got, text, errors = compress(*args)
        self.assertEqual(got, code, errors)
        self.assertEqual(text, b'')
        for word in words:
            self.assertIn(word, errors)
        self.assertEqual(set(os.listdir(FOLDER.name)), before) # nothing is left behind

    def test_refusals(self):
        model = tiny('mini')
        self.refused(['give one of --size, --bpw'], model, '-o', path('x.gguf'), code=2)
        self.refused(['-o'], model, '--bpw', '4', code=2)
        self.refused(['--method gptq gives all weights the bits of --bits'], model, '-o', path('x.gguf'), '--method', 'gptq', '--size', '20KB', code=2)
        self.refused(['--curve 0.02MB: given twice'], model, '-o', path('x.gguf'), '--curve', '20KB,0.02MB', code=2)
        self.refused(['--size', 'such as 60MB'], model, '-o', path('x.gguf'), '--size', '60 elephants', code=2)
        self.refused(['too small', 'the smallest possible is'], model, '-o', path('x.gguf'), '--size', '1KB')
        self.refused(['same file'], model, '-o', model, '--size', '1MB')
        self.refused(['same file'], model, '-o', path('x.gguf'), '--size', '20KB', '--save-state', model)
        data = read(model)
        write(path('unknown.gguf'), data.replace(b'blk.0.ffn_down.weight', b'blk.0.ffn_dawn.weight'))
        self.refused(['unknown.gguf', "unknown name 'blk.0.ffn_down'"], path('unknown.gguf'), '-o', path('x.gguf'), '--size', '1MB')
        self.refused(['No such file'], path('missing.gguf'), '-o', path('x.gguf'), '--size', '1MB')
        self.refused(['missing/x.gguf', 'No such file'], model, '-o', path('missing/x.gguf'), '--size', '1MB')

    def test_sizes(self):
        model = tiny('mini')
        for text, bytes in (('20000', 20000), ('20KB', 20000), ('20kB', 20000), ('20k', 20000), ('0.02mb', 20000), ('20KiB', 20480), ('20kib', 20480), ('0.02MiB', 20971)):
            self.assertIn('at most %d bytes' % bytes, compress(model, '-o', path('x.gguf'), '--size', text, '--dry-run')[1].decode())
        code, _, errors = compress(model, '-o', path('large.gguf'), '--size', '1MB')
        most = int(re.search(r'a target of 1000000 bytes is above the largest that is possible, about (\d+)', errors).group(1))
        self.assertTrue(0.98 < os.path.getsize(path('large.gguf')) / most < 1.02)
        self.assertIn('is above the largest', compress(model, '-o', path('x.gguf'), '--bpw', '16', '--dry-run')[2])
        self.assertIn('--ram of 1 bytes cannot be held: learning takes at least', compress(model, '-o', path('large.gguf'), '--size', '20KB', '--ram', '1')[2])

    # How much text there was, and how little was held out.
    def test_short_text(self):
        model, out = tiny('mini'), path('short.gguf')
        size = ['-o', out, '--size', '20KB']
        tokens = 'the built-in text has (\\d+) tokens, %d were asked for: '
        self.assertRegex(run('compress', model, *size, '--dry-run')[2], tokens % 65536)
        self.assertRegex(run('compress', model, *size, '--dry-run', '--quick', '--calib-tokens', '50000')[2], tokens % 50000)
        self.assertIn('10 tokens to learn from are less than a window', run('compress', model, *size, '--dry-run', '--calib-tokens', '10')[2])
        self.assertNotIn('asked for', compress(model, *size, '--dry-run')[2])
        self.assertIn('the built-in text is small', compress(model, *size, '--dry-run')[2])
        self.made('mini', 'short.gguf', '--size', '20KB')
        self.assertIn('+/-', self.line)
        write(path('few.txt'), b'abcdefgh ' * 24)
        few = ['--calib', path('few.txt')]
        one = self.made('mini', 'short.gguf', '--size', '20KB', *few)
        self.assertIn('tokens of one window: too few to know the error', self.line)
        self.assertNotIn('+/-', self.line)
        self.assertIsNone(json.loads(read(one + '.report.json'))['figures']['kl_error'])
        self.assertEqual(json.loads(read(self.made('mini', 'short.gguf', '--size', '20KB', '--quick') + '.report.json'))['figures']['tuned'], 'not tried')
        self.made('mini', 'short.gguf', '--curve', '20KB,21KB', *few)
        self.assertNotIn('+/-', self.line)
        self.assertEqual(run('compress', model, '-q', *size, '--calib-tokens', '12000')[1].count(b'+/-'), 1)

        write(path('words.txt'), b'abcdefgh ' * 8) # nothing is held out
        first = read(self.made('mini', 'short.gguf', '--size', '20KB', '--calib', path('words.txt'), '--save-state', path('short.state')))
        self.assertIn('not judged', self.line)
        self.assertEqual(read(self.made('mini', 'short.gguf', '--size', '20KB', '--state', path('short.state'))), first)
        self.assertEqual(compress(model, *size, '--state', path('short.state'), '--dry-run')[0], 0)

    def test_no_text(self):
        model = tiny('mini')
        for name, data, at in (('a.txt', b'ab \xff cd' * 300, 3), ('nul.txt', b'abc\0' * 300, 3), ('b.jsonl', b'{"text": "\xe9t\xe9"}\n', 10)):
            write(path(name), data)
            for option in ('--calib', '--task'):
                self.refused([name + ': byte %d: this is no text in UTF-8' % at], model, '-o', path('x.gguf'), '--size', '20KB', option, path(name))

    # All of these would be replaced, lost or found out too late.
    def test_names(self):
        model = tiny('mini')
        os.makedirs(path('folder.gguf'), exist_ok=True)
        if not os.path.exists(path('fifo')):
            os.mkfifo(path('fifo'))
        for name, words in (('fifo', 'not a regular file'), ('folder.gguf', 'it is a folder')):
            self.refused([name + ': the output cannot go there', words], model, '-o', path(name), '--size', '20KB')
            self.refused([name + ': the state that is saved cannot go there'], model, '-o', path('x.gguf'), '--size', '20KB', '--save-state', path(name))
        self.refused(['none/s: its folder: No such file'], model, '-o', path('x.gguf'), '--size', '20KB', '--save-state', path('none/s'))
        os.makedirs(path('y.gguf.curve.svg'), exist_ok=True)
        self.refused(['y.gguf.curve.svg: the picture cannot go there'], model, '-o', path('y.gguf'), '--curve', '20KB,21KB')
        write(path('text.txt'), b'Some words of a text to learn from. ' * 100)
        for state in ('x.gguf', 'folder.gguf/../x.gguf', 'x.gguf.report.json', 'text.txt'):
            self.refused([state, 'are the same file'], model, '-o', path('x.gguf'), '--size', '20KB', '--save-state', path(state), '--calib', path('text.txt'))
        self.refused(['a calibration text and the output are the same file'], model, '-o', path('text.txt'), '--size', '20KB', '--calib', path('text.txt'))
        self.assertTrue(os.path.exists(path('fifo')) and not os.path.isfile(path('fifo')))

    def test_one_at_a_time(self):
        arguments = ['compress', tiny('mini'), '-o', path('lock.gguf'), '--size', '20KB', '--calib-tokens', '1024']
        os.makedirs(path('lock.gguf.work'))
        with open(path('lock.gguf.work/lock'), 'w') as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            self.refused(['lock.gguf.work: another compression uses this folder'], *arguments[1:])
            self.assertEqual(os.listdir(path('lock.gguf.work')), ['lock'])
        self.assertEqual(run(*arguments)[0], 0)
        self.assertFalse(os.path.exists(path('lock.gguf.work')))
        with open(path('lock.state.part'), 'w') as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            self.refused(['lock.state: another process is writing it'], *arguments[1:], '--save-state', path('lock.state'))
            self.assertEqual(os.stat(path('lock.state.part')).st_ino, os.fstat(f.fileno()).st_ino)
        os.unlink(path('lock.state.part'))

    def test_most_divergence(self):
        smaller = 0
        for most in ('0.3', '0.05'):
            out = self.made('mini', 'kld.gguf', '--max-kld', most)
            meta = json.loads(run('inspect', out, '--json')[1])['metadata']
            self.assertLessEqual(meta['xq.kl_valid'], float(most))
            self.assertGreater(os.path.getsize(out), smaller)
            smaller = os.path.getsize(out)
            self.assertEqual(run('verify', out)[0], 0)
        code, text, errors = compress(tiny('mini'), '-o', path('kld.gguf'), '--max-kld', '0.3')
        self.assertIn('try 1: ', errors)
        out = self.made('llama', 'kld.gguf', '--max-kld', '0.2')
        kl = json.loads(run('inspect', out, '--json')[1])['metadata']['xq.kl_valid']
        self.assertTrue(0.15 < kl <= 0.2, kl)
        os.unlink(path('kld.gguf'))
        self.refused(['no size was found whose KL is at most 1e-09', 'the largest file has'], tiny('mini'), '-o', path('kld.gguf'), '--max-kld', '1e-9', '-q')

    def test_size_with_context(self):
        code, text, errors = compress(tiny('llama'), '-o', path('context.gguf'), '--size', '4.5MB', '-c', '64', '--device', 'cpu')
        self.assertEqual(code, 0, errors)
        parts = [int(n) for n in re.findall(r'(\d+) bytes', errors.split('\n')[0])] # all, file, cache, scratch
        self.assertEqual(parts[0], sum(parts[1:]))
        self.assertLessEqual(os.path.getsize(path('context.gguf')), parts[1])
        self.refused(['leave nothing for the file'], tiny('llama'), '-o', path('x.gguf'), '--size', '1KB', '-c', '64')
        self.refused(['-c goes with --size'], tiny('llama'), '-o', path('x.gguf'), '--bpw', '4', '-c', '64', code=2)
        code, text, errors = compress(tiny('llama'), '-o', path('context.gguf'), '--size', '300KB', '--device', 'cpu', '-q') # no context to count
        self.assertEqual((code, errors), (0, ''))

    def test_objectives(self):
        size = str(int(target_of('mini') * 1.4))
        write(path('task.jsonl'), b''.join(b'{"prompt": "Which of these is %d?", "choices": ["one", "two of them", "three"], "answer": %d}\n' % (i, i % 3) for i in range(40)))
        made = {}
        for name, args in (('kld', []), ('ppl', ['--objective', 'ppl']), ('task', ['--task', path('task.jsonl')])):
            made[name] = read(self.made('mini', name + '.gguf', '--size', size, *args))
            self.assertEqual(json.loads(run('inspect', path(name + '.gguf'), '--json')[1])['metadata']['xq.objective'], name)
        self.assertEqual(len(set(made.values())), 3)
        self.assertEqual(read(self.made('mini', 'task.gguf', '--size', size, '--task', path('task.jsonl'), '--save-state', path('task.state'), '-t', '1')), made['task'])
        self.assertEqual(read(self.made('mini', 'task.gguf', '--size', size, '--state', path('task.state'))), made['task'])
        self.assertEqual(read(self.made('mini', 'task.gguf', '--size', size, '--task', path('task.jsonl'), '--state', path('task.state'), '--calib-tokens', '1024')), made['task'])
        self.refused(['another --objective'], tiny('mini'), '-o', path('x.gguf'), '--size', size, '--state', path('task.state'), '--objective', 'kld')
        write(path('task.jsonl'), read(path('task.jsonl')).replace(b'Which', b'What'))
        self.refused(['another calibration text'], tiny('mini'), '-o', path('x.gguf'), '--size', size, '--state', path('task.state'), '--task', path('task.jsonl'))
        self.refused(['goes with --task'], tiny('mini'), '-o', path('x.gguf'), '--size', size, '--objective', 'task', code=2)
        self.refused(['in place of --calib'], tiny('mini'), '-o', path('x.gguf'), '--size', size, '--task', path('task.jsonl'), '--calib', path('task.jsonl'), code=2)
        write(path('short.jsonl'), b'{"prompt": "a", "answer": "b"}\n')
        self.refused(['a window needs'], tiny('mini'), '-o', path('x.gguf'), '--size', size, '--task', path('short.jsonl'))
        write(path('short.txt'), b'a b')
        self.refused(['a window needs'], tiny('mini'), '-o', path('x.gguf'), '--size', size, '--calib', path('short.txt'))

    def test_questions_as_eval_reads_them(self):
        size = str(int(target_of('mini') * 1.4))
        texts = ['Which hat is that of number %d? (A) the (B) his (C) an\nAnswer: %s' % (i, 'ABC'[i % 3]) for i in range(60)]
        for name, lines in (('text', [{'id': 1, 'text': t} for t in texts]), ('prompt', [{'prompt': t[:-2], 'answer': t[-1]} for t in texts]),
                            ('long', [{'text': 'the hat on it ' * 300 + t} for t in texts])):
            write(path('lines.jsonl'), ''.join(json.dumps(line) + '\n' for line in lines).encode())
            self.made('mini', 'task-%s.gguf' % name, '--size', size, '--task', path('lines.jsonl')) # of questions longer than a window the end is kept
        self.assertEqual(read(path('task-text.gguf')), read(path('task-prompt.gguf')))
        write(path('lines.jsonl'), b'{"text": "no answer"}\n')
        self.refused(['lines.jsonl: line 1: the text does not end in "Answer: X"'], tiny('mini'), '-o', path('x.gguf'), '--size', size, '--task', path('lines.jsonl'))

    def test_dry_run(self):
        least = target_of('llama')
        before = set(os.listdir(FOLDER.name))
        for more in ([], ['--ram', '1MB']):
            code, text, errors = compress(tiny('llama'), '-o', path('dry.gguf'), '--size', '300KB', '--dry-run', *more)
            self.assertEqual(code, 0, errors)
            for word in ('possible sizes: %d bytes' % least, 'at most 300000 bytes, 1.763 bits', 'learn ', 'measure ', 'round ', 'judge ', 'total ', 'memory: about', 'disk: about'):
                self.assertIn(word, text.decode())
        self.assertIn('passes over them', text.decode())
        for args, word in ((['--max-kld', '0.1'], 'KL is at most 0.1'), (['--method', 'rtn', '--bits', '3'], '3 bits for all'), (['--curve', '300KB,400KB'], 'dry-400KB.gguf: at most 400000')):
            self.assertIn(word, compress(tiny('llama'), '-o', path('dry.gguf'), '--dry-run', *args)[1].decode())
        self.assertEqual(set(os.listdir(FOLDER.name)), before)
        self.refused(['too small', 'the smallest possible is'], tiny('llama'), '-o', path('x.gguf'), '--size', '1KB', '--dry-run')

    def test_not_a_number(self):
        data = bytearray(read(tiny('mini')))
        listing = json.loads(run('inspect', tiny('mini'), '--tensors', '--json')[1])
        tensor = [t for t in listing['tensors'] if t['name'] == 'blk.0.ffn_down.weight'][0]
        struct.pack_into('<f', data, tensor['offset'] + 4 * 37, float('nan'))
        write(path('nan.gguf'), data)
        self.refused(["'blk.0.ffn_down.weight', row 1: a weight is not a finite number"], path('nan.gguf'), '-o', path('x.gguf'), '--size', '1MB')
        for bad in (float('nan'), float('inf')): # a tensor that is copied
            data = bytearray(read(tiny('mini')))
            tensor = [t for t in listing['tensors'] if t['name'] == 'blk.0.ffn_norm.weight'][0]
            struct.pack_into('<f', data, tensor['offset'] + 4 * 5, bad)
            write(path('nan.gguf'), data)
            self.refused(["'blk.0.ffn_norm.weight', row 0: a weight is not a finite number"], path('nan.gguf'), '-o', path('x.gguf'), '--size', '1MB')
        struct.pack_into('<f', data, tensor['offset'] + 4 * 5, 3e38) # finite, but what is computed with it is not
        write(path('nan.gguf'), data)
        self.refused(['the loss of the original on the calibration text is not a finite number'], path('nan.gguf'), '-o', path('x.gguf'), '--size', '1MB', '-q')


if __name__ == '__main__':
    unittest.main()
