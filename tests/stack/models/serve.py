#!/usr/bin/env python3
"""A model server: a scikit-learn classifier over HTTP, in KServe's v1 form, with Prometheus metrics of its answers.

    POST /v1/models/fraud:predict {"instances": [[6 numbers]]}  ->  {"predictions": [0]}, header x-model-version
    GET  /healthz, GET /metrics (model_prediction_class_total{class}, model_prediction_value), GET /faults
    PUT  /faults {"errors": 0.1, "slow_ms": 50, "shift": 2.0}: any of them, from now on

With GRPC_PORT the same predictions over gRPC too: fraud.Model/Predict takes and gives the JSON text of the HTTP bodies, and
says the version in the initial metadata.

What can be wrong with a version, each from the environment or by /faults: ERRORS, the share of answers that are 500; SLOW_MS,
added to each answer; SHIFT, added to the first feature, as a change of preprocessing does: every answer is 200, just as fast,
and wrong. Also from the environment: POD_IP, PORT (8080), VERSION, MODEL (a file, or models:/NAME/VERSION of the MLflow at
MLFLOW_TRACKING_URI).
"""
import asyncio
import json
import os
import pickle
import random
import signal
import sys
import urllib.request

import numpy
import prometheus_client
import sklearn

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../examples"))
from prediction_metrics import Answers  # noqa: E402: the helper that users are given

VERSION = os.environ.get("VERSION", "none")
FAULTS = {"errors": float(os.environ.get("ERRORS", "0")), "slow_ms": float(os.environ.get("SLOW_MS", "0")),
          "shift": float(os.environ.get("SHIFT", "0"))}
ANSWERS = Answers(classes=["legit", "fraud"])
# A row is six numbers, which `predict` reads as such: checks of scikit-learn for each request would cost more than the model itself.
sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def fetch(uri):
    """The bytes of a model: a file, or models:/NAME/VERSION."""
    if not uri.startswith("models:/"):
        with open(uri, "rb") as file:
            return file.read()
    server, (name, version) = os.environ["MLFLOW_TRACKING_URI"], uri.removeprefix("models:/").split("/")

    def get(path):
        with urllib.request.urlopen(f"{server}/api/2.0/{path}", timeout=20) as answer:
            return answer.read()

    source = json.loads(get(f"mlflow/model-versions/get-download-uri?name={name}&version={version}"))["artifact_uri"]
    return get(f"mlflow-artifacts/artifacts/{source.removeprefix('mlflow-artifacts:/')}/model.pickle")


MODEL = pickle.loads(fetch(os.environ.get("MODEL") or os.path.join(os.environ["STACK_SHARE"], "model.pickle")))


def predict(body):
    """The answer of the model, and what its metrics say of it."""
    rows = json.loads(body)["instances"]
    for row in rows:
        row[0] += FAULTS["shift"]
    answers = []
    for score in MODEL.predict_proba(numpy.array(rows, dtype=float))[:, 1]:
        ANSWERS.of("fraud" if score > 0.5 else "legit", score)
        answers.append(int(score > 0.5))
    return {"predictions": answers}


async def answer(method, path, body):
    """Status, content type and body."""
    if path == "/metrics":
        return 200, "text/plain; version=0.0.4", prometheus_client.generate_latest()
    if path == "/faults":
        if method == "PUT":
            FAULTS.update({k: float(v) for k, v in json.loads(body).items() if k in FAULTS})
        return 200, "application/json", json.dumps(FAULTS).encode()
    if path == "/healthz":
        return 200, "application/json", b'{"ok": true}'
    # 20 ms for everybody, as inference takes: far from the bounds of Istio's histogram that would be hard to compare at (10 ms has
    # nearly all requests above it), and what two processes differ by (0.3 ms) is small beside it.
    await asyncio.sleep((random.lognormvariate(3.0, 0.3) + FAULTS["slow_ms"]) / 1000)
    if random.random() < FAULTS["errors"]:
        return 500, "application/json", b'{"error": "model failed"}'
    try:
        return 200, "application/json", json.dumps(predict(body)).encode()
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return 400, "application/json", json.dumps({"error": str(error)}).encode()


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *rest = head.split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in rest if h)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = first.split(" ")
            status, kind, data = await answer(method, path, body)
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nx-model-version: {VERSION}\r\n"
                         f"content-length: {len(data)}\r\n\r\n".encode() + data)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        pass
    finally:
        writer.close()


async def serve_grpc(port):
    """The server, which must be kept. Its library is imported only here: it costs a model that needs none some memory."""
    import grpc

    async def call(body, context):
        await context.send_initial_metadata((("x-model-version", VERSION),))
        status, _, data = await answer("POST", "", body)
        if status != 200:
            await context.abort(grpc.StatusCode.INTERNAL, data.decode())
        return data

    server = grpc.aio.server()
    handlers = {"Predict": grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("fraud.Model", handlers),))
    server.add_insecure_port(f"{os.environ.get('POD_IP', '127.0.0.1')}:{port}")
    await server.start()
    return server


async def main():
    MODEL.predict_proba([[0] * 6])   # the first one is slow
    rpc = await serve_grpc(os.environ["GRPC_PORT"]) if "GRPC_PORT" in os.environ else None
    server = await asyncio.start_server(serve, os.environ.get("POD_IP", "127.0.0.1"), int(os.environ.get("PORT", "8080")))
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    async with server:
        await done.wait()
        server.close()
        if rpc:
            await rpc.stop(0.3)
        await asyncio.sleep(0.3)   # what is being answered now
        os._exit(0)                # connections that are kept alive are not waited for


asyncio.run(main())
