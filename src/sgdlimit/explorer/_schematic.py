"""The model as a small drawing: latent → manifold → student, and the teacher that sees the latent."""

from itertools import product

import numpy as np

from ._view import View

MOST_DOTS = 5
ROOM = 68
"""Height of the units of a layer."""


def schematic(view: View) -> str:
    """Draw the view's model as an SVG in the colours of the text around it."""
    p = view.problem
    law = f"{p.latent.components} components" if p.latent.law == "gaussian-mixture" else "Gaussian"
    layers = (  # column, row of the middle, units, gap between them, radius and look of each
        (42, 99, min(p.latent_dim, MOST_DOTS), 13, 4, "unit"),
        (140, 50, min(p.input_dim, MOST_DOTS), 13, 4, "unit"),
        (232, 50, p.student_units, 17, 6, "student"),
        (232, 148, p.teacher_units, 17, 6, "teacher"),
        (290, 50, 1, 0, 5, "student"),
        (290, 148, 1, 0, 5, "teacher"),
    )
    latent, inputs, student, teacher, prediction, target = places = [
        [(x, y + shift) for shift in np.linspace(-0.5, 0.5, count) * min(gap * (count - 1), ROOM)]
        for x, y, count, gap, *_ in layers
    ]
    connections = (
        (latent, inputs, "fixed"), (latent, teacher, "teacher"), (inputs, student, "learned"),
        (student, prediction, "learned"), (teacher, target, "teacher"),
    )  # fmt: skip
    lines = [
        f'<line class="{kind}" x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{y2:.1f}"/>'
        for left, right, kind in connections
        for (x1, y1), (x2, y2) in product(left, right)
    ]
    units = [
        f'<circle class="{kind}" cx="{x}" cy="{y:.1f}" r="{radius}"/>'
        for (*_, radius, kind), layer in zip(layers, places, strict=True)
        for x, y in layer
    ]
    title = (
        f"Latent of dimension {p.latent_dim}, {law}; inputs of dimension {p.input_dim} on the manifold "
        f"{p.nonlinearity}; a student of {p.student_units} and a teacher of {p.teacher_units} hidden units"
    )
    return f"""<svg class="schematic" viewBox="0 0 340 190" role="img" aria-label="{title}">
        {"".join(lines)}<line class="error" x1="290" y1="62" x2="290" y2="136"/>{"".join(units)}
        <text x="42" y="54">latent C</text>
        <text x="42" y="150">D = {p.latent_dim}</text>
        <text class="small" x="42" y="163">{law}</text>
        <text x="140" y="12">X = {p.nonlinearity}(CF/√D)</text>
        <text x="140" y="96">N = {p.input_dim}</text>
        <text class="name-student" x="252" y="12">student</text>
        <text class="small" x="232" y="104">K = {p.student_units}, {p.activation}</text>
        <text class="name-teacher" x="252" y="187">teacher</text>
        <text class="small" x="170" y="176">M = {p.teacher_units}, {p.teacher_activation or p.activation}</text>
        <text class="beside" x="298" y="54">ŷ</text>
        <text class="beside" x="298" y="152">y</text>
        <text class="small beside" x="296" y="103">{"½Δ²" if p.has_closed_form else p.loss}</text></svg>"""
