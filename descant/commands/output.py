"""What commands share of printing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from descant.tasks import Finding


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def findings_json(findings: Any) -> list[dict[str, Any]]:
    """Findings as JSON objects: rule, severity, position (from 1), cost, message."""
    return [dataclasses.asdict(finding) for finding in findings]


def print_verdict(findings: Sequence[Finding]) -> None:
    """The warnings with what each costs, and how many errors and warnings there are in all."""
    warnings = [f for f in findings if f.severity == "warning"]
    errors = len(findings) - len(warnings)
    if warnings:
        print("warnings, with their costs:")
    for f in warnings:
        print(f"{f.position:>4}  {f.rule}: {f.message} ({f.cost:g})")
    counted = f"{errors or 'no'} error{'' if errors == 1 else 's'}"
    print(f"{counted}, {len(warnings)} warning{'' if len(warnings) == 1 else 's'}")
