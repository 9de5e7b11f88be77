"""What is under each figure."""

from collections.abc import Mapping

__all__ = ["CAPTIONS"]

DISCREPANCY = "M(Q), M(R) and M(v) against D_KL"
BESIDE = "Left: the conventional theory. Right: the mixture theory, which measures Q and R within the clusters."
BELOW = (
    "Below: M of the mixture theory, full, and of the conventional, faint, as a share of the mean size of the order "
    "parameter, for the theories measure Q and R in different units."
)
BLOCKS = (
    "Where universality ends, {}: M of three theories as a share of the mean size of Q, R and v, against the number of "
    "coordinates that share a component. Filled: noise explains it, for the mixture theory with the scatter between "
    "members of its ensemble (bars). A missing marker is a theory that does not apply."
)
CAPTIONS: Mapping[str, str] = {
    "figure_2": "Figure 2. Example dynamics on an un-standardised mixture, ReLU: ε_g, Q, R and v against time. "
    f"{BESIDE}",
    "figure_2_erf": "As Figure 2, for erf.",
    "figure_3": f"Figure 3. {DISCREPANCY} for un-standardised mixtures, ReLU. {BELOW}",
    "figure_4": "Figure 4. Example dynamics on a standardised mixture, ReLU: ε_g, Q, R and v against time.",
    "figure_4_erf": "As Figure 4, for erf.",
    "figure_5": f"Figure 5. {DISCREPANCY} for standardised mixtures, ReLU. Dotted: mean scale. Insets: the example.",
    "figure_S1": "Figure S1. Sample means of f(x) under a standardised mixture P and N(0, 1), and the exact means.",
    "figure_S2": "Figure S2. D_KL of the un-standardised scalar mixture against α.",
    "figure_S3": f"Figure S3. {DISCREPANCY} for un-standardised mixtures, erf. {BELOW}",
    "figure_S4": f"Figure S4. {DISCREPANCY} for standardised mixtures, erf. Dotted: mean scale. Insets: the example.",
    "finite_size": "M of single SGD runs against N with the fitted exponents, for the theory of each instance and for "
    "that of infinite size. Below: √N times the deviation of Q against time; on one curve it falls like 1/√N.",
    "lemma_V1": "Lemma V.1: the error of E f(u1) g(u2) against the correlation ε, and at one ε against the distance "
    "from N(0, 1). Dashed, the lemma as printed: first order in ε. Solid, with the next term: second order where "
    "markers are filled; where they are hollow an error of first order stays. Grey: no such ε can be had. The two "
    "variables are a latent coordinate and a sum that it enters, or share noise, or share a mixture component.",
    "lemma_V3": "Lemma V.3: how far E f under a standardised mixture is from E f under N(0, 1), for one coordinate "
    "against D_KL and for a sum of D coordinates against D. In the grey the lemma fails; hollow: its condition is "
    "not met.",
    "mixture_theory": "The mixture theory on two standardised clusters. (a) M of single SGD runs against N, with and "
    "without what the mean fields add to Q and R. (b) Difference to the finest step of integration. (c) Error of the "
    "mean over the chains of an ensemble. (d) Standard deviation of the mean fields in theory and SGD, at several η.",
    "universality_relu": BLOCKS.format("ReLU"),
    "universality_erf": BLOCKS.format("erf"),
}
