"""The model as a small drawing: latent → manifold → student, and the teacher that sees the latent."""

from html import escape

from ._view import View

__all__ = ["schematic"]

WIDTH, HEIGHT = 340, 190
LATENT, INPUT, HIDDEN, OUTPUT = 42, 140, 232, 290  # columns
STUDENT, TEACHER = 50, 148  # rows
MOST_DOTS = 6
ROOM = 68
"""Height of the units of a layer."""


def _column(
    x: float, middle: float, count: int, gap: float, radius: float, kind: str
) -> list[tuple[float, float, str]]:
    shown = min(count, MOST_DOTS)
    gap = min(gap, ROOM / max(1, shown - 1))
    ys = [middle + gap * (place - (shown - 1) / 2) for place in range(shown)]
    return [(x, y, f'<circle class="{kind}" cx="{x}" cy="{y:.1f}" r="{radius}"/>') for y in ys]


def _lines(left: list[tuple[float, float, str]], right: list[tuple[float, float, str]], kind: str) -> str:
    ends = [(a, b) for a in left for b in right]
    return "".join(f'<line class="{kind}" x1="{a[0]}" y1="{a[1]:.1f}" x2="{b[0]}" y2="{b[1]:.1f}"/>' for a, b in ends)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def schematic(view: View) -> str:
    """An SVG drawing of the view's model; colours are those of the text around it."""
    p = view.problem
    latent = _column(LATENT, (STUDENT + TEACHER) / 2, min(p.latent_dim, 5), 13, 4, "unit")
    inputs = _column(INPUT, STUDENT, min(p.input_dim, 5), 13, 4, "unit")
    student = _column(HIDDEN, STUDENT, p.student_units, 17, 6, "student")
    teacher = _column(HIDDEN, TEACHER, p.teacher_units, 17, 6, "teacher")
    student_out, teacher_out = (
        _column(OUTPUT, STUDENT, 1, 0, 5, "student"),
        _column(OUTPUT, TEACHER, 1, 0, 5, "teacher"),
    )
    law = "Gaussian" if p.latent.law == "gaussian" else f"{p.latent.components} components"
    dots = [latent, inputs, student, teacher, student_out, teacher_out]
    parts = [
        _lines(latent, inputs, "fixed"),
        _lines(latent, teacher, "teacher"),
        _lines(inputs, student, "learned"),
        _lines(student, student_out, "learned"),
        _lines(teacher, teacher_out, "teacher"),
        f'<line class="error" x1="{OUTPUT}" y1="{STUDENT + 12}" x2="{OUTPUT}" y2="{TEACHER - 12}"/>',
        *(circle for column in dots for *_, circle in column),
        _text(LATENT, 54, "latent C"),
        _text(LATENT, 150, f"D = {p.latent_dim}"),
        _text(LATENT, 163, law, "small"),
        _text(INPUT, 12, f"X = {p.nonlinearity}(CF/√D)"),
        _text(INPUT, 96, f"N = {p.input_dim}"),
        _text(HIDDEN + 20, 12, "student", "name-student"),
        _text(HIDDEN, 104, f"K = {p.student_units}, {p.activation}", "small"),
        _text(HIDDEN + 20, 187, "teacher", "name-teacher"),
        _text(HIDDEN - 62, 176, f"M = {p.teacher_units}, {p.teacher_activation or p.activation}", "small"),
        _text(OUTPUT + 8, STUDENT + 4, "ŷ", "", "start"),
        _text(OUTPUT + 8, TEACHER + 4, "y", "", "start"),
        _text(OUTPUT + 6, (STUDENT + TEACHER) / 2 + 4, "½Δ²", "small", "start"),
    ]
    title = (
        f"Latent of dimension {p.latent_dim}, {law}; inputs of dimension {p.input_dim} on the manifold "
        f"{p.nonlinearity}; a student of {p.student_units} and a teacher of {p.teacher_units} hidden units"
    )
    return (
        f'<svg class="schematic" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )
