from ._averages import integrals_for as integrals_for
from ._bootstrap import bootstrap as bootstrap
from ._equations import (
    Case as Case,
    network_at as network_at,
    right_hand_side as right_hand_side,
    start as start,
)
from ._handover import hand_over as hand_over
from ._integrate import Solver as Solver, order_parameters as order_parameters
from ._limit import marchenko_pastur as marchenko_pastur
from ._mean_fields import (
    over_ensemble as over_ensemble,
    solve_mixture as solve_mixture,
    stability_edge as stability_edge,
)
from ._optimal import Optimum as Optimum, optimal_schedule as optimal_schedule
from ._phases import phase_diagram as phase_diagram, plateau_exit as plateau_exit
from ._solve import solve_many as solve_many, solve_spectrum as solve_spectrum, trajectories as trajectories
from ._spectrum import Spectrum as Spectrum, reduce as reduce, spectrum_of as spectrum_of
from ._theories import (
    Conventional as Conventional,
    Mixture as Mixture,
    MomentMatched as MomentMatched,
    Theory as Theory,
    averages_of as averages_of,
    case_of as case_of,
    exactness as exactness,
    solve as solve,
    spectrum as spectrum,
)
