#!/usr/bin/env python3
"""Logits of a GGUF file by transformers in float32: the independent implementation that bitloom is compared with.

    oracle.py MODEL TEXT-FILE N OUT.npy [BOS-ID]      writes OUT.npy, [N][vocabulary] float32, and OUT.npy.ids

Needs torch, transformers, gguf, accelerate and numpy: bench/agreement makes a place that has them. record_real.py uses it as a module."""
import os
import sys

os.environ.setdefault('HF_HUB_OFFLINE', '1')


def logits(model_path, text, n, bos):
    """ids, [n][vocabulary] array: each row is what follows its id. bos: None, or an id that comes first."""
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    where = {'pretrained_model_name_or_path': os.path.dirname(model_path), 'gguf_file': os.path.basename(model_path)}
    model = transformers.AutoModelForCausalLM.from_pretrained(dtype=torch.float32, **where).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    ids = tokenizer(text, add_special_tokens=False)['input_ids']
    ids = (ids if bos is None else [bos] + ids)[:n]
    if len(ids) < n:
        sys.exit('the text has %d tokens, expected at least %d' % (len(ids), n))
    with torch.no_grad():
        return ids, model(torch.tensor([ids])).logits[0].numpy()


def main():
    import numpy as np
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    model, text, n, out = sys.argv[1:5]
    with open(text, encoding='utf-8') as f:
        ids, rows = logits(model, f.read(), int(n), int(sys.argv[5]) if len(sys.argv) == 6 else None)
    np.save(out + '.part.npy', rows)
    with open(out + '.ids', 'w') as f:
        f.write(','.join(map(str, ids)))
    os.replace(out + '.part.npy', out)


if __name__ == '__main__':
    main()
