"""How often verdicts are right: 1,000 trials on simulated predictions, where the truth is known.

    python benchmarks/verdicts.py

Prints how often the 95% interval of a difference covers the truth (93 to 97% is asked), how often five equal models
are called different by any of their ten comparisons after correction (at most 6.4%), and how often a better one is
called so.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from llama_experiments.comparison.statistics import compare_models
from llama_experiments.sweeps.intervals import Scores, difference

TRIALS, ROWS = 1_000, 400


def main() -> None:
    """Run the trials and print the table."""
    random = np.random.default_rng(0)

    def models(*shares: float) -> list[np.ndarray]:
        hard = random.normal(size=ROWS)  # rows are hard for all of them
        return [0.8 * hard + 0.6 * random.normal(size=ROWS) < norm.ppf(share) for share in shares]

    def scores(right: np.ndarray) -> Scores:
        return Scores(np.arange(ROWS), right.astype(float), np.ones(ROWS))

    covered = better = false_counts = false_scores = 0
    for trial in range(TRIALS):
        one, other = models(0.85, 0.75)
        found = difference(scores(one), scores(other), seed=trial)
        covered += found.low <= 0.1 <= found.high
        (pair,) = compare_models([scores(one), scores(other)], [one, other], seed=trial)
        better += pair.differ and pair.difference.value > 0
        equal = models(*[0.8] * 5)
        false_counts += any(pair.differ for pair in compare_models([scores(m) for m in equal], equal, seed=trial))
        false_scores += any(pair.differ for pair in compare_models([scores(m) for m in equal], None, seed=trial))
    print(f"the 95% interval covers the truth                        {covered / TRIALS:.1%}")
    print(f"false alarms among ten comparisons, McNemar with Holm    {false_counts / TRIALS:.1%}")
    print(f"false alarms among ten comparisons, bootstrap with Holm  {false_scores / TRIALS:.1%}")
    print(f"0.85 is called better than 0.75 on {ROWS} rows             {better / TRIALS:.1%}")


if __name__ == "__main__":
    main()
