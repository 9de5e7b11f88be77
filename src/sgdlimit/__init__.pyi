from . import rules as rules, theory as theory
from .comparison import compare as compare
from .continual import forgetting_and_transfer as forgetting_and_transfer
from .diagnosis import Diagnosis as Diagnosis, diagnose as diagnose
from .errors import (
    AccuracyWarning as AccuracyWarning,
    DivergenceError as DivergenceError,
    DivergenceWarning as DivergenceWarning,
    ProblemError as ProblemError,
    SweepError as SweepError,
)
from .explorer import explore as explore
from .hidden_manifold_cpp import from_hidden_manifold_cpp as from_hidden_manifold_cpp
from .inputs import (
    ClusterMixture as ClusterMixture,
    Empirical as Empirical,
    Gaussian as Gaussian,
    LatentLaw as LatentLaw,
    MixtureLaw as MixtureLaw,
    Nonlinearity as Nonlinearity,
)
from .instance import Instance as Instance
from .problem import (
    Covariance as Covariance,
    GaussianMixture as GaussianMixture,
    LabelledClusters as LabelledClusters,
    Problem as Problem,
)
from .rules import Activation as Activation, Rule as Rule
from .simulation import datasets as datasets, simulate as simulate, simulate_together as simulate_together
from .sweep import Sweep as Sweep, compute_sweep as compute_sweep, open_sweep as open_sweep
from .theory import Conventional as Conventional, Mixture as Mixture, MomentMatched as MomentMatched, solve as solve
from .training import Schedule as Schedule, Training as Training
from .trajectory import load as load, log_times as log_times, save as save
