"""A method of one's own, with nothing but TransformerLens hooks: edge attribution patching (Syed et al. 2023).

    gaugeblock run --suite quick --method examples/eap_by_hand.py:eap_by_hand --method eap

A method is a function of a task that returns a score for every edge of `task.graph`. It sees the model, the pairs of
inputs and the metric, never the true circuit. Whatever it changes about the model, it changes back.
"""

import torch


def eap_by_hand(task):
    """(clean - corrupted value of the writer) · gradient at the reader's input, mean over pairs."""
    model = task.model
    flags = (model.set_use_attn_result, model.set_use_split_qkv_input, model.set_use_hook_mlp_in)
    for flag in flags:
        flag(True)
    try:
        with torch.no_grad():
            _, clean = model.run_with_cache(task.clean)
            _, corrupted = model.run_with_cache(task.corrupted)
        seen = {}

        def keep(value, hook):
            value.retain_grad()
            seen[hook.name] = value

        readers = {reader: reading_hook(reader, model.cfg.n_layers) for reader in task.graph.readers}
        hooks = [(name, keep) for name in {name for name, _ in readers.values()}]
        logits = model.run_with_hooks(task.clean, fwd_hooks=hooks)
        task.metric(logits, torch.arange(len(task.clean))).sum().backward()
        model.zero_grad()
    finally:
        for flag in flags:
            flag(False)

    scores = {}
    for edge in task.graph.edges:
        writer, reader = edge.split("->")
        change = written(clean, writer) - written(corrupted, writer)
        name, head = readers[reader]
        gradient = seen[name].grad if head is None else seen[name].grad[:, :, head]
        scores[edge] = float((change * gradient).sum()) / len(task.clean)
    return scores


def reading_hook(reader, n_layers):
    """Hook name and head of what a reader reads."""
    if reader == "logits":
        return f"blocks.{n_layers - 1}.hook_resid_post", None
    if reader.startswith("m"):
        return f"blocks.{reader[1:]}.hook_mlp_in", None
    layer, head, port = reader[1:].replace(".h", ".").split(".")
    return f"blocks.{layer}.hook_{port}_input", int(head)


def written(cache, writer):
    """What a writer wrote in a cached run."""
    if writer in ("embed", "pos"):
        return cache["hook_embed" if writer == "embed" else "hook_pos_embed"]
    if writer.startswith("m"):
        return cache[f"blocks.{writer[1:]}.hook_mlp_out"]
    layer, head = writer[1:].split(".h")
    return cache[f"blocks.{layer}.attn.hook_result"][:, :, int(head)]
