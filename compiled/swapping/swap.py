"""A model in which parts are replaced: by a function, an attention pattern, a part of another model, a mean, …

    swapped = swap(model, {"a1.h0": lambda stream: …, "m0": Zero(), "a0.h1.pattern": local(5)})

The result is a HookedTransformer with the same hook points. They see what has been put in: `hook_pattern` the replaced
pattern, `hook_attn_out` and `hook_mlp_out` the replaced contribution; a head that is replaced as a whole, or in its OV
map, has a `hook_z` of zeros, and `hook_result` (with `use_attn_result`) shows what it adds. A replaced block adds
everything at `hook_mlp_out` (`hook_attn_out` in attention-only models). Changes made by hooks reach a component through
the stream in front of it; where the inputs of heads are split, a head reads what would be its value input.

Components need the whole input, so there is no key-value cache: `generate` runs without one.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.swapping.binding import Bound, Slot, bind
from gaugeblock.compiled.swapping.components import Known, Site, SwapError
from gaugeblock.compiled.swapping.modules import UserFunction, untapped

if TYPE_CHECKING:
    from gaugeblock.compiled.stages.hooked import HookedTransformer


def swap(model: "HookedTransformer | CompiledModel", replacements: Mapping[str, Any]) -> "HookedTransformer":
    """A copy of a model in which some parts are replaced. The model itself stays as it is.

    Args:
        model: a HookedTransformer or a CompiledModel, which may have been swapped before: then these replacements are
            added, and take the place of earlier ones of the same names. Its hooks are not copied, permanent ones aside.
        replacements: part (see `Site`) -> its replacement: a Python function of what the part reads, the stream
            [batch, pos, d_model] in front of it, before any layer norm (token ids for `embed` and `pos`), that returns
            what the part adds to the stream (for `.pattern` [batch, query, key]; for `.ov` what each position gives to
            those that attend to it; for neurons [batch, pos, neuron]); one of
            `gaugeblock.compiled.swapping.components`, or a fragment (`compile_fragment`).

    Raises UnknownName for a part that is not there, SwapError for a component that does not fit, for parts that
    overlap, and, when the model runs, for one that returns another shape or NaN.

    >>> import gaugeblock as gb
    >>> model = gb.compile(gb.programs.get("sort").with_size(range(4), 4))
    >>> swapped = swap(model, {"m0": lambda sum, sum_2: sum + sum_2})  # a function of the variables that it reads
    >>> tokens = model.encode([[3, 1, 2]])
    >>> model.decode(swapped(tokens), tokens)
    [[1, 2, 3]]
    """
    hooked = model.hooked if isinstance(model, CompiledModel) else model
    _check_supported(hooked)
    copy = deepcopy(hooked)
    copy.reset_hooks()
    before: Swaps | None = getattr(copy, "swapped", None)
    plain = copy if before is None else _restored(copy)
    known = Known(model.lowered, model.subspaces) if isinstance(model, CompiledModel) else before and before.known
    sites = {Site.of(name, plain): component for name, component in replacements.items()}
    earlier = {} if before is None else {s: b for s, b in before.sites.items() if not any(s.same(new) for new in sites)}
    merged = [*earlier, *sites]
    for i, one in enumerate(merged):
        for other in merged[:i]:
            if one.overlaps(other):
                raise SwapError(f"{one.name} and {other.name} overlap: a part can be replaced once")
    bound = earlier | {site: bind(component, site, plain, known) for site, component in sites.items()}
    return installed(plain, bound, known)


@final
@dataclass
class Run:
    """The values that hook points have shown so far in the forward pass that is under way."""

    tokens: Tensor | None = None
    seen: dict[str, Tensor] = field(default_factory=dict)


@final
@dataclass
class Swaps:
    """The replacements in one model.

    Attributes:
        sites: part -> the modules that replace it.
        cfg: the model's own.
        known: of a compiled model, its variables.
    """

    sites: dict[Site, Bound]
    cfg: Any
    known: Known | None = None
    run: Run = field(default_factory=Run)

    def replaced(self, layer: int | None, point: str, x: Tensor) -> Tensor:
        """The value that a hook point shows instead of x."""
        for site, slots in self.sites.items():
            if site.layer != layer:
                continue
            adds = site.head is not None and bool(slots.keys() & {"whole", "ov"})  # what the head adds is replaced
            match point, site.kind:
                case ("hook_embed", "embed") | ("hook_pos_embed", "pos") | ("hook_mlp_out", "mlp" | "block"):
                    x = self.value(site, "whole", x.shape)
                case "hook_attn_out", "block":
                    x = self.value(site, "whole", x.shape) if self.cfg.attn_only else torch.zeros_like(x)
                case "mlp.hook_post", "neurons":
                    shape = (*x.shape[:2], len(site.neurons))
                    x = _put(x, (..., list(site.neurons)), self.value(site, "whole", shape))
                case "attn.hook_pattern", _ if "pattern" in slots:
                    x = _put(x, (slice(None), site.head), self.value(site, "pattern", x[:, 0].shape))
                case "attn.hook_z", _ if adds:
                    x = _put(x, (slice(None), slice(None), site.head), torch.zeros_like(x[:, :, 0]))
                case "attn.hook_result", _ if adds:
                    x = _put(x, (slice(None), slice(None), site.head), self._of_head(site, x[:, :, 0].shape))
                case "hook_attn_out", _ if adds:
                    x = x if self.cfg.use_attn_result else x + self._of_head(site, x.shape)
        return x

    def _of_head(self, site: Site, shape: tuple[int, ...]) -> Tensor:
        if "whole" in self.sites[site]:
            return self.value(site, "whole", shape)
        values = self.value(site, "ov", shape)
        pattern = self.run.seen[f"blocks.{site.layer}.attn.hook_pattern"][:, site.head]
        return pattern.to(values) @ values

    def value(self, site: Site, slot: Slot, shape: tuple[int, ...]) -> Tensor:
        """The value that the replacement has now. Raises SwapError unless it has this shape, and no NaN."""
        module, x = self.sites[site][slot], self._read(site)
        try:
            value = module(x, self.run.tokens)
        except SwapError as error:
            raise SwapError(f"at {site.name}: {error}") from error.__cause__
        except Exception as error:  # whatever a user's function raises
            error.add_note(f"raised by what stands in for {site.name}")
            raise
        if not isinstance(value, Tensor):
            raise SwapError(f"what stands in for {site.name} returned {type(value).__name__}, not a tensor")
        if value.shape != shape:
            raise SwapError(
                f"what stands in for {site.name} returned the shape {list(value.shape)}; it must be {list(shape)}"
            )
        if isinstance(module, UserFunction) and bool(value.isnan().any()):
            raise SwapError(f"what stands in for {site.name} returned NaN")
        return value.to(self._like(x))

    def _like(self, x: Tensor) -> Tensor:
        return x if x.is_floating_point() else torch.empty(0, dtype=self.cfg.dtype, device=x.device)

    def _read(self, site: Site) -> Tensor:
        """The input of the part: [batch, pos, d_model], or the token ids."""
        if site.reads_tokens:
            assert self.run.tokens is not None  # the embeddings run on nothing else
            return self.run.tokens
        cfg, name = self.cfg, "hook_resid_pre"
        if site.head is not None and (cfg.use_split_qkv_input or cfg.use_attn_in):
            name = "hook_v_input" if cfg.use_split_qkv_input else "hook_attn_in"
        elif site.kind in ("mlp", "neurons"):
            if cfg.use_hook_mlp_in:
                name = "hook_mlp_in"
            elif not cfg.parallel_attn_mlp:
                name = "hook_resid_mid"
        x = self.run.seen[f"blocks.{site.layer}.{name}"]
        return x[:, :, (site.head or 0) * x.shape[2] // cfg.n_heads] if x.ndim == 4 else x


def _put(x: Tensor, where: Any, value: Tensor) -> Tensor:
    x = x.clone()
    x[where] = value
    return x


def _check_supported(model: "HookedTransformer") -> None:
    cfg = model.cfg
    refused = {
        "a layer norm behind heads and MLPs": cfg.use_normalization_before_and_after
        or str(cfg.original_architecture).startswith(("Olmo2", "Olmo3")),
        "shortformer positions": cfg.positional_embedding_type == "shortformer",
        "4-bit weights": cfg.load_in_4bit,
    }
    for what, holds in refused.items():
        if holds:
            raise SwapError(f"parts of a model with {what} cannot be replaced: their contributions do not just add up")


@cache
def _swapped_class(base: Any) -> type:
    """HookedTransformer, or a subclass, in which parts are replaced."""

    class SwappedTransformer(base):
        """A HookedTransformer in which parts are replaced; `swapped` says which."""

        swapped: Swaps

        def forward(self, input: Any, *args: Any, past_kv_cache: Any = None, **kwargs: Any) -> Any:
            if past_kv_cache is not None:
                raise SwapError("a swapped model needs the whole input: use no key-value cache")
            before, self.swapped.run = self.swapped.run, Run()
            try:
                return super().forward(input, *args, **kwargs)
            finally:
                self.swapped.run = before

        def input_to_embed(self, input: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(input, Tensor):
                options = {name: kwargs[name] for name in ("prepend_bos", "padding_side") if name in kwargs}
                input = self.to_tokens(input, **options)
            input = (input if input.ndim > 1 else input[None]).to(self.W_E.device)
            self.swapped.run.tokens = input
            return super().input_to_embed(input, *args, **kwargs)

        def generate(self, *args: Any, **kwargs: Any) -> Any:
            return super().generate(*args, **({"use_past_kv_cache": False} | kwargs))

        def generate_stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            yield from super().generate_stream(*args, **({"use_past_kv_cache": False} | kwargs))

        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            super()._apply(fn, recurse)
            for slots in self.swapped.sites.values():
                for module in slots.values():
                    module._apply(fn)
            return self

    return SwappedTransformer


@cache
def _tap_class(base: Any) -> type:
    class Tap(base):
        """A hook point that shows what has been put in, and remembers what it showed."""

        tapped: tuple[Swaps, int | None, str]  # the layer, and its own name within the layer

        def forward(self, x: Tensor) -> Tensor:
            swaps, layer, point = self.tapped
            return swaps.replaced(layer, point, x)

        def __call__(self, x: Tensor) -> Tensor:
            x = super().__call__(x)
            self.tapped[0].run.seen[str(self.name)] = x
            return x

    return Tap


def installed(plain: "HookedTransformer", sites: dict[Site, Bound], known: Known | None) -> "HookedTransformer":
    """The model itself, with modules put in."""
    model: Any = plain
    model.__class__ = _swapped_class(model.__class__)
    model.swapped = Swaps(sites, model.cfg, known)
    layers = {site.layer for site in sites}
    for name, point in model.hook_dict.items():
        _, _, rest = name.partition("blocks.")
        number, _, inner = rest.partition(".")
        layer = int(number) if rest else None
        if layer in layers and "ln" not in name:
            point.__class__ = _tap_class(point.__class__)
            point.tapped = (model.swapped, layer, inner or name)
    return model


def _restored(model: Any) -> "HookedTransformer":
    """The model itself, with nothing put in."""
    model.__class__ = type(model).__mro__[1]
    del model.swapped
    untapped(model)
    return model
