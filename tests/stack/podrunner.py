#!/usr/bin/env python3
"""Runs the processes of Pods: the half of a kubelet that kwok leaves out.

Every Pod that is on a node gets an address that no other Pod has, in the annotation stack/ip; kwok writes it into the
status. (kwok's own pool is forgotten when kwok is restarted, and the same address is given twice.) Then a Pod whose first
container has a command gets a real process; a Pod without one is simply ready. The process sees the container's own
environment (values and the downward API's fieldRef), and POD_IP. Its readiness probe (httpGet) is asked at the Pod's
address; the answer goes into the annotation stack/ready, and kwok turns that into the Pod's conditions. A Pod that is
being deleted gets SIGTERM, and stack/stopped once the process is gone. The process id is in LOG_DIR/pod-NAME.pid.

A Pod with the annotation stack/sidecar: "true" gets an Envoy too, on its own address, as a sidecar that istiod programs. It
starts before the process and ends after it, as a sidecar container does.

Usage: podrunner.py API_URL CA_FILE TOKEN LOG_DIR PREFIX   (PREFIX: "10.240" for addresses from 10.240.0.1 to 10.240.199.254)
"""
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

API, CA, TOKEN, LOGS, PREFIX = sys.argv[1:6]
HOST = urllib.parse.urlparse(API)
TLS = ssl.create_default_context(cafile=CA)
STOP = threading.Event()
ADMIN = 15000   # a sidecar's admin port, at the Pod's address
PROXY_PROBE = {"httpGet": {"path": "/ready", "port": ADMIN}}


def call(method, path, body=None, kind="application/json", timeout=10):
    link = http.client.HTTPSConnection(HOST.hostname, HOST.port, context=TLS, timeout=timeout)
    try:
        link.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind})
        answer = link.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        link.close()


def field(pod, path):
    """The downward API's fieldPath, as far as it is needed here."""
    if path.startswith("metadata.labels['"):
        return pod["metadata"].get("labels", {}).get(path[17:-2], "")
    if path.startswith("metadata.annotations['"):
        return pod["metadata"].get("annotations", {}).get(path[22:-2], "")
    value = pod
    for part in path.split("."):
        value = value.get(part, {})
    return value if isinstance(value, str) else ""


def sidecar(pod, ip):
    """The command of a Pod's Envoy: the gateway's bootstrap with a node and an admin address of its own. istiod takes what
    it must know of the Pod from the node's metadata. There is no iptables here, so nothing is intercepted (NONE): a Sidecar
    object says where the Envoy listens."""
    meta, labels = pod["metadata"], pod["metadata"].get("labels", {})
    name, space = meta["name"], meta["namespace"]
    owner = next((o["name"] for o in meta.get("ownerReferences", []) if o.get("controller")), name)
    workload = owner.removesuffix("-" + labels.get("pod-template-hash", ""))   # the Deployment's name, not its ReplicaSet's
    app = labels.get("service.istio.io/canonical-name", labels.get("app", workload))
    revision = labels.get("service.istio.io/canonical-revision", labels.get("version", "latest"))
    node = {"id": f"sidecar~{ip}~{name}.{space}~{space}.svc.cluster.local", "cluster": f"{workload}.{space}", "metadata": {
        "NAME": name, "NAMESPACE": space, "SERVICE_ACCOUNT": pod["spec"].get("serviceAccountName", "default"),
        "INSTANCE_IPS": ip, "LABELS": labels, "WORKLOAD_NAME": workload, "INTERCEPTION_MODE": "NONE",
        # As istiod describes an endpoint to the other side: telemetry.yaml reads both.
        "WORKLOAD": f"{workload};{space};{app};{revision};Kubernetes"}}
    own = {"node": node, "admin": {"address": {"socket_address": {"address": ip, "port_value": ADMIN}}}}
    return ["envoy", "-c", os.path.join(os.path.dirname(os.path.abspath(__file__)), "conf/envoy.yaml"),
            "--config-yaml", json.dumps(own), "--concurrency", "1", "--log-level", "warning", "--disable-hot-restart"]


class Child:
    """One process of a Pod. When it ends it is started again, each time after a longer pause."""

    def __init__(self, argv, env, out, note=None):
        self.argv, self.env, self.out, self.note = argv, env, out, note
        self.process, self.pause, self.next = None, 0.2, 0

    def keep(self):
        """Starts it when it is not there. False when it has just ended, or waits to be started again."""
        if self.process is not None and self.process.poll() is not None:
            self.process, self.next, self.pause = None, time.monotonic() + self.pause, min(self.pause * 2, 10)
        elif self.process is None and time.monotonic() >= self.next:
            try:
                # Whatever ends this program ends its children too: else they would keep their addresses.
                self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *self.argv], env=self.env,
                                                stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL)
                if self.note:
                    with open(self.note, "w") as file:
                        file.write(str(self.process.pid))
            except OSError as error:
                self.out.write(f"{error}\n".encode())
                self.next = time.monotonic() + 5
        return self.process is not None

    def end(self, seconds):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Addresses:
    """Addresses in turn, so that one is not used again soon after its Pod is gone."""

    def __init__(self):
        self.of, self.next = {}, 0

    def know(self, uid, ip):
        self.of[uid] = ip

    def give(self, uid):
        taken = set(self.of.values())
        while uid not in self.of:
            ip = f"{PREFIX}.{self.next // 254 % 200}.{self.next % 254 + 1}"
            self.next += 1
            if ip not in taken:
                self.of[uid] = ip
        return self.of[uid]


