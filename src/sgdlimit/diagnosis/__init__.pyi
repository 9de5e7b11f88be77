from ._diagnose import Diagnosis as Diagnosis, diagnose as diagnose
from ._network import default_network as default_network
from ._verdict import judge as judge, margins as margins
