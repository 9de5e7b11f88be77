from ._curves import LabelledDiagnosis as LabelledDiagnosis
from ._diagnose import (
    default_network as default_network,
    diagnose as diagnose,
    diagnose_labels as diagnose_labels,
)
from ._labelled import Labelled as Labelled, prepare as prepare
from ._ladder import Rung as Rung, ladder as ladder
from ._learning import DATA as DATA, Network as Network
from ._verdict import Diagnosis as Diagnosis, judge as judge, margins as margins
