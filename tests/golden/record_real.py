#!/usr/bin/env python3
"""Records what transformers computes in float32 for the real models: writes tests/golden/real_MODEL.txt. Not run by the tests.

    tests/golden/record_real.py [smollm2 | gemma3]...

Needs what oracle.py needs. Only log-probabilities are kept: no weights, and no text that a model wrote."""
import os
import subprocess
import sys

import numpy as np

import oracle

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = 16
N_IDS = 64
BOS = {'smollm2': None, 'gemma3': 2}
TEXT = '''The lighthouse at the end of the bay was built in 1871, after three ships had been lost on the rocks within a single winter. Its keeper
wrote down the weather every evening: wind, rain, the height of the sea, and how many ships had passed. In spring the harbour town sent him
flour, oil and letters; in return he sent back his notebooks, which are still kept in the library next to the old school.
'''


def main():
    for name in sys.argv[1:] or BOS:
        path = subprocess.run([sys.executable, os.path.join(HERE, '..', '..', 'tools', 'fetch-model'), name], check=True, capture_output=True,
                              text=True).stdout.strip()
        ids, logits = oracle.logits(path, TEXT, N_IDS, BOS[name])
        lines = ['# Log-probabilities of %s by transformers in float32: record_real.py.' % os.path.basename(path),
                 '# Per position: log of the mass outside of the list, then ID:LOG-PROBABILITY of the largest.', 'ids ' + ' '.join(map(str, ids))]
        for row in logits.astype(np.float64):
            p = row - row.max()
            p -= np.log(np.exp(p).sum())
            top = np.argsort(-p)[:TOP]
            p_rest = np.delete(np.exp(p), top).sum()
            lines.append('%.9g ' % np.log(p_rest) + ' '.join('%d:%.9g' % (i, p[i]) for i in top))
        with open(os.path.join(HERE, 'real_%s.txt' % name), 'w') as f:
            f.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
    main()
