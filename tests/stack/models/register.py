#!/usr/bin/env python3
"""Trains a version of the fraud classifier and registers it with MLflow, as a training Job does: a run with its accuracy, the model as
its artifact, a version with tags, and the alias that asks for it. Prints the number of the version.

Usage: register.py ALIAS [SHIFT]     (SHIFT: train.py; MLFLOW_TRACKING_URI says where MLflow is, MLFLOW_LIB where its client is)
"""
import os
import sys
import tempfile

sys.path.insert(0, os.environ["MLFLOW_LIB"])   # before the packages of the model, which want an older typing_extensions
from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from train import train, write  # noqa: E402

NAME = "fraud"
alias, shift = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
model, positive, accuracy = train(shift)
client = MlflowClient()
experiment = client.get_experiment_by_name(NAME)
run = client.create_run(experiment.experiment_id if experiment else client.create_experiment(NAME))
client.log_metric(run.info.run_id, "accuracy", accuracy)
with tempfile.TemporaryDirectory() as directory:
    write(model, os.path.join(directory, "model.pickle"))
    client.log_artifact(run.info.run_id, os.path.join(directory, "model.pickle"), "model")
client.set_terminated(run.info.run_id)
try:
    client.create_registered_model(NAME)
except MlflowException as error:
    if error.error_code != "RESOURCE_ALREADY_EXISTS":
        raise
version = client.create_model_version(NAME, f"{run.info.artifact_uri}/model", run.info.run_id, tags={"accuracy": f"{accuracy:.4f}"})
client.set_registered_model_alias(NAME, alias, version.version)
print(version.version)
