from . import datasets as datasets
from ._live import simulate_live as simulate_live
from ._sgd import predicted_bytes as predicted_bytes
from ._sgd import simulate as simulate
from ._sgd import simulate_together as simulate_together
from ._stream import stream_of as stream_of
