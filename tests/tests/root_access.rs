//! Who may do what, as stock kubectls see it on a real node: roles and bindings made with kubectl, a developer who is a service account with a
//! token, and the debug containers that they may and may not add.
//!
//! `cargo xtask test` starts the node. Every test works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use remora_tests::{Client, TestNode};

/// Runs a check as admin in a namespace of its own. That is removed afterwards, with what is named after it in the cluster.
fn in_namespace(kubectl: &Client<'_>, test: &str, check: impl Fn(&Client<'_>) -> Result<()>) {
    let namespace = format!("access-{test}-{}", kubectl.name().replace('.', "-"));
    kubectl.ok(&format!("create namespace {namespace}")).unwrap();
    let result = check(&kubectl.in_namespace(&namespace));
    let ours = format!("{namespace} {namespace}-part");
    kubectl.ok(&format!("delete clusterrole,clusterrolebinding {ours} --ignore-not-found")).unwrap();
    kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
    result.unwrap_or_else(|error| panic!("{}: {error:?}", kubectl.name()));
}

fn with_each_kubectl(test: &str, check: impl Fn(&Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    for kubectl in node.kubectls_of_every_version() {
        in_namespace(&kubectl, test, &check);
    }
}

fn with_newest_kubectl(test: &str, check: impl Fn(&TestNode, &Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    in_namespace(&kubectl, test, |admin| check(&node, admin));
}

/// A kubeconfig by which one is the service account `dev` of the client's namespace.
fn as_developer(node: &TestNode, admin: &Client<'_>) -> Result<String> {
    admin.ok("create serviceaccount dev")?;
    let token = admin.ok("create token dev")?;
    let config = std::fs::read_to_string(node.dir().join("data/kubeconfig"))?;
    let is_certificate = |line: &&str| line.contains("client-key-data") || line.contains("client-certificate-data");
    let indent = config.lines().find(is_certificate).context("the admin has no certificate")?;
    let indent = &indent[..indent.len() - indent.trim_start().len()];
    let rest: Vec<&str> = config.lines().filter(|line| !is_certificate(line)).collect();
    let user = rest.join("\n").replace("\n  user:", &format!("\n  user:\n{indent}token: {}", token.trim()));
    let path: PathBuf = std::env::temp_dir().join(format!("remora-{}.kubeconfig", admin.namespace()));
    std::fs::write(&path, user)?;
    Ok(path.display().to_string())
}

#[test]
fn a_developer_debugs_pods_and_does_nothing_else() {
    with_newest_kubectl("debug", |node, admin| {
        let config = as_developer(node, admin)?;
        let dev = |line: &str| format!("--kubeconfig={config} {line}");
        let nobody = admin.fails(&dev("get pods"), 1)?;
        let account = format!("User \"system:serviceaccount:{}:dev\"", admin.namespace());
        ensure!(nobody.contains(&format!("{account} cannot list resource \"pods\"")), "{nobody}");
        admin.ok("run web --image=registry.example/httpd:1 --restart=Never")?;
        admin.ok("wait --for=condition=Ready pod/web --timeout=60s")?;
        let subject = format!("--serviceaccount={}:dev", admin.namespace());
        admin.ok(&format!("create rolebinding dev --clusterrole=remora:debugger {subject}"))?;

        admin.ok(&dev("get pods"))?;
        admin.ok(&dev("get events"))?;
        admin.ok(&dev("logs web"))?;
        admin.ok(&dev("debug web -c eph --image=busybox --target=web -- sh -c sleep\t1"))?;
        let attached = admin.ok(&dev("debug web -i -q -c tty --image=busybox --target=web -- cat /proc/1/comm"))?;
        ensure!(attached.ends_with("httpd\n"), "{attached}");
        let debugged = node.remora().in_namespace(admin.namespace());
        let line = format!("debug --kubeconfig={config} web --image=busybox --attach -- hostname");
        ensure!(debugged.ok(&line)? == "web\n");

        for (line, what) in [
            ("delete pod web", "delete resource \"pods\""),
            ("get secrets", "list resource \"secrets\""),
            ("run other --image=busybox", "create resource \"pods\""),
            ("label pod web a=b", "patch resource \"pods\""),
            ("get pods -A", "list resource \"pods\""),
            ("create role r --verb=get --resource=pods", "create resource \"roles\""),
            ("get pods --as=jane", "impersonate resource \"users\""),
        ] {
            let refused = admin.fails(&dev(line), 1)?;
            ensure!(refused.contains(&format!("{account} cannot {what}")), "{line}: {refused}");
        }
        admin.ok("delete rolebinding dev")?;
        admin.fails(&dev("get pods"), 1)?;
        Ok(())
    });
}

#[test]
fn kubectl_makes_roles_and_asks_what_they_allow() {
    with_each_kubectl("make", |kubectl| {
        let namespace = kubectl.namespace();
        kubectl.ok("create role reader --verb=get,list --resource=configmaps")?;
        kubectl.ok("create rolebinding reader --role=reader --user=jane --group=dev --serviceaccount=a:b")?;
        kubectl.ok(&format!("create clusterrole {namespace} --verb=get --resource=nodes --resource-name=n"))?;
        kubectl.ok(&format!("create clusterrolebinding {namespace} --clusterrole={namespace} --user=jane"))?;
        let can = |line: &str| Ok::<_, anyhow::Error>(kubectl.run(&line.split(' ').collect::<Vec<_>>())?.stdout);
        ensure!(can("auth can-i list configmaps --as=jane")? == "yes\n");
        ensure!(can("auth can-i list configmaps --as=joe --as-group=dev")? == "yes\n");
        ensure!(can("auth can-i list configmaps --as=system:serviceaccount:a:b")? == "yes\n");
        ensure!(can("auth can-i delete configmaps --as=jane")? == "no\n");
        ensure!(can("auth can-i get nodes/n --as=jane")?.ends_with("yes\n"));
        ensure!(can("auth can-i get nodes/m --as=jane")?.ends_with("no\n"));
        ensure!(can("auth can-i * *")? == "yes\n");
        let list = kubectl.ok("auth can-i --list --as=jane")?;
        let line = list.lines().find(|line| line.starts_with("configmaps")).context("no config maps")?;
        ensure!(line.ends_with("[get list]"), "{list}");

        let table = kubectl.ok("get rolebinding reader -o wide")?;
        let words: Vec<&str> = table.split_whitespace().collect();
        ensure!(words[..6] == ["NAME", "ROLE", "AGE", "USERS", "GROUPS", "SERVICEACCOUNTS"], "{table}");
        ensure!(words[7] == "Role/reader" && words[9..] == ["jane", "dev", "a/b"], "{table}");
        ensure!(kubectl.ok("get role reader")?.starts_with("NAME     CREATED AT\nreader   20"));

        let file = std::env::temp_dir().join(format!("remora-{namespace}.yaml"));
        // It does not look at the namespace of the command line.
        let text = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: reader, namespace: {namespace}}}\nrules:\n\
             - {{apiGroups: [\"\"], resources: [configmaps], verbs: [watch]}}\n"
        );
        std::fs::write(&file, text)?;
        let done = kubectl.run(&["auth", "reconcile", "-f", &file.display().to_string()])?;
        ensure!(
            done.code == 0 && done.stderr.contains("required update") && done.stderr.contains("[watch]"),
            "{done:?}"
        );
        ensure!(can("auth can-i watch configmaps --as=jane")? == "yes\n");
        Ok(())
    });
}

#[test]
fn nobody_gives_more_than_they_have() {
    with_each_kubectl("escalate", |kubectl| {
        kubectl.ok("create rolebinding jane --clusterrole=admin --user=jane")?;
        kubectl.ok("create role pods --verb=get,list --resource=pods --as=jane")?;
        kubectl.ok("create rolebinding pods --role=pods --user=joe --as=jane")?;
        let refused = kubectl.fails("create role nodes --verb=get,list --resource=nodes --as=jane", 1)?;
        let lacking = "user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently \
                       held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" \"list\"]}";
        ensure!(refused.contains(lacking), "{refused}");
        let refused = kubectl.fails("create rolebinding joe --clusterrole=cluster-admin --user=joe --as=jane", 1)?;
        ensure!(refused.contains("{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}"), "{refused}");
        kubectl.ok("create role binder --verb=bind --resource=clusterroles --resource-name=cluster-admin")?;
        kubectl.ok("create rolebinding binder --role=binder --user=jane")?;
        kubectl.ok("create rolebinding joe --clusterrole=cluster-admin --user=joe --as=jane")?;
        Ok(())
    });
}

#[test]
fn an_aggregated_role_gets_new_parts_at_once() {
    with_newest_kubectl("aggregate", |_, kubectl| {
        let label = kubectl.namespace().to_owned();
        kubectl.ok(&format!("create clusterrole {label} --aggregation-rule=part-of={label}"))?;
        kubectl.ok(&format!("create rolebinding jane --clusterrole={label} --user=jane"))?;
        kubectl.fails("auth can-i list pods --as=jane", 1)?;
        kubectl.ok(&format!("create clusterrole {label}-part --verb=list --resource=pods"))?;
        kubectl.ok(&format!("label clusterrole {label}-part part-of={label}"))?;
        kubectl.ok(&format!("wait --for=jsonpath={{.rules[0].verbs[0]}}=list clusterrole/{label} --timeout=5s"))?;
        ensure!(kubectl.ok("auth can-i list pods --as=jane")? == "yes\n");
        ensure!(kubectl.ok("get clusterrole edit -o jsonpath={.rules}")?.contains("pods/exec"));
        Ok(())
    });
}
