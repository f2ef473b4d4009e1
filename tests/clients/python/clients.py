"""Does with the Python client what programs around Kubernetes do, in a namespace of its own: one step after another, each told as "ok NAME" or
"FAILED NAME: why". tests/tests/root_clients plays it against a node."""

import json
import os
import sys
import time
import traceback

from kubernetes import client, config, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import portforward, stream
from kubernetes.stream.ws_client import RESIZE_CHANNEL

NAMESPACE = sys.argv[1]
# How long a stream may stay silent, in seconds.
PATIENCE = 30
STEPS = []


def step(does):
    STEPS.append((does.__name__.replace("_", " "), does))
    return does


def config_map(name):
    metadata = client.V1ObjectMeta(name=name, labels={"paged": "yes"})
    return client.V1ConfigMap(metadata=metadata, data={"a": "one", "b": "same"})


def refusal(does):
    """The answer's code of a request that must be refused."""
    try:
        does()
    except ApiException as refused:
        return refused.status
    raise AssertionError("it was not refused")


@step
def create_and_list_in_pages(api):
    for i in range(5):
        api.create_namespaced_config_map(NAMESPACE, config_map(f"page-{i}"))
    sizes, token = [], None
    while token != "":
        page = api.list_namespaced_config_map(NAMESPACE, label_selector="paged=yes", limit=2, _continue=token)
        sizes.append(len(page.items))
        token = page.metadata._continue or ""
    assert sizes == [2, 2, 1], sizes


@step
def watch_from_a_version_with_bookmarks(api):
    version = api.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    api.create_namespaced_config_map(NAMESPACE, config_map("watched"))
    api.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"a": "two"}})
    api.delete_namespaced_config_map("watched", NAMESPACE)
    events = watch.Watch().stream(
        api.list_namespaced_config_map, NAMESPACE, resource_version=version, allow_watch_bookmarks=True, timeout_seconds=4
    )
    types = [event["type"] for event in events]
    assert types == ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"], types


@step
def patches(api):
    for kind, body, expected in [
        ("json-patch+json", [{"op": "replace", "path": "/data/a", "value": "json"}], "json"),
        ("merge-patch+json", {"data": {"a": "merge"}}, "merge"),
        ("strategic-merge-patch+json", {"data": {"a": "strategic"}}, "strategic"),
        ("apply-patch+yaml", {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "apply"}}, "apply"),
    ]:
        # The type of a patch is what its sender is set to.
        sender = client.ApiClient()
        sender.set_default_header("Content-Type", f"application/{kind}")
        options = {"field_manager": "clients", "force": True} if kind.startswith("apply") else {}
        patched = client.CoreV1Api(sender).patch_namespaced_config_map("page-0", NAMESPACE, body, **options)
        assert patched.data == {"a": expected, "b": "same"}, (kind, patched.data)


@step
def update_of_an_old_version(api):
    old = api.read_namespaced_config_map("page-0", NAMESPACE)
    api.patch_namespaced_config_map("page-0", NAMESPACE, {"data": {"a": "newer"}})
    assert refusal(lambda: api.replace_namespaced_config_map("page-0", NAMESPACE, old)) == 409


@step
def delete_with_preconditions(api):
    def delete(uid):
        options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=uid), propagation_policy="Background")
        return api.delete_namespaced_config_map("page-0", NAMESPACE, body=options)

    found = api.read_namespaced_config_map("page-0", NAMESPACE)
    assert refusal(lambda: delete("another")) == 409
    assert delete(found.metadata.uid).status == "Success"
    assert refusal(lambda: api.read_namespaced_config_map("page-0", NAMESPACE)) == 404


@step
def delete_a_collection(api):
    api.delete_collection_namespaced_config_map(NAMESPACE, label_selector="paged=yes")
    assert api.list_namespaced_config_map(NAMESPACE, label_selector="paged=yes").items == []


@step
def dynamic_client_and_server_side_apply(api):
    maps = DynamicClient(api.api_client).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dynamic"}, "data": {"a": "b"}}
    maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="first")
    body["data"]["a"] = "c"
    try:
        maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="second")
        raise AssertionError("no conflict")
    except Exception as conflict:
        assert getattr(conflict, "status", None) == 409, conflict
    applied = maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="second", force_conflicts=True)
    assert applied.data.a == "c", applied


