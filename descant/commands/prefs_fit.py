"""`descant prefs fit`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from descant.commands.bounds import at_least
from descant.commands.output import print_json
from descant.errors import DescantError, did_you_mean
from descant.files import write_atomically
from descant.preferences.store import Store
from descant.runs.progress import progress


@dataclasses.dataclass
class Fit:
    """Fit a reward model to what annotators preferred.

    Pairs of clips are split: most to learn from, some to stop by, some to report on; all answers to the same two clips
    are on one side. The model is a folder; the reward preference takes it: --set reward=preference:models/taste.

    Example: descant prefs fit taste.db --out models/taste --kind btl --models 5

    Example: descant prefs fit translations.db --run runs/grammar --out models/wording
    """

    store: Annotated[Path, tyro.conf.Positional]
    """A store with judgements."""
    out: Path = Path("models/preference")
    """The folder to write; a reward model there is replaced."""
    run_of_clips: Annotated[str | None, tyro.conf.arg(name="run")] = None
    """Translations: the run that wrote the clips, or one trained on the same text, whose words they are."""
    kind: str = "btl"
    """btl, one taste for all; dpl, distributions of scores; vpl, a code of each person; per-user, a head for each."""
    models: int | None = None
    """How many models side by side, an ensemble (5)."""
    hidden: tuple[int, ...] | None = None
    """Widths of the encoder and of the layers or the LSTM after it (64 64)."""
    trunk: str | None = None
    """What sees the steps: mlp, lstm or transformer (mlp)."""
    per_step: bool = False
    """Score each step; an episode is worth their sum."""
    ties: str | None = None
    """What a tie is: half an answer each way (half), davidson or rao-kupper (half)."""
    noise: float | None = None
    """Share of answers taken to be random (0)."""
    margin: float | None = None
    """By how much the preferred clip must win, in logits (0)."""
    centring: float | None = None
    """Weight of the penalty that holds scores near 0 (0.001)."""
    bootstrap: bool = False
    """Give each model its own resample of the pairs."""
    learning_rate: float | None = None
    """Adam's step size (3e-3)."""
    weight_decay: float | None = None
    """How much weights shrink (1e-3)."""
    batch_size: int | None = None
    """Comparisons in a gradient step (128)."""
    epochs: int | None = None
    """Most passes over the comparisons (100)."""
    patience: int | None = None
    """Stop after so many epochs without a better one (10); 0 never does."""
    valid: float | None = None
    """Share of the pairs of clips to stop by (0.1)."""
    test: float | None = None
    """Share of the pairs of clips to report on (0.1)."""
    dimensions: int | None = None
    """vpl: of an annotator's code (8); per-user: of the features that heads weigh (8)."""
    context: int | None = None
    """vpl: most of an annotator's answers that their code is read off (32)."""
    beta: float | None = None
    """vpl: weight of the KL of codes to their prior (0.02); too much, and codes say nothing."""
    flips: float | None = None
    """vpl: largest share of answers turned around in half of what codes are read off in training (0)."""
    opposite: float | None = None
    """vpl: how often somebody of the opposite taste is learned from, all answers turned (0)."""
    pretrained: int | None = None
    """vpl: epochs in which linear heads of annotators learn its features first (0)."""
    scaling: str | None = None
    """vpl: scores in logits (none), or as the share of clips that the annotator likes less (spo)."""
    family: str | None = None
    """dpl: mean-variance or categorical (mean-variance)."""
    seed: int = 0
    """Everything random follows from it."""
    scores: Path | None = None
    """Also write what the models say of all clips, for descant prefs pairs --scores."""
    progress: bool = True
    """Show progress."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Fit, save, say how good it is."""
        at_least(0, seed=self.seed)
        from descant.commands.prefs_translations import sentences_of
        from descant.reward_models.comparisons import read_comparisons
        from descant.reward_models.fitting import fit
        from descant.reward_models.measures import bounds
        from descant.reward_models.saving import clip_scores, load_reward_model, save_reward_model
        from descant.runs.checkpoints import refuse_other_content

        config = self._config()
        refuse_other_content(self.out)  # before the work, not after
        text = None if self.run_of_clips is None else sentences_of(self.run_of_clips)
        with Store(self.store, read_only=True) as store:
            data, view, _ = read_comparisons(store, text)
            allowed, clips = bounds(store), list(store.clips())
        with progress(config.epochs, "fitting", enabled=self.progress) as shown:
            fitted = fit(
                self.kind, view.space, data, config, lambda epoch, loss: shown.update(epoch, loss=loss)
            )
        fitted.report["bounds"] = allowed
        save_reward_model(self.out, fitted, view)
        if self.scores is not None:
            told = clip_scores(load_reward_model(self.out), clips, text)
            write_atomically(self.scores, (json.dumps(told) + "\n").encode())
        report = fitted.report | {"out": str(self.out), "store": str(self.store)}
        if self.json:
            print_json(report)
        else:
            _print(report)
        return 0

    def _config(self) -> Any:
        """The kind's configuration with what was asked for; DescantError for an option that the kind has not."""
        from descant.reward_models.models import config_of

        kind = config_of(self.kind)
        known = {f.name for f in dataclasses.fields(kind)}
        plain = ("store", "out", "run_of_clips", "kind", "scores", "progress", "json")
        asked = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in plain and getattr(self, f.name) != f.default
        }
        for name in asked:
            if name not in known:
                options = [_dashed(f.name) for f in dataclasses.fields(self) if f.name in known]
                raise DescantError(
                    f"A reward model {self.kind} has no --{_dashed(name)}.{did_you_mean(_dashed(name), options)}"
                )
        return kind(**{**asked, "seed": self.seed})


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _print(report: dict[str, Any]) -> None:
    sizes = report["comparisons"]
    print(
        f"{report['kind']}: {sizes['train']} comparisons learned from, {sizes['valid']} to stop by, {sizes['test']} "
        f"to report on; {report['epochs']} epochs"
    )
    if report["accuracy"] is None:
        print("no comparison to report on was decided")
    else:
        found = report["accuracy"]
        print(
            f"accuracy {found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}] on {report['decided']}, "
            f"NLL {report['nll']:.3f}, calibration error {report['ece']:.3f}"
        )
    if (code := report.get("code")) is not None:
        print(f"code of an annotator: {code['active']} active units, {code['kl']:.2f} nats")
        if code["collapsed"]:
            print(code["advice"])
    for name, words in (
        ("consistency", "of what the annotators' consistency on repeated pairs allows"),
        ("one_taste", "of what any one taste can agree with"),
    ):
        bound = report["bounds"][name]
        if bound["value"] is not None:
            print(f"bound {bound['value']:.1%} [{bound['low']:.1%}, {bound['high']:.1%}]: {words}")
    if report["kind"] in ("vpl", "per-user"):
        spec = json.dumps({"name": "preference", "path": report["out"], "annotators": "all"})
        print(f"now, for whoever is named: --set 'reward={spec}'")
        print(f"or for the mean taste: --set reward=preference:{report['out']}")
    else:
        print(f"now: --set reward=preference:{report['out']}")
