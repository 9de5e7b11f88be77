"""How much memory a simulation will take, known before it starts; it does not grow with the number of steps."""

from ..errors import ProblemError
from ._stream import Stream

__all__ = ["needed_bytes", "refuse_what_does_not_fit"]


def needed_bytes(
    stream: Stream,
    *,
    output_times: int,
    student_units: int,
    input_dim: int,
    test_samples: int,
    threads: int,
    runs_at_once: int = 1,
) -> int:
    """Bytes of the arrays a simulation holds: products, students, weights kept at the output times, a test set.

    Parameters
    ----------
    stream
        Its conditions, one chain each.
    output_times, student_units, input_dim, test_samples, threads
        T, K, N, size of the test set, threads.
    runs_at_once
        Runs trained together: one on the CPU, all by the JAX engine.
    """
    conditions = len(stream.coefficients)
    latent_dim = stream.locations.shape[1]
    block = 4 * stream.BLOCK * stream.width * len(stream.sources)
    latent = 4 * stream.BLOCK * latent_dim * threads
    kept = 4 * conditions * student_units * (output_times * input_dim + stream.width)
    # The test set's products and inputs, and for each thread the local fields of some output times.
    test_set = -(-test_samples // stream.BLOCK) * block + 4 * test_samples * (input_dim + 25 * student_units * threads)
    held = stream.projection.nbytes if stream.projection is not None else 0
    features = held + (4 + 8) * latent_dim * input_dim
    return runs_at_once * (kept + block) + (threads + 1) * block + latent + test_set + features


def refuse_what_does_not_fit(needed: int, available: int | None) -> None:
    """Refuse a simulation that needs more memory than there is.

    Raises
    ------
    ProblemError
        With both figures and the settings to change.
    """
    if available is not None and needed > available:
        raise ProblemError(
            f"times: this simulation would hold {needed / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are free; "
            "ask for fewer output times, conditions or test_samples, or a smaller input_dim or student_units"
        )
