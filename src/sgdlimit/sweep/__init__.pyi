from ._command import Where as Where, compute_sweep as compute_sweep, sweep_from_file as sweep_from_file
from ._cost import trial as trial
from ._engine import Outcome as Outcome
from ._open import open_sweep as open_sweep
from ._plan import Plan as Plan
from ._provenance import provenance as provenance
from ._run import Summary as Summary, run_sweep as run_sweep
from ._settings import Sweep as Sweep, SweepRun as SweepRun
from ._store import SweepStore as SweepStore
from ._task import Conditions as Conditions
from ._workers import start as start
