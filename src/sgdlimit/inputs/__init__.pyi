from ._blocks import moments_of_blocks as moments_of_blocks
from ._data_laws import ClusterMixture as ClusterMixture, Empirical as Empirical
from ._features import (
    FeatureTransform as FeatureTransform,
    check_features as check_features,
    draw_features as draw_features,
)
from ._law import (
    Affine as Affine,
    Gaussian as Gaussian,
    LatentLaw as LatentLaw,
    constant_columns as constant_columns,
    listed as listed,
)
from ._manifold import (
    NAMES as NAMES,
    Known as Known,
    Nonlinearity as Nonlinearity,
    nonlinearity_named as nonlinearity_named,
)
from ._mixture_law import MOST_BLOCKS as MOST_BLOCKS, MixtureLaw as MixtureLaw
from ._moments import (
    GAUSSIAN_THEORIES as GAUSSIAN_THEORIES,
    THEORIES as THEORIES,
    InputMoments as InputMoments,
    MixtureMoments as MixtureMoments,
    TheoryName as TheoryName,
    assumed_clusters as assumed_clusters,
    input_mean as input_mean,
    is_centred as is_centred,
    moments_within as moments_within,
    root_mean_square as root_mean_square,
    root_of as root_of,
)
from ._read import read_samples as read_samples
from ._weights import (
    student_with as student_with,
    weights_on_nodes as weights_on_nodes,
    with_overlap as with_overlap,
)
