"""Swapped models on disk: a folder with swapped.safetensors (weights) and swapped.json (everything else). No pickle."""

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from gaugeblock.compiled.stages.hooked import blank
from gaugeblock.compiled.swapping.binding import Bound
from gaugeblock.compiled.swapping.components import Site, SwapError
from gaugeblock.compiled.swapping.fragments.layers import FragmentLayers
from gaugeblock.compiled.swapping.modules import Affine, Attend, ConstantValue, PartCopy
from gaugeblock.compiled.swapping.swap import installed
from gaugeblock.compiled.writing import staged
from gaugeblock.programs.errors import FileError, UnknownName

if TYPE_CHECKING:
    from gaugeblock.compiled.stages.hooked import HookedTransformer

FORMAT = 1
NOT_KEPT = {"tokenizer_name", "seed", "init_weights", "device"}
"""Settings that would load something else, or draw random numbers, when the model is made again."""


def save_swapped(model: "HookedTransformer", path: str | Path) -> None:
    """Write a model that `swap` returned to the folder `path`; a tokenizer is not written.

    Raises SwapError where what stands in is not made of tensors (functions, selectors), FileError if something that is
    no such folder stands there.
    """
    swaps = getattr(model, "swapped", None)
    if swaps is None:
        raise SwapError("this model was not made by `swap`: nothing in it is replaced")
    plain = {name: value for name, value in model.state_dict().items() if not name.endswith((".mask", ".IGNORE"))}
    tensors, records = {f"model.{name}": value for name, value in plain.items()}, []
    for site, slots in swaps.sites.items():
        for slot, module in slots.items():
            records.append({"site": site.name, "slot": slot} | _record(module, site))
            tensors |= {f"{len(records) - 1}.{name}": value for name, value in module.state_dict().items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with staged(Path(path), "swapped.json", "not a saved swapped model") as folder:
        (folder / "swapped.safetensors").write_bytes(save_tensors(tensors))
        record = {"format": FORMAT, "config": _settings(model.cfg), "swaps": records}
        (folder / "swapped.json").write_text(json.dumps(record, indent=1))


def load_swapped(path: str | Path, device: str = "cpu") -> "HookedTransformer":
    """Read a model that `save_swapped` wrote. FileError if it is missing, damaged or of another kind."""
    path = Path(path)
    try:
        record = json.loads((path / "swapped.json").read_text())
        tensors = load_tensors((path / "swapped.safetensors").read_bytes())
        if record["format"] != FORMAT:
            raise FileError(f"{path} has format {record['format']!r}; this version reads format {FORMAT}")
        model = blank(record["config"])
        _fill(model, "model", tensors)
        sites: dict[Site, Bound] = {}
        for i, swap in enumerate(record["swaps"]):
            site = Site.of(swap["site"], model)
            module = _module(swap, site, model, {k: v for k, v in tensors.items() if k.startswith(f"{i}.")})
            _fill(module, str(i), tensors)
            sites.setdefault(site, {})[swap["slot"]] = module
    except (FileNotFoundError, NotADirectoryError):
        raise FileError(f"there is no saved swapped model at {path}: swapped.json and swapped.safetensors") from None
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError, UnknownName) as error:
        raise FileError(f"the swapped model at {path} is damaged: {error!r:.300}") from None
    return installed(model, sites, None).to(device, print_details=False)


def _record(module: nn.Module, site: Site) -> dict[str, Any]:
    match module:
        case ConstantValue():
            return {"is": "constant", "square": module.square}
        case Affine():
            return {"is": "affine", "behind_norm": module.norm is not None}
        case PartCopy():
            return {"is": "part", "of": module.site.name, "config": _settings(module.config)}
        case FragmentLayers():
            return {"is": "fragment", "settings": module.settings}
    kind = "a selector" if isinstance(module, Attend) else "a function"
    raise SwapError(
        f"what stands at {site.name} is Python code ({kind}), and a file holds tensors only: "
        "a saved model must run without the code of whoever made it; keep the code that calls `swap` instead"
    )


def _module(record: dict[str, Any], site: Site, model: "HookedTransformer", named: dict[str, Tensor]) -> nn.Module:
    tensors = {name.partition(".")[2]: value for name, value in named.items()}
    if record["is"] == "constant":
        return ConstantValue(tensors["value"], record["square"])
    if record["is"] == "affine":
        blocks: Any = model.blocks
        return Affine(tensors["matrix"], tensors["bias"], blocks[site.layer].ln1 if record["behind_norm"] else None)
    if record["is"] == "fragment":
        return FragmentLayers(tensors, record["settings"])
    other = blank(record["config"])
    return PartCopy(other, Site.of(record["of"], other))


def _fill(module: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> None:
    state = {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
    missing, unexpected = module.load_state_dict(state, strict=False)
    lacking = {name for name, _ in module.named_parameters()} & set(missing)
    if lacking or unexpected:
        raise ValueError(f"tensors that are missing: {sorted(lacking)}, that have no place: {unexpected}")


def _settings(cfg: Any) -> dict[str, Any]:
    """A configuration as JSON: what the constructor takes."""
    kept = {field.name: getattr(cfg, field.name) for field in fields(cfg) if field.init and field.name not in NOT_KEPT}
    return {name: str(value) if isinstance(value, torch.dtype) else value for name, value in kept.items()}
