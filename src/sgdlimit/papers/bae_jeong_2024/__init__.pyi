from ._paper import PRESETS as PRESETS
from ._reproduction import memory_of_preset as memory_of_preset, redraw as redraw, reproduce as reproduce
