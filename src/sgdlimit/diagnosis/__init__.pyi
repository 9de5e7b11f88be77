from ._check import check_data as check_data
from ._check import output_times as output_times
from ._diagnose import Diagnosis as Diagnosis
from ._diagnose import default_network as default_network
from ._diagnose import diagnose as diagnose
from ._verdict import judge as judge
from ._verdict import margins as margins
