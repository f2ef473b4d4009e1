//! Deployments from step to step, on replica sets that do as they are told.

use super::*;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn deployment(replicas: i64, image: &str, strategy: Value) -> Value {
    json!({
        "kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": {"name": "web", "namespace": "a", "uid": "d", "generation": 1, "annotations": {"mine": "1"}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
            "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
        "status": {},
    })
}

fn rolling() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
}

/// A world in which replica sets have at once as many pods as they want, all of them available.
struct World {
    deployment: Value,
    sets: Vec<Value>,
    told: Vec<String>,
}

impl World {
    fn new(deployment: Value) -> Self {
        Self { deployment, sets: Vec::new(), told: Vec::new() }
    }

    fn step(&mut self) -> bool {
        let plan = plan(&self.deployment, self.sets.clone(), &[], now());
        let is_idle = plan == Plan { again: plan.again, ..Plan::default() };
        for mut set in plan.create.into_iter().chain(plan.update.into_iter().map(|(_, new)| new)) {
            let size = replicas(&set);
            set["status"] = json!({"replicas": size, "readyReplicas": size, "availableReplicas": size});
            let (name, image) =
                (set["metadata"]["name"].clone(), set["spec"]["template"]["spec"]["containers"][0]["image"].clone());
            if set["metadata"].get("uid").is_none() {
                set["metadata"]["uid"] = name.clone();
                set["metadata"]["creationTimestamp"] = format!("2026-01-01T00:00:{:02}Z", self.sets.len()).into();
            }
            self.told.push(format!("{} {size}", image.as_str().unwrap()));
            self.sets.retain(|other| other["metadata"]["name"] != name);
            self.sets.push(set);
        }
        self.sets.retain(|set| !plan.delete.iter().any(|gone| is_same(gone, set)));
        if let Some(next) = plan.status {
            self.deployment = next;
        }
        is_idle
    }

    /// Until nothing more is to be done; what was done to replica sets, and the revision that it has come to.
    fn settle(&mut self) -> (Vec<String>, String) {
        let steps = (0..100).position(|_| self.step());
        assert!(steps.is_some(), "it never ends: {:?}", self.told);
        let revision = text(&self.deployment, &["metadata", "annotations", sets::REVISION]).to_owned();
        (std::mem::take(&mut self.told), revision)
    }

    fn change(&mut self, place: &str, value: Value) {
        *self.deployment.pointer_mut(place).unwrap() = value;
        let generation = self.deployment["metadata"]["generation"].as_i64().unwrap();
        self.deployment["metadata"]["generation"] = (generation + 1).into();
    }

    fn set_image(&mut self, image: &str) {
        self.change("/spec/template/spec/containers/0/image", image.into());
    }

    fn reason(&self) -> &str {
        let conditions = self.deployment["status"]["conditions"].as_array().unwrap();
        let progressing = conditions.iter().find(|condition| condition["type"] == "Progressing").unwrap();
        progressing["reason"].as_str().unwrap()
    }
}

#[test]
fn pods_are_replaced_bit_by_bit_and_back_again() {
    let mut world = World::new(deployment(2, "one", rolling()));
    assert_eq!(world.settle(), (vec!["one 2".to_owned()], "1".to_owned()));
    assert_eq!(world.reason(), "NewReplicaSetAvailable");
    world.set_image("two");
    let expected = ["two 1", "one 1", "two 2", "one 0"].map(str::to_owned).to_vec();
    assert_eq!(world.settle(), (expected, "2".to_owned()));
    world.set_image("one");
    let (_, revision) = world.settle();
    assert_eq!(revision, "3");
    let first =
        world.sets.iter().find(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] == "one").unwrap();
    let annotations = &first["metadata"]["annotations"];
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(annotations["mine"], "1");
    assert_eq!(world.sets.len(), 2);
}

