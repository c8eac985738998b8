"""The command `secondpass SUB …`: every subcommand is one file in this folder."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence

from lm.errors import InputError, SecondpassError

# A new command is one file with `add_arguments(parser)` and `run(arguments)`, and one line here.
# Modules are imported only when their command runs: importing torch takes seconds.
COMMANDS = {
    "compare": "run every stage of one experiment and print the table of systems",
    "transcribe": "recognise audio files",
    "emit": "acoustic stage: audio to CTC log-probabilities",
    "decode": "first pass: emissions to N-best lists",
    "rescore": "second pass: add one language model's column to an N-best table",
    "correct": "second pass: an instruction model reads the N-best lists and answers",
    "tune": "choose weights on development data",
    "choose": "a transcript for every utterance by MAP, minimum Bayes risk or vote",
    "score": "word error rates of N-best tables",
    "import-nbest": "read another system's N-best lists",
    "export": "transcripts for other tools: trn, stm, ctm, text, csv, json, srt, vtt",
    "ngram": "estimate, mix, prune or convert n-gram language models",
    "prepare-text": "normalise running text, one sentence a line",
    "truecase": "learn upper and lower case from text",
    "train-acoustic": "train or fine-tune an acoustic model",
    "train-lm": "train or fine-tune a causal language model",
    "train-rescorer": "train a causal language model on N-best lists, towards fewer errors",
    "cache": "list or remove the scores that are kept between runs",
    "report": "one HTML file of results folders, with an N-best explorer",
    "doctor": "what is installed, which devices, what would run",
}
FULL = (errno.ENOSPC, errno.EDQUOT)  # such errors name no file
DONE, SOME_FAILED, BAD_INPUT = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Returns:
        0 done, 1 some utterances failed (they were listed), 2 bad usage or input.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return DONE if argv else BAD_INPUT
    name = argv[0]
    if name not in COMMANDS:
        print(f"secondpass: no command {name!r}; one of: {', '.join(COMMANDS)}", file=sys.stderr)
        return BAD_INPUT
    module = importlib.import_module(f"experiments.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"secondpass {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    arguments, rest = parser.parse_known_args(argv[1:])
    if rest:
        if not hasattr(arguments, "overrides"):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.overrides = [*arguments.overrides, *rest]
    try:
        return int(module.run(arguments))
    except InputError as error:
        print(f"secondpass {name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except SecondpassError as error:
        print(f"secondpass {name}: {error}", file=sys.stderr)
        return SOME_FAILED
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"secondpass {name}: {where}{error.strerror}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"secondpass {name}: interrupted; finished stages are kept", file=sys.stderr)
        return 130


def overview() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "secondpass: two-stage speech recognition with LLM rescoring",
            "",
            "usage: secondpass COMMAND …   (secondpass COMMAND --help for its options)",
            "",
            *lines,
            "",
            "Without arguments, `secondpass compare` runs the bundled demo.",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
