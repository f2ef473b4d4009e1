//! The matrix of kubectl's commands, in the order in which they are played: later rows use what earlier ones have left.
//! A new command that must work with every kubectl is a line here.

use super::row::{Row, feed, run, serve, talk, until_end, watch};

/// Files of each client's folder.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("editor", "#!/bin/sh\nsed -i 's/text: before/text: after/' \"$1\"\n"),
    ("here", "from here\n"),
    (
        "web.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels: {app: web}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers:\n  - name: web\n    image: registry.example/httpd:1\n    ports: [{containerPort: 8080}]\n",
    ),
    (
        "web-2.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels: {app: web, changed: 'yes'}\nspec:\n  \
         terminationGracePeriodSeconds: 0\n  containers:\n  - name: web\n    image: registry.example/httpd:1\n    \
         ports: [{containerPort: 8080}]\n",
    ),
    ("config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\ndata:\n  text: before\n"),
    ("config-2.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\ndata:\n  text: applied\n"),
    ("kustomization.yaml", "namePrefix: k-\nresources: [config.yaml]\n"),
    ("unknown.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unknown, wrong: 1}\n"),
];

/// The prompt of a root's shell in busybox.
const PROMPT: &str = "# ";

/// All rows.
pub(crate) const ROWS: &[Row] = &[
    // What there is.
    run("version", "version").shows(&["v1.34.4"]),
    run("api-resources", "api-resources --namespaced=true -o name").shows(&["pods\n", "roles.rbac.authorization.k8s.io\n"]),
    run("api-versions", "api-versions").shows(&["v1\n", "coordination.k8s.io/v1\n"]),
    run("explain", "explain pod.spec.ephemeralContainers").shows(&["KIND:       Pod", "targetContainerName"]),
    run("explain by the older document", "explain pod.spec.restartPolicy --output=plaintext-openapiv2")
        .shows(&["FIELD:    restartPolicy <string>"]),
    run("get nodes", "get nodes -o wide").shows(&["INTERNAL-IP", "{node}", "Ready"]),
    run("get raw", "get --raw /readyz?verbose").shows(&["[+]ping ok", "readyz check passed"]),
    // run, and what shows a pod.
    run("run", "run box --image=busybox --restart=Never --labels=app=box -- sleep 10000").shows(&["pod/box created"]),
    run("wait for a condition", "wait --for=condition=Ready pod/box --timeout=120s").shows(&["pod/box condition met"]),
    run("wait for a value", "wait --for=jsonpath={.status.phase}=Running pod/box --timeout=60s").shows(&["condition met"]),
    run("wait for creation", "wait --for=create pod/box --timeout=30s").since(31).shows(&["pod/box condition met"]),
    run("wait in vain", "wait --for=jsonpath={.status.phase}=Failed pod/box --timeout=1s")
        .code(1)
        .shows(&["timed out waiting for the condition on pods/box"]),
    talk("run on a terminal", "run once -it --rm --image=busybox --restart=Never -- sh", &[(PROMPT, "echo one-$((1+1)); exit")])
        .shows(&["one-2", "pod \"once\" deleted"]),
    run("get", "get pods").shows(&["NAME", "READY", "box", "1/1"]),
    run("get wide", "get pod box -o wide").shows(&["NOMINATED NODE", "{node}"]),
    run("get as JSON path", "get pod box -o jsonpath={.metadata.labels.app}").shows(&["box"]),
    run("get as YAML", "get pod box -o yaml").shows(&["kind: Pod", "phase: Running"]),
    run("get own columns", "get pods -o custom-columns=N:.metadata.name,P:.status.phase").shows(&["N", "box", "Running"]),
    run("get by a Go template", "get pods -o go-template='{{range .items}}{{.metadata.name}};{{end}}'").shows(&["box;"]),
    run("get by label and field", "get pods -l app=box --field-selector=status.phase=Running -o name").shows(&["pod/box\n"]),
    run("get everywhere, sorted", "get pods -A --sort-by=.metadata.name").shows(&["NAMESPACE", "{ns}"]),
    run("get all", "get all").shows(&["box"]),
    run("get what is not there", "get pod nothing").code(1).shows(&["Error from server (NotFound): pods \"nothing\" not found"]),
    run("describe", "describe pod box").shows(&["Image:         busybox", "Normal  Started"]),
    run("describe a node", "describe node {node}").shows(&["Non-terminated Pods", "Allocated resources"]),
    // Streams.
    run("exec", "exec box -- sh -c 'echo out; echo err >&2; exit 7'")
        .code(7)
        .shows(&["out\n", "err\n", "command terminated with exit code 7"]),
    feed("exec with input", "exec -i box -- tr a-z A-Z", "shout\n").shows(&["SHOUT\n"]),
    talk("exec on a terminal", "exec -it box -- sh", &[(PROMPT, "tty; stty size; exit 5")]).code(5).shows(&["/dev/pts/0"]),
    run("exec of what is not there", "exec box -- nosuch").code(126).shows(&["executable file not found in $PATH"]),
    run("run for input", "run reader -i --attach=false --image=busybox --restart=Never -- sh -c 'read line; echo got $line'")
        .shows(&["pod/reader created"]),
    run("wait for it", "wait --for=condition=Ready pod/reader --timeout=120s").shows(&["condition met"]),
    feed("attach with input", "attach -i reader", "words\n").shows(&["got words\n"]),
    run("run a shell", "run shell -it --attach=false --image=busybox --restart=Never -- sh").shows(&["pod/shell created"]),
    run("wait for the shell", "wait --for=condition=Ready pod/shell --timeout=120s").shows(&["condition met"]),
    talk("attach on a terminal", "attach -it shell", &[(PROMPT, "echo at-$((1+1)); exit")]).shows(&["at-2"]),
    run("run what talks", "run talk --image=busybox --restart=Never -- sh -c 'echo line 1; until test -e /go; do sleep 0.1; done; echo line 2'")
        .shows(&["pod/talk created"]),
    run("wait for what talks", "wait --for=condition=Ready pod/talk --timeout=120s").shows(&["condition met"]),
    until_end("logs -f", "logs -f talk", "line 1", "exec talk -- touch /go").shows(&["line 2"]),
    run("logs", "logs talk --tail=1").shows(&["line 2\n"]),
    run("logs with times, by label", "logs -l run=talk --timestamps --prefix").shows(&["[pod/talk/talk] 20", "Z line 1\n"]),
    run("logs of no earlier run", "logs talk --previous").code(1).shows(&["previous terminated container \"talk\" in pod \"talk\" not found"]),
    run("cp there", "cp {dir}/here box:/tmp/there").leaves(&[("exec box -- cat /tmp/there", "from here\n")]),
    run("cp back", "cp box:/tmp/there {dir}/back")
        .leaves(&[("create configmap x --dry-run=client --from-file={dir}/back -o jsonpath={.data.back}", "from here\n")]),
    run("cp a folder", "cp box:/etc {dir}/etc")
        .leaves(&[("create configmap x --dry-run=client --from-file={dir}/etc/hostname -o jsonpath={.data.hostname}", "box\n")]),
    run("create from a file", "create -f {dir}/web.yaml").shows(&["pod/web created"]),
    run("wait for the web server", "wait --for=condition=Ready pod/web --timeout=120s").shows(&["condition met"]),
    serve("port-forward", "port-forward pod/web :8080", "/").shows(&["200 OK", "hello from user 65532"]),
    serve("proxy", "proxy --port=0", "/api/v1/namespaces/{ns}/pods/box").shows(&["200 OK", "\"phase\":\"Running\""]),
    run("get raw through a pod", "get --raw /api/v1/namespaces/{ns}/pods/web:8080/proxy/some/path?a=b").shows(&["hello from user 65532"]),
    run("get raw through a closed port", "get --raw /api/v1/namespaces/{ns}/pods/web:9999/proxy/")
        .code(1)
        .shows(&["(ServiceUnavailable)", "error trying to reach service: dial tcp ", ":9999: connect: connection refused"]),
    serve("proxy to a pod", "proxy --port=0", "/api/v1/namespaces/{ns}/pods/http:web:/proxy/").shows(&["200 OK", "hello from user 65532"]),
    serve("proxy to a pod's root", "proxy --port=0", "/api/v1/namespaces/{ns}/pods/web/proxy")
        .shows(&["301 Moved Permanently", "ocation: /api/v1/namespaces/{ns}/pods/web/proxy/\r\n"]),
    run("proxy without rights", "get --raw /api/v1/namespaces/{ns}/pods/web/proxy/ --as=jane").code(1).shows(&["User \"jane\" cannot get resource \"pods/proxy\""]),
    // Debug.
    talk("debug", "debug -it web -c eph --image=busybox --target=web -- sh", &[(PROMPT, "cat /proc/1/comm; exit")])
        .shows(&["httpd"])
        .leaves(&[("get pod web -o jsonpath={.spec.ephemeralContainers[*].name}", "eph")]),
    run("debug in the background", "debug web -c later --image=busybox -- true")
        .leaves(&[("get pod web -o jsonpath={.spec.ephemeralContainers[*].name}", "eph later")]),
    run("debug by a profile", "debug web -c strict --profile=restricted --image=busybox -- id -u")
        .leaves(&[("get pod web -o jsonpath={.spec.ephemeralContainers[2].securityContext.capabilities.drop}", "[\"ALL\"]")]),
    run("debug a container that is there", "debug web -c later --image=busybox --env=A=B -- true")
        .code(1)
        .shows(&["may not be changed"]),
    talk("debug a copy", "debug box -it --copy-to=copy --container=eye --image=busybox --share-processes -- sh", &[(PROMPT, "until ps | grep -q '[s]leep 10000'; do sleep 0.1; done; echo se''en; exit")])
        .shows(&["seen\r\n"])
        .leaves(&[("get pod copy -o jsonpath={.spec.containers[*].name}", "box eye")]),
    run("debug a copy of other images", "debug box --copy-to=other --set-image=*=registry.example/httpd:1")
        .leaves(&[("get pod other -o jsonpath={.spec.containers[*].image}", "registry.example/httpd:1")]),
    talk("debug the node", "debug node/{node} -it --image=busybox -- sh", &[(PROMPT, "ls -d /host/proc; exit")])
        .shows(&["/host/proc"]),
    // Deployments. An image that is not to be had makes no new pod and takes no old one away, so that undoing it is quick.
    run("create a deployment", "create deployment front --image=registry.example/httpd:1 --replicas=2").shows(&["deployment.apps/front created"]),
    run("expose", "expose deployment front --port=80 --target-port=8080").shows(&["service/front exposed"]),
    run("rollout status", "rollout status deployment/front --timeout=120s").shows(&["deployment \"front\" successfully rolled out"]),
    run("get a deployment", "get deployment front --no-headers").shows(&["front", "2/2"]),
    run("wait for endpoints", "wait endpoints/front --for=jsonpath={.subsets[0].addresses[0].targetRef.kind}=Pod --timeout=60s").shows(&["condition met"]),
    run("get what is behind a service", "get endpoints,endpointslices -o wide").shows(&["endpoints/front", "endpointslice.discovery.k8s.io/front-", ":8080"]),
    run("describe a service", "describe service front").shows(&["Selector:", "app=front", "Endpoints:", ":8080"]),
    run("get raw through a service", "get --raw /api/v1/namespaces/{ns}/services/front:80/proxy/some/path?a=b").shows(&["hello from user 65532"]),
    run("get raw through a service's only port", "get --raw /api/v1/namespaces/{ns}/services/http:front:/proxy/").shows(&["hello from user 65532"]),
    serve("proxy to a service", "proxy --port=0", "/api/v1/namespaces/{ns}/services/front/proxy/").shows(&["200 OK", "hello from user 65532"]),
    run("get raw through no port of a service", "get --raw /api/v1/namespaces/{ns}/services/front:81/proxy/")
        .code(1)
        .shows(&["(ServiceUnavailable)", "no service port 81 found for service \"front\""]),
    run("proxy to a service without rights", "get --raw /api/v1/namespaces/{ns}/services/front/proxy/ --as=jane")
        .code(1)
        .shows(&["User \"jane\" cannot get resource \"services/proxy\""]),
    run("cluster-info", "cluster-info").shows(&["Kubernetes control plane", "is running at"]),
    run("scale", "scale deployment/front --replicas=1 --current-replicas=2")
        .shows(&["deployment.apps/front scaled"])
        .leaves(&[("get deployment front -o jsonpath={.spec.replicas}", "1")]),
    run("scale from another number", "scale deployment/front --replicas=5 --current-replicas=2")
        .code(1)
        .shows(&["Expected replicas to be 2, was 1"]),
    run("set an image", "set image deployment/front httpd=registry.example/none:1")
        .shows(&["deployment.apps/front image updated"])
        .leaves(&[("get deployment front -o jsonpath={.spec.template.spec.containers[*].image}", "registry.example/none:1")]),
    run("wait for its revision", "wait deployment/front --for=jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}=2 --timeout=60s")
        .shows(&["condition met"]),
    run("rollout history", "rollout history deployment/front").shows(&["REVISION", "\n1 ", "\n2 "]),
    run("rollout undo", "rollout undo deployment/front")
        .shows(&["deployment.apps/front rolled back"])
        .leaves(&[("get deployment front -o jsonpath={.spec.template.spec.containers[*].image}", "registry.example/httpd:1")]),
    run("rollout restart", "rollout restart deployment/front").shows(&["deployment.apps/front restarted"]),
    run("rollout status, again", "rollout status deployment/front --timeout=120s").shows(&["successfully rolled out"]),
    run("describe a deployment", "describe deployment front").shows(&["StrategyType:           RollingUpdate", "Scaled up replica set front-"]),
    run("get all kinds", "get all").shows(&["pod/box", "pod/front-", "deployment.apps/front", "replicaset.apps/front-"]),
    run("delete a service", "delete service front").shows(&["\"front\" deleted"]),
    run("delete a deployment", "delete deployment front --cascade=foreground --timeout=60s")
        .shows(&["\"front\" deleted"])
        .leaves(&[("get pods,replicasets -l app=front -o name", "")]),
    // Writes.
    run("apply", "apply -f {dir}/config.yaml").shows(&["configmap/config created"]),
    run("apply again", "apply -f {dir}/config.yaml").shows(&["configmap/config unchanged"]),
    run("diff", "diff -f {dir}/config-2.yaml").code(1).shows(&["-  text: before", "+  text: applied"]),
    run("apply a kustomization", "apply -k {dir}").shows(&["configmap/k-config created"]),
    run("edit", "edit configmap config").shows(&["configmap/config edited"]).leaves(&[("get cm config -o jsonpath={.data.text}", "after")]),
    run("apply what was edited", "apply -f {dir}/config-2.yaml")
        .shows(&["configmap/config configured"])
        .leaves(&[("get cm config -o jsonpath={.data.text}", "applied")]),
    run("view what was applied", "apply view-last-applied configmap config").shows(&["text: applied"]),
    run("apply to a pod", "apply -f {dir}/web-2.yaml --force=false").leaves(&[("get pod web -o jsonpath={.metadata.labels.changed}", "yes")]),
    run("apply on the server's side", "apply --server-side --field-manager=row -f {dir}/web-2.yaml --force-conflicts")
        .shows(&["pod/web serverside-applied"])
        .leaves(&[(
            "get pod web --show-managed-fields -o jsonpath='{.metadata.managedFields[?(@.manager==\"row\")].operation}'",
            "Apply",
        )]),
    run("a conflict of managers", "apply --server-side --field-manager=other -f {dir}/config.yaml")
        .code(1)
        .shows(&["Apply failed with 1 conflict", ".data.text"]),
    run("an unknown field", "apply -f {dir}/unknown.yaml").code(1).shows(&["unknown field \"metadata.wrong\""]),
    run("an unknown field, with a warning", "create -f {dir}/unknown.yaml --validate=warn --dry-run=server")
        .shows(&["unknown field \"metadata.wrong\""]),
    run("replace", "replace -f {dir}/config.yaml").leaves(&[("get cm config -o jsonpath={.data.text}", "before")]),
    run("patch, strategic", "patch pod web -p '{\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":\"registry.example/httpd:1\"}]},\"metadata\":{\"labels\":{\"patch\":\"strategic\"}}}'")
        .leaves(&[("get pod web -o jsonpath={.metadata.labels.patch}", "strategic")]),
    run("patch, merge", "patch pod web --type=merge -p '{\"metadata\":{\"labels\":{\"patch\":null}}}'")
        .leaves(&[("get pod web -o jsonpath={.metadata.labels.patch}", "")]),
    run("patch, JSON", "patch pod web --type=json -p '[{\"op\":\"test\",\"path\":\"/metadata/labels/app\",\"value\":\"web\"},{\"op\":\"add\",\"path\":\"/metadata/labels/patch\",\"value\":\"json\"}]'")
        .leaves(&[("get pod web -o jsonpath={.metadata.labels.patch}", "json")]),
    run("patch for a resize", "patch pod web --subresource=resize -p '{\"spec\":{\"containers\":[{\"name\":\"web\",\"resources\":{\"requests\":{\"cpu\":\"20m\"}}}]}}'")
        .since(32)
        .code(1)
        .shows(&["Pod QOS Class may not change as a result of resizing"]),
    run("patch a subresource", "patch pod web --subresource=status -p '{\"status\":{\"conditions\":[{\"type\":\"example.com/Row\",\"status\":\"True\"}]}}'")
        .leaves(&[("get pod web -o jsonpath='{.status.conditions[?(@.type==\"example.com/Row\")].status}'", "True")]),
    run("patch what may not be patched", "patch pod web -p '{\"spec\":{\"hostNetwork\":true}}'")
        .code(1)
        .shows(&["pod updates may not change fields other than"]),
    run("set an image of a pod", "set image pod/box box=registry.example/busybox:1 --dry-run=server").shows(&["image updated (server dry run)"]),
    run("label", "label pod box tier=one").shows(&["pod/box labeled"]),
    run("label again", "label pod box tier=two").code(1).shows(&["already has a value (one), and --overwrite is false"]),
    run("label over and away", "label pod box tier-").leaves(&[("get pod box -o jsonpath={.metadata.labels.tier}", "")]),
    run("annotate", "annotate pod box note='two words'").leaves(&[("get pod box -o jsonpath={.metadata.annotations.note}", "two words")]),
    // All clients share the node, and each taint replaces all.
    run("taint, dry", "taint node {node} row.example/x=y:PreferNoSchedule --dry-run=server").shows(&["node/{node} tainted"]),
    run("cordon, dry", "cordon {node} --dry-run=server").shows(&["cordoned (server dry run)"]),
    run("create a config map", "create configmap lit --from-literal=a=b").leaves(&[("get cm lit -o jsonpath={.data.a}", "b")]),
    run("create a secret", "create secret generic hidden --from-literal=a=b").leaves(&[("get secret hidden -o jsonpath={.data.a}", "Yg==")]),
    run("describe a secret", "describe secret hidden").shows(&["a:  1 bytes"]),
    run("create a service account", "create serviceaccount worker").shows(&["serviceaccount/worker created"]),
    run("create a token", "create token worker --duration=20m").shows(&["eyJ"]),
    run("create a role", "create role reader --verb=get,list --resource=pods").shows(&["role.rbac.authorization.k8s.io/reader created"]),
    run("create a binding", "create rolebinding reader --role=reader --serviceaccount={ns}:worker").shows(&["created"]),
    run("set a subject", "set subject rolebinding reader --user=jane")
        .leaves(&[("get rolebinding reader -o jsonpath={.subjects[*].name}", "worker jane")]),
    run("create a quota", "create quota roomy --hard=pods=50").shows(&["resourcequota/roomy created"]),
    run("describe a namespace", "describe namespace {ns}").shows(&["Active", "roomy"]),
    // Reads of several.
    run("get in chunks", "get configmaps --chunk-size=1 -o name")
        .shows(&["configmap/config\n", "configmap/k-config\n", "configmap/kube-root-ca.crt\n", "configmap/lit\n"]),
    watch("get -w", "get configmaps -w", "lit", "create configmap late --from-literal=a=b").shows(&["late"]),
    watch("get -w of one, with events", "get configmap late -w --output-watch-events", "ADDED", "delete configmap late").shows(&["DELETED"]),
    run("events", "events --for pod/box").shows(&["Started", "Pod/box"]),
    run("events of a type", "events --types=Normal").shows(&["Scheduled"]),
    run("get events", "get events --field-selector=involvedObject.name=box,reason=Started -o name").shows(&["event/box."]),
    // Rights.
    run("auth can-i", "auth can-i create pods").shows(&["yes"]),
    run("auth can-i, as somebody else", "auth can-i create pods --as=system:serviceaccount:{ns}:worker").code(1).shows(&["no"]),
    run("auth can-i on a subresource", "auth can-i create pods/exec --as=jane").code(1).shows(&["no"]),
    run("auth can-i --list", "auth can-i --list --as=jane").shows(&["[get list]"]),
    run("auth whoami", "auth whoami").since(28).shows(&["system:masters"]),
    run("a refusal", "delete pod box --as=jane").code(1).shows(&["User \"jane\" cannot delete resource \"pods\" in API group \"\" in the namespace \"{ns}\""]),
    // Ends.
    run("delete, dry", "delete pod box --dry-run=server").shows(&["pod \"box\" deleted", "(server dry run)"]),
    run("delete", "delete pod web --now").shows(&["pod \"web\" deleted"]),
    run("delete by force", "delete pod box --force --grace-period=0").shows(&["pod \"box\" force deleted"]),
    run("delete by label", "delete pods -l run=talk --now").shows(&["pod \"talk\" deleted"]),
    run("delete from a file", "delete -f {dir}/config.yaml").shows(&["configmap \"config\" deleted"]),
    run("delete all", "delete pods --all --now").leaves(&[("get pods -o name", "")]),
    run("wait for a deletion", "wait --for=delete pod/box --timeout=30s"),
    run("delete a namespace", "delete namespace {ns} --timeout=120s").shows(&["namespace \"{ns}\" deleted"]),
];
