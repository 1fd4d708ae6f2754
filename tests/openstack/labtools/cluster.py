"""Three `leasehold server` processes on loopback, and the ways to end them."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from .http import request
from .observe import until
from .settings import LabError
from .target import SERVICE_USER

NODES = (1, 2, 3)


def binary():
    """LEASEHOLD_BIN, or what `make build` leaves."""
    named = os.environ.get("LEASEHOLD_BIN")
    if named:
        return pathlib.Path(named).resolve()
    # As .ci/env has it.
    cache = os.environ.get("LEASEHOLD_CACHE") or (
        pathlib.Path.home() / ".cache" / "leasehold")
    target = os.environ.get("CARGO_TARGET_DIR") or (
        pathlib.Path(cache) / "target")
    return pathlib.Path(target) / "debug" / "leasehold"


def connects(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Cluster:
    def __init__(self, target, folder, say):
        self.t, self.folder, self.say = target, pathlib.Path(folder), say
        self.bin = binary()
        if not self.bin.exists():
            raise LabError(f"{self.bin} is not there; run make build, or set "
                           "LEASEHOLD_BIN")
        self.base = int(os.environ.get("LEASEHOLD_TEST_PORT_BASE", "26100"))
        self.processes = {}
        self.failovers = []

    def port(self, node, what):
        return self.base + node * 10 + {"rest": 0, "grpc": 1, "peer": 2,
                                        "metrics": 3}[what]

    def endpoint(self, node=1):
        return f"http://127.0.0.1:{self.port(node, 'rest')}/v1"

    # ------------------------------------------------------------------ config

    def config(self, node):
        """The settings of one node, as `leasehold server --config` reads them."""
        t = self.t
        return "\n".join([
            "[node]",
            f"id = {node}",
            f'data_dir = "{self.folder / f"node{node}"}"',
            "",
            "[listen]",
            *(f'{what} = "127.0.0.1:{self.port(node, what)}"'
              for what in ("rest", "grpc", "peer", "metrics")),
            "",
            "[cloud]",
            f'auth_url = "{t.auth_url}"',
            f'region = "{t.region}"',
            f'interface = "{t.interface}"',
            f'username = "{SERVICE_USER}"',
            'project_name = "service"',
            'user_domain_name = "Default"',
            'project_domain_name = "Default"',
            ""])

    # ----------------------------------------------------------------- running

    def start(self):
        busy = [p for n in NODES for w in ("rest", "grpc", "peer", "metrics")
                if connects(p := self.port(n, w))]
        if busy:
            raise LabError(f"the ports {busy} are in use; end what listens "
                           "there, or set LEASEHOLD_TEST_PORT_BASE")
        for node in NODES:
            home = self.folder / f"node{node}"
            home.mkdir(parents=True, exist_ok=True)
            (self.folder / f"node{node}.toml").write_text(self.config(node))
            self.launch(node)
        until("the nodes listening", lambda: all(
            self._listens(n, "grpc") for n in NODES))
        self.cli("cluster", "init", node=NODES[0])
        for node in NODES[1:]:
            self.cli("cluster", "add", node,
                     f"127.0.0.1:{self.port(node, 'peer')}", "--grpc",
                     f"127.0.0.1:{self.port(node, 'grpc')}", node=NODES[0])
        self.await_ready()

    def launch(self, node):
        log = self.folder / f"node{node}.log"
        with open(log, "ab") as out:
            # Killed by the kernel when this test ends, however it ends.
            self.processes[node] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", self.bin, "server",
                 "--config",
                 self.folder / f"node{node}.toml"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=dict(self._plain_env(), RUST_BACKTRACE="1",
                         LEASEHOLD_CLOUD__PASSWORD=self.t.password))

    @staticmethod
    def _plain_env():
        """Without LEASEHOLD_BIN and the like, which are no keys of a server."""
        return {k: v for k, v in os.environ.items()
                if not k.startswith(("LEASEHOLD_", "OS_"))}

    def alive(self):
        return [n for n in NODES if self.processes[n].poll() is None]

    def _listens(self, node, what):
        if self.processes[node].poll() is not None:
            raise LabError(f"node {node} ended with status "
                           f"{self.processes[node].returncode}; its last lines:"
                           "\n" + self.tail(node))
        return connects(self.port(node, what))

    def tail(self, node, lines=15):
        text = (self.folder / f"node{node}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def ready(self, node):
        try:
            return request("GET", f"http://127.0.0.1:"
                           f"{self.port(node, 'metrics')}/readyz",
                           timeout=2).status == 200
        except OSError:
            return False

    def await_ready(self, nodes=NODES, seconds=60):
        until(f"nodes {nodes} being ready", lambda: all(
            self._listens(n, "rest") and self.ready(n) for n in nodes),
            seconds)

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for node, process in self.processes.items():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self.say(f"node {node} did not end by itself in 20 s")

    # --------------------------------------------------------------------- cli

    def cli(self, *args, ok=True, **more):
        """The `leasehold` command; its standard output."""
        done = self.run_cli(*args, **more)
        if ok and done.returncode != 0:
            raise LabError(f"leasehold {' '.join(map(str, args))} failed with "
                           f"exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def run_cli(self, *args, node=None, user=SERVICE_USER, project="service",
                **variables):
        """It as it ended, with status, output and errors."""
        nodes = [node] if node else NODES
        return subprocess.run(
            [self.bin, *map(str, args)], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=90,
            env=dict(self._plain_env(), **self.cli_env(nodes, user, project),
                     **variables))

    def cli_env(self, nodes, user, project):
        env = self.t.client_env(user, project)
        env["LEASEHOLD_ENDPOINTS"] = ",".join(
            f"127.0.0.1:{self.port(n, 'grpc')}" for n in nodes)
        return env

    def cli_json(self, *args, **more):
        return json.loads(self.cli(*args, "--output", "json", **more))

    def doctor(self):
        """Whether nothing failed, and what it says of each thing."""
        done = self.run_cli(
            "doctor", "--config", self.folder / f"node{NODES[0]}.toml",
            "--output", "json", LEASEHOLD_CLOUD__PASSWORD=self.t.password)
        told = json.loads(done.stdout)
        if told["healthy"] != (done.returncode == 0):
            raise LabError(f"leasehold doctor: exit status {done.returncode}, "
                           f"and healthy is {told['healthy']}")
        return told["healthy"], {x["subject"]: x for x in told["checks"]}

    # ------------------------------------------------------------------- kills

    def leader(self):
        """The number of the leading node, or None while there is none."""
        for node in NODES:
            if self.processes[node].poll() is not None:
                continue
            try:
                status = self.cli_json("cluster", "status", node=node)
            except (LabError, subprocess.TimeoutExpired, ValueError):
                continue
            if status.get("leader"):
                return int(status["leader"])
        return None

    def warm(self):
        """Every node reads once, with the token that measures a failover."""
        until("all nodes reading", lambda: all(self._reads(n) for n in NODES), 30)

    def kill_leader(self, node):
        """kill -9, then seconds until another node leads.

        Seen by a linearizable read: it needs a leader that a majority follows.
        """
        begun = time.monotonic()
        self.processes[node].send_signal(signal.SIGKILL)
        self.processes[node].wait()
        others = [n for n in NODES if n != node]

        until("a new leader", lambda: any(self._reads(n) for n in others), 30)
        self.failovers.append(time.monotonic() - begun)
        return self.failovers[-1]

    def _reads(self, node):
        try:
            answer = self.t.service.call(
                "reservation", "GET", "/leases", ok=range(200, 600),
                base=self.endpoint(node))
        except OSError:
            return False
        return answer.status == 200
