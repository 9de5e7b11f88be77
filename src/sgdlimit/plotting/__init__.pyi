from ._accessor import TrajectoryAccessor as TrajectoryAccessor
from ._diagnosis import diagnosis as diagnosis
from ._draw import (
    DARK as DARK,
    FLOOR as FLOOR,
    GREY as GREY,
    SERIES as SERIES,
    Series as Series,
    add_legend as add_legend,
    draw as draw,
    draw_marks as draw_marks,
    each as each,
    key as key,
    keys as keys,
    mean_and_error as mean_and_error,
    shade as shade,
    shade_key as shade_key,
)
from ._dynamics import (
    QUANTITIES as QUANTITIES,
    SATURATION_FACTOR as SATURATION_FACTOR,
    Runs as Runs,
    draw_quantity as draw_quantity,
    dynamics_legend as dynamics_legend,
    entries as entries,
    new_panels as new_panels,
    saturation_time as saturation_time,
    trajectory as trajectory,
)
from ._explored import color_of as color_of, explored as explored
from ._hover import Panel as Panel, hover_panels as hover_panels, named as named
from ._optimal_schedule import optimal_schedule as optimal_schedule
from ._phase_diagram import phase_diagram as phase_diagram
from ._style import (
    ACTIVATION_LABELS as ACTIVATION_LABELS,
    TIME as TIME,
    finish as finish,
    new_figure as new_figure,
    save_figure as save_figure,
    styled as styled,
    value_ticks as value_ticks,
)
from ._sweep import sweep_discrepancy as sweep_discrepancy
