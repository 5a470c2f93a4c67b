"""The modules that run for what users write: checks of what fits where, and measurements on data."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gaugeblock.compiled.edges.graph import Place
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.swapping.components import From, Known, Linear, Mean, Pattern, Site, SwapError, Values, Zero
from gaugeblock.compiled.swapping.fragments.fragment import Fragment
from gaugeblock.compiled.swapping.fragments.layers import FragmentLayers
from gaugeblock.compiled.swapping.modules import Affine, Attend, Coded, ConstantValue, PartCopy, UserFunction
from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.language.selector import Selector

if TYPE_CHECKING:
    from gaugeblock.compiled.stages.hooked import HookedTransformer

Slot = Literal["whole", "pattern", "ov"]
Bound = dict[Slot, nn.Module]
"""The replacements: of the whole part, or of a head's pattern, its OV map, or both."""


def bind(component: Any, site: Site, model: "HookedTransformer", known: Known | None) -> Bound:
    """The modules for a component at a site of a model in which nothing is replaced. Raises SwapError, UnknownName."""
    if isinstance(component, (Pattern, Selector)) or (isinstance(component, Tensor) and site.kind == "pattern"):
        pattern = component if isinstance(component, Pattern) else Pattern(component)
        return _pattern(pattern, site, model, known)
    slot: Slot = "pattern" if site.kind == "pattern" else "ov" if site.kind == "ov" else "whole"
    return {slot: _module(component, site, model, known)}


def _module(component: Any, site: Site, model: "HookedTransformer", known: Known | None) -> nn.Module:
    like, pad = next(model.parameters()), None if known is None else known.pad
    square = site.kind == "pattern"
    match component:
        case Zero():
            n = model.cfg.n_ctx
            return ConstantValue(like.new_zeros(n if square else 1, n if square else _width(site, model)), square)
        case Mean(tokens=tokens):
            x, value, kept = measured(site, model, tokens, pad if component.pad is None else component.pad)
            weights = kept[..., None].to(value)
            axes = (0,) if component.per_position or square else (0, 1)
            if not bool(kept.any()):
                raise SwapError(f"there is no mean to stand at {site.name}: its tokens hold nothing but PAD")
            weighted, count = value * weights, weights.sum(axes, keepdim=True)
            overall = weighted.sum((0, 1)) / weights.sum((0, 1))
            mean = weighted.sum(axes, keepdim=True) / count.clamp(min=1)
            return ConstantValue(mean.where(count > 0, overall)[0], square)
        case Linear(tokens=tokens):
            if site.reads_tokens or square:
                raise SwapError(f"no linear map can stand at {site.name}: it goes from the stream to a contribution")
            if component.alpha < 0:
                raise SwapError(
                    f"alpha {component.alpha:g} is not possible: 0 is least squares, more is ridge regression"
                )
            x, value, kept = measured(site, model, tokens, pad if component.pad is None else component.pad)
            return _fitted(x[kept], value[kept], component.alpha)
        case From(model=other, site=name):
            return _part(other, name, site, model).to(like.device, like.dtype)
        case Tensor() if site.kind == "ov":
            return _matrix(component, site, model)
        case Values():
            return _coded(component, site, known)
        case Fragment():
            return _fragment(component, site, model, known).to(like.device, like.dtype)
    if not callable(component) or isinstance(component, Tensor):
        raise SwapError(
            f"{component!r:.100} cannot stand at {site.name}: give a function, Pattern, From, Mean, Zero, Linear, "
            "Values or a Fragment; a selector for a head or its pattern, or a tensor for a pattern or an OV matrix"
        )
    if site.kind in ("head", "mlp") and known is not None:
        names = _parameters(component)
        if names and set(names) <= set(known.subspaces):
            return _coded(Values(component, names), site, known)
    return UserFunction(component)


def _width(site: Site, model: "HookedTransformer") -> int:
    return len(site.neurons) or model.cfg.d_model


def _pattern(pattern: Pattern, site: Site, model: "HookedTransformer", known: Known | None) -> Bound:
    if site.kind not in ("head", "pattern"):
        raise SwapError(f"an attention pattern cannot stand at {site.name}: only at a head, such as 'a0.h0'")
    if pattern.ov is not None and site.kind == "pattern":
        raise SwapError(f"at {site.name} only the pattern is replaced; with an OV matrix write {site.name[:-8]!r}")
    source: Any = pattern.source
    module: nn.Module
    if isinstance(source, Selector):
        if pattern.vocab is None and known is not None:
            pattern = Pattern(source, None, pattern.sink, known.lowered.vocab)
        module = Attend(pattern, model.cfg.attention_dir == "causal")
    elif isinstance(source, Tensor):
        if source.ndim != 2 or source.shape[0] != source.shape[1]:
            raise SwapError(f"a pattern has the shape [pos, pos]; the one for {site.name} has {list(source.shape)}")
        module = ConstantValue(source.detach().to(next(model.parameters())), square=True)
    elif callable(source):
        module = UserFunction(source, of_tokens=True)
    else:
        raise SwapError(f"a pattern is a selector, a tensor or a function of the tokens, not {source!r:.100}")
    bound: Bound = {"pattern": module}
    if pattern.ov is not None:
        bound["ov"] = _matrix(pattern.ov, site, model)
    return bound


