//! What a pod may not be: one line of spec each, and the sentences about it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use remora_model::json::Parsed;
use remora_model::kinds::core;
use remora_rules::decode::{self, FieldValidation};
use remora_rules::pod::validation::validate;
use serde_json::{Value, json};

/// A pod with one good container, given these fields of its spec.
fn errors_of_spec(spec: Value) -> Vec<String> {
    let whole = with(json!({"containers": [{"name": "c", "image": "x"}]}), spec);
    let parsed =
        Parsed { value: json!({"metadata": {"name": "p", "namespace": "n"}, "spec": whole}), duplicates: Vec::new() };
    let pod = decode::body(core("pods"), parsed, FieldValidation::Strict).unwrap().object;
    validate(&pod).iter().map(ToString::to_string).collect()
}

fn with(mut whole: Value, fields: Value) -> Value {
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    whole
}

/// A container with these fields besides name and image.
fn container(fields: Value) -> Value {
    with(json!({"name": "c", "image": "x"}), fields)
}

fn check_spec(spec: Value, expected: &[&str]) {
    assert_eq!(errors_of_spec(spec.clone()), expected, "{spec}");
}

/// Of a container the expected sentences stand below `spec.containers[0].`.
fn check(fields: Value, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|e| format!("spec.containers[0].{e}")).collect();
    assert_eq!(errors_of_spec(json!({"containers": [container(fields.clone())]})), expected, "{fields}");
}

#[test]
fn containers_have_names_images_and_policies() {
    check(json!({"name": "", "image": ""}), &["name: Required value", "image: Required value"]);
    check(json!({"image": " x"}), &["image: Invalid value: \" x\": must not have leading or trailing whitespace"]);
    check(
        json!({"terminationMessagePolicy": "Never"}),
        &[
            "terminationMessagePolicy: Unsupported value: \"Never\": supported values: \"FallbackToLogsOnError\", \"File\"",
        ],
    );
    check(json!({"restartPolicy": "Always"}), &["restartPolicy: Forbidden: may not be set for non-init containers"]);
    check_spec(json!({"containers": null}), &["spec.containers: Required value"]);
}

#[test]
fn ports_are_named_numbered_and_told_apart() {
    check(
        json!({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]}),
        &["ports[1].name: Duplicate value: \"a\""],
    );
    check(
        json!({"ports": [{"hostPort": -1, "containerPort": 0, "protocol": "ICMP", "name": "1"}]}),
        &[
            "ports[0].name: Invalid value: \"1\": must contain at least one letter (a-z)",
            "ports[0].containerPort: Required value",
            "ports[0].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive",
            "ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
    check(
        json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]}),
        &["ports[1].hostPort: Duplicate value: \"TCP//80\""],
    );
    check_spec(
        json!({"hostNetwork": true, "containers": [container(json!({"ports": [{"containerPort": 80, "hostPort": 81}]}))]}),
        &[
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
        ],
    );
}

#[test]
fn variables_have_names_and_one_source() {
    check(json!({"env": [{"name": ""}]}), &["env[0].name: Required value"]);
    check(
        json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
        &["env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"],
    );
    check(
        json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "a b"}}}]}),
        &[
            "env[0].valueFrom.secretKeyRef.name: Required value",
            "env[0].valueFrom.secretKeyRef.key: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ],
    );
    check(
        json!({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.wibble"}}}]}),
        &[
            "env[0].valueFrom.resourceFieldRef.resource: Unsupported value: \"limits.wibble\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\"",
        ],
    );
    check(
        json!({"envFrom": [{"prefix": "A"}]}),
        &["envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"],
    );
    check(json!({"envFrom": [{"secretRef": {}}]}), &["envFrom[0].secretRef.name: Required value"]);
}

#[test]
fn mounts_lead_from_a_volume_to_a_place_of_their_own() {
    let with_volume =
        |mounts: Value| json!({"volumes": [{"name": "v"}], "containers": [container(json!({"volumeMounts": mounts}))]});
    check_spec(with_volume(json!([{"name": "v", "mountPath": "/a"}])), &[]);
    check_spec(
        with_volume(json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}])),
        &["spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique"],
    );
    check_spec(
        with_volume(json!([{"name": "v", "mountPath": "", "subPath": "/a/..", "subPathExpr": "b"}])),
        &[
            "spec.containers[0].volumeMounts[0].mountPath: Required value",
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"/a/..\": must be a relative path",
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"/a/..\": must not contain '..'",
            "spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: \"b\": subPathExpr and subPath are mutually exclusive",
        ],
    );
    check_spec(
        with_volume(json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}])),
        &[
            "spec.containers[0].volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
        ],
    );
    check_spec(
        with_volume(json!([{"name": "v", "mountPath": "/a", "recursiveReadOnly": "Enabled"}])),
        &[
            "spec.containers[0].volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
        ],
    );
}