class Runner(threading.Thread):
    def __init__(self, pod):
        super().__init__(daemon=True)
        self.pod, self.leaving = pod, threading.Event()
        meta = pod["metadata"]
        self.path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        self.said = {}

    def say(self, key, value):
        if self.said.get(key) == value:
            return
        patch = json.dumps({"metadata": {"annotations": {f"stack/{key}": value}}})
        try:
            status, _ = call("PATCH", self.path, patch, "application/merge-patch+json")
            if status in (200, 404):
                self.said[key] = value
        except OSError as error:
            print(f"{self.path}: {error}", flush=True)

    def probe(self, spec, ip):
        get = spec.get("httpGet")
        if not get:
            return True
        try:
            link = http.client.HTTPConnection(ip, int(get["port"]), timeout=spec.get("timeoutSeconds", 1))
            link.request("GET", get.get("path", "/"))
            good = 200 <= link.getresponse().status < 400
            link.close()
            return good
        except (OSError, http.client.HTTPException):
            return False

    def run(self):
        box = self.pod["spec"]["containers"][0]
        ip = self.pod.get("status", {}).get("podIP")
        if not ip or not box.get("command"):
            # Nothing to run: such a Pod is ready at once, and gone at once.
            self.say("ready", "true")
            while not self.leaving.wait(1) and not STOP.is_set():
                pass
            if not STOP.is_set():
                self.say("stopped", "true")
            return
        env = dict(os.environ, POD_IP=ip)
        for item in box.get("env", []):
            ref = item.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            env[item["name"]] = field(self.pod, ref) if ref else item.get("value", "")
        meta, spec, bad = self.pod["metadata"], box.get("readinessProbe", {}), 0
        out = open(os.path.join(LOGS, f"pod-{meta['name']}"), "ab")
        model = Child([os.path.expandvars(a) for a in box["command"] + box.get("args", [])], env, out,
                      os.path.join(LOGS, f"pod-{meta['name']}.pid"))
        proxy = None
        if meta.get("annotations", {}).get("stack/sidecar") == "true":
            proxy = Child(sidecar(self.pod, ip), os.environ, out)
        while not self.leaving.is_set() and not STOP.is_set():
            # The Envoy first, and the process only once istiod has programmed it, so that its first request can be sent.
            way = proxy is None or proxy.keep() and self.probe(PROXY_PROBE, ip)
            running = (way or model.process) and model.keep() and (proxy is None or proxy.process)
            if running and way and self.probe(spec, ip):
                bad = 0
                for child in filter(None, (proxy, model)):
                    child.pause = 0.2
                self.say("ready", "true")
            else:
                bad += 1
                if self.said.get("ready") and (not running or bad >= spec.get("failureThreshold", 3)):
                    self.say("ready", "false")
            self.leaving.wait(1 if self.said.get("ready") == "true" else 0.1)
        # As a kubelet does: the Pod leaves the endpoints at once, the process has its grace period to finish. The Envoy ends
        # last: what the process still answers goes through it.
        if not STOP.is_set():
            time.sleep(float(meta.get("annotations", {}).get("stack/pre-stop-seconds", "1")))
        model.end(min(self.pod["spec"].get("terminationGracePeriodSeconds", 30), 5))
        if proxy:
            proxy.end(2)
        out.close()
        if not STOP.is_set():
            self.say("stopped", "true")


def end(*_):
    STOP.set()
    raise SystemExit


def main():
    runners = {}
    signal.signal(signal.SIGTERM, end)
    try:
        follow(runners)
    finally:
        STOP.set()
        for runner in runners.values():
            runner.leaving.set()
        for runner in runners.values():
            runner.join(8)


def follow(runners):
    """Lists and watches the Pods for ever, and keeps one Runner for each."""

    addresses, asked = Addresses(), set()

    def see(pod, gone=False):
        uid = pod["metadata"]["uid"]
        known = pod["metadata"].get("annotations", {}).get("stack/ip")
        if gone:
            addresses.of.pop(uid, None)
        elif known:
            addresses.know(uid, known)
        elif pod["spec"].get("nodeName") and uid not in asked:
            Runner(pod).say("ip", addresses.give(uid))
            asked.add(uid)
        leaving = gone or "deletionTimestamp" in pod["metadata"]
        runner = runners.get(uid)
        if runner is None and not pod.get("status", {}).get("podIP") and not leaving:
            return
        if runner is None and not gone:
            runner = runners[uid] = Runner(pod)
            runner.start()
        if leaving and runner:
            runner.leaving.set()
        if gone:
            runners.pop(uid, None)

    while not STOP.is_set():
        try:
            _, pods = call("GET", "/api/v1/pods")
            asked.clear()
            for pod in pods["items"]:
                if known := pod["metadata"].get("annotations", {}).get("stack/ip"):
                    addresses.know(pod["metadata"]["uid"], known)
            for pod in pods["items"]:
                see(pod)
            alive = {pod["metadata"]["uid"] for pod in pods["items"]}
            for uid in [u for u in runners if u not in alive]:
                runners.pop(uid).leaving.set()
            link = http.client.HTTPSConnection(HOST.hostname, HOST.port, context=TLS, timeout=5)
            version = pods["metadata"]["resourceVersion"]
            link.request("GET", f"/api/v1/pods?watch=1&timeoutSeconds=240&resourceVersion={version}",
                         headers={"Authorization": f"Bearer {TOKEN}"})
            stream = link.getresponse()
            buffer = b""
            while not STOP.is_set():
                try:
                    chunk = stream.read1(65536)
                except TimeoutError:
                    # Nothing was said for a while. The socket is spent after a timeout: list and watch again.
                    break
                if not chunk:
                    break
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise OSError(event["object"].get("message"))
                    if event["type"] != "BOOKMARK":
                        see(event["object"], event["type"] == "DELETED")
            link.close()
        except (OSError, http.client.HTTPException, KeyError) as error:
            print(f"watch: {error}", flush=True)
            time.sleep(0.5)


main()
