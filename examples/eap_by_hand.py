"""A method of one's own, with nothing but TransformerLens hooks: edge attribution patching (Syed et al. 2023).

    gaugeblock run --suite quick --method examples/eap_by_hand.py:eap_by_hand --method eap

A method is a function of a task that returns a score for every edge of `task.graph`. It sees the model, the pairs of
inputs and the metric, never the true circuit. Whatever it changes about the model, it changes back.
"""

import torch

from gaugeblock.compiled import split_inputs


def eap_by_hand(task):
    """(clean - corrupted value of the writer) · gradient at the reader's input, mean over pairs."""
    model, graph, seen = task.model, task.graph, {}

    def keep(value, hook):
        value.retain_grad()
        seen[hook.name] = value

    writers = {writer: graph.hook(writer) for writer in graph.writers if writer != "bias"}
    readers = {reader: graph.hook(reader, reads=True) for reader in graph.readers}
    with split_inputs(model):
        with torch.no_grad():
            _, clean = model.run_with_cache(task.clean)
            _, corrupted = model.run_with_cache(task.corrupted)
        hooks = [(point, keep) for point in {hook.point for hook in readers.values()}]
        logits = model.run_with_hooks(task.clean, fwd_hooks=hooks)
        task.metric(logits, torch.arange(len(task.clean))).sum().backward()
        model.zero_grad()

    gradients = {point: value.grad for point, value in seen.items()}
    scores = dict.fromkeys(graph.edges, 0.0)  # biases write the same on every input
    for edge in graph.edges:
        writer, reader = edge.split("->")
        if writer in writers:
            change = at(clean, writers[writer]) - at(corrupted, writers[writer])
            scores[edge] = float((change * at(gradients, readers[reader])).sum()) / len(task.clean)
    return scores


def at(values, hook):
    """What a hook shows, [pair, pos, d_model]."""
    point, head = hook
    return values[point] if head is None else values[point][:, :, head]
