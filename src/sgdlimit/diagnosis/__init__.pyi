from ._diagnose import Diagnosis as Diagnosis
from ._diagnose import diagnose as diagnose
from ._network import default_network as default_network
from ._verdict import judge as judge
from ._verdict import margins as margins
