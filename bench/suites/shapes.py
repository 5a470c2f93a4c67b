"""The shape of a circuit: what it is like whatever its program, its size and its place in a model."""

import hashlib

from gaugeblock.compiled.model import CompiledModel


def circuit_shape(model: CompiledModel) -> str:
    """Return a hash of the kinds of operations, and of which reads by which port what another writes.

    Circuits that are the same up to names and sizes have the same one. It comes from colours: each operation starts
    with its kind, and again and again takes in the colours of those it reads and of those that read it
    (Weisfeiler-Leman).
    """
    lowered = model.lowered
    reads = [(lowered.variables[variable].writer, port, reader) for reader, port, variable in lowered.flow]
    kinds = {op.name: type(op).__name__ for op in lowered.operations}
    colours = {name: _hash(kinds.get(name, name)) for writer, _, reader in reads for name in (writer, reader)}
    for _ in range(len(colours)):
        around: dict[str, list[str]] = {name: [] for name in colours}
        for writer, port, reader in reads:
            around[writer].append(f"to {port} of {colours[reader]}")
            around[reader].append(f"{port} from {colours[writer]}")
        colours = {name: _hash(colour, *sorted(around[name])) for name, colour in colours.items()}
    return _hash(*sorted(colours.values()))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
