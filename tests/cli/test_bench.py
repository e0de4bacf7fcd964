"""test_bench.py: bitloom bench: what it prints of tiny models, of kernels and of bit rates, what it leaves behind, what it refuses. That a
figure is right no test can say; that it is there, positive, and goes with what it stands beside, these do."""
import json
import os
import re
import unittest
import xml.etree.ElementTree

from support import FOLDER, Case, path, run, tiny


class Bench(Case):
    def spread(self, s):
        self.assertEqual(sorted(s), ['deviation', 'mean', 'median'])
        self.assertGreater(s['mean'], 0)
        self.assertGreater(s['median'], 0)
        self.assertGreaterEqual(s['deviation'], 0)

    def test_model(self):
        out, _ = self.ok('bench', '-m', tiny('llama'), '-p', '8', '-n', '4', '-r', '3', '-t', '1', '--device', 'cpu', '--json')
        doc = json.loads(out)
        self.assertEqual((doc['model'], doc['bytes'], doc['n_prompt'], doc['n_gen'], doc['repetitions']), (tiny('llama'), os.path.getsize(tiny('llama')), 8, 4, 3))
        self.assertGreater(doc['kv_bytes'], 0)
        self.assertGreater(doc['load_ms'], 0)
        self.spread(doc['pp'])
        self.spread(doc['tg'])

    def test_parts_of_a_model(self):
        doc = json.loads(self.ok('bench', tiny('llama'), '-p', '0', '-n', '2', '-r', '1', '--json')[0])
        self.assertNotIn('pp', doc)
        self.assertIsNone(doc['tg']['deviation'])
        self.assertEqual(doc['tg']['mean'], doc['tg']['median'])
        out = self.ok('bench', tiny('llama'), '-p', '3', '-n', '0', '-r', '2')[0].decode()
        self.assertRegex(out, r'llama\.gguf +pp3 +[0-9.]+ \+/- [0-9.]+ +[0-9.]+\n')
        self.assertNotIn('tg', out)
        self.assertRegex(self.ok('bench', tiny('llama'), '-p', '3', '-n', '0', '-r', '1')[0].decode(), r'llama\.gguf +pp3 +[0-9.]+ +[0-9.]+\n')

    def test_kernels(self):
        doc = json.loads(self.ok('bench', '--kernels', '--bits', '2..3', '-r', '1', '-t', '1', '--device', 'cpu', '--json')[0])
        self.assertGreater(doc['read_gb_s'], 0)
        self.assertGreater(doc['clock_ghz'], 0)
        self.assertEqual([(k['weights'], k['depth']) for k in doc['kernels']], [('2-bit', 2), ('3-bit', 3)])
        for k in doc['kernels']:
            self.assertTrue(k['kernel'].startswith('matvec_bx_q8'), k['kernel'])
            self.assertTrue(k['depth'] < k['bits'] < k['depth'] + 0.2, k)
            for where, macs in (('cache', 1024 * 1024), ('memory', 4096 * 2048)):
                at = k[where]
                self.assertGreater(at['mac_cycle'], 0)
                self.assertAlmostEqual(at['gmac_s'] * at['us'] * 1e3 / macs, 1, delta=0.05)
                self.assertAlmostEqual(at['gb_s'] / at['gmac_s'] * 8 / k['bits'], 1, delta=0.05)
                self.assertAlmostEqual(at['of_read'] * doc['read_gb_s'] / at['gb_s'], 1, delta=9)  # the reading of another round

    def test_kernels_of_all_formats(self):
        out = self.ok('bench', '--kernels', '-r', '1', '--device', 'cpu')[0].decode()
        self.assertEqual(re.findall(r'^(\S+) +[0-9.]+ \|', out, re.M), ['%d-bit' % d for d in range(1, 9)] + [
            'f32', 'f16', 'bf16', 'q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'q2_k', 'q3_k', 'q4_k', 'q5_k', 'q6_k'])

    def test_rates(self):
        before, svg = sorted(os.listdir(FOLDER.name)), path('rates.svg')
        doc = json.loads(self.ok('bench', '--bits', '1.5,4.5,8', '--shape', '15M', '-n', '2', '-r', '2', '-o', svg, '--json', env={'TMPDIR': FOLDER.name})[0])
        self.assertEqual((doc['shape'], doc['n_gen']), ('15M', 2))
        self.assertEqual([r['bits'] for r in doc['rates']], [1.5, 4.5, 8])
        for r in doc['rates']:
            self.spread(r['tg'])
            self.assertAlmostEqual(r['bytes'] * r['bytes_ratio'] / doc['rates'][-1]['bytes'], 1, delta=0.001)
            self.assertAlmostEqual(r['tg']['median'] / doc['rates'][-1]['tg']['median'] / r['speed_ratio'], 1, delta=0.01)
        self.assertEqual(len([e for e in xml.etree.ElementTree.parse(svg).iter() if e.tag.endswith('circle')]), 3)
        os.unlink(svg)
        self.assertEqual(sorted(os.listdir(FOLDER.name)), before) # nothing is left

    def test_models_are_what_they_say(self):
        folder = path('models')
        args = ('bench', '--bits=2.5,6', '--shape', '15M', '-n', '1', '-r', '1', '--folder', folder, '--json')
        rates = json.loads(self.ok(*args)[0])['rates']
        made = [os.path.join(folder, 'bitloom-bench-15M-%.3f.gguf' % r['bits']) for r in rates]
        self.assertEqual(sorted(os.listdir(folder)), [os.path.basename(f) for f in made])
        for r, f in zip(rates, made):
            self.assertEqual(os.path.getsize(f), r['bytes'])
            tensors = json.loads(self.ok('inspect', f, '--json', '--tensors')[0])['tensors']
            depths = [t['depths'] for t in tensors if t.get('depths')]
            self.assertTrue(depths)
            whole = json.loads(self.ok('inspect', f, '--json')[0])['xq'] # all matrices together
            sizes = [t['bytes'] * 8 / t['bits_per_weight'] for t in tensors if t.get('depths')]
            self.assertEqual(whole['matrices'], len(depths))
            self.assertAlmostEqual(whole['parameters'] / sum(sizes), 1, 3)
            for i in range(8):
                self.assertAlmostEqual(whole['depths'][i], sum(d[i] * n for d, n in zip(depths, sizes)) / sum(sizes), 3)
            plain, listed = (self.ok('inspect', f, *more)[0].decode() for more in ([], ['--tensors']))
            self.assertRegex(plain, r'\n%d X-bit matrices of %d parameters, [0-9.]+ bits:( \d \d+%%,?)+ of the weights\n' % (len(depths), whole['parameters']))
            self.assertEqual(len(re.findall(r' bytes, [0-9.]+ bits:(?: \d \d+%,?)+\n', listed)), len(depths))
            for d in depths: # neighbours, more than one
                used = [i for i, n in enumerate(d) if n]
                self.assertGreater(len(used), 1)
                self.assertEqual(used, list(range(used[0], used[-1] + 1)))
        stamps = [os.stat(f).st_mtime_ns for f in made]
        self.ok(*args)
        self.assertEqual([os.stat(f).st_mtime_ns for f in made], stamps) # and used again

    def test_refusals(self):
        self.refused(2, ['--shape 7B', '1.1B, 135M or 15M'], 'bench', '--bits', '--shape', '7B')
        for bits in ('0.5', '9', '2,', '2..', '1,x', '8..1', ','.join(['2'] * 17)):
            self.refused(2, ['--bits', '1..8'], 'bench', '--bits=' + bits, '--shape', '15M')
        self.refused(2, ['--bits 2.5', 'whole'], 'bench', '--kernels', '--bits', '2.5')
        self.refused(2, ['--kernels', 'no model'], 'bench', '--kernels', '-m', tiny('llama'))
        self.refused(2, 'nothing to measure', 'bench', tiny('llama'), '-p', '0', '-n', '0')
        self.refused(2, '-n 0', 'bench', '--bits', '2', '-n', '0')
        self.refused(2, '-r 0', 'bench', tiny('llama'), '-r', '0')
        self.refused(2, ['abc: ', 'no model file', 'begins with a digit'], 'bench', '--bits', 'abc', '--kernels')
        self.refused(2, ['no model', '--kernels', '--bits'], 'bench')
        self.refused(2, '-o is the picture of --bits', 'bench', tiny('llama'), '-o', path('x.svg'))
        self.refused(1, 'none.gguf', 'bench', '-m', path('none.gguf'))
        self.refused(1, 'nowhere', 'bench', '--kernels', '--device', 'nowhere')
        self.refused(1, 'cannot make the folder', 'bench', '--bits', '2', '--shape', '15M', '--folder', path('no/such'))
        before = sorted(os.listdir(FOLDER.name))
        self.refused(1, 'no/such.svg', 'bench', '--bits', '2', '--shape', '15M', '-n', '1', '-r', '1', '-q', '-o', path('no/such.svg')) # before it measures
        self.refused(1, 'cannot make the folder', 'bench', '--bits', '2', '--shape', '15M', '-o', path('left.svg'), '--folder', path('no/such'))
        self.assertEqual(sorted(os.listdir(FOLDER.name)), before)

    @unittest.skipUnless(os.path.isdir('/sys/firmware'), 'no file system without room')
    def test_no_room(self):
        err = run('bench', '--bits', '2', '--shape', '15M', '--folder', '/sys/firmware')[2]
        self.assertEqual(err.count('\n'), 1, err)
        self.assertIn('0 bytes are free', err)
        self.refused(1, '0 bytes are free', 'bench', '--bits', '2', '--shape', '15M', '--folder', '/sys/firmware')


if __name__ == '__main__':
    unittest.main()