def container(name, **options):
    return {"name": name, "image": "busybox", **options}


@step
def run_pods(api):
    talks = "echo line 1; until test -e /go; do sleep 0.1; done; echo line 2; sleep 10000"
    for one in [
        container("box", command=["sh", "-c", talks]),
        container("shell", command=["sh"], stdin=True, tty=True),
        container("web", image="registry.example/httpd:1"),
    ]:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": one["name"]}, "spec": {"containers": [one]}}
        utils.create_from_dict(api.api_client, pod, namespace=NAMESPACE)
        selector = f"metadata.name={one['name']}"
        pods = watch.Watch()
        for event in pods.stream(api.list_namespaced_pod, NAMESPACE, field_selector=selector, timeout_seconds=60):
            if any(c.type == "Ready" and c.status == "True" for c in event["object"].status.conditions or []):
                pods.stop()
        assert api.read_namespaced_pod_status(one["name"], NAMESPACE).status.phase == "Running", one


def execute(api, script, **options):
    return stream(
        api.connect_get_namespaced_pod_exec, "box", NAMESPACE, command=["sh", "-c", script], stdout=True, **options
    )


def read_until(session, text):
    """What a terminal says, up to a text or its end.

    The client waits on the socket alone: what TLS has already taken from it is seen only when more comes. An empty line makes more come."""
    said, ends = "", time.monotonic() + PATIENCE
    while text not in said and session.is_open() and time.monotonic() < ends:
        session.update(timeout=1)
        news = session.read_stdout(timeout=0) + session.read_stderr(timeout=0)
        if not news:
            session.write_stdin("\n")
        said += news
    assert text in said, said
    return said


@step
def exec_with_input(api):
    # Its protocol cannot say that the input has ended.
    session = execute(api, "read line; echo $line | tr a-z A-Z; echo err >&2; exit 7", stdin=True, stderr=True, _preload_content=False)
    session.write_stdin("shout\n")
    session.run_forever(timeout=PATIENCE)
    said = (session.read_stdout(), session.read_stderr(), session.returncode)
    assert said == ("SHOUT\n", "err\n", 7), said


@step
def exec_on_a_terminal_that_is_resized(api):
    session = execute(api, "until stty size | grep -q '^44 122$'; do sleep 0.1; done; tty; echo re''sized", stdin=True, tty=True, _preload_content=False)
    for size in ({"Width": 101, "Height": 33}, {"Width": 122, "Height": 44}):
        session.write_channel(RESIZE_CHANNEL, json.dumps(size))
    assert "/dev/pts/" in read_until(session, "resized")
    session.close()


@step
def attach(api):
    session = stream(
        api.connect_get_namespaced_pod_attach, "shell", NAMESPACE, stdin=True, stdout=True, tty=True, _preload_content=False
    )
    session.write_stdin("echo at-$((1+1))\n")
    read_until(session, "at-2")
    session.close()


@step
def logs_followed(api):
    lines = watch.Watch().stream(api.read_namespaced_pod_log, "box", NAMESPACE)
    assert next(lines) == "line 1"
    execute(api, "touch /go")
    assert next(lines) == "line 2"


@step
def port_forward(api):
    forward = portforward(api.connect_get_namespaced_pod_portforward, "web", NAMESPACE, ports="8080")
    socket = forward.socket(8080)
    socket.settimeout(PATIENCE)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := socket.recv(1024):
        answer += chunk
    assert b"hello from user 65532" in answer, answer
    assert forward.error(8080) is None, forward.error(8080)


@step
def proxy_to_a_pod(api):
    assert "hello from user 65532" in api.connect_get_namespaced_pod_proxy("web:8080", NAMESPACE)


def main():
    config.load_kube_config(os.environ["KUBECONFIG"])
    api, failed = client.CoreV1Api(), 0
    for name, does in STEPS:
        try:
            does(api)
            print("ok", name, flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {name}: {traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)


main()
