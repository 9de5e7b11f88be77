"""The names of the figures, and what stands below each: its message, then what it shows how."""

from ...inputs import MOST_BLOCKS

FIGURES = {
    "relu": ("figure_2", "figure_3", "figure_4", "figure_5", "universality_relu"),
    "erf": ("figure_2_erf", "figure_S3", "figure_4_erf", "figure_S4", "universality_erf"),
}
"""For each activation: dynamics and discrepancy un-standardised, the same standardised, and against the block size."""

BESIDE = (
    "Left: conventional theory. Right: mixture theory, which measures Q and R within the clusters. Lines are theory, "
    "symbols and bands the mean and standard deviation of SGD."
)
STANDARDISED = (
    "Lines are theory, circles SGD on Gaussian inputs, triangles SGD on the mixture; bands are ±1 standard deviation "
    "over runs."
)
BELOW = (
    "Above: M(Q), M(R) and M(v) against D_KL; grey is the noise floor. Below: M of the mixture theory, full, and of "
    "the conventional theory, faint, as a share of the mean size of the order parameter, because the theories measure "
    "Q and R in different units."
)
FLAT = "M(Q), M(R) and M(v) against D_KL; grey is the noise floor, dotted the mean scale. Insets show the example."
BLOCKS = (
    "Where universality ends, {}: the error of each theory against the number of coordinates that share a component. "
    "M is a share of the mean size of Q, R and v. Where a marker is filled, noise explains M; for the mixture theory "
    "that includes the scatter between members of its ensemble (bars). A theory has no marker where it does not apply. "
    f"Mixture theory ends beyond {MOST_BLOCKS} blocks of more than one coordinate. There moment-matched theory takes "
    "over, if inputs have no mean."
)
LEFT_OUT = (
    "Gaussian SGD, circles, beside the equations, lines: ε_g, Q, R and v against time. ε_g of SGD is computed from its "
    "order parameters, as in theory."
)
CAPTIONS = {
    "figure_2": f"Figure 2. Example dynamics on an un-standardised mixture, ReLU. {BESIDE}",
    "figure_2_erf": "As Figure 2, for erf.",
    "figure_3": f"Figure 3. The error of theory on un-standardised mixtures, ReLU. {BELOW}",
    "figure_4": f"Figure 4. Example dynamics on a standardised mixture, ReLU. {STANDARDISED}",
    "figure_4_erf": "As Figure 4, for erf.",
    "figure_5": f"Figure 5. The error of theory on standardised mixtures, ReLU. {FLAT}",
    "figure_S1": "Figure S1. Sample means of f(x) under a standardised mixture P and N(0, 1), and the exact means.",
    "figure_S2": "Figure S2. D_KL of the un-standardised scalar mixture against α.",
    "figure_S3": f"Figure S3. The error of theory on un-standardised mixtures, erf. {BELOW}",
    "figure_S4": f"Figure S4. The error of theory on standardised mixtures, erf. {FLAT}",
    "finite_size": "How fast SGD approaches theory as N grows. Above: M of single SGD runs against N with the fitted "
    "exponents, for the theory of each instance and for the theory of infinite size. Below: √N times the deviation of "
    "Q against time; deviations that fall like 1/√N lie on one curve.",
    "lemma_V1": "Lemma V.1: the error of E f(u1) g(u2) against the correlation ε (above), and at one ε against the "
    "distance from N(0, 1) (below). Dashed is the lemma as printed, of first order in ε. Solid is the lemma with the "
    "next term: of second order where markers are filled, of first order where they are hollow. In the grey no such ε "
    "exists. The two variables are a latent coordinate and a sum that it enters, or share noise, or share a mixture "
    "component.",
    "lemma_V3": "Lemma V.3: how far E f under a standardised mixture is from E f under N(0, 1). Above: one coordinate "
    "against D_KL. Below: a sum of D coordinates against D. In the grey the lemma fails; where markers are hollow its "
    "condition is not met.",
    "mixture_theory": "How good mixture theory is, on two standardised clusters. (a) M of single SGD runs against N, "
    "with and without the term that the mean fields add to Q and R. (b) Difference to the finest step of integration. "
    "(c) Error of the mean over the chains of an ensemble. (d) Standard deviation of the mean fields in theory and "
    "SGD, at several η.",
    "universality_relu": BLOCKS.format("ReLU"),
    "universality_erf": BLOCKS.format("erf"),
}