#[test]
fn a_recreation_waits_until_no_old_pod_is_left() {
    let mut world = World::new(deployment(2, "one", json!({"type": "Recreate"})));
    world.settle();
    world.set_image("two");
    world.step();
    assert_eq!(world.told, ["one 0"]);
    let uid = text(&world.sets[0], &["metadata", "uid"]).to_owned();
    let pod = json!({"metadata": {"ownerReferences": [{"uid": uid, "controller": true}], "deletionTimestamp": "x"}, "status": {"phase": "Running"}});
    let waiting = plan(&world.deployment, world.sets.clone(), &[pod], now());
    assert_eq!(waiting.create, None);
    assert_eq!(world.settle().0, ["one 0", "two 2"]);
}

#[test]
fn a_paused_deployment_is_scaled_and_not_rolled_out() {
    let mut world = World::new(deployment(2, "one", rolling()));
    world.settle();
    world.deployment["spec"]["paused"] = true.into();
    world.set_image("two");
    assert_eq!(world.settle().0, [] as [String; 0]);
    assert_eq!(world.reason(), "DeploymentPaused");
    world.change("/spec/replicas", 3.into());
    assert_eq!(world.settle().0, ["one 3"]);
    world.change("/spec/paused", false.into());
    assert_eq!(world.settle().1, "2");
    assert_eq!(world.reason(), "NewReplicaSetAvailable");
}

#[test]
fn what_is_not_rolled_out_has_no_deadline() {
    let mut world = World::new(deployment(4, "one", rolling()));
    world.settle();
    world.set_image("two");
    world.step();
    let again = |world: &World, at| plan(&world.deployment, world.sets.clone(), &[], at).again;
    assert!(again(&world, now()).is_some());
    let late = now() + jiff::SignedDuration::from_secs(9999);
    world.change("/spec/replicas", 8.into());
    assert_eq!(again(&world, late), None);
    world.deployment["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(again(&world, late), None);
}

#[test]
fn a_change_of_size_during_a_rollout_goes_through() {
    let mut world = World::new(deployment(4, "one", rolling()));
    world.settle();
    world.set_image("two");
    world.step();
    world.change("/spec/replicas", 8.into());
    world.settle();
    let sizes: i64 = world.sets.iter().map(replicas).sum();
    assert_eq!((sizes, world.reason()), (8, "NewReplicaSetAvailable"));
}

#[test]
fn only_some_of_the_past_is_kept() {
    let mut world = World::new(deployment(1, "0", rolling()));
    world.deployment["spec"]["revisionHistoryLimit"] = 2.into();
    for image in ["0", "1", "2", "3", "4"] {
        world.set_image(image);
        world.settle();
    }
    assert_eq!(world.sets.len(), 3);
}

#[test]
fn a_deleted_deployment_does_nothing_more() {
    let mut world = World::new(deployment(1, "one", rolling()));
    world.settle();
    world.deployment["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.set_image("two");
    assert_eq!(world.settle().0, [] as [String; 0]);
}

#[test]
fn replica_sets_are_taken_and_let_go() {
    let set = |name: &str, owner: Option<&str>, app: &str| {
        let owners: Vec<Value> = owner.map(|uid| json!({"uid": uid, "controller": true})).into_iter().collect();
        json!({"metadata": {"name": name, "labels": {"app": app}, "ownerReferences": owners}})
    };
    let all = vec![
        set("own", Some("d"), "web"),
        set("orphan", None, "web"),
        set("strayed", Some("d"), "db"),
        set("other", Some("x"), "web"),
        set("stranger", None, "db"),
    ];
    assert_eq!(claim(&json!({"metadata": {"uid": "x"}}), all.clone()), Claim::default());
    let claim = claim(&deployment(1, "one", rolling()), all);
    let names = |sets: &[Value]| sets.iter().map(|set| text(set, &["metadata", "name"]).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&claim.own), ["own", "orphan"]);
    assert_eq!((names(&claim.adopt), names(&claim.release)), (vec!["orphan".to_owned()], vec!["strayed".to_owned()]));
}
