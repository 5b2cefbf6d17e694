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

random = numpy.random.default_rng(7)
rows = random.normal(size=(20_000, 6))
truth = rows @ [1.6, -1.2, 0.9, 0.5, -0.3, 0.1] - 1.4 + random.logistic(size=len(rows)) > 0
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, truth)
with open(sys.argv[1] + ".new", "wb") as file:
    pickle.dump(model, file)
os.replace(sys.argv[1] + ".new", sys.argv[1])
print(f"model: trained, {model.predict(rows).mean():.1%} positive, accuracy {model.score(rows, truth):.1%}", file=sys.stderr)
