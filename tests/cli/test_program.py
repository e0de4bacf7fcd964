#!/usr/bin/env python3
"""The program without computing: help, exit codes, options, environment, man page, completions, and the verbs that only read a file.

    BITLOOM=build/tools/bitloom tests/cli/test_program.py"""
import json
import os
import re
import shutil
import subprocess
import unittest

from support import BITLOOM, VERBS, Case, path, run, tiny


class Help(Case):
    def test_help_of_every_verb(self):
        for verb in VERBS:
            for flag in ('--help', '-h'):
                out, err = self.ok(verb, flag)
                self.assertTrue(out.startswith(b'usage: bitloom %s' % verb.encode()), out)
                self.assertEqual(err, '')
            self.assertEqual(self.ok('help', verb)[0], out)

    def test_help_speaks_of_its_own_verb(self):
        own = {'run': ['made for (default: that'], 'compress': ['the compressed model', '--size holds for'], 'eval': ['tokens of a window', '-1 or 0: all'], 'bench': ['as SVG', 'room is reserved']}
        shown = {verb: self.ok(verb, '--help')[0].decode() for verb in VERBS}
        man = self.ok('man')[0].decode().replace('\\-', '-')
        for verb, all_words in own.items():
            for words in all_words:
                self.assertIn(words, shown[verb])
                self.assertIn(words, man)
                for other in set(own) - {verb} - ({'eval'} if verb == 'run' else set()):
                    self.assertNotIn(words, shown[other], other)
        self.assertRegex(man, r'compress: the compressed model; bench: with --bits: ')
        for option in ('--size', '--curve', '--bpw', '--max-kld', '--method'):
            self.assertIn(option, shown['compress'].split('\n')[0])

    def test_overview_lists_every_verb(self):
        for args in (['help'], ['--help'], ['-h']):
            out = self.ok(*args)[0].decode()
            self.assertEqual(re.findall(r'^  (\w+) ', out, re.M), VERBS)

    def test_version(self):
        for args in (['version'], ['--version']):
            self.assertRegex(self.ok(*args)[0].decode(), r'^bitloom \d+\.\d+\.\d+\n$')

    def test_nothing_at_all_is_usage(self):
        code, out, err = run()
        self.assertEqual((code, out), (2, b''))
        self.assertIn('usage: bitloom VERB', err)

    def test_unknown_words(self):
        self.refused(2, "unknown verb 'frobnicate'", 'frobnicate')
        self.refused(2, "unknown verb '--frob'", '--frob')
        self.refused(2, "unknown verb 'frob'", 'help', 'frob')
        for verb in VERBS[:7]:
            self.refused(2, 'unknown argument --frob', verb, '--frob')
        self.refused(2, 'unknown argument --dot', 'run', '--dot')
        for verb in ('version', 'man'):
            self.refused(2, "unknown argument 'frob'", verb, 'frob')

    def test_wrong_values(self):
        for args, words in ((['-n', 'x'], '-n x: must be a whole number in -2..2147483647'), (['--temp', '1x'], '--temp 1x: must be a number in 0..1000'),
                            (['--top-p', '3'], '--top-p 3: must be in 0..1'), (['--temp=nan'], '--temp nan: must be a number'),
                            (['--temp'], '--temp needs a value'), (['--quiet=1'], '--quiet=1 takes no value'),
                            (['--stop', ''], "--stop '': must be not empty"), (['-ctk', 'q8_0'], '--cache-type-k q8_0: not yet'),
                            (['-ctk', 'q9'], '--cache-type-k q9: must be f16 or f32'), (['-ctv', 'f32'], 'must be the same as --cache-type-v f32'),
                            (['-ngl', '-2'], '-ngl -2'), (['-ngl', 'most'], 'auto or all'),
                            (['--fit', '1'], 'must be on or off'),
                            (['--schedule', 'zigzag'], 'must be auto, serial, grouped, streams or grouped-streams'),
                            (['--logit-bias', '12'], '--logit-bias 12: must be ID+X or ID-X'), (['--cpu-mask', 'zz'], 'zz'), (['-f', 'x'], '-p or -f'),
                            (['-n', '1\n2'], "'1\\x0a2'"), (['--', '-p'], 'unknown argument -p'), (['other.gguf'], 'unknown argument other.gguf')):
            self.refused(2, words, 'run', tiny('llama'), '-p', 'x', *args)
        self.refused(2, 'no model', 'run', '-p', 'x')
        for verb in ('inspect', 'verify', 'tokenize', 'graph'):
            self.refused(2, 'no model', verb)
        self.refused(2, 'one of --json, --dot, --stats', 'graph', tiny('llama'), '--json', '--dot')
        self.refused(2, 'expected bash, zsh or fish', 'completion', 'tcsh')
        for device, words in (('cpu,,cpu', 'a name of 0 bytes'), ('cpu,auto', 'auto stands alone'), ('null:1', 'null has no device 1'),
                              ('cpu,vulkan:63', 'vulkan'), (','.join(['cpu'] * 17), 'more than 16'), ('null', 'device null cannot compute this: it has no kernel embed_q8_0_f32\n')):
            self.refused(1, words, 'run', tiny('llama'), '-p', 'x', '--device', device)
        self.refused(1, 'nowhere', 'run', tiny('llama'), '-p', 'x', '--device', 'nowhere')

    def test_every_limit_of_the_help(self):
        """One past each end, not a number, empty, huge: exit 2 and one line, and no model is opened for it (there is none)."""
        limits = {}
        for verb in ('run', 'chat', 'devices', 'graph'):
            shown = re.sub(r'\n {30,}', '  ', self.ok(verb, '--help')[0].decode())
            for names, limit in re.findall(r'^  (-\S.*?)  .*\[([^\]]+)\]$', shown, re.M):
                for name in re.findall(r'(?<!\S)--?[a-z][a-z-]*', names):
                    limits[verb, name] = limit
        self.assertGreater(len(limits), 40)
        for (verb, name), limit in limits.items():
            numbers = re.fullmatch(r'(-?[\d.]+?)\.\.([\d.]*)', limit)
            bad = ['x', '', '1e', '99999999999999999999999', '-99999999999999999999999', 'nan', 'inf']
            if numbers:
                low, high = numbers.groups()
                bad += [str(float(low) - 1) if '.' in low else str(int(low) - 1)] + ([str(int(high) + 1)] if high else [])
            for value in bad:
                self.refused(2, [name, 'must be'], verb, name, value)
            self.refused(2, name + ' needs a value', verb, name)

    def test_other_names_of_options(self):
        base = ['run', tiny('llama'), '-p', 'the', '-s', '5', '--special', '--ignore-eos', '-q']
        want = self.ok(*base, '-n', '8', '--temp', '0.5')[0]
        for more in (['--predict', '8', '--temp', '0.5'], ['--n-predict', '8', '--temperature', '0.5'], ['-n', '8', '--temp=0.5', '-e', '--mmap'],
                     ['-n', '8', '--temp', '0.5', '-ctk', 'f16', '-ctv', 'f16', '-t', '-1', '-c', '0']):
            self.assertEqual(self.ok(*base, *more)[0], want, more)
        self.assertEqual(self.ok('run', '-p', 'the', '-s', '5', '--special', '--ignore-eos', '-q', '-n', '8', '--temp', '0.5', '--', tiny('llama'))[0], want)
        self.assertEqual(self.ok(*base, '-n', '8', '--temp', '0.5', '--reverse-prompt', 'never there')[0], want)
        self.ok(*base, '-n', '1', '--cache-type-k', 'f32', '--cache-type-v', 'f32')


