"""Checks the witnesses of an exported case by hand: `gaugeblock export sort -o sort; python check_witness.py sort`."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformer_lens import HookedTransformer, HookedTransformerConfig

folder = Path(sys.argv[1])
config, pairs, truth = (json.loads((folder / f"{x}.json").read_text()) for x in ("config", "pairs", "truth-resample"))
model = HookedTransformer(HookedTransformerConfig(**config, dtype=torch.float64, device="cpu"))
model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
for split_up in (model.set_use_attn_result, model.set_use_split_qkv_input, model.set_use_hook_mlp_in):
    split_up(True)
FIXED = {"embed": "hook_embed", "pos": "hook_pos_embed", "logits": f"blocks.{config['n_layers'] - 1}.hook_resid_post"}


def place(node, side):
    """The hook at which a node writes ("out") or reads ("in"), and its part of the tensor there."""
    layer, head, port = [*node[1:].replace(".h", ".").split("."), "", ""][:3]
    if head:
        return f"blocks.{layer}.{f'hook_{port}_input' if port else 'attn.hook_result'}", (..., int(head), slice(None))
    return FIXED.get(node, f"blocks.{layer}.hook_mlp_{side}"), ...


for edge, witness in truth["witnesses"].items():
    pair, edges = witness["pair"], [e.split("->") for e in witness["set"]]
    source = model.run_with_cache(torch.tensor([pairs["corrupted"][pair]]))[1]
    current = {}
    hooks = [(place(w, "out")[0], lambda x, hook, now=current: now.update({hook.name: x.clone()})) for w, _ in edges]
    for (out, written), (into, read) in ((place(w, "out"), place(r, "in")) for w, r in edges):

        def swap(x, hook, out=out, written=written, read=read, source=source, now=current):
            x[read] += source[out][written] - now[out][written]
            return x

        hooks.append((into, swap))
    clean = torch.tensor([pairs["clean"][pair]])
    moved = (model.run_with_hooks(clean, fwd_hooks=hooks) - model(clean))[0, pairs["graded"][pair]].abs().max().item()
    assert abs(moved - witness["effect"]) < 1e-6 < moved, (edge, moved, witness)
    print(f"{edge}: ablating {' and '.join(witness['set'])} moves a logit of pair {pair} by {moved:.6g}")
