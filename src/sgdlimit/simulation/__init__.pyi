from . import datasets as datasets
from ._runs import predicted_bytes as predicted_bytes
from ._runs import simulate as simulate
from ._runs import simulate_live as simulate_live
from ._runs import simulate_together as simulate_together
from ._stream import stream_of as stream_of