#[test]
fn volumes_have_names_and_one_source() {
    let check = |volume: Value, expected: &[&str]| check_spec(json!({"volumes": [volume]}), expected);
    check(json!({"name": ""}), &["spec.volumes[0].name: Required value"]);
    check(
        json!({"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}),
        &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    );
    check(
        json!({"name": "v", "hostPath": {"path": "/a/../b", "type": "Door"}}),
        &[
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.volumes[0].hostPath.type: Unsupported value: \"Door\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
        ],
    );
    check(
        json!({"name": "v", "configMap": {"name": "", "defaultMode": 512, "items": [{"key": "", "path": "/x"}]}}),
        &[
            "spec.volumes[0].configMap.name: Required value",
            "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            "spec.volumes[0].configMap.items[0].key: Required value",
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"/x\": must be a relative path",
        ],
    );
    check(
        json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}),
        &[
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
        ],
    );
    check(
        json!({"name": "v", "nfs": {"server": "", "path": "x"}}),
        &[
            "spec.volumes[0].nfs.server: Required value",
            "spec.volumes[0].nfs.path: Invalid value: \"x\": must be an absolute path",
        ],
    );
    check_spec(json!({"volumes": [{"name": "v"}, {"name": "v"}]}), &["spec.volumes[1].name: Duplicate value: \"v\""]);
}