def _matrix(matrix: Tensor, site: Site, model: "HookedTransformer") -> nn.Module:
    size = (model.cfg.d_model, model.cfg.d_model)
    if tuple(matrix.shape) != size:
        raise SwapError(f"the OV matrix for {site.name} has the shape {list(matrix.shape)}; it must be {list(size)}")
    like = next(model.parameters())
    blocks: Any = model.blocks
    return Affine(matrix.to(like), like.new_zeros(size[0]), blocks[site.layer].ln1)


def _part(other: Any, name: str, site: Site, model: "HookedTransformer") -> nn.Module:
    other = other.hooked if isinstance(other, CompiledModel) else other
    source = Site.of(name, other)
    sizes = [(m.cfg.d_model, _width(s, m)) for m, s in ((other, source), (model, site))]
    if source.kind != site.kind or sizes[0] != sizes[1]:
        (d, n), (own_d, own_n) = sizes
        raise SwapError(
            f"{name} of the other model cannot stand at {site.name}: it is a {source.kind} that reads {d} numbers and "
            f"writes {n}, and here is a {site.kind} that reads {own_d} and writes {own_n}"
        )
    swaps = getattr(other, "swapped", None)
    if swaps is not None and any(source.overlaps(each) for each in swaps.sites):
        raise SwapError(f"{name} of the other model is itself replaced: put in the component that stands there")
    return PartCopy(other, source)


def measured(site: Site, model: "HookedTransformer", tokens: Tensor, pad: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Run a part on tokens and return (what it reads, what it contributes, which positions hold no PAD)."""
    tokens = tokens.to(next(model.parameters()).device)
    x = tokens
    if not site.reads_tokens:
        late = site.kind in ("mlp", "neurons") and not model.cfg.parallel_attn_mlp
        name = f"blocks.{site.layer}.hook_resid_{'mid' if late else 'pre'}"
        with torch.no_grad():
            x = model.run_with_cache(tokens, names_filter=name)[1][name]
    with torch.no_grad():
        value = PartCopy(model, site)(x, tokens)
    kept = torch.ones_like(tokens, dtype=torch.bool) if pad is None else tokens != pad
    return x, value, kept


def _fitted(x: Float[Tensor, "row d"], value: Float[Tensor, "row e"], alpha: float) -> nn.Module:
    from sklearn.linear_model import LinearRegression, Ridge

    fit = (Ridge(alpha) if alpha > 0 else LinearRegression()).fit(*(t.double().cpu().numpy() for t in (x, value)))
    matrix, bias = (torch.from_numpy(np.asarray(a)).to(x) for a in (fit.coef_.T, fit.intercept_))
    return Affine(matrix, bias)


def _coded(values: Values, site: Site, known: Known | None) -> nn.Module:
    if known is None or site.kind not in ("head", "mlp"):
        raise SwapError(
            f"a function of variables cannot stand at {site.name}: only at a head or MLP of a CompiledModel"
        )
    writes = [name for name, place in known.subspaces.items() if place.written == site.name]
    if not writes:
        raise SwapError(f"{site.name} writes no variable of the program; give a function of the stream")
    reads = _parameters(values.function) if values.reads is None else values.reads
    for name in reads:
        if name not in known.subspaces:
            raise UnknownName("variable of the program", name, known.subspaces)
        written = known.subspaces[name].written
        if _stage(written) >= _stage(site.name):
            raise SwapError(f"{name!r} is not there at {site.name}: {written} writes it")
    return Coded(values.function, reads, site, known)


def _fragment(fragment: Fragment, site: Site, model: "HookedTransformer", known: Known | None) -> nn.Module:
    if site.kind not in ("head", "ov", "mlp", "block"):
        raise SwapError(f"a fragment cannot stand at {site.name}: only at a head, an OV map, an MLP or a block")
    if fragment.width != model.cfg.d_model:
        raise SwapError(
            f"{fragment!r} has directions of the shape [{fragment.width}]; at {site.name} it is [{model.cfg.d_model}]"
        )
    reads_at = 2 * (site.layer or 0) + (site.kind == "mlp")
    there = [] if known is None else [n for n, place in known.subspaces.items() if _stage(place.written) < reads_at]
    for name, read in fragment.reads.items():
        if read.written is not None and _stage(read.written) >= reads_at:
            possible = f"; there are {', '.join(there)}" if there else ""
            raise SwapError(f"{name!r} is not there at {site.name}: {read.written} writes it{possible}")
    absent = {*fragment.settings["absent"], *(() if known is None else (known.pad - 1, known.pad))}
    settings = {"absent": sorted(absent), "causal": model.cfg.attention_dir == "causal"}
    return FragmentLayers(fragment.tensors, {**fragment.settings, **settings})


def _stage(node: str) -> int:
    """The time at which a node computes: heads of layer l at 2l, its MLP at 2l + 1."""
    place = Place.of(node)
    return -1 if place.layer is None else 2 * place.layer + (place.kind == "mlp")


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters that have to be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