class Environment(Case):
    def test_option_from_environment(self):
        self.assertEqual(self.ok('run', '-p', 'the', '-q', env={'BITLOOM_ARG_MODEL': tiny('llama'), 'BITLOOM_ARG_PREDICT': '0'})[0], b'')
        self.refused(2, 'BITLOOM_ARG_PREDICT', 'run', tiny('llama'), '-p', 'x', env={'BITLOOM_ARG_PREDICT': 'many'})

    def test_option_beats_environment(self):
        args = ['run', tiny('llama'), '-p', 'the', '-n', '8', '-s', '5', '--special', '--ignore-eos', '-q']
        five = self.ok(*args)[0]
        self.assertEqual(self.ok(*args, env={'BITLOOM_ARG_SEED': '9'})[0], five)
        self.assertNotEqual(self.ok(*[a for a in args if a not in ('-s', '5')], env={'BITLOOM_ARG_SEED': '9'})[0], five)
        self.refused(1, path('absent'), 'run', '-m', path('absent'), '-p', 'x', env={'BITLOOM_ARG_MODEL': tiny('llama')})

    def test_flags_from_environment(self):
        for value, is_json in (('1', True), ('on', True), ('0', False), ('off', False), ('', False)):
            out = self.ok('devices', env={'BITLOOM_ARG_JSON': value})[0]
            self.assertEqual(out.startswith(b'['), is_json, value)
        self.refused(2, 'BITLOOM_ARG_JSON banana: must be 1, on, true', 'devices', env={'BITLOOM_ARG_JSON': 'banana'})
        for name, value in (('NO_MMAP', 'banana'), ('MMAP', '2'), ('TOP_P', '3'), ('N_PREDICT', '-3'), ('SCHEDULE', 'foo')):
            self.refused(2, 'BITLOOM_ARG_' + name, 'run', 'absent', env={'BITLOOM_ARG_' + name: value})


