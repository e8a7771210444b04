"""How good predictions are: metrics, scores on datasets, result tables."""

from gatedpose.evaluation.run import Evaluation, evaluate, score_people

__all__ = ["Evaluation", "evaluate", "score_people"]
