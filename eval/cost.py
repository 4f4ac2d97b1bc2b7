"""The size of a network next to its scores."""

from __future__ import annotations

from dataclasses import replace

from eval.result import ProtocolResult
from synergy.benchmark.cost import network_cost
from synergy.engines import Network


def add_cost(result: ProtocolResult, net: Network) -> ProtocolResult:
    """Add the size of a network to the scores, under `cost`, and as columns to the first table."""
    cost = network_cost(net)
    if not cost:
        return result
    table, *others = result.tables
    cells = tuple(f"{value:.2f}" for value in cost.values())
    columns = (*table.columns, "M weights", "M MACs", "MB fp32")
    wider = replace(table, columns=columns, rows=tuple((*row, *cells) for row in table.rows))
    return replace(result, scores={**result.scores, "cost": cost}, tables=[wider, *others])