class Printed(Case):
    def test_man_page(self):
        with open(path('bitloom.1'), 'wb') as f:
            f.write(self.ok('man')[0])
        if shutil.which('mandoc'):
            lint = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', path('bitloom.1')], capture_output=True, text=True).stdout
            self.assertEqual([line for line in lint.splitlines() if 'missing date' not in line], [])
            shown = subprocess.run(['mandoc', '-T', 'utf8', path('bitloom.1')], capture_output=True, text=True).stdout
        elif shutil.which('groff'):
            done = subprocess.run(['groff', '-man', '-ww', '-Tutf8', path('bitloom.1')], capture_output=True, text=True)
            self.assertEqual(done.stderr, '')
            shown = done.stdout
        else:
            self.skipTest('neither mandoc nor groff')
        shown = re.sub('.\b', '', shown)
        for word in ['--top-k', '--cache-type', 'EXIT STATUS', 'BITLOOM_ARG_TOP_K']:
            self.assertIn(word, shown.replace('\u2010', '-'))

    def test_man_page_has_every_option_of_the_help(self):
        man = self.ok('man')[0].decode().replace('\\-', '-')
        for verb in VERBS[:7]:
            for name in re.findall(r'--[a-z][a-z-]*', self.ok(verb, '--help')[0].decode()):
                if name != '--help':
                    self.assertIn(name, man)

    def test_completion_scripts(self):
        for shell, check in (('bash', ['bash', '-n']), ('zsh', ['zsh', '-n']), ('fish', ['fish', '-n'])):
            out = self.ok('completion', shell)[0]
            self.assertIn(b'tokenize', out)
            self.assertIn(b'top-k', out)
            with open(path('completion'), 'wb') as f:
                f.write(out)
            if shutil.which(shell):
                self.assertEqual(subprocess.run(check + [path('completion')], capture_output=True).stderr, b'')

    def test_bash_completes(self):
        script = 'source <("$1" completion bash); COMP_WORDS=(bitloom "$2" "$3"); COMP_CWORD=$4; _bitloom; echo "${COMPREPLY[*]}"'

        def complete(first, second, at):
            return subprocess.run(['bash', '-c', script, 'x', BITLOOM, first, second, str(at)], capture_output=True, text=True).stdout.split()
        self.assertEqual(complete('tok', '', 1), ['tokenize'])
        self.assertEqual(complete('run', '--top', 2), ['--top-k', '--top-p'])
        self.assertEqual(complete('graph', '--d', 2), ['--dot'])


