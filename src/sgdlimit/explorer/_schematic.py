"""The model as a small drawing: latent → manifold → student, and the teacher that sees the latent."""

from html import escape
from itertools import product

from ._view import View

WIDTH, HEIGHT = 340, 190
LATENT, INPUT, HIDDEN, OUTPUT = 42, 140, 232, 290  # columns
STUDENT, BETWEEN, TEACHER = 50, 99, 148  # rows
MOST_DOTS, MOST_UNITS = 5, 6
ROOM = 68
"""Height of the units of a layer."""


def schematic(view: View) -> str:
    """Draw the view's model as an SVG in the colours of the text around it."""
    p = view.problem
    law = "Gaussian" if p.latent.law == "gaussian" else f"{p.latent.components} components"
    # Column, row of the middle, units, gap between them, radius and look of each layer.
    layers = {
        "latent": (LATENT, BETWEEN, min(p.latent_dim, MOST_DOTS), 13, 4, "unit"),
        "inputs": (INPUT, STUDENT, min(p.input_dim, MOST_DOTS), 13, 4, "unit"),
        "student": (HIDDEN, STUDENT, min(p.student_units, MOST_UNITS), 17, 6, "student"),
        "teacher": (HIDDEN, TEACHER, min(p.teacher_units, MOST_UNITS), 17, 6, "teacher"),
        "prediction": (OUTPUT, STUDENT, 1, 0, 5, "student"),
        "target": (OUTPUT, TEACHER, 1, 0, 5, "teacher"),
    }
    places = {
        name: [(x, middle + min(gap, ROOM / max(1, count - 1)) * (n - (count - 1) / 2)) for n in range(count)]
        for name, (x, middle, count, gap, *_) in layers.items()
    }
    connections = {
        ("latent", "inputs"): "fixed", ("latent", "teacher"): "teacher", ("inputs", "student"): "learned",
        ("student", "prediction"): "learned", ("teacher", "target"): "teacher",
    }  # fmt: skip
    parts = [
        f'<line class="{kind}" x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{y2:.1f}"/>'
        for (left, right), kind in connections.items()
        for (x1, y1), (x2, y2) in product(places[left], places[right])
    ]
    parts += [f'<line class="error" x1="{OUTPUT}" y1="{STUDENT + 12}" x2="{OUTPUT}" y2="{TEACHER - 12}"/>']
    parts += [
        f'<circle class="{kind}" cx="{x}" cy="{y:.1f}" r="{radius}"/>'
        for name, (*_, radius, kind) in layers.items()
        for x, y in places[name]
    ]
    parts += [
        f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>'
        for x, y, kind, words in (
            (LATENT, 54, "", "latent C"),
            (LATENT, 150, "", f"D = {p.latent_dim}"),
            (LATENT, 163, "small", law),
            (INPUT, 12, "", f"X = {p.nonlinearity}(CF/√D)"),
            (INPUT, 96, "", f"N = {p.input_dim}"),
            (HIDDEN + 20, 12, "name-student", "student"),
            (HIDDEN, 104, "small", f"K = {p.student_units}, {p.activation}"),
            (HIDDEN + 20, 187, "name-teacher", "teacher"),
            (HIDDEN - 62, 176, "small", f"M = {p.teacher_units}, {p.teacher_activation or p.activation}"),
            (OUTPUT + 8, STUDENT + 4, "beside", "ŷ"),
            (OUTPUT + 8, TEACHER + 4, "beside", "y"),
            (OUTPUT + 6, BETWEEN + 4, "small beside", "½Δ²"),
        )
    ]
    title = (
        f"Latent of dimension {p.latent_dim}, {law}; inputs of dimension {p.input_dim} on the manifold "
        f"{p.nonlinearity}; a student of {p.student_units} and a teacher of {p.teacher_units} hidden units"
    )
    head = f'<svg class="schematic" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(parts)}</svg>"
