"""What commands share of printing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from descant.tasks import Finding


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def findings_json(findings: Any) -> list[dict[str, Any]]:
    """Findings as JSON objects: rule, severity, position (from 1), cost, message."""
    return [dataclasses.asdict(finding) for finding in findings]


def findings_text(findings: Any) -> list[str]:
    """A line a finding, errors first."""

    def line(f: Finding) -> str:
        return f"  {f.severity:<7}  bar {f.position:>2}  {f.rule:<16} {f.message} (cost {f.cost:g})"

    return [line(f) for f in sorted(findings, key=lambda f: (f.severity, f.position))]
