from . import datasets as datasets
from ._measure import metrics as metrics
from ._read import predicted_bytes as predicted_bytes, refuse_memory as refuse_memory
from ._runs import (
    Progress as Progress,
    simulate as simulate,
    simulate_live as simulate_live,
    simulate_together as simulate_together,
)
from ._stream import stream_of as stream_of
