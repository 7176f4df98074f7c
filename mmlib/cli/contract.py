"""`contract`: hold a fusion in a file of one's own against what every system keeps to."""

from __future__ import annotations

import argparse
from typing import Any

from mmlib.cli.shared import Commands, add_device, find_device


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "contract", help="hold a fusion in a file of yours against the contract of all systems"
    )
    parser.set_defaults(run=run)
    parser.add_argument("fusion", metavar="FILE.py:CLASS", help="such as my_fusion.py:MyFusion")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Try every clause and say of each whether it is kept; 1 where one is broken."""
    from mmlib.checks.contract import contract_report
    from mmlib.systems.own import read_own

    device = find_device(options.device)
    own = read_own(options.fusion)

    def made(widths: dict[str, int], classes: int) -> Any:
        return own.model(config=own.config(tuple(widths), tuple(widths.values()), classes))

    report = contract_report(made, device=device)
    wide = max(map(len, report))
    for clause, found in report.items():
        print(f"{clause:{wide}}  {found}")
    broken = sum(found != "kept" for found in report.values())
    print(f"{len(report) - broken} of {len(report)} clauses kept.")
    return 1 if broken else 0
