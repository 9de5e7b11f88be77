from ._cluster_law import ClusterMixture as ClusterMixture
from ._cluster_moments import MixtureMoments as MixtureMoments, mixture_moments as mixture_moments
from ._empirical import Empirical as Empirical
from ._features import (
    FeatureTransform as FeatureTransform,
    check_features as check_features,
    draw_features as draw_features,
)
from ._law import Affine as Affine, Gaussian as Gaussian, LatentLaw as LatentLaw
from ._manifold import (
    NAMES as NAMES,
    TABULATED as TABULATED,
    Known as Known,
    Nonlinearity as Nonlinearity,
    nonlinearity_named as nonlinearity_named,
)
from ._mixture_law import MixtureLaw as MixtureLaw
from ._moments import (
    GAUSSIAN_THEORIES as GAUSSIAN_THEORIES,
    THEORIES as THEORIES,
    InputMoments as InputMoments,
    TheoryName as TheoryName,
    input_mean as input_mean,
    input_moments as input_moments,
    is_centred as is_centred,
    root_mean_square as root_mean_square,
    root_of as root_of,
)
from ._read import read_samples as read_samples