class Files(Case):
    def test_graph_forms(self):
        model = tiny('llama')
        doc = json.loads(self.ok('graph', model, '--json')[0])
        self.assertEqual(doc['schedule'], 'grouped-streams')
        self.assertEqual(doc['params']['n_layer'], 2)
        self.assertEqual([launch['id'] for launch in doc['launches']], list(range(len(doc['launches']))))
        dot = self.ok('graph', model, '--dot')[0].decode()
        self.assertTrue(dot.startswith('digraph bitloom {') and dot.rstrip().endswith('}'))
        self.assertEqual(self.ok('graph', model, '--dot', '--schedule', 'serial')[0].count(b' [label="'), 27)
        if shutil.which('dot'):
            self.assertEqual(subprocess.run(['dot', '-Tcanon'], input=dot.encode(), capture_output=True).returncode, 0)
        for kind in ('serial', 'grouped', 'streams', 'grouped-streams'):
            doc = json.loads(self.ok('graph', model, '--json', '--schedule', kind)[0])
            self.assertEqual(doc['schedule'], kind)
        self.assertTrue(self.ok('graph', model)[0])

    def test_attention_block_has_five_steps(self):
        stats = self.ok('graph', tiny('llama'), '--stats')[0].decode()
        steps = re.findall(r'^(\S+) .*launches, (\d+) steps', stats, re.M)
        self.assertEqual(steps[:4], [('serial', '6'), ('grouped', '4'), ('streams', '4'), ('grouped-streams', '4')])
        self.assertEqual(steps[4:], [('serial', '9'), ('grouped', '7'), ('streams', '5'), ('grouped-streams', '5')]) # as the text has it

    def test_graph_text_from_a_file(self):
        with open(path('broken.graph'), 'w') as f:
            f.write('x = embed(tokens, token_embd)\ny = frobnicate(x)\nlogits = y\n')
        for verb in ('graph', 'run'):
            self.refused(1, ['broken.graph:2', 'frobnicate'], verb, tiny('llama'), '--graph', path('broken.graph'), *(['-p', 'x'] if verb == 'run' else []))
        with open(path('short.graph'), 'w') as f:
            f.write('param context = 64\nx = embed(tokens, token_embd)\nlogits = linear(select(x, outputs), output)\n')
        self.refused(1, 'blk.0', 'graph', tiny('llama'), '--graph', path('short.graph'))
        self.assertIn(b'embed', self.ok('graph', tiny('llama'), '--graph', path('short.graph'), '--allow-unused')[0])
        self.refused(1, 'cannot open', 'graph', tiny('llama'), '--graph', path('absent.graph'))

    def test_inspect(self):
        doc = json.loads(self.ok('inspect', tiny('llama'), '--json', '--tensors')[0])
        self.assertEqual(doc['metadata']['general.architecture'], 'llama')
        self.assertEqual(doc['tensor_count'], len(doc['tensors']))
        self.assertEqual(doc['bytes'], os.path.getsize(tiny('llama')))
        self.assertIn(b'llama.block_count', self.ok('inspect', tiny('llama'))[0])

    def test_verify(self):
        self.assertEqual(self.ok('verify', tiny('llama'))[0].decode(), tiny('llama') + ': ok\n')
        with open(tiny('llama'), 'rb') as f:
            data = f.read()
        with open(path('cut.gguf'), 'wb') as f:
            f.write(data[:-1000])
        code, _, err = run('verify', path('cut.gguf'))
        self.assertEqual(code, 1)
        self.assertIn('cut.gguf', err)
        self.assertIn('the file ends: cut short', err)

    def test_verify_says_whether_it_would_run(self):
        for was, now, word in ((b'blk.0.ffn_up.weight', b'blk.0.ffn_UP.weight', 'blk.0.ffn_up'),
                               (b'blk.1.attn_norm.weight', b'blk.1.attn_NORM.weight', "'blk.1.attn_norm'"), (b'llama', b'lamma', 'lamma'),
                               (b'llama.block_count', b'llama.block_COUNT', 'block_count')):
            with open(tiny('llama'), 'rb') as f:
                data = f.read()
            self.assertIn(was, data)
            with open(path('norun.gguf'), 'wb') as f:
                f.write(data.replace(was, now))
            code, out, err = run('verify', path('norun.gguf'))
            self.assertEqual(code, 1)
            self.assertEqual(len(out.splitlines()), 1, out)
            self.assertIn(word, out.decode())
            self.assertTrue(err.endswith('norun.gguf: 1 finding\n'), err)

    def test_tokenize_round_trip(self):
        models = [tiny('llama')] + [m for m in (os.environ.get('BITLOOM_TEST_MODEL'), os.environ.get('BITLOOM_TEST_MODEL_GEMMA')) if m]
        for model in models:
            for text in (b'the end', b'in the beginning, 12345 of it\n\n  two', 'h\u00e9llo \u65e5\u672c \U0001f600'.encode(), b''):
                ids = self.ok('tokenize', model, '--no-bos', stdin=text)[0]
                self.assertRegex(ids.decode(), r'^(\d+(,\d+)*)?\n$')
                self.assertEqual(self.ok('tokenize', model, '--decode', stdin=ids)[0], text, model)
            with open(path('text'), 'wb') as f:
                f.write(text)
            self.assertEqual(self.ok('tokenize', model, '--no-bos', '-f', path('text'))[0], ids)
        self.refused(1, 'x: must be a token id, 0 to ', 'tokenize', tiny('llama'), '--decode', stdin=b'x')
        self.refused(1, 'x\\x1b2', 'tokenize', tiny('llama'), '--decode', stdin=b'x\x1b2\n3')
        self.assertIn(b'</s>', self.ok('tokenize', tiny('llama'), '--decode', stdin=b'2')[0])
        self.refused(1, '999999', 'tokenize', tiny('llama'), '--decode', stdin=b'999999')

    def test_devices(self):
        doc = json.loads(self.ok('devices', '--json')[0])
        cpu = [d for d in doc if d['id'] == 'cpu'][0]
        self.assertGreater(cpu['threads'], 0)
        self.assertLessEqual(cpu['free_bytes'], cpu['total_bytes'])
        self.assertIn(b'cpu', self.ok('devices')[0])
        self.assertEqual([d['auto'] for d in doc].count(True), 1)
        best = [d for d in doc if d['auto']][0]
        self.assertEqual(best['score'], max(d['score'] for d in doc if 'missing' not in d))
        self.assertTrue(best['auto_why'])
        self.assertIn('auto takes %s: ' % best['id'], self.ok('devices')[0].decode())
        for d in json.loads(self.ok('devices', '--json', '--probe')[0]):
            self.assertEqual(d.get('copy_gb_per_s', 0) > 0, d['score'] > 0 and 'missing' not in d, d)
            self.assertEqual(d.get('submit_us', 0) > 0, 'copy_gb_per_s' in d, d)
            if d['id'] == 'cpu':
                self.assertGreater(d['matvec_gb_per_s'], 0)
        self.assertEqual([d['id'] for d in json.loads(self.ok('devices', '--json', '--device', 'cpu')[0])], ['cpu'])
        code, _, err = run('devices', '--device', 'nowhere')
        self.assertEqual((code, 'nowhere' in err), (1, True))
        self.assertEqual([d for d in json.loads(self.ok('devices', '--json', '-t', '3')[0]) if d['id'] == 'cpu'][0]['threads'], 3)


if __name__ == '__main__':
    unittest.main()
