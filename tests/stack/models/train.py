#!/usr/bin/env python3
"""Trains the fraud classifier that every version of the model serves, once. Usage: train.py FILE

Six standard normal features; about three in ten rows are positive.
"""
import os
import pickle
import sys

import numpy
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(shift=0.0):
    """A model, the share of rows that it calls positive, and its accuracy. With a shift it was trained on rows whose first feature
    had another origin than what is asked later: as accurate on its own rows, and wrong on those of users."""
    random = numpy.random.default_rng(7)
    rows = random.normal(size=(20_000, 6))
    truth = rows @ [1.6, -1.2, 0.9, 0.5, -0.3, 0.1] - 1.4 + random.logistic(size=len(rows)) > 0
    rows[:, 0] -= shift
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, truth)
    return model, float(model.predict(rows).mean()), float(model.score(rows, truth))


def write(model, path):
    with open(path + ".new", "wb") as file:
        pickle.dump(model, file)
    os.replace(path + ".new", path)


if __name__ == "__main__":
    trained, positive, accuracy = train()
    write(trained, sys.argv[1])
    print(f"model: trained, {positive:.1%} positive, accuracy {accuracy:.1%}", file=sys.stderr)
