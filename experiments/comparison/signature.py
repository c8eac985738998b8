"""One line that says how a number was made, to paste beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from asr.options import DecoderOptions
from experiments.comparison.config import to_plain
from experiments.comparison.plan import Plan
from experiments.comparison.tuning import Decision
from experiments.results import provenance

SHOWN = ("torch", "transformers", "numba")
COUNTED = "counts"  # the name of the last step, which is never read back from an earlier run
Made = Mapping[str, Mapping[str, Any]]


def signatures(
    plan: Plan,
    decisions: Mapping[str, Decision],
    hashes: Mapping[str, str],
    made: Mapping[str, Made],
) -> dict[str, str]:
    """A signature by system.

    It names the acoustic model, the first pass, the language models with their normalisers, each
    by a hash of its content, the weights, the way to choose, the normaliser of the error count, the
    seed, and the versions of what computed: those that each stage recorded when it ran.

    Args:
        plan: the comparison.
        decisions: how each system decides.
        hashes: content hash by input.
        made: by split and stage, what made it; see `Stage.made`.
    """
    comparison = plan.comparison
    ends = [f"wer {comparison.normaliser} {comparison.alignment}", f"seed {comparison.seed}"]
    now = provenance()
    found = {}
    for name, system in plan.systems.items():
        parts = [f"system {name}"]
        if comparison.acoustic is not None:
            parts.append(f"acoustic {_short(hashes.get('acoustic'))}")
        lists = system.system.lists
        if (decoder := comparison.first_passes.get(lists)) is not None:
            parts.append(_decoder(lists, decoder, hashes))
        elif system.system.systems:
            parts.append(f"lists of {' + '.join(system.system.systems)}")
        else:
            parts.append(f"lists {lists}")
        for column in system.columns:
            if column in comparison.columns:
                spelling = comparison.columns[column].normaliser
                parts.append(f"{column} {_short(hashes.get(f'columns.{column}'))} {spelling}")
        if weights := decisions[name].weights:
            parts.append("weights " + " ".join(f"{c} {w:.6g}" for c, w in weights.items()))
        parts += filter(None, [decisions[name].description])
        used = {
            (split, stage): stages[stage]
            for split, stages in made.items()
            for stage in system.stages
            if stage in stages
        }
        found[name] = " | ".join([*parts, *ends, *makers({**used, ("", COUNTED): now})])
    return found


def makers(made: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    """What made some stages: a text for the project's own version, and one for each package.

    Where stages differ, each version is followed by the stages that it made.

    Args:
        made: by split and stage, see `Stage.made`.
    """
    texts = {place: _own(facts) for place, facts in made.items()}
    found = [_with_stages(texts)]
    for package in SHOWN:
        versions = {p: (facts.get("versions") or {}).get(package) for p, facts in made.items()}
        if any(versions.values()):
            texts = {p: f"{package} {version or 'unknown'}" for p, version in versions.items()}
            found.append(_with_stages(texts))
    return found


def _own(facts: Mapping[str, Any]) -> str:
    """The project's version and commit in a stage's record."""
    version = (facts.get("versions") or {}).get("secondpass") or "unknown"
    commit = facts.get("commit")
    return f"secondpass {version}" + (f" ({commit})" if commit else "")


def _with_stages(texts: Mapping[tuple[str, str], str]) -> str:
    """The text that all stages share, or each text with the stages that have it."""
    different = list(dict.fromkeys(texts.values()))
    if len(different) == 1:
        return different[0]
    parts = []
    for text in different:
        places = [place for place, own in texts.items() if own == text]
        parts.append(f"{text} [{', '.join(_names(places, texts))}]")
    return " and ".join(parts)


def _names(places: Iterable[tuple[str, str]], every: Iterable[tuple[str, str]]) -> list[str]:
    """Stages by name, with the split only where other splits are not among them."""
    places, found = list(places), []
    for split, stage in places:
        whole = all(place in places for place in every if place[1] == stage)
        found.append(stage if whole else f"{split} {stage}")
    return list(dict.fromkeys(found))


def _decoder(lists: str, decoder: DecoderOptions, hashes: Mapping[str, str]) -> str:
    """A first pass: its decoder and beam width, and whatever is not as usual."""
    usual = to_plain(type(decoder)())
    parts = [f"lists {decoder.decoder}", f"beam {decoder.beam_width}"]
    parts += [
        f"{key} {_short(hashes.get(f'first_passes.{lists}.{key}', value))}"
        for key, value in to_plain(decoder).items()
        if value != usual[key] and key not in ("decoder", "beam_width")
    ]
    return " ".join(parts)


def _short(value: object) -> str:
    """A hash cut short; other values as they are."""
    text = str(value)
    return text[:10] if len(text) == 16 and set(text) <= set("0123456789abcdef") else text