#[test]
fn probes_and_hooks_do_one_thing() {
    check(json!({"livenessProbe": {}}), &["livenessProbe: Required value: must specify a handler type"]);
    check(
        json!({"livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}, "successThreshold": 2}}),
        &[
            "livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            "livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check(
        json!({"readinessProbe": {"httpGet": {"port": 0, "scheme": "GOPHER"}, "periodSeconds": -1, "terminationGracePeriodSeconds": 1}}),
        &[
            "readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "readinessProbe.httpGet.scheme: Unsupported value: \"GOPHER\": supported values: \"HTTP\", \"HTTPS\"",
            "readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
        ],
    );
    check(json!({"startupProbe": {"exec": {}}}), &["startupProbe.exec.command: Required value"]);
    check(
        json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}),
        &[
            "lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ],
    );
    check(
        json!({"livenessProbe": {"grpc": {"port": 1}}, "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}),
        &[],
    );
}

#[test]
fn resources_are_known_and_within_limits() {
    check(json!({"resources": {"limits": {"cpu": "500m", "memory": "1Gi", "example.com/gpu": "1"}}}), &[]);
    check(
        json!({"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}),
        &["resources.requests: Invalid value: \"2Gi\": must be less than or equal to memory limit of 1Gi"],
    );
    check(
        json!({"resources": {"limits": {"wibble": "1"}, "requests": {"wibble": "1"}}}),
        &[
            "resources.limits[wibble]: Invalid value: \"wibble\": must be a standard resource type or fully qualified",
            "resources.limits[wibble]: Invalid value: \"wibble\": must be a standard resource for containers",
            "resources.requests[wibble]: Invalid value: \"wibble\": must be a standard resource type or fully qualified",
            "resources.requests[wibble]: Invalid value: \"wibble\": must be a standard resource for containers",
        ],
    );
    check(
        json!({"resources": {"requests": {"cpu": "-1"}}}),
        &["resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
    );
    check(
        json!({"resources": {"requests": {"example.com/gpu": "1"}}}),
        &["resources.limits: Required value: Limit must be set for non overcommitable resources"],
    );
}

#[test]
fn security_contexts_do_not_contradict_themselves() {
    check(
        json!({"securityContext": {"runAsUser": -1}}),
        &["securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
    );
    let wrong = errors_of_spec(
        json!({"containers": [container(json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}))]}),
    );
    assert!(wrong[0].ends_with("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"), "{wrong:?}");
    check(
        json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}}),
        &[
            "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ],
    );
    check_spec(
        json!({"securityContext": {"sysctls": [{"name": "kernel.x", "value": "1"}, {"name": "kernel.x", "value": "1"}, {"name": "A", "value": ""}]}}),
        &[
            "spec.securityContext.sysctls[1].name: Duplicate value: \"kernel.x\"",
            "spec.securityContext.sysctls[2].name: Invalid value: \"A\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
        ],
    );
    check_spec(
        json!({"hostPID": true, "shareProcessNamespace": true}),
        &["spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"],
    );
    check_spec(json!({"hostUsers": false, "hostPID": true}), &["spec.hostPID: Forbidden: when `hostUsers` is false"]);
}

#[test]
fn init_containers_run_once_or_are_sidecars() {
    let init = |fields: Value| json!({"initContainers": [with(json!({"name": "i", "image": "x"}), fields)]});
    check_spec(init(json!({"restartPolicy": "Always", "livenessProbe": {"exec": {"command": ["x"]}}})), &[]);
    check_spec(
        init(json!({"restartPolicy": "Never"})),
        &["spec.initContainers[0].restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
    check_spec(
        init(json!({"readinessProbe": {"exec": {"command": ["x"]}}})),
        &[
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    check_spec(init(json!({"name": "c"})), &["spec.initContainers[0].name: Duplicate value: \"c\""]);
}

#[test]
fn ephemeral_containers_have_only_what_they_may() {
    let ephemeral = |fields: Value| json!({"volumes": [{"name": "v"}], "ephemeralContainers": [with(json!({"name": "e", "image": "x"}), fields)]});
    check_spec(ephemeral(json!({"targetContainerName": "c", "resources": {}, "restartPolicy": null})), &[]);
    check_spec(
        ephemeral(json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a"}]})),
        &["spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container"],
    );
    check_spec(
        ephemeral(json!({"targetContainerName": "e"})),
        &["spec.ephemeralContainers[0].targetContainerName: Not found: \"e\""],
    );
}

#[test]
fn the_rest_of_the_spec() {
    for (spec, expected) in [
        (
            json!({"dnsPolicy": "Wibble"}),
            "spec.dnsPolicy: Unsupported value: \"Wibble\": supported values: \"ClusterFirst\", \"ClusterFirstWithHostNet\", \"Default\", \"None\"",
        ),
        (
            json!({"dnsPolicy": "None"}),
            "spec.dnsConfig: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ),
        (
            json!({"dnsConfig": {"nameservers": ["x"]}}),
            "spec.dnsConfig.nameservers[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            json!({"hostAliases": [{"ip": "x"}]}),
            "spec.hostAliases.ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            json!({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}),
            "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
        ),
        (
            json!({"tolerations": [{"key": "a", "tolerationSeconds": 5}]}),
            "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
        (
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (
            json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]}),
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (json!({"schedulingGates": [{"name": "a"}, {"name": "a"}]}), "spec.schedulingGates[1]: Duplicate value: \"a\""),
        (
            json!({"overhead": {"cpu": "-1"}}),
            "spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            json!({"os": {"name": "plan9"}}),
            "spec.os.name: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
        ),
        (
            json!({"preemptionPolicy": "Wibble"}),
            "spec.preemptionPolicy: Unsupported value: \"Wibble\": supported values: \"Never\", \"PreemptLowerPriority\"",
        ),
    ] {
        check_spec(spec, &[expected]);
    }
}
