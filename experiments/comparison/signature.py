"""One line that says how a number was made, to paste beside it."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.comparison.config import to_plain
from experiments.comparison.experiment import Comparison
from experiments.comparison.tuning import Decision
from experiments.results import git_commit, installed

SHOWN = ("torch", "transformers", "numba")


def signatures(
    comparison: Comparison,
    decisions: Mapping[str, Decision],
    hashes: Mapping[str, str],
) -> dict[str, str]:
    """A signature by system.

    It names the acoustic model, the first pass, the language models with their normalisers, each
    by a hash of its content, the weights, the way to choose, the normaliser of the error count, the
    seed, and the versions of what computed.
    """
    versions = [f"{name} {version}" for name, version in installed(SHOWN).items() if version]
    own = " ".join(["secondpass", *filter(None, installed(["secondpass"]).values())])
    commit = git_commit()
    ends = [f"wer {comparison.normaliser} {comparison.alignment}", f"seed {comparison.seed}"]
    ends += [" ".join([own, *([f"({commit})"] if commit else [])]), *versions]
    found = {}
    for name, system in comparison.systems.items():
        parts = [f"system {name}"]
        if comparison.acoustic is not None:
            parts.append(f"acoustic {_short(hashes.get('acoustic'))}")
        if (decoder := comparison.first_passes.get(system.lists)) is not None:
            options = to_plain(decoder)
            usual = to_plain(type(decoder)())
            parts.append(
                " ".join(
                    [f"lists {decoder.decoder}", f"beam {decoder.beam_width}"]
                    + [
                        f"{key} {_short(hashes.get(f'first_passes.{system.lists}.{key}', value))}"
                        for key, value in options.items()
                        if value != usual[key] and key not in ("decoder", "beam_width")
                    ]
                )
            )
        elif system.systems:
            parts.append(f"lists of {' + '.join(system.systems)}")
        else:
            parts.append(f"lists {system.lists}")
        for column in comparison.columns_of(system):
            if column in comparison.columns:
                spelling = comparison.columns[column].normaliser
                parts.append(f"{column} {_short(hashes.get(f'columns.{column}'))} {spelling}")
        if weights := decisions[name].weights:
            parts.append("weights " + " ".join(f"{c} {w:.6g}" for c, w in weights.items()))
        parts += filter(None, [decisions[name].told])
        found[name] = " | ".join([*parts, *ends])
    return found


def _short(value: object) -> str:
    """A hash cut short; other values as they are."""
    text = str(value)
    return text[:10] if len(text) == 16 and set(text) <= set("0123456789abcdef") else text
