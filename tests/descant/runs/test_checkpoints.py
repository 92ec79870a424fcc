"""Checkpoints: what is saved comes back, what is broken is refused, what was there is never lost."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import descant.runs.manifests
from descant.errors import DescantError
from descant.runs import checkpoint_exists, load_checkpoint, rng_state, save_checkpoint
from descant.version import __version__

FILES = ("weights.safetensors", "state.json", "manifest.json")
STATE = {"step": 2**200, "name": "é", "nested": {"list": [1, 2.5, None, True]}}


def save(path: Path, step: int = 0, **manifest: Any) -> Path:
    save_checkpoint(path, {"w": torch.full((8,), float(step))}, STATE | {"step": step}, manifest)
    return path


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_everything_comes_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    weights = {
        "transposed": shared.T,
        "tied": shared,
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "rng": torch.get_rng_state(),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "trained": torch.nn.Parameter(torch.ones(2)),
    }
    arrays = {
        "big endian": np.arange(3, dtype=">i4"),
        "reversed": np.arange(4)[::-1],
        "bool": np.array([True]),
    }
    arrays |= {"single": np.float32(0.1), "words": np.arange(3, dtype=np.uint64)}
    save_checkpoint(tmp_path / "deep" / "last", weights | arrays, STATE, {"agent": "dqn"})
    loaded = load_checkpoint(tmp_path / "deep" / "last")
    assert loaded.weights.keys() == weights.keys() | arrays.keys()
    for name, tensor in weights.items():
        assert loaded.weights[name].dtype == tensor.dtype
        assert torch.equal(loaded.weights[name], tensor), name
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.weights[name].numpy(), array)
        assert loaded.weights[name].shape == array.shape
    assert loaded.state == STATE
    assert names(tmp_path / "deep") == ["last"]
    assert names(tmp_path / "deep" / "last") == sorted(FILES)


def test_manifest_says_what_the_files_are(tmp_path: Path) -> None:
    from descant.runs import sha256

    manifest = load_checkpoint(save(tmp_path / "last", agent="dqn")).manifest
    assert (manifest["agent"], manifest["format"], manifest["descant"]) == ("dqn", 1, __version__)
    for name in FILES[:2]:
        file = tmp_path / "last" / name
        assert manifest["files"][name] == {"sha256": sha256(file), "bytes": file.stat().st_size}


def test_a_loaded_manifest_can_be_saved_again(tmp_path: Path) -> None:
    first = load_checkpoint(save(tmp_path / "a", agent="dqn"))
    save_checkpoint(tmp_path / "b", first.weights, first.state, first.manifest)
    assert load_checkpoint(tmp_path / "b").manifest == first.manifest


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64", "PCG64DXSM"])
def test_numpy_generators_go_on_where_they_were(tmp_path: Path, kind: str) -> None:
    from descant.runs import restore_rng

    generator = np.random.Generator(getattr(np.random, kind)(5))
    generator.integers(3, size=7, dtype=np.uint32)  # half of a 64-bit word is left over in the state
    save_checkpoint(tmp_path / "last", {}, {"rng": rng_state(generator)}, {})
    other = np.random.Generator(getattr(np.random, kind)(6))
    restore_rng(other, load_checkpoint(tmp_path / "last").state["rng"])
    assert (
        other.integers(3, size=5, dtype=np.uint32).tolist()
        == generator.integers(3, size=5, dtype=np.uint32).tolist()
    )
    assert other.random(100).tolist() == generator.random(100).tolist()


def test_torch_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    save_checkpoint(tmp_path / "last", {"rng": generator.get_state()}, {}, {})
    other = torch.Generator()
    other.set_state(load_checkpoint(tmp_path / "last").weights["rng"])
    assert torch.equal(torch.rand(9, generator=other), torch.rand(9, generator=generator))


@pytest.mark.parametrize(
    "state", [{}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64", "state": 3}, []]
)
def test_a_random_state_that_does_not_fit_is_refused(state: Any) -> None:
    from descant.runs import restore_rng

    with pytest.raises(DescantError, match="random state"):
        restore_rng(np.random.default_rng(0), state)


def test_numbers_of_numpy_and_infinities_are_fine_in_the_state(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", {}, {"best": -np.inf, "n": np.int64(3), "x": np.float32(0.5)}, {})
    assert load_checkpoint(tmp_path / "last").state == {"best": -np.inf, "n": 3, "x": 0.5}


def test_an_array_in_the_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DescantError, match="arrays belong in the weights"):
        save_checkpoint(tmp_path / "last", {}, {"a": np.zeros(3)}, {})
    assert not checkpoint_exists(tmp_path / "last")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = save(tmp_path_factory.mktemp("saved") / "last", step=3, note='"é\\', value=float("nan"))
    return {name: (folder / name).read_bytes() for name in FILES}


def load_bytes(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    load_checkpoint(folder)


@pytest.mark.parametrize("name", FILES)
def test_no_changed_byte_goes_unseen(saved: dict[str, bytes], tmp_path: Path, name: str) -> None:
    load_bytes(tmp_path / "c", saved)
    for position in range(len(saved[name])):
        data = bytearray(saved[name])
        data[position] ^= 1 << position % 8
        with pytest.raises(DescantError, match="c"):
            load_bytes(tmp_path / "c", {name: bytes(data)})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(FILES))
def test_no_damage_goes_unseen(
    saved: dict[str, bytes], tmp_path: Path, name: str, data: st.DataObject
) -> None:
    whole = saved[name]
    position = data.draw(st.integers(0, len(whole) - 1))
    piece = data.draw(st.binary(max_size=8))  # nothing: cut out or cut off
    length = data.draw(st.sampled_from([len(piece), len(whole)]))
    damaged = whole[:position] + piece + whole[position + length :]
    if damaged != whole:
        with pytest.raises(DescantError):
            load_bytes(tmp_path / "c", saved | {name: damaged})


def test_a_surrogate_in_the_manifest_is_damage_too(saved: dict[str, bytes], tmp_path: Path) -> None:
    damaged = saved["manifest.json"].replace(b"\\u00e9", b"\\ud8e9")
    with pytest.raises(DescantError, match=r"manifest\.json is corrupt"):
        load_bytes(tmp_path / "c", saved | {"manifest.json": damaged})


def test_truncated_weights_are_named_with_their_sizes(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", {"w": torch.zeros(1000)}, {}, {})
    file = tmp_path / "last" / "weights.safetensors"
    size = file.stat().st_size
    os.truncate(file, 1024)
    message = rf"weights.safetensors is 1,024 bytes, the manifest says {size:,}: the file is truncated"
    with pytest.raises(DescantError, match=message):
        load_checkpoint(tmp_path / "last")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (save(tmp_path / "last") / name).unlink()
    with pytest.raises(DescantError, match=f"has no {name}"):
        load_checkpoint(tmp_path / "last")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (save(tmp_path / "last") / "state.json").unlink()
    (tmp_path / "last" / "state.json").mkdir()
    with pytest.raises(DescantError, match=r"state\.json can't be read"):
        load_checkpoint(tmp_path / "last")


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DescantError, match=r"there is no checkpoint .*train first"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(DescantError, match="is a file, not a checkpoint"):
        load_checkpoint(tmp_path / "file")
    with pytest.raises(DescantError):
        load_checkpoint(tmp_path / "file" / "below")
    with pytest.raises(DescantError, match="can't be read"):
        load_checkpoint(tmp_path / ("x" * 300))


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(descant.runs.manifests, "FORMAT", 2)
        save(tmp_path / "last")
    with pytest.raises(DescantError, match=r"format 2, .* reads up to 1: upgrade descant"):
        load_checkpoint(tmp_path / "last")


@pytest.mark.parametrize(
    "files", [{}, [], {"weights.safetensors": 3}, {"weights.safetensors": {"bytes": "x"}}]
)
def test_a_manifest_with_a_right_digest_and_wrong_content_is_refused(tmp_path: Path, files: Any) -> None:
    from descant.runs import content_hash

    content = {"format": 1, "files": files}
    text = json.dumps(content | {"digest": content_hash(content)}, indent=1) + "\n"
    (save(tmp_path / "last") / "manifest.json").write_text(text)
    with pytest.raises(DescantError, match="does not say what"):
        load_checkpoint(tmp_path / "last")


def test_right_digests_of_wrong_content_are_refused(tmp_path: Path) -> None:
    for name, data in {"weights.safetensors": b"\xff" * 16, "state.json": b"[]"}.items():
        files = {file: (save(tmp_path / "last") / file).read_bytes() for file in FILES[:2]} | {name: data}
        (tmp_path / "last" / name).write_bytes(data)
        (tmp_path / "last" / "manifest.json").write_bytes(descant.runs.manifests.make_manifest({}, files))
        with pytest.raises(DescantError, match=name):
            load_checkpoint(tmp_path / "last")


def save_fails(path: Path, step: int) -> bool:
    try:
        save(path, step)
    except DescantError as error:
        return "No space left" in str(error) and "--resume" in str(error)
    return False


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize("for_ever", [False, True])
def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, nth: int, for_ever: bool
) -> None:
    save(tmp_path / "last", step=1)
    real, calls = getattr(os, function), []

    def full(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        if len(calls) == nth + 1 or (for_ever and len(calls) > nth):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, function, full)
        failed = save_fails(tmp_path / "last", step=2)
    assert failed == (len(calls) > nth)
    loaded = load_checkpoint(tmp_path / "last")
    steps = {2} if not failed else {1, 2} if (function, nth) == ("fsync", 4) else {1}  # 4: after the renames
    assert loaded.state["step"] in steps
    assert loaded.weights["w"][0] == loaded.state["step"]
    assert {name for name in names(tmp_path) if ".tmp-" in name} == set()
    if function == "replace" and not for_ever:
        assert names(tmp_path) == ["last"], "the old one was not put back"
    save(tmp_path / "last", step=3)
    assert load_checkpoint(tmp_path / "last").state["step"] == 3
    assert names(tmp_path) == ["last"]


def test_a_power_cut_finds_everything_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is renamed is on the disk before, and the rename itself before the old one goes."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name.partition('.tmp-')[0]}")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        events.append(f"rename {Path(source).name.partition('.tmp-')[0]} {Path(target).name}")
        replace(source, target)

    save(tmp_path / "last")
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    save(tmp_path / "last")
    files = [f"fsync {name}" for name in FILES]
    assert events == [
        *files,
        "fsync .last",
        "rename last .last.old",
        "rename .last last",
        f"fsync {tmp_path.name}",
    ]


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DescantError, match="cannot save the checkpoint"):
        save(tmp_path / "file" / "last")


def test_nothing_but_a_checkpoint_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "opus.mid").write_text("dear")
    with pytest.raises(DescantError, match=r"holds 'opus\.mid'"):
        save(tmp_path / "music")
    with pytest.raises(DescantError, match="is a file"):
        save(tmp_path / "music" / "opus.mid")
    assert (tmp_path / "music" / "opus.mid").read_text() == "dear"


def test_the_old_one_is_found_while_the_new_one_is_missing(tmp_path: Path) -> None:
    """What a kill between the two renames leaves."""
    save(tmp_path / "last", step=1).rename(tmp_path / ".last.old")
    assert checkpoint_exists(tmp_path / "last")
    assert load_checkpoint(tmp_path / "last").state["step"] == 1
    save(tmp_path / "last", step=2)
    assert load_checkpoint(tmp_path / "last").state["step"] == 2
    assert names(tmp_path) == ["last"]


def test_leftovers_of_the_dead_go_and_of_the_living_stay(tmp_path: Path) -> None:
    alive = f".last.tmp-{os.getppid()}-00000000"
    dead = [".last.tmp-999999999-00000000", f".last.tmp-{os.getpid()}-00000000", ".last.tmp-x", ".last.old"]
    other = ".best.tmp-999999999-00000000"
    save(tmp_path / "last")
    for name in (alive, other, *dead):
        save(tmp_path / name)
    save(tmp_path / "last")
    assert names(tmp_path) == sorted([alive, other, "last"])
