"""What a model server exports about its answers, so that two versions of it can be compared. Needs prometheus_client.

    answers = Answers(classes=["legit", "fraud"])
    answers.of("fraud", score=0.93)     # once for each prediction that was sent to a user
    answers.wrong()                     # once for each prediction that a later label contradicts
"""
from prometheus_client import REGISTRY, Counter, Histogram

SCORES = [n / 20 for n in range(1, 20)]   # the same bounds in every version: 0.05, 0.10 ... 0.95


class Answers:
    """Counters of predictions by class, a histogram of scores, and a counter of mistakes."""

    def __init__(self, classes, bounds=SCORES, registry=REGISTRY):
        self.known = frozenset(classes)
        self.classes = Counter("model_prediction_class", "Predictions by class.", ["class"], registry=registry)
        self.scores = Histogram("model_prediction_value", "Scores of predictions.", buckets=bounds, registry=registry)
        self.mistakes = Counter("model_prediction_wrong", "Predictions that a label contradicts.", registry=registry)
        for name in [*self.known, "other"]:
            self.classes.labels(name)     # begins at zero, so that the first prediction is an increase

    def of(self, name, score=None):
        """A prediction was answered. Classes that were not announced are counted together."""
        self.classes.labels(name if name in self.known else "other").inc()
        if score is not None:
            self.scores.observe(score)

    def wrong(self):
        """The truth about an earlier prediction arrived, and it was another class."""
        self.mistakes.inc()
