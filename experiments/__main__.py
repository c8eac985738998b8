"""`python -m experiments SUB …` is `secondpass SUB …`."""

from __future__ import annotations

from experiments.cli import main

raise SystemExit(main())
