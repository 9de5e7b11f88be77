from ._accessor import TrajectoryAccessor as TrajectoryAccessor
from ._draw import (
    ACTIVATION_LABELS as ACTIVATION_LABELS,
    DARK as DARK,
    FLOOR as FLOOR,
    GREY as GREY,
    SERIES as SERIES,
    TIME as TIME,
    add_legend as add_legend,
    draw as draw,
    draw_marks as draw_marks,
    each as each,
    finish as finish,
    key as key,
    keys as keys,
    new_figure as new_figure,
    save_figure as save_figure,
    shade as shade,
    shade_key as shade_key,
    styled as styled,
    value_ticks as value_ticks,
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
from ._hover import Panel as Panel, hover_panels as hover_panels
from ._labelled import labelled as labelled
from ._settings import (
    optimal_schedule as optimal_schedule,
    phase_diagram as phase_diagram,
    sweep_discrepancy as sweep_discrepancy,
)
from ._theories import color_of as color_of, diagnosis as diagnosis, explored as explored, on_page as on_page
