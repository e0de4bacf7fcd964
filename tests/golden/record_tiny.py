#!/usr/bin/env python3
"""Records what an independent implementation computes for the tiny models: writes tests/golden/tiny_FAMILY.txt. Not run by the tests.

    tests/golden/record_tiny.py [FAMILY...]      FAMILY: llama llama-linear llama-yarn llama-3 qwen3 gemma3 phi2

Needs torch, transformers, gguf and numpy. Weights are dequantised by the gguf package, the model is built from a configuration written
here by hand, and everything runs in float32: nothing of bitloom is used but the generator of the files."""
import os
import random
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
import tiny_model  # noqa: E402

VOCAB = tiny_model.VOCAB
N_IDS = 48
FULL = [0, 1, 16, 17, 33, 47]  # positions whose logits are all kept
TOP = 8                        # kept of every other position


def llama(w, c, scaling=None):
    def unpermute(x, heads):  # GGUF files hold the rows of q and k for the interleaved rope
        return x.reshape(heads, x.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(x.shape)
    config = transformers.LlamaConfig(vocab_size=VOCAB, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
                                      num_key_value_heads=2, rms_norm_eps=1e-5, max_position_embeddings=512, tie_word_embeddings=False,
                                      rope_parameters=dict(scaling or {'rope_type': 'default'}, rope_theta=10000.0))
    w.pop('rope_freqs.weight', None)  # transformers works its own out
    for i in range(2):
        attention(w, c, i)
        c['model.layers.%d.self_attn.q_proj.weight' % i] = unpermute(w['blk.%d.attn_q.weight' % i], 4)
        c['model.layers.%d.self_attn.k_proj.weight' % i] = unpermute(w['blk.%d.attn_k.weight' % i], 2)
        gated(w, c, i, 'ffn_norm', 'post_attention_layernorm')
    ends(w, c)
    return transformers.LlamaForCausalLM(config)


def qwen3(w, c):
    config = transformers.Qwen3Config(vocab_size=VOCAB, hidden_size=128, intermediate_size=192, num_hidden_layers=3, num_attention_heads=3,
                                      num_key_value_heads=1, head_dim=32, rms_norm_eps=1e-6, max_position_embeddings=512,
                                      tie_word_embeddings=True, rope_parameters={'rope_type': 'default', 'rope_theta': 1000000.0})
    for i in range(3):
        attention(w, c, i)
        head_norms(w, c, i)
        gated(w, c, i, 'ffn_norm', 'post_attention_layernorm')
    ends(w, c)
    return transformers.Qwen3ForCausalLM(config)


def gemma3(w, c):
    config = transformers.Gemma3TextConfig(vocab_size=VOCAB, hidden_size=128, intermediate_size=256, num_hidden_layers=7,
                                           num_attention_heads=4, num_key_value_heads=2, head_dim=64, query_pre_attn_scalar=64,
                                           rms_norm_eps=1e-6, sliding_window=16, max_position_embeddings=512, tie_word_embeddings=True,
                                           rope_parameters={'full_attention': {'rope_type': 'default', 'rope_theta': 1000000.0},
                                                            'sliding_attention': {'rope_type': 'default', 'rope_theta': 10000.0}})
    for i in range(7):
        attention(w, c, i)
        head_norms(w, c, i)
        gated(w, c, i, 'ffn_norm', 'pre_feedforward_layernorm')
        for ours, theirs in (('post_attention_norm', 'post_attention_layernorm'), ('post_ffw_norm', 'post_feedforward_layernorm')):
            c['model.layers.%d.%s.weight' % (i, theirs)] = w['blk.%d.%s.weight' % (i, ours)]
    ends(w, c)
    for name in c:
        if 'norm' in name:
            c[name] = c[name] - 1  # GGUF files hold the norms with the 1 that the model adds
    return transformers.Gemma3ForCausalLM(config)


def phi2(w, c):
    config = transformers.PhiConfig(vocab_size=VOCAB, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
                                    layer_norm_eps=1e-5, hidden_act='gelu_new', max_position_embeddings=512, tie_word_embeddings=False,
                                    rope_parameters={'rope_type': 'default', 'rope_theta': 10000.0, 'partial_rotary_factor': 12 / 32})
    modules = [('output_norm', 'model.final_layernorm'), ('output', 'lm_head')]
    for i in range(2):
        a, b = 'blk.%d.' % i, 'model.layers.%d.' % i
        modules += [(a + 'attn_norm', b + 'input_layernorm'), (a + 'attn_output', b + 'self_attn.dense'), (a + 'ffn_up', b + 'mlp.fc1'),
                    (a + 'ffn_down', b + 'mlp.fc2')]
        for j, name in enumerate('qkv'):
            for part in ('weight', 'bias'):
                c['%sself_attn.%s_proj.%s' % (b, name, part)] = w['%sattn_qkv.%s' % (a, part)][j * 128:(j + 1) * 128]
    for ours, theirs in modules:
        for part in ('weight', 'bias'):
            c['%s.%s' % (theirs, part)] = w['%s.%s' % (ours, part)]
    c['model.embed_tokens.weight'] = w['token_embd.weight']
    return transformers.PhiForCausalLM(config)


def attention(w, c, i):
    a, b = 'blk.%d.' % i, 'model.layers.%d.' % i
    c[b + 'input_layernorm.weight'] = w[a + 'attn_norm.weight']
    for ours, theirs in (('q', 'q_proj'), ('k', 'k_proj'), ('v', 'v_proj'), ('output', 'o_proj')):
        c['%sself_attn.%s.weight' % (b, theirs)] = w['%sattn_%s.weight' % (a, ours)]


def head_norms(w, c, i):
    for n in 'qk':
        c['model.layers.%d.self_attn.%s_norm.weight' % (i, n)] = w['blk.%d.attn_%s_norm.weight' % (i, n)]


def gated(w, c, i, norm, their_norm):
    c['model.layers.%d.%s.weight' % (i, their_norm)] = w['blk.%d.%s.weight' % (i, norm)]
    for n in ('gate', 'up', 'down'):
        c['model.layers.%d.mlp.%s_proj.weight' % (i, n)] = w['blk.%d.ffn_%s.weight' % (i, n)]


def ends(w, c):
    c['model.embed_tokens.weight'] = w['token_embd.weight']
    c['model.norm.weight'] = w['output_norm.weight']
    c['lm_head.weight'] = w.get('output.weight', w['token_embd.weight'])


def llama_linear(w, c):
    return llama(w, c, {'rope_type': 'linear', 'factor': 4.0})


def llama_yarn(w, c):
    return llama(w, c, {'rope_type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': 128})


def llama_3(w, c):
    return llama(w, c, {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
                        'original_max_position_embeddings': 64})


FAMILIES = {'llama': llama, 'llama-linear': llama_linear, 'llama-yarn': llama_yarn, 'llama-3': llama_3, 'qwen3': qwen3, 'gemma3': gemma3, 'phi2': phi2}


def weights(family):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'model.gguf')
        with open(path, 'wb') as f:
            f.write(tiny_model.FAMILIES[family](1).bytes())
        out = {}
        for t in gguf.GGUFReader(path).tensors:
            data = t.data if t.tensor_type == gguf.GGMLQuantizationType.F32 else gguf.dequantize(t.data, t.tensor_type)
            out[t.name] = np.array(data, dtype=np.float32).reshape([int(n) for n in t.shape[::-1]])
        return out


def record(family):
    w, c = weights(family), {}
    model = FAMILIES[family](w, c)
    missing, extra = model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in c.items()}, strict=False)
    if missing or extra:
        sys.exit('%s: missing %s, unexpected %s' % (family, missing, extra))
    model = model.float().eval()
    rng = random.Random(2024)
    ids = [rng.randrange(VOCAB) for _ in range(N_IDS)]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].numpy()
    lines = ['# Logits of the tiny %s model (seed 1) by transformers %s in float32: record_tiny.py.' % (family, transformers.__version__),
             '# "full P": all logits of position P; "top P": ID:LOGIT of the largest.',
             'ids ' + ' '.join(map(str, ids))]
    for p, row in enumerate(logits):
        if p in FULL:
            lines.append('full %d ' % p + ' '.join('%.6g' % x for x in row))
        else:
            lines.append('top %d ' % p + ' '.join('%d:%.6g' % (i, row[i]) for i in np.argsort(-row)[:TOP]))
    with open(os.path.join(HERE, 'tiny_%s.txt' % family), 'w') as f:
        f.write('\n'.join(lines) + '\n')


def main():
    torch.set_num_threads(1)
    for family in sys.argv[1:] or FAMILIES:
        record(family)


if __name__ == '__main__':
    main()
