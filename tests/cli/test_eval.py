#!/usr/bin/env python3
"""test_eval.py: bitloom eval on tiny models: a model is as good as itself, sharing of prefixes changes no answer, the figures of a text do not depend on
who asks; and what bad files are answered.

    BITLOOM=build/tools/bitloom tests/cli/test_eval.py"""
import json
import math
import random
import struct
import unittest

from support import Case, path, run_on_terminal, tiny

WORDS = 'the she was there on it and a hat in an ant is he to tea thin other rest east'.split()


def words(rng, n):
    return ' '.join(rng.choice(WORDS) for _ in range(n))


def write(name, data):
    with open(path(name), 'wb') as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    return path(name)


def endings(rng):
    return '\n'.join([words(rng, 9), str(rng.randrange(4))] + [words(rng, rng.randint(1, 12)) for _ in range(4)]) + '\n'


def question(rng, before='', labels='ABCD'):
    marks = ' '.join('(%s) %s' % (c, words(rng, 2)) for c in labels)
    return json.dumps({'id': 1, 'text': '%s%s? %s\nAnswer: %s' % (before, words(rng, 5), marks, rng.choice(labels))}) + '\n'


class Eval(Case):
    def figures(self, *args, model='llama'):
        return json.loads(self.ok('eval', '-m', tiny(model), '--json', '-q', *args)[0])

    def test_a_model_is_as_good_as_itself(self):
        rng = random.Random(1)
        files = {'--hellaswag': write('h', ''.join(endings(rng) for _ in range(12))), '--arc': write('a', ''.join(question(rng, '', 'ABC') for _ in range(12))),
                 '--mmlu': write('m', ''.join(question(rng, 'About hats.\n\n') for _ in range(12)))}
        for option, file in files.items():
            j = self.figures(option, file, '--against', tiny('llama'), '--activations', 'f32')
            self.assertEqual((j['tasks'], j['kind'], j['p'], j['mcnemar']), (12, option[2:], 1, 'exact'))
            self.assertEqual((j['accuracy'], j['accuracy_error']), (j['against_accuracy'], j['against_accuracy_error']))
            self.assertEqual((j['both'] + j['neither'], j['only_model'], j['only_against']), (12, 0, 0))
            self.assertAlmostEqual(j['accuracy'], j['both'] / 12)
            self.assertAlmostEqual(j['accuracy_error'], math.sqrt(j['accuracy'] * (1 - j['accuracy']) / 11), 6)
            self.assertEqual(self.figures(option, file, '--tasks', '5')['tasks'], 5)
        out, err = self.ok('eval', '-m', tiny('llama'), '--arc', files['--arc'], '--against', tiny('qwen3'))
        for line in (b'Accuracy  ', b'Accuracy of the other', b'Right alone', b'McNemar'):
            self.assertIn(line, out)
        self.assertIn('tasks/s', err)

    def test_sharing_changes_no_answer(self):
        rng = random.Random(2)
        for option, tasks in (('--hellaswag', [endings(rng) for _ in range(8)]), ('--mmlu', [question(rng, 'The one thing is the other thing.\n\n') for _ in range(8)])):
            alone = [self.figures(option, write('one', t), model='gemma3') for t in tasks]
            together = self.figures(option, write('all', ''.join(tasks)), model='gemma3')
            self.assertAlmostEqual(together['accuracy'], sum(j['accuracy'] for j in alone) / 8)
            self.assertLess(together['n_tokens'], sum(j['n_tokens'] for j in alone))
            again = self.figures(option, write('all', ''.join(tasks[::-1])), '-t', '1', model='gemma3')
            self.assertEqual(again['accuracy'], together['accuracy'])

    def test_choices_of_their_own(self):
        """The same questions with the labels as choices give the same answers; choices of several words do as endings do."""
        rng = random.Random(10)
        asked = [question(rng) for _ in range(10)]
        texts = [json.loads(q)['text'] for q in asked]
        as_choices = [json.dumps({'prompt': t[:-2], 'choices': list('ABCD'), 'answer': t[-1] if i % 2 else 'ABCD'.index(t[-1])}) + '\n' for i, t in enumerate(texts)]
        for option in ('--arc', '--mmlu'):
            j, k = (self.figures(option, write('tasks', ''.join(lines))) for lines in (asked, as_choices))
            self.assertEqual((j['accuracy'], j['tasks'], j['n_tokens']), (k['accuracy'], k['tasks'], k['n_tokens']))
        tasks = [endings(rng) for _ in range(10)]
        lines = [t.split('\n') for t in tasks]
        same = ''.join(json.dumps({'prompt': t[0], 'answer': int(t[1]), 'choices': t[2:6]}) + '\n' for t in lines)
        j, k = self.figures('--hellaswag', write('h', ''.join(tasks))), self.figures('--arc', write('tasks', same))
        self.assertEqual((j['accuracy'], j['n_tokens']), (k['accuracy'], k['n_tokens']))
        for line, said in (({'prompt': 'a', 'answer': 'bear'}, 'no "choices"'), ({'prompt': 'a', 'answer': 0, 'choices': ['b']}, '1 choices, must be 2 to 8'),
                           ({'prompt': 'a', 'answer': 2, 'choices': ['b', 'c']}, 'none of the choices'), ({'prompt': 'a', 'answer': 0, 'choices': ['b', '']}, 'an empty choice')):
            self.refused(1, ['tasks', 'line 2: ', said], 'eval', '-m', tiny('llama'), '--arc', write('tasks', as_choices[0] + json.dumps(line) + '\n'), '-q')

    def test_long_prompts_lose_their_front(self):
        rng = random.Random(3)
        file = write('long', question(rng, 'x ' * 900) + question(rng) + question(rng, 'y ' * 900))
        j = self.figures('--mmlu', file, '-c', '256')
        self.assertEqual((j['tasks'], j['cut']), (3, 2))
        self.assertLessEqual(j['n_tokens'], 3 * 256)
        self.refused(1, ['long', 'line 1', 'context of 16'], 'eval', '-m', tiny('llama'), '--hellaswag', write('long', 'a\n0\n' + ('the ' * 90 + '\n') * 3 + 'b\n'), '-c', '16', '-q')

    def test_texts(self):
        rng = random.Random(4)
        text = words(rng, 300)
        one = self.figures('--ppl', write('t.txt', text), '-c', '64', '--chunks', '1')
        lines = [json.dumps({'text': t}) + '\n' for t in (text, 'short', words(rng, 300), words(rng, 300))]
        both = [self.figures('--ppl-c4', write('t.jsonl', ''.join(lines[:n])), '-c', '64') for n in (2, 4)]
        self.assertEqual((both[0]['texts'], both[0]['too_short'], both[1]['texts']), (1, 1, 3))
        self.assertEqual(both[0]['ppl_c4'], one['ppl'])
        self.assertEqual(self.figures('--ppl-c4', path('t.jsonl'), '-c', '64', '--chunks', '1')['ppl_c4'], one['ppl'])
        each = [self.figures('--ppl-c4', write('t1.jsonl', lines[i]), '-c', '64')['ppl_c4'] for i in (0, 2, 3)]
        mean = sum(each) / 3
        self.assertAlmostEqual(both[1]['ppl_c4'] / mean, 1, 7)
        self.assertAlmostEqual(both[1]['ppl_c4_error'] / math.sqrt(sum((x - mean) ** 2 for x in each) / 2 / 3), 1, 4)
        self.refused(1, ['none of 1 texts', '64 tokens'], 'eval', '-m', tiny('llama'), '--ppl-c4', write('t.jsonl', lines[1]), '-c', '64', '-q')

    def test_windows_longer_than_a_piece(self):
        """The model is not made for such windows, but they add up: what is scored does not depend on how they are cut."""
        text = write('long.txt', words(random.Random(8), 3000))
        args = ['--ppl', text, '-c', '1100', '--chunks', '1', '--activations', 'f32']
        one = self.figures(*args)
        self.assertEqual((one['windows'], one['n_tokens']), (1, 549))
        both = self.figures('--kld', tiny('llama'), '-f', text, *args[2:])
        self.assertEqual((both['ppl'], both['base_ppl'], both['mean_kld'], both['same_top']), (one['ppl'], one['ppl'], 0, 1))
        code, out, shown = run_on_terminal(['eval', '-m', tiny('llama'), *args])
        self.assertEqual(code, 0, shown)
        for part in (b'window 0.47 of 1', b'window 0.93 of 1', b'window 1 of 1: perplexity'):
            self.assertIn(part, shown)

    def test_activations_are_named(self):
        rng = random.Random(9)
        text, arc, many = write('act.txt', words(rng, 300)), write('act', question(rng) * 2), write('act.jsonl', json.dumps({'text': words(rng, 200)}) + '\n')
        for args in (['--ppl', text, '-c', '64'], ['--kld', tiny('llama'), '-f', text, '-c', '64'], ['--arc', arc], ['--arc', arc, '--against', tiny('llama')], ['--ppl-c4', many, '-c', '64']):
            other = [k for k in ('--kld', '--against') if k in args]
            for given in ([], ['--activations', 'q8'], ['--activations', 'f32']):
                own = given[-1] if given else 'q8'
                j = self.figures(*args, *given)
                self.assertEqual(j['activations'], own)
                said = self.ok('eval', '-m', tiny('llama'), '-q', *args, *given)[0].decode()
                self.assertRegex(said, r'Activations +: ' + own)
                if other:
                    self.assertEqual(j['base_activations' if other == ['--kld'] else 'against_activations'], given[-1] if given else 'f32')
                    self.assertIn('of the other model ' + (given[-1] if given else 'f32'), said)

    def base(self, ids, window=32, vocabulary=352, windows=2, scale=0.0):
        """A file of llama-perplexity's: every token equally likely."""
        scored = window - 1 - window // 2
        row = struct.pack('<ff', scale, -math.log(vocabulary)) + bytes(2 * ((vocabulary + 1) // 2 * 2))
        return b'_logits_' + struct.pack('<Iii', window, vocabulary, windows) + struct.pack('<%di' % len(ids), *ids) + row * (scored * windows)

    def test_base_file(self):
        text = words(random.Random(5), 100)
        out, _ = self.ok('tokenize', '-m', tiny('llama'), '-f', write('b.txt', text))
        ids = [int(i) for i in out.split(b'[')[-1].replace(b']', b'').replace(b',', b' ').split()][:64]
        self.assertEqual(len(ids), 64)
        good = self.base(ids)
        j = self.figures('--kl-divergence-base', write('base', good))
        plain = self.figures('--ppl', path('b.txt'), '-c', '32', '--chunks', '2')
        self.assertEqual((j['ppl'], j['windows'], j['n_tokens']), (plain['ppl'], 2, 30))
        self.assertAlmostEqual(j['base_ppl'], 352, 2)
        self.assertGreater(j['mean_kld'], 0)
        self.assertEqual(self.figures('--kl-divergence-base', path('base'), '--chunks', '1')['n_tokens'], 15)
        self.assertIn(b'99.9%', self.ok('eval', '-m', tiny('llama'), '--kl-divergence-base', path('base'))[0])
        bad = [('magic', b'_Logits_' + good[8:]), ('offset 8', good[:10]), ('do not make', good[:-1]), ('do not make', good + b'x'), ('offset 16', good[:18]),
               ('file is empty', b''), ('offset 8: tokens of a window is 0', good[:8] + bytes(4) + good[12:]),
               ('vocabulary is -1', good[:12] + b'\xff' * 4 + good[16:]), ('do not make', good[:16] + b'\xff\xff\xff\x7f' + good[20:]),
               ('offset 24: token is 352', self.base(ids[:1] + [352] + ids[2:])), ('offset 276: scale', self.base(ids, scale=math.inf)),
               ('offset 12: vocabulary is 350', self.base([3] * 64, vocabulary=350))]
        for words_of_error, data in bad:
            self.refused(1, ['bad', words_of_error], 'eval', '-m', tiny('llama'), '--kl-divergence-base', write('bad', data), '-q')
        for n in range(0, len(good), 997):
            self.refused(1, 'bad', 'eval', '-m', tiny('llama'), '--kl-divergence-base', write('bad', good[:n]), '-q')

    def test_bad_tasks(self):
        rng = random.Random(6)
        good, wrong = question(rng), lambda text: json.dumps({'text': text}) + '\n'
        for option, data, said in (
                ('--arc', '', 'no line'), ('--arc', '\n \n', 'no line'), ('--hellaswag', '', 'empty'), ('--ppl-c4', '', 'no line'),
                ('--arc', good + good + 'not json\n', 'line 3'), ('--arc', good + '{"id": 4}\n', 'line 2: no string "text"'),
                ('--arc', good + '\n{"text": "unfinished\n', 'line 3'), ('--mmlu', good + '[]\n', 'line 2'),
                ('--arc', good + wrong('one (A) a (B) b\nAnswer: C'), "line 2: the answer is 'C', must be A to B"),
                ('--mmlu', good + wrong('one\nAnswer: E'), "line 2: the answer is 'E', must be A to D"),
                ('--mmlu', wrong('one\nAnswer: 1'), "line 1: the answer is '1'"),
                ('--arc', wrong('one (A) a\nAnswer: A'), 'line 1: no choices'), ('--mmlu', wrong('one\nAnswer:'), 'line 1: the text does not end in'),
                ('--mmlu', wrong(''), 'line 1: the text does not end in'), ('--hellaswag', 'a\n1\nb\nc\nd\n', 'line 5: the file ends inside'),
                ('--hellaswag', endings(rng) + 'a\n4\nb\nc\nd\ne\n', "line 8: the right ending is '4', must be 0 to 3"),
                ('--hellaswag', '\n0\nb\nc\nd\ne\n', 'line 1: a task without a beginning')):
            self.refused(1, ['tasks', said], 'eval', '-m', tiny('llama'), option, write('tasks', data), '-q')

    def test_command_line(self):
        file = write('tasks', question(random.Random(7)))
        self.refused(2, 'give a model and one of', 'eval', '-m', tiny('llama'))
        self.refused(2, '--arc and --mmlu: only one', 'eval', '-m', tiny('llama'), '--arc', file, '--mmlu', file)
        self.refused(2, '--ppl and --arc: only one', 'eval', '-m', tiny('llama'), '--ppl', file, '--arc', file)
        self.refused(2, '--kld needs a text', 'eval', '-m', tiny('llama'), '--kld', tiny('llama'))
        self.refused(2, '--against and --tasks go with', 'eval', '-m', tiny('llama'), '--ppl', file, '--tasks', '3')
        self.refused(2, '--kld goes with', 'eval', '-m', tiny('llama'), '--arc', file, '--kld', tiny('llama'))
        self.refused(2, '--chunks goes with', 'eval', '-m', tiny('llama'), '--arc', file, '--chunks', '3')
        self.refused(2, '-c does not go with', 'eval', '-m', tiny('llama'), '--kl-divergence-base', file, '-c', '64')
        self.refused(2, 'an even number', 'eval', '-m', tiny('llama'), '--ppl', file, '-c', '33')
        self.refused(1, 'missing', 'eval', '-m', tiny('llama'), '--arc', path('missing'))
        self.refused(1, 'missing', 'eval', '-m', tiny('llama'), '--arc', file, '--against', path('missing'), '-q')


if __name__ == '__main__':
    unittest.main()
