#!/usr/bin/env python3
"""Open-loop gRPC traffic through a proxy until SIGTERM: `rate` calls a second of fraud.Model/Predict, at random times. A line
for each answer: how long ago the call was made, in seconds, the gRPC status, and the version that answered ("-": none).

Usage: grpc_load.py ADDRESS AUTHORITY RATE
"""
import asyncio
import json
import random
import sys
import time

import grpc

ADDRESS, AUTHORITY, RATE = sys.argv[1], sys.argv[2], float(sys.argv[3])


async def call(predict):
    begin, row = time.monotonic(), [random.gauss(0, 1) for _ in range(6)]
    answer = predict(json.dumps({"instances": [row]}).encode(), timeout=8)
    try:
        status = (await answer.code()).name
        version = {key: value for key, value in await answer.initial_metadata()}.get("x-model-version", "-")
    except grpc.RpcError as error:
        status, version = error.code().name, "-"
    print(f"{time.monotonic() - begin:.3f} {status} {version}", flush=True)


async def main():
    async with grpc.aio.insecure_channel(ADDRESS, options=[("grpc.default_authority", AUTHORITY)]) as channel:
        predict = channel.unary_unary("/fraud.Model/Predict")
        begin, due, calls = time.monotonic(), 0.0, set()
        while True:
            due += random.expovariate(RATE)
            await asyncio.sleep(max(0, begin + due - time.monotonic()))
            task = asyncio.create_task(call(predict))
            calls.add(task)
            task.add_done_callback(calls.discard)


asyncio.run(main())
