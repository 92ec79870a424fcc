"""The network for a space: an encoder-decoder for sentences, and what `Network` makes for any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gymnasium import spaces

from descant.errors import DescantError
from descant.policies.networks import Network
from descant.policies.sentences import sentence_shape

Trunk = Literal["lstm", "transformer", "gru"]


def make_network(
    space: spaces.Space[Any],
    heads: Mapping[str, int],
    hidden: Sequence[int] = (256, 256),
    recurrent: bool = False,
    trunk: str = "lstm",
    activation: str = "relu",
    dropout: float = 0.0,
) -> Network:
    """A network as of `Network`; with `recurrent`, on `descant/Translation-v0`, trunk gru or transformer, one that
    translates (`TranslationNetwork`), which alone drops.

    DescantError for a gru, or for dropout, anywhere else.
    """
    shape = sentence_shape(space)
    if recurrent and trunk in ("gru", "transformer") and shape is not None:
        from descant.policies.translators import TranslationNetwork

        return TranslationNetwork(shape, heads, hidden, trunk, dropout)
    if trunk == "gru" or dropout:
        what = "The trunk gru" if trunk == "gru" else "dropout"
        raise DescantError(
            f"{what} is for translation: train on descant/Translation-v0, with recurrent, trunk gru or transformer."
        )
    return Network(space, heads, hidden, recurrent, trunk, activation)


def make_policy(
    space: spaces.Space[Any],
    actions: int,
    hidden: Sequence[int],
    recurrent: bool,
    trunk: str,
    precision: str,
) -> dict[str, Network]:
    """A policy alone, by name; DescantError where its gradient steps can't be of that precision."""
    network = make_network(space, {"policy": actions}, hidden, recurrent, trunk)
    if precision == "bfloat16" and not network.cached:
        raise DescantError("precision bfloat16 is for networks that translate: leave it float32.")
    return {"policy": network}


def refuse_sentences(space: spaces.Space[Any], agent: str) -> None:
    """DescantError where the space is of sentences to translate, for agents whose networks don't."""
    if sentence_shape(space) is not None:
        raise DescantError(
            f"{agent} has no network that translates: take reinforce, actor-critic, ppo, rloo, grpo, mixer, mrt, vine, "
            "em or bc, with recurrent and trunk gru or transformer."
        )


def critic_trunk(space: spaces.Space[Any]) -> Trunk:
    """What remembers in a critic of its own: on sentences a gru that translates, anywhere else an LSTM."""
    return "lstm" if sentence_shape(space) is None else "gru"
