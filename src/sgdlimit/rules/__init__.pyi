from ._activation import (
    ACTIVATIONS as ACTIVATIONS,
    Activation as Activation,
    Code as Code,
    activation_named as activation_named,
    codes_of as codes_of,
    names_of as names_of,
    student_activation as student_activation,
)
from ._base import (
    Averages as Averages,
    Covariance as Covariance,
    Expansions as Expansions,
    Forces as Forces,
    Integrals as Integrals,
    Means as Means,
    Moment as Moment,
    Scalar as Scalar,
    normalised as normalised,
)
from ._functions import TracedFunction as TracedFunction
from ._kernels import (
    FAST as FAST,
    Tables as Tables,
    activation_and_slope as activation_and_slope,
    erf_and_gauss as erf_and_gauss,
    smooth_part as smooth_part,
    values_and_slopes as values_and_slopes,
)
from ._kinks import RAMP as RAMP, STEP as STEP, bell as bell, kink_pairs as kink_pairs
from ._network import (
    LABELS as LABELS,
    LOSSES as LOSSES,
    RULES as RULES,
    check_network as check_network,
    network as network,
    squared_network as squared_network,
)
from ._polynomial import Polynomial as Polynomial
from ._rule import CLUSTERS as CLUSTERS, Rule as Rule
from ._steps import limited as limited
