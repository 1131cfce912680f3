"""How the norm of a network is shared among its filters."""

from __future__ import annotations

from typing import Any

import torch

from refigure.measures.members import Group


def measure(group: Group) -> list[dict[str, Any]]:
    """The share of each scale-invariant filter in the norm of all, a row a network and filter.

    Returns:
        stage: the role; filter: its number, in the order of the layers; log10_share, of
        ||w_i|| / ||w||, -inf where a filter is exactly 0.

    Source: where-large-lrs, section 6.7.
    """
    rows = []
    for role, members in group.roles.items():
        for member in members:
            names = [name for name, kind in member.model.groups.items() if kind == "invariant"]
            norms = torch.cat(
                [member.parameters[name].double().flatten(2).norm(dim=2)[0] for name in names]
            )
            shares = (norms / norms.square().sum().sqrt()).log10().tolist()
            rows += [
                {"stage": role, "filter": number, "log10_share": share}
                for number, share in enumerate(shares)
            ]
    return rows
