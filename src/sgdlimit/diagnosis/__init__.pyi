from ._diagnose import default_network as default_network, diagnose as diagnose
from ._verdict import Diagnosis as Diagnosis, judge as judge, margins as margins
