"""The state of a NumPy generator as JSON, and back. Torch's is a uint8 tensor: it goes in the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import DescantError

if TYPE_CHECKING:
    import numpy as np


def rng_state(generator: np.random.Generator) -> dict[str, Any]:
    """The generator's state as a JSON-able dict: big ints stay ints, arrays become lists."""
    state: dict[str, Any] = _plain(generator.bit_generator.state)
    return state


def restore_rng(generator: np.random.Generator, state: dict[str, Any]) -> None:
    """Put `generator` in the state that `rng_state` gave; DescantError where it is another kind's state."""
    kind = type(generator.bit_generator).__name__
    saved = state.get("bit_generator") if isinstance(state, dict) else None
    if saved != kind:
        raise DescantError(
            f"the saved random state is for {saved!r}, this generator is {kind!r}: "
            f"make the generator with numpy.random.Generator(numpy.random.{saved or kind}())"
        )
    try:
        generator.bit_generator.state = _arrays(state)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DescantError(f"the saved random state of {kind!r} is broken: {error!r}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _arrays(value: Any) -> Any:
    """Lists as uint64 arrays: NumPy casts them to the width that the generator wants."""
    import numpy as np

    if isinstance(value, dict):
        return {name: _arrays(part) for name, part in value.items()}
    return np.array(value, dtype=np.uint64) if isinstance(value, list) else value
